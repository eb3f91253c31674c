"""The order of a stop, with a directory for the spool and a script for postmap."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from entrypoint import processes
from entrypoint.config import decision, render
from entrypoint.config.host import Host
from entrypoint.keeper import connections, drain, leftovers, refusal
from entrypoint.keeper.drain import Drain
from entrypoint.maillog.lines import parse
from entrypoint.postfix import queues

ID, ANOTHER = "4jX0dB3j5yz6DnW", "4jX0dB3vR9z6DnT"
REMOVED = "Nov 21 18:11:10 r postfix/qmgr[16]: {}: removed\n"
DELIVERY = (
    "Nov 21 18:11:11 r postfix/smtp[35]: {}: to=<a@example.com>, relay=sink[192.0.2.2]:25, delay=0.7, "
    "delays=0.08/0.38/0.19/0.06, dsn=2.0.0, status={} (250 OK)\n"
)
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LISTENS = "   0: 00000000:0019 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1\n"
CAME_IN = "   1: 0100007F:0019 0100007F:C350 01 00000000:00000000 00:00000000 00000000   {uid}        0 2\n"
PAUSE = [lambda: None] * 5
GOES_OUT = "   2: 0100007F:C351 0100007F:0A1A 01 00000000:00000000 00:00000000 00000000   {uid}        0 3\n"


class Spool:
    """What the drain sees; each turn of the keeper's loop does the next of `events`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.events: list[Callable[[], object]] = []
        self.hurried = False
        self.group = 0
        # The queue manager's ear.
        self._ear = socket.socket(socket.AF_UNIX)
        self._ear.bind(str(directory / "qmgr"))
        self._ear.listen(50)
        self._ear.setblocking(False)
        for queue in (*leftovers.QUEUES, "deferred/A"):
            (directory / "spool" / queue).mkdir(parents=True)
        self.script("postmap", "env >environment; cat >told")
        self.script("postcat", "exit 1")
        self.connections("")

    def script(self, name: str, commands: str) -> None:
        (self.directory / name).write_text(f"#!/bin/sh\ncd {self.directory}\n{commands}\n")
        (self.directory / name).chmod(0o755)

    def connections(self, rows: str) -> None:
        (self.directory / "tcp").write_text(HEAD + LISTENS + rows.format(uid=os.getuid()))

    def put(self, queue: str, name: str = ID, *, mode: int = 0o700, due: float = 0.0) -> Path:
        file = self.directory / "spool" / queue / name
        file.touch()
        file.chmod(mode)
        os.utime(file, (due, due))
        return file

    def stop(self, seconds: float, *, meanwhile: bytes = b"") -> tuple[list[str], int, float]:
        """What is told, how many are said to stay, and seconds."""
        began = time.monotonic()
        one = Drain(self.group, seconds, str(self.directory / "qmgr"), self._turn, lambda: self.hurried)
        told = list(one.run({"PATH": os.environ["PATH"], "RELAYHOST_PASSWORD": "secret"}))
        for line in meanwhile.decode().splitlines():
            one.read(parse(line))
        report, left = one.report()
        return told + report, left, time.monotonic() - began

    def close(self) -> None:
        self._ear.close()

    def said_to_the_queue_manager(self) -> list[bytes]:
        said = []
        with suppress(BlockingIOError):
            while True:
                speaker, _ = self._ear.accept()
                with speaker:
                    said.append(speaker.recv(10))
        return said

    def _turn(self, seconds: float) -> None:
        time.sleep(seconds)
        if self.events:
            self.events.pop(0)()


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spool]:
    made = Spool(tmp_path)
    monkeypatch.setattr(leftovers, "SPOOL", str(tmp_path / "spool"))
    monkeypatch.setattr(leftovers, "POSTCAT", str(tmp_path / "postcat"))
    monkeypatch.setattr(refusal, "TABLE", str(tmp_path / "drain"))
    monkeypatch.setattr(refusal, "POSTMAP", str(tmp_path / "postmap"))
    monkeypatch.setattr(connections, "LISTS", (str(tmp_path / "tcp"), str(tmp_path / "no-ipv6")))
    yield made
    made.close()


