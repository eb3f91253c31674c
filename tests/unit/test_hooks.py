"""The user's executables before a start."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import pytest

from entrypoint import hooks, log


def executable(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_hooks_run_in_the_order_of_their_names(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    directory = tmp_path / "hooks"
    directory.mkdir()
    for name in ("20-b", "10-a", "30-c"):
        executable(directory / name, f"echo {name} >>{trace}")
    assert hooks.run(str(directory))
    assert trace.read_text().split() == ["10-a", "20-b", "30-c"]


def test_a_hook_that_fails_ends_the_start_at_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    executable(tmp_path / "1", "exit 3")
    executable(tmp_path / "2", f"touch {tmp_path}/ran")
    assert not hooks.run(str(tmp_path))
    assert not (tmp_path / "ran").exists()
    assert "ended with status 3" in capfd.readouterr().out


def test_a_hook_without_an_interpreter_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "1").write_text("#!/no/such/shell\n")
    (tmp_path / "1").chmod(0o755)
    assert not hooks.run(str(tmp_path))
    assert "cannot be run: No such file" in capfd.readouterr().out


def test_a_file_that_is_not_executable_is_said_not_to_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "1").write_text("exit 3")
    assert hooks.run(str(tmp_path))
    assert "was not run" in capfd.readouterr().out


def test_no_directory_means_no_hooks(tmp_path: Path) -> None:
    assert hooks.run(str(tmp_path / "none"))


def test_what_a_hook_says_has_the_form_of_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    executable(tmp_path / "10-a", "echo one; echo two >&2; printf three; exit 3")
    log.use("json", "full")
    try:
        assert not hooks.run(str(tmp_path))
    finally:
        log.use("plain", "full")
    said = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(o["source"], o["message"]) for o in said[1:4]] == [
        ("postern/10-a", m) for m in ("one", "two", "three")
    ]
    assert "ended with status 3" in said[4]["message"]


def test_a_daemon_that_a_hook_leaves_behind_does_not_hold_up_the_start(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    executable(tmp_path / "10-a", f"(while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; echo later) &")
    log.use("json", "full")
    try:
        assert hooks.run(str(tmp_path))
    finally:
        log.use("plain", "full")
    (tmp_path / "go").touch()
    out, deadline = capfd.readouterr().out, time.monotonic() + 20
    while '"later"' not in out and time.monotonic() < deadline:
        time.sleep(0.02)
        out += capfd.readouterr().out
    assert '"message": "later"' in out
    # The process that passed it on; in the image supervisord does this.
    os.wait()


def test_hooks_that_may_not_be_seen_end_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """They might be what makes it safe. A relay without root meets this."""

    def listdir(_: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "listdir", listdir)
    assert not hooks.run(str(tmp_path))
    told = capfd.readouterr().out
    assert f"error: {tmp_path} cannot be read (Permission denied): the relay does not start" in told
