"""supervisord in our process, with small programs in the place of keeper and health."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
RUN = "import sys; from entrypoint.supervise import supervise; sys.exit(supervise(sys.argv[1]))"
CONFIGURATION = """
[supervisord]
logfile = /dev/null
pidfile = /dev/null
nocleanup = true
minfds = 64
minprocs = 1

[program:health]
priority = 10
command = /bin/sh -c "trap 'kill $!; echo health ends; exit' TERM; echo health runs; sleep 30 & wait"
startsecs = 0
stdout_logfile = NONE
stdout_events_enabled = true
stderr_logfile = NONE

[program:keeper]
priority = 20
command = /bin/sh -c "{keeper}"
autorestart = true
startsecs = {startsecs}
startretries = 0
stdout_logfile = NONE
stdout_events_enabled = true
stderr_logfile = NONE
stderr_events_enabled = true
"""
LISTENS = """
[fcgi-program:logins]
socket = unix://{socket}
socket_mode = 0666
priority = 15
command = {python} -c "import socket; socket.socket(fileno=0).accept()[0].sendall(b'served')"
autorestart = true
startsecs = 0
stdout_logfile = NONE
stderr_logfile = NONE
"""
STAYS = "trap 'kill $!; echo keeper ends; exit 0' TERM; echo keeper runs; sleep 30 & wait"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(tmp_path)
    yield starter
    # A supervisord that were killed would leave its programs running for ever.
    if starter.process and starter.process.poll() is None:
        starter.process.terminate()
        starter.process.communicate(timeout=10)


class Starter:
    """Runs supervise() in a process of its own."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "supervisord.conf"
        self.process: subprocess.Popen[str] | None = None

    def __call__(self, keeper: str, startsecs: int = 0, more: str = "") -> subprocess.Popen[str]:
        self._path.write_text(CONFIGURATION.format(keeper=keeper, startsecs=startsecs) + more)
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(self._path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "TZ": "UTC", "RELAYHOST_PASSWORD": "secret"},
        )
        return self.process


def until(process: subprocess.Popen[str], *texts: str) -> list[str]:
    """The lines up to the one with which each text has been seen."""
    assert process.stdout
    missing, lines = set(texts), []
    for line in process.stdout:
        lines.append(line.strip())
        missing -= {text for text in missing if text in line}
        if not missing:
            return lines
    raise AssertionError(f"ended without {missing}: {lines}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_stop_is_clean_quick_and_ends_the_keeper_first(start: Starter, number: signal.Signals) -> None:
    process = start(STAYS)
    until(process, "keeper runs", "health runs")
    begun = time.monotonic()
    process.send_signal(number)
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert time.monotonic() - begun < 0.9, "each step waits for supervisord's poll"
    assert f"received {number.name}: stopping" in out
    assert out.index("keeper ends") < out.index("health ends")


def test_a_stop_that_comes_while_programs_are_being_started_is_not_lost(start: Starter) -> None:
    process = start("exec sleep 30")
    until(process, "health runs")
    process.terminate()
    process.communicate(timeout=5)
    assert process.returncode == 0


def test_a_program_that_cannot_start_ends_everything_with_1_and_a_reason(start: Starter) -> None:
    process = start("exit 3", startsecs=1)
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "warning: exited: keeper (exit status 3; not expected)" in out
    assert "error: keeper fails again and again: Postfix does not run" in out
    assert "health ends" in out


def test_a_program_that_dies_is_started_again_at_once(start: Starter) -> None:
    process = start("echo keeper runs; kill -9 $$$$".replace("$$$$", "$$"))
    until(process, "keeper runs")
    until(process, "keeper runs")


def test_sighup_changes_nothing(start: Starter) -> None:
    process = start(STAYS)
    until(process, "keeper runs", "health runs")
    process.send_signal(signal.SIGHUP)
    until(process, "ignored SIGHUP")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=10)
    assert out.count("keeper ends") == 1
    assert process.returncode == 0


def test_programs_get_no_setting_and_no_password(start: Starter) -> None:
    process = start("/usr/bin/env; echo keeper runs; exec sleep 30")
    names = {line.partition("=")[0] for line in until(process, "keeper runs")}
    assert "TZ" in names
    assert not names & {"RELAYHOST_PASSWORD", "HOME"}


def test_last_words_on_stderr_become_log_lines(start: Starter) -> None:
    process = start("echo 'Traceback: boom' >&2; exec sleep 30")
    assert " postern/keeper[" in until(process, ": error: Traceback: boom")[-1]


def test_a_configuration_that_is_none_ends_with_1(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path / "none.conf")], cwd=ROOT, capture_output=True, check=False
    )
    assert run.returncode == 1


def test_a_socket_that_is_held_for_a_program_never_refuses(start: Starter, tmp_path: Path) -> None:
    """The program ends after each connection; Postfix would throttle a service that cannot connect."""
    path = tmp_path / "socket"
    process = start(
        f"test -S {path} && echo keeper runs", more=LISTENS.format(socket=path, python=sys.executable)
    )
    until(process, "keeper runs")
    for _ in range(5):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.settimeout(10)
            assert client.recv(100) == b"served"