@pytest.fixture
def queue_manager(spool: Spool) -> Iterator[int]:
    """A process called qmgr, alone in a group and session."""
    code = "from entrypoint import processes; processes.rename('qmgr'); print(flush=True); input()"
    process = subprocess.Popen(
        ["python3", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout
    process.stdout.readline()
    spool.group = process.pid
    yield process.pid
    process.kill()
    process.communicate()


def halted(pid: int) -> bool:
    process = processes.look(pid)
    return process is not None and process.stopped


def test_supervisor_waits_for_hours_if_a_stop_may_take_them(machine: Host) -> None:
    """Else it would kill the keeper after 10 s. The 3 s more are what the README tells to add, too."""
    policy = decision.make({"RELAYHOST": "smtp.example.com", "DRAIN_TIMEOUT": "6h"}, None, machine)
    files = {file.path: file for file in render.files(policy, render.templates(), Path("/run/postern"))}
    keeper = files["etc/supervisor/supervisord.conf"].revealed().text.partition("[program:keeper]")[2]
    assert f"\nstopwaitsecs = {6 * 3600 + 3}\n" in keeper


def test_clients_are_refused_before_anything_else(spool: Spool) -> None:
    told, left, _ = spool.stop(5)
    assert (spool.directory / "told").read_text().startswith("all 421 4.3.2 ")
    assert (left, len(told)) == (0, 1)
    assert re.fullmatch(r"stopped after 0\.\d s: 0 delivered; the spool is empty", told[0])
    assert "PASSWORD" not in (spool.directory / "environment").read_text()


def test_a_stop_goes_on_and_says_so_if_clients_cannot_be_told(spool: Spool) -> None:
    spool.script("postmap", "exit 1")
    assert spool.stop(5)[0][0] == "warning: clients are not told of the stop: postmap failed"
    (spool.directory / "postmap").unlink()
    assert "postmap: No such file or directory" in spool.stop(5)[0][0]


def test_a_stop_does_not_wait_longer_than_it_may_for_clients_to_be_told(spool: Spool) -> None:
    """As on a disk that does not answer."""
    spool.script("postmap", "echo $$ >pid; exec sleep 30")
    told, _, seconds = spool.stop(1.5)
    assert 1 <= seconds < 3
    assert told[0] == "warning: clients are not told of the stop: postmap failed"
    assert processes.look(int((spool.directory / "pid").read_text())) is None


def test_what_is_left_meanwhile_is_counted_over_all_queues(spool: Spool) -> None:
    for number, queue in enumerate((*leftovers.QUEUES, "deferred/A")):
        spool.put(queue, f"{ID}{number}")
    # A client still hands it over.
    spool.put("incoming", ANOTHER, mode=0o600)
    one = Drain(0, 9, "nobody", lambda _: None, lambda: False)
    assert one.state()["left"] == 6


@pytest.mark.parametrize("queue", ["maildrop", "incoming", "active"])
def test_what_is_under_way_is_waited_for(spool: Spool, queue: str) -> None:
    file = spool.put(queue)
    spool.events = [*PAUSE, file.unlink]
    told, left, seconds = spool.stop(9, meanwhile=REMOVED.format(ID).encode())
    assert (left, 0.25 < seconds < 3) == (0, True)
    assert "9 s at the most" in told[0]
    assert "1 delivered; the spool is empty" in told[1]


def test_deferred_mail_is_not_waited_for_and_named(spool: Spool) -> None:
    spool.put("deferred/A", due=time.time() + 1)
    spool.put("hold", ANOTHER)
    told, left, seconds = spool.stop(9)
    assert (left, seconds < 1) == (2, True)
    assert told[-2:] == [
        f"stay, as their next try was not due: {ID}",
        f"stay, as they are on hold: {ANOTHER}",
    ]


def test_a_long_stop_waits_for_mail_whose_next_try_comes_in_time_and_for_no_other(spool: Spool) -> None:
    file = spool.put("deferred/A", due=time.time() + 30)
    spool.events = [*[lambda: None] * 30, file.unlink]
    told, left, seconds = spool.stop(60, meanwhile=REMOVED.format(ID).encode())
    assert (left, 1.4 < seconds < 8) == (0, True)
    spool.put("deferred/A", ANOTHER, due=time.time() + 90)
    told, left, seconds = spool.stop(60)
    # A second for qmgr to try it, which it was asked for.
    assert (left, 1 <= seconds < 8) == (1, True)
    assert "delivering what is queued, 60 s at the most" in told[0]
    assert told[-1].endswith(ANOTHER)


def test_a_stop_of_an_idle_relay_takes_no_time_and_else_the_last_answers_are_waited_for(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "_CALM", 1.0)
    assert spool.stop(9)[2] < 0.5
    spool.connections(CAME_IN)
    assert 1 <= spool.stop(9)[2] < 3
    spool.connections("")
    spool.events = [*PAUSE, spool.put("active").unlink]
    assert 1 <= spool.stop(9)[2] < 3


def test_after_the_last_try_of_deferred_mail_the_last_answers_are_waited_for(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("_CALM", 1.0), ("_TRY_TAKES_EFFECT", 0.1), ("_NEXT_LOOK_AT_DEFERRED", 0.1)):
        monkeypatch.setattr(drain, name, seconds)
    spool.events = [*PAUSE, spool.put("deferred/A").unlink]
    assert 1.2 <= spool.stop(30)[2] < 4


def test_what_is_under_way_again_is_waited_for_again(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks a message may be in none of the queues, or a client may bring another."""
    monkeypatch.setattr(drain, "_CALM", 0.5)
    file = spool.put("incoming")
    spool.events = [
        *PAUSE,
        file.unlink,
        *PAUSE,
        lambda: spool.put("incoming"),
        lambda: None,
        file.unlink,
    ]
    assert 1.0 < spool.stop(9)[2] < 3


def test_a_short_stop_reminds_the_queue_manager_of_new_mail_and_tries_no_dead_server(spool: Spool) -> None:
    file = spool.put("incoming")
    spool.events = [*[lambda: None] * 25, file.unlink]
    assert 1.2 < spool.stop(9)[2] < 3
    assert spool.said_to_the_queue_manager() == [b"I", b"I"]


def test_a_long_stop_tries_all_that_waits_once(spool: Spool) -> None:
    spool.put("deferred/A", due=time.time() + 3600)
    spool.stop(20)
    first, *others = spool.said_to_the_queue_manager()
    assert first == b"FADI"
    assert set(others) <= {b"I"}


def test_a_queue_manager_that_does_not_listen_ends_no_stop(spool: Spool) -> None:
    spool.close()
    spool.events = [*PAUSE, spool.put("incoming").unlink]
    assert spool.stop(30)[1] == 0


def test_when_the_time_is_up_no_delivery_begins_and_those_that_have_begun_may_end(
    spool: Spool, queue_manager: int
) -> None:
    spool.put("active")
    spool.connections(GOES_OUT)
    seen: list[bool] = []

    def look() -> None:
        seen.append(halted(queue_manager))
        if seen[-1]:
            spool.connections(CAME_IN)

    spool.events = [look] * 100
    told, left, seconds = spool.stop(3)
    assert seen.index(True) > 10
    assert (left, 2 < seconds < 3) == (1, True)
    assert told[-1] == f"stay, as the time was up: {ID}"
    # Halted, it could only be asked in vain.
    assert len(spool.said_to_the_queue_manager()) <= 2


def test_a_long_stop_does_not_end_its_deliveries_sooner_than_a_short_one_must(
    spool: Spool, queue_manager: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "_TO_FINISH", 0.5)
    spool.put("active")
    began, moments = time.monotonic(), []

    def look() -> None:
        if halted(queue_manager):
            moments.append(time.monotonic() - began)

    spool.events = [look] * 100
    spool.stop(3)
    assert 2.4 < moments[0] < 3


def test_a_delivery_that_does_not_end_is_waited_for_until_the_time_is_up_and_no_longer(
    spool: Spool, queue_manager: int
) -> None:
    spool.put("active")
    spool.connections(GOES_OUT)
    assert 1 <= spool.stop(1)[2] < 3
    assert halted(queue_manager)
    os.kill(queue_manager, signal.SIGCONT)


def test_what_another_program_of_the_container_asks_somebody_is_no_delivery(
    spool: Spool, queue_manager: int
) -> None:
    spool.put("active")
    spool.connections(GOES_OUT.replace("{uid}", f"{os.getuid() + 1}"))
    assert 2 <= spool.stop(3)[2] < 3
    assert halted(queue_manager)


def test_without_the_right_to_halt_postfix_a_stop_still_ends(
    spool: Spool, queue_manager: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without CAP_KILL."""

    def refuse(_pid: int, _number: int) -> None:
        raise PermissionError

    spool.put("active")
    with monkeypatch.context() as without:
        without.setattr(os, "kill", refuse)
        assert spool.stop(1)[1] == 1
    assert not halted(queue_manager)


def test_a_message_that_came_in_half_is_waited_for_but_does_not_stay(spool: Spool) -> None:
    spool.put("incoming", mode=0o600)
    told, left, seconds = spool.stop(1)
    assert (left, seconds >= 1) == (0, True)
    assert told[-1].endswith("the spool is empty")


def test_what_was_delivered_but_not_yet_removed_does_not_stay(spool: Spool) -> None:
    for name in (ID, ANOTHER):
        spool.put("active", name)
    spool.script("postcat", f'[ "$2" = {ID} ] && echo done_recipient: a || echo recipient: a')
    log = "".join(DELIVERY.format(name, "sent") for name in (ID, ANOTHER)).encode()
    told, left, _ = spool.stop(0.5, meanwhile=log)
    assert (left, told[-1]) == (1, f"stay, as the time was up: {ANOTHER}")
    assert ": 1 delivered, 1 stays in the spool" in told[-2]


@pytest.mark.parametrize("status", ["bounced", "expired"])
def test_mail_that_went_back_to_its_sender_is_not_called_delivered(spool: Spool, status: str) -> None:
    log = DELIVERY.format(ID, status) + REMOVED.format(ID) + REMOVED.format(ANOTHER)
    assert (
        "1 delivered, 1 returned to their senders; the spool is empty"
        in spool.stop(5, meanwhile=log.encode())[0][0]
    )


def test_somebody_in_a_hurry_is_obeyed_at_once(spool: Spool) -> None:
    spool.put("active")

    def hurry() -> None:
        spool.hurried = True

    spool.events = [hurry]
    told, left, seconds = spool.stop(3600)
    assert (left, seconds < 1) == (1, True)
    assert told[-1] == f"stay, as the wait was cut short: {ID}"


def test_ten_thousand_ids_are_named_and_the_rest_counted(spool: Spool) -> None:
    for number in range(10_003):
        (spool.directory / "spool/hold" / f"{number}").touch()
    told, left, _ = spool.stop(5)
    assert left == 10_003
    assert max(map(len, told)) < 4096
    assert told[-1] == "stay, as they are on hold: 3 more"
    assert sum(len(line.rpartition(": ")[2].split()) for line in told[1:-1]) == 10_000


def test_a_message_that_goes_while_it_is_looked_at_is_gone(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.put("active", ID)
    gone = spool.put("active", ANOTHER)
    found = list(queues.files(str(spool.directory / "spool/active")))
    gone.unlink()
    monkeypatch.setattr(queues, "files", lambda _: iter(found))
    assert list(leftovers.names("active")) == [ID]


def test_a_spool_that_is_gone_has_no_user(spool: Spool) -> None:
    assert leftovers.user() == os.getuid()
    (spool.directory / "spool/active").rmdir()
    assert leftovers.user() == -1
