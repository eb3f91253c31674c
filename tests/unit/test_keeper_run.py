"""The keeper with a stand-in for Postfix's master: a script that does what master does when it matters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from entrypoint import processes, runtime
from entrypoint.keeper import master

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

ROOT = Path(__file__).parents[2]
PROGRAM = """
import os, sys
from entrypoint.keeper import keep, master
master.PROGRAM = sys.argv[1]
keep.container_stdout = lambda: 1
keep._PATIENCE = float(sys.argv[3])
os.chdir(sys.argv[2])
sys.exit(keep.keep(os.environ, "runtime.json", "state.json", "master.pid", "log"))
"""


def wait(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


class Running:
    """A keeper whose master is `script`."""

    def __init__(self, directory: Path, script: str, patience: float) -> None:
        self.directory = directory
        (directory / "runtime.json").write_text('{"health_port": 1, "probe_source": "127.98.67.25"}')
        fake = directory / "fake-master"
        fake.write_text(script)
        fake.chmod(0o755)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(fake), str(directory), str(patience)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "RELAYHOST_PASSWORD": "secret", "TZ": "UTC"},
        )

    def state(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads((self.directory / "state.json").read_text())
        except FileNotFoundError:
            return {}
        return state

    def until_noted(self) -> None:
        wait("state.json", lambda: bool(self.state()))

    def until(self, marker: str) -> None:
        """Wait until the stand-in has made a file of this name."""
        wait(marker, (self.directory / marker).exists)

    def end(self) -> tuple[int, list[str]]:
        out, _ = self.process.communicate(timeout=10)
        return self.process.returncode, out.decode().splitlines()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def run(script: str, patience: float = 8.0) -> Running:
        started.append(Running(tmp_path, script, patience))
        return started[-1]

    yield run
    for running in started:
        group = running.state().get("master")
        running.process.kill()
        # Its pipe is closed by the group's end, so that comes first.
        if group:
            master.send(group, signal.SIGKILL)
        running.process.communicate()


def test_no_line_of_sixty_thousand_is_lost_when_master_ends_right_after_them(
    run: Callable[..., Running],
) -> None:
    status, lines = run("#!/bin/sh\nseq 60000\nprintf last\nexit 3\n").end()
    assert status == 1
    assert lines[:60001] == [*map(str, range(1, 60001)), "last"]
    assert "Postfix's master ended (exit status 3" in lines[-1]


def test_a_stop_ends_postfix_and_loses_no_line_of_its_end(run: Callable[..., Running]) -> None:
    keeper = run(
        "#!/bin/sh\ntrap 'seq 5000; exit' TERM\n>ready\nfor i in 1 2 3 4 5 6 7 8 9; do sleep 1; done\n"
    )
    keeper.until("ready")
    keeper.until_noted()
    assert keeper.state() == {
        "keeper": keeper.process.pid,
        "master": keeper.state()["master"],
        "stopping": 0,
        "throttled": "",
        "throttled_at": 0,
    }
    keeper.process.send_signal(signal.SIGTERM)
    assert keeper.end() == (0, [str(n) for n in range(1, 5001)])
    assert keeper.state() == {}


def test_a_program_that_master_cannot_start_is_noted_for_the_health_program(
    run: Callable[..., Running],
) -> None:
    """Each time it is told, since only the last time is of interest."""
    keeper = run(
        "#!/bin/sh\n"
        "complain() { printf 'Nov 20 11:44:00 relay postfix/master[%s]: warning: /usr/lib/post' $$;\n"
        '  echo "fix/sbin/$1: bad command startup -- throttling"; }\n'
        "complain qmgr\nuntil [ -e more ]; do sleep 0.05; done\ncomplain smtp\nsleep 30\n"
    )
    begun = int(time.monotonic())
    wait("qmgr is noted", lambda: keeper.state().get("throttled") == "qmgr")
    assert begun <= keeper.state()["throttled_at"] <= time.monotonic()
    assert runtime.scalar(str(keeper.directory / "state.json"), "master") == str(keeper.state()["master"])
    assert runtime.scalar(str(keeper.directory / "state.json"), "throttled") == "qmgr"
    (keeper.directory / "more").touch()
    wait("smtp is noted", lambda: keeper.state().get("throttled") == "smtp")
    assert keeper.state()["stopping"] == 0


def test_what_ignores_the_stop_is_killed(run: Callable[..., Running]) -> None:
    keeper = run(
        "#!/bin/sh\ntrap '' TERM\n>ready\nfor i in 1 2 3 4 5 6 7 8 9; do sleep 1; done\n", patience=0.1
    )
    keeper.until("ready")
    keeper.process.send_signal(signal.SIGTERM)
    assert keeper.end()[0] == 0


def test_children_of_a_dead_master_are_ended_since_they_hold_the_ports(run: Callable[..., Running]) -> None:
    keeper = run("#!/bin/sh\nsleep 30 & echo $! >child.new; mv child.new child\nkill -9 $$\n")
    keeper.until("child")
    status, lines = keeper.end()
    child = int((keeper.directory / "child").read_text())
    assert status == 1
    assert "killed by SIGKILL" in lines[-1]
    assert processes.look(child) is None


def test_the_reason_why_master_cannot_start_is_logged(run: Callable[..., Running]) -> None:
    script = (
        f"#!{sys.executable} -IS\nimport socket\n"
        "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'<18>Nov 20 11:44:00 postfix/master[9]: '\n"
        "b'fatal: bind 0.0.0.0 port 25: Address already in use', 'log')\nraise SystemExit(1)\n"
    )
    status, lines = run(script).end()
    assert status == 1
    assert lines[0].endswith(" postfix/master[9]: fatal: bind 0.0.0.0 port 25: Address already in use")


def test_postfix_gets_the_time_zone_but_no_setting_and_no_password(run: Callable[..., Running]) -> None:
    lines = run("#!/bin/sh\n/usr/bin/env\n").end()[1]
    names = {line.partition("=")[0] for line in lines if "=" in line.partition(" ")[0]}
    assert "TZ" in names
    assert not names & {"RELAYHOST_PASSWORD", "HOME"}


def test_what_a_killed_keeper_left_is_ended_before_the_next_start(run: Callable[..., Running]) -> None:
    first = run("#!/bin/sh\nsleep 30 &\n>ready\nwait\n")
    first.until("ready")
    first.until_noted()
    old = first.state()["master"]
    first.process.kill()
    # Master too: only what it had started is left, and holds the ports.
    os.kill(old, signal.SIGKILL)
    wait("master is gone", lambda: processes.look(old) is None)
    assert processes.in_group(old)
    status, lines = run("#!/bin/sh\nexit 0\n").end()
    assert status == 1
    assert "the keeper was killed" in lines[0]
    assert not processes.in_group(old)


def test_a_pid_file_from_another_life_harms_nobody(tmp_path: Path) -> None:
    pid_file = tmp_path / "master.pid"
    stat(tmp_path, 9, "health", 9)
    stat(tmp_path, 30, "master", 7)
    for text in ("9\n", "30\n", "77\n", "1\n", "x", ""):
        pid_file.write_text(text)
        assert master.predecessor(str(pid_file), 0, str(tmp_path)) == 0


def test_a_living_master_is_found_by_pid_file_or_note(tmp_path: Path) -> None:
    pid_file = tmp_path / "master.pid"
    stat(tmp_path, 12, "master", 12)
    assert master.predecessor(str(pid_file), 12, str(tmp_path)) == 12
    pid_file.write_text("              12\n")
    assert master.predecessor(str(pid_file), 0, str(tmp_path)) == 12


def test_children_whose_master_was_killed_are_found_by_the_note(tmp_path: Path) -> None:
    stat(tmp_path, 13, "smtpd", 12)
    stat(tmp_path, 12, "master", 12, state="Z")
    assert master.predecessor(str(tmp_path / "none"), 12, str(tmp_path)) == 12


def stat(proc: Path, pid: int, name: str, group: int, state: str = "S") -> None:
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "stat").write_text(f"{pid} ({name}) {state} 1 {group} {group} 0 -1\n")
