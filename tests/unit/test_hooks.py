"""The user's executables before a start."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoint import hooks


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
