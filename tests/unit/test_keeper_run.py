"""The keeper with a stand-in for Postfix's master: a script that does what master does when it matters."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from entrypoint import processes, runtime
from entrypoint.keeper import master
from entrypoint.keeper.journal import Journal
from entrypoint.keeper.reload import Reloads
from entrypoint.keeper.stream import ProbeFilter, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

ROOT = Path(__file__).parents[2]
PROGRAM = """
import os, sys
from entrypoint.keeper import connections, keep, leftovers, master, refusal, reload, wakeups
master.PROGRAM = sys.argv[1]
keep.container_stdout = lambda: 1
keep._PATIENCE = float(sys.argv[3])
reload._PAUSE = reload._SETTLE = 0.02
wakeups._AFTER = (0.02, 0.04)
wakeups._EVERY = 0.02
wakeups._ahead = lambda: -86400.0 * os.path.exists("set-back")
reload._PATIENCE = float(sys.argv[4])
keep._THROTTLED_FOR = float(sys.argv[5])
keep.Standstill.look = lambda *_: os.path.exists("standstill")
os.chdir(sys.argv[2])
reload.PROGRAM = os.path.abspath("fake-apply")
leftovers.SPOOL, connections.LISTS = "spool", ()
refusal.POSTMAP, refusal.TABLE = os.path.abspath("fake-postmap"), "drain"
places = keep.Places()
places.runtime, places.state, places.pid_file = "runtime.json", "state.json", "master.pid"
places.device, places.watched, places.refused = "log", "watched", "refused"
places.queue_manager, places.answers = "qmgr", "answers"
sys.exit(keep.keep(os.environ, places))
"""


def wait(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


class Running:
    """A keeper whose master is `script`."""

    def __init__(self, directory: Path, script: str, *seconds: float) -> None:
        self.directory = directory
        (directory / "runtime.json").write_text(
            '{"health_port": 1, "probe_source": "127.98.67.25", "drain_timeout": 5}'
        )
        fake = directory / "fake-master"
        fake.write_text(script)
        fake.chmod(0o755)
        (directory / "fake-postmap").write_text("#!/bin/sh\ncat >told\n")
        (directory / "fake-postmap").chmod(0o755)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, (fake, directory, *seconds))],
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

    def run(
        script: str, patience: float = 8.0, apply_patience: float = 300.0, throttled_for: float = 70.0
    ) -> Running:
        started.append(Running(tmp_path, script, patience, apply_patience, throttled_for))
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
        "reloads": 0,
        "reload_failures": 0,
    }
    keeper.process.send_signal(signal.SIGTERM)
    status, lines = keeper.end()
    assert (status, lines[:-1]) == (0, [str(n) for n in range(1, 5001)])
    assert lines[-1].endswith(" s: 0 delivered; the spool is empty")
    assert keeper.state() == {}


def test_a_postfix_that_stands_still_is_ended_in_a_drain_too_which_would_wait_for_it_to_the_end(
    run: Callable[..., Running],
) -> None:
    keeper = run("#!/bin/sh\nmkdir -p spool/active\n>spool/active/4jWyDY0YgDz5nFW\n>ready\nexec sleep 30\n")
    keeper.until("ready")
    keeper.until_noted()
    keeper.process.send_signal(signal.SIGTERM)
    # What the drain begins with.
    keeper.until("told")
    began = time.monotonic()
    (keeper.directory / "standstill").touch()
    _, lines = keeper.end()
    assert time.monotonic() - began < 3  # of the 5 s of its drain_timeout
    assert any("Postfix stands still" in line and line.endswith("it is ended") for line in lines)
    assert "1 stays in the spool for the next start" in "".join(lines)


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


MASTER = "#!/bin/sh\ntrap 'echo reload >>reloads' HUP\n>ready\nwhile :; do sleep 0.02; done\n"


class Changing:
    """A keeper that watches one file, and what stands in for `postern apply`."""

    def __init__(self, directory: Path, run: Callable[..., Running], apply: str, **options: float) -> None:
        self.directory = directory
        self.table = directory / "transport"
        self.table.write_text("")
        (directory / "watched").write_text(f"{self.table}\n")
        (directory / "fake-apply").write_text(f"#!/bin/sh\necho $1 >>applied\n{apply}\n")
        (directory / "fake-apply").chmod(0o755)
        self.keeper = run(MASTER, **options)
        self.keeper.until("ready")
        self.keeper.until_noted()

    def change(self) -> None:
        with self.table.open("a") as file:
            file.write("example.com smtp:\n")

    def lines(self, name: str) -> list[str]:
        file = self.directory / name
        return file.read_text().splitlines() if file.exists() else []

    def counted(self, name: str, count: int) -> None:
        wait(f"{name} is {count}", lambda: bool(self.keeper.state().get(name) == count))


@pytest.fixture
def changing(tmp_path: Path, run: Callable[..., Running]) -> Callable[..., Changing]:
    return lambda apply, **options: Changing(tmp_path, run, apply, **options)


def test_a_change_is_applied_once_and_postfix_reads_its_configuration_again(
    changing: Callable[[str], Changing],
) -> None:
    relay = changing("echo 'a line of its own'; exit 10")
    for number in (1, 2):
        relay.change()
        relay.counted("reloads", number)
        wait("master is told", lambda: len(relay.lines("reloads")) == number)  # noqa: B023
    assert relay.lines("applied") == ["apply", "apply"]
    assert relay.keeper.state()["reload_failures"] == 0
    relay.keeper.process.send_signal(signal.SIGTERM)
    status, lines = relay.keeper.end()
    assert (status, lines[:-1]) == (0, ["a line of its own"] * 2)


def test_mail_that_came_in_during_a_reload_is_looked_for(
    changing: Callable[[str], Changing], tmp_path: Path
) -> None:
    """The queue manager that was told of it may have ended before it heard."""
    with socket.socket(socket.AF_UNIX) as queue_manager:
        queue_manager.bind(str(tmp_path / "qmgr"))
        queue_manager.listen()
        queue_manager.settimeout(10)
        relay = changing("exit 10")
        relay.change()
        for _ in range(2):
            connection, _ = queue_manager.accept()
            with connection:
                assert connection.recv(10) == b"I"


def test_when_the_clock_was_set_back_postfix_begins_its_timers_anew_and_tries_all_that_waits(
    changing: Callable[[str], Changing], tmp_path: Path
) -> None:
    """Nothing else happens meanwhile: the keeper looks by itself."""
    with socket.socket(socket.AF_UNIX) as queue_manager:
        queue_manager.bind(str(tmp_path / "qmgr"))
        queue_manager.listen()
        queue_manager.settimeout(10)
        relay = changing("exit 10")
        (tmp_path / "set-back").touch()
        for _ in range(2):
            connection, _ = queue_manager.accept()
            with connection:
                assert connection.recv(10) == b"FADI"
    wait("master is told", lambda: bool(relay.lines("reloads")))
    relay.keeper.process.send_signal(signal.SIGTERM)
    status, lines = relay.keeper.end()
    assert (status, relay.lines("reloads")) == (0, ["reload"])
    assert "warning: the clock was set back by 86400 s" in lines[0]


@pytest.mark.parametrize("waits", [True, False])
def test_when_the_clock_was_set_back_postfix_is_restarted_if_it_waits_to_start_a_program_again(
    run: Callable[..., Running], *, waits: bool
) -> None:
    """A reload does not end that wait, which would be a day longer."""
    keeper = run(
        "#!/bin/sh\ntrap 'echo reload >reloads' HUP\n"
        "printf 'Nov 20 11:44:00 relay postfix/master[%s]: warning: /usr/lib/postfix/sbin/smtp: ' $$\n"
        "echo 'bad command startup -- throttling'\ntrap 'exit 0' TERM\nwhile :; do sleep 0.02; done\n",
        throttled_for=70.0 if waits else 0.0,
    )
    wait("smtp is noted", lambda: keeper.state().get("throttled") == "smtp")
    (keeper.directory / "set-back").touch()
    if not waits:
        keeper.until("reloads")
        keeper.process.send_signal(signal.SIGTERM)
    status, lines = keeper.end()
    assert status == (1 if waits else 0)
    assert "the clock was set back" in lines[-2]
    assert (keeper.directory / "reloads").exists() != waits


def test_a_change_that_postfix_sees_by_itself_is_counted_and_disturbs_nobody(
    changing: Callable[[str], Changing],
) -> None:
    relay = changing("exit 11")
    relay.change()
    relay.counted("reloads", 1)
    assert relay.lines("reloads") == []


@pytest.mark.parametrize("status", [78, 1])
def test_a_change_that_is_refused_or_fails_is_counted_and_postfix_not_disturbed(
    status: int, changing: Callable[[str], Changing]
) -> None:
    relay = changing(f"exit {status}")
    relay.change()
    relay.counted("reload_failures", 1)
    assert relay.lines("reloads") == []
    assert relay.keeper.state()["reloads"] == 0


def test_a_change_that_is_partly_in_force_is_counted_as_failed_and_postfix_told_of_that_part(
    changing: Callable[[str], Changing],
) -> None:
    """The attempt that puts the rest in force may be one that Postfix sees by itself."""
    relay = changing("exit 12")
    relay.change()
    relay.counted("reload_failures", 1)
    wait("Postfix was told", lambda: len(relay.lines("reloads")) == 1)


def test_what_changes_while_an_apply_runs_is_applied_after_it(changing: Callable[[str], Changing]) -> None:
    relay = changing(
        "[ -e running ] && >twice; >running; until [ -e go ]; do sleep 0.01; done; rm running; exit 10"
    )
    relay.change()
    relay.keeper.until("running")
    relay.change()
    (relay.directory / "go").touch()
    relay.counted("reloads", 2)
    assert not (relay.directory / "twice").exists()


def test_apply_gets_the_settings_which_the_keeper_itself_has_not(tmp_path: Path) -> None:
    """They are with its parent, supervisord; here that is a shell."""
    apply = tmp_path / "fake-apply"
    apply.write_text('#!/bin/sh\necho "$SETTING" >setting\n')
    apply.chmod(0o755)
    code = (
        "import os, sys; from entrypoint.keeper import reload; reload.PROGRAM = sys.argv[1]; "
        "os.environ.clear(); sys.exit(os.waitpid(reload._start(1), 0)[1])"
    )
    command = f"{sys.executable} -c '{code}' {apply}; exit $?"
    environment = {"SETTING": "of the container", "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    subprocess.run(["sh", "-c", command], check=True, cwd=tmp_path, env=environment)
    assert (tmp_path / "setting").read_text() == "of the container\n"


def test_an_apply_that_was_killed_is_told_of_by_the_keeper(changing: Callable[[str], Changing]) -> None:
    relay = changing("kill -9 $$")
    relay.change()
    relay.counted("reload_failures", 1)
    refused = relay.directory / "refused"
    assert "was killed by SIGKILL" in refused.read_text()
    assert refused.stat().st_mode & 0o777 == 0o644
    relay.keeper.process.send_signal(signal.SIGTERM)
    assert "was killed by SIGKILL" in relay.keeper.end()[1][0]


def test_an_apply_that_does_not_end_is_ended_and_told_of(changing: Callable[..., Changing]) -> None:
    """It would keep all later changes without effect, and nobody would know."""
    relay = changing("[ -e stuck ] || { >stuck; exec sleep 30; }; exit 10", apply_patience=0.3)
    relay.change()
    relay.counted("reload_failures", 1)
    assert "did not end within 0.3 s" in (relay.directory / "refused").read_text()
    relay.change()
    relay.counted("reloads", 1)
    relay.keeper.process.send_signal(signal.SIGTERM)
    status, lines = relay.keeper.end()
    assert status == 0
    assert [("did not end" in line, "was killed" in line) for line in lines[:-1]] == [(True, False)]


def test_an_apply_that_cannot_be_started_is_told_of_and_mail_goes_on(
    changing: Callable[..., Changing],
) -> None:
    relay = changing("exit 10")
    (relay.directory / "fake-apply").unlink()
    relay.change()
    wait("it is told", (relay.directory / "refused").exists)
    assert "cannot be started (No such file" in (relay.directory / "refused").read_text()
    relay.keeper.process.send_signal(signal.SIGTERM)
    assert relay.keeper.end()[0] == 0


def test_a_full_tmpfs_does_not_end_postfix(changing: Callable[..., Changing]) -> None:
    relay = changing("echo $$ >>pids; kill -9 $$")
    for name in ("state.json.new", "refused.new"):
        (relay.directory / name).mkdir()  # as good as a full disk to whoever opens it
    for number in (1, 2):
        relay.change()
        wait("it is tried", lambda: len(relay.lines("pids")) == number)  # noqa: B023
    relay.keeper.process.send_signal(signal.SIGTERM)
    status, lines = relay.keeper.end()
    assert status == 0
    assert any("cannot write state.json" in line for line in lines)
    assert any("cannot write refused" in line for line in lines)


def test_a_stop_does_not_wait_for_an_apply(changing: Callable[[str], Changing]) -> None:
    relay = changing("echo $$ >pid.new; mv pid.new pid; exec sleep 30")
    relay.change()
    relay.keeper.until("pid")
    began = time.monotonic()
    relay.keeper.process.send_signal(signal.SIGTERM)
    assert relay.keeper.end()[0] == 0
    assert time.monotonic() - began < 5
    assert processes.look(int((relay.directory / "pid").read_text())) is None


def test_a_relay_that_watches_nothing_is_not_woken(tmp_path: Path) -> None:
    out = os.open(os.devnull, os.O_WRONLY)
    stream = Stream(out, ProbeFilter("127.98.67.25"), Journal())
    none = Reloads(stream, out, str(tmp_path / "none"), str(tmp_path / "refused"))
    assert none.wait() is None
    (tmp_path / "watched").write_text("daily\n")
    daily = Reloads(stream, out, str(tmp_path / "watched"), str(tmp_path / "refused"))
    assert (daily.wait() or 0) > 86000
    os.close(out)
