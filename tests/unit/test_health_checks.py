"""Ready means that a client would get as far as the relay decision; alive, that the two who matter exist."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from entrypoint.health import checks
from entrypoint.health.checks import Check, Listener, Shared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

SOURCE = "127.98.67.25"
STARTTLS = "250-relay.example.org\r\n250-STARTTLS\r\n250 SMTPUTF8"
FIRST = "530 5.7.0 Must issue a STARTTLS command first"
PROBED = "450 4.7.0 <unknown[127.98.67.25]>: Client host rejected: readiness probe: no mail is taken from this address"
WELL = {
    "": "220 relay.example.org ESMTP Postfix",
    "EHLO": "250-relay.example.org\r\n250-SIZE 1000\r\n250 SMTPUTF8",
    "MAIL": "250 2.1.0 Ok",
    "RCPT": PROBED,
    "RSET": "250 2.0.0 Ok",
    "QUIT": "221 2.0.0 Bye",
}


class Smtp:
    """Answers each command with the reply of that name; None closes the connection, "" says nothing."""

    def __init__(self, replies: dict[str, str | None]) -> None:
        self._replies = replies
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.commands: list[str] = []
        self.clients: list[str] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, (address, _) = self._server.accept()
                self.clients.append(address)
                with connection, connection.makefile("rw", newline="") as file, contextlib.suppress(OSError):
                    self._talk(file)

    def _talk(self, file: TextIO) -> None:
        line = ""
        while (reply := self._replies.get(line[:4])) is not None:
            if reply:
                file.write(f"{reply}\r\n")
                file.flush()
            line = file.readline().strip()
            if not line:
                return
            self.commands.append(line)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()


@contextlib.contextmanager
def serving(changes: dict[str, str | None] | None = None) -> Iterator[Smtp]:
    server = Smtp({**WELL, **(changes or {})})
    try:
        yield server
    finally:
        server.close()


def verdict(changes: dict[str, str | None], patience: float = 5.0) -> Check:
    with serving(changes) as server:
        return checks.probe(Listener("127.0.0.1", server.port), SOURCE, patience)


def test_a_probe_goes_up_to_the_recipient_from_its_own_address_and_leaves_politely() -> None:
    with serving() as server:
        assert checks.probe(Listener("", server.port), SOURCE).ok
    assert server.commands == [
        "EHLO localhost",
        "MAIL FROM:<>",
        "RCPT TO:<readiness-probe@relay.example.org>",
        "RSET",
        "QUIT",
    ]
    assert server.clients == [SOURCE]


@pytest.mark.parametrize(
    "changes",
    [
        {"RCPT": "250 2.1.5 Ok"},
        {"RCPT": "554 5.7.1 <a@b>: Relay access denied"},
        {"RCPT": FIRST, "EHLO": STARTTLS},
        {"MAIL": FIRST, "EHLO": STARTTLS},
        {"MAIL": "530 5.7.0 Authentication required", "EHLO": "250-relay.example.org\r\n250 AUTH PLAIN"},
        {"EHLO": "250 relay.example.org"},
    ],
)
def test_a_listener_that_decides_is_ready_even_if_it_refuses_the_probe(
    changes: dict[str, str | None],
) -> None:
    assert verdict(changes).ok


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"": "421 4.3.2 all server ports are busy"}, 'greets with "421 4.3.2 all server ports are busy"'),
        ({"": None}, "connection closed without a reply"),
        ({"": "hello there"}, "not an SMTP reply"),
        ({"": "x" * 20_000}, "endless reply"),
        ({"EHLO": "421 4.3.0 bye"}, 'answers EHLO with "421'),
        ({"MAIL": "452 4.3.1 Insufficient system storage"}, 'answers MAIL FROM with "452 4.3.1'),
        ({"RCPT": "451 4.3.0 <a@b>: Temporary lookup failure"}, 'answers RCPT TO with "451 4.3.0'),
        ({"RCPT": "450 4.1.2 Domain not found"}, 'answers RCPT TO with "450 4.1.2'),
        ({"RCPT": "421 4.7.0 too many errors"}, 'answers RCPT TO with "421'),
        ({"RCPT": None}, "connection closed without a reply"),
        ({"MAIL": FIRST}, 'answers MAIL FROM with "530 5.7.0 Must issue a STARTTLS'),
        (
            {"RCPT": "554 5.7.1 <unknown[127.98.67.25]>: Client host rejected: Access denied"},
            'answers RCPT TO with "554 5.7.1 <unknown[127.98.67.25]>: Client host rejected: Access denied": mail is not',
        ),
        (
            {"RCPT": "450 4.7.1 <a@b>: Recipient address rejected: Greylisted"},
            'answers RCPT TO with "450 4.7.1',
        ),
        ({"RCPT": "550 5.1.1 <a@b>: User unknown"}, 'answers RCPT TO with "550 5.1.1'),
    ],
)
def test_a_listener_that_is_broken_is_not_ready_and_says_how(
    changes: dict[str, str | None], reason: str
) -> None:
    check = verdict(changes)
    assert not check.ok
    assert reason in check.detail


def test_a_listener_that_hangs_is_not_ready_after_the_time_limit() -> None:
    begun = time.monotonic()
    check = verdict({"RCPT": ""}, patience=0.2)
    assert check.detail.startswith("timed out")
    assert time.monotonic() - begun < 2


def test_a_port_that_nobody_listens_on_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    check = checks.probe(Listener("", port), SOURCE)
    assert str(check) == f"failed listener {port}: connection refused: no program can hand in mail here"


def test_listeners_are_asked_all_at_once() -> None:
    with serving({"": ""}) as hanging, serving() as well:
        listeners = [Listener("", hanging.port), Listener("", well.port), Listener("", well.port)]
        results = checks.accepting(listeners, SOURCE, patience=0.2)
    assert [check.ok for check in results] == [False, True, True]


def test_a_reply_may_not_smuggle_a_line_into_the_answer() -> None:
    assert "\n" not in str(verdict({"RCPT": "451 4.3.0 a\rb"}))


@pytest.mark.parametrize("address", ["::1", "127.0.0.1", ""])
def test_a_check_names_the_listener_as_the_user_wrote_it(address: str) -> None:
    names = {"::1": "listener [::1]:25", "127.0.0.1": "listener 127.0.0.1:25", "": "listener 25"}
    assert str(Listener(address, 25)) == names[address]


def test_a_host_name_is_no_offer_of_starttls() -> None:
    assert not verdict({"MAIL": FIRST, "EHLO": "250-STARTTLS\r\n250 SIZE 1000"}).ok


def proc(tmp_path: Path, **processes: str) -> tuple[str, str]:
    """A /proc and the keeper's note: keeper 11, master 12."""
    for pid, name, state in ((11, "keeper", "keeper"), (12, "master", "master")):
        comm, _, letter = processes.get(name, state).partition(" ")
        if comm:
            (tmp_path / str(pid)).mkdir()
            (tmp_path / str(pid) / "stat").write_text(
                f"{pid} ({comm}) {letter or 'S'} 1 {pid} {pid} 0 -1 4194560"
            )
    (tmp_path / "state.json").write_text('{"keeper": 11, "master": 12, "stopping": 0}\n')
    return str(tmp_path / "state.json"), str(tmp_path)


def failed(found: list[Check]) -> list[str]:
    return [check.name for check in found if not check.ok]


def test_keeper_and_master_alive_is_alive(tmp_path: Path) -> None:
    assert failed(checks.alive(*proc(tmp_path))) == []


@pytest.mark.parametrize(
    "processes", [{"master": ""}, {"master": "smtpd"}, {"master": "master Z"}, {"master": "not (master"}]
)
def test_a_master_that_is_gone_dead_or_somebody_else_is_not_alive(
    tmp_path: Path, processes: dict[str, str]
) -> None:
    assert failed(checks.alive(*proc(tmp_path, **processes))) == ["master"]


@pytest.mark.parametrize("name", ["keeper", "master"])
def test_a_process_that_is_stopped_is_not_alive_since_it_does_nothing(tmp_path: Path, name: str) -> None:
    found = checks.alive(*proc(tmp_path, **{name: f"{name} T"}))
    assert failed(found) == [name]
    assert "stopped by a signal" in "".join(check.detail for check in found)


def test_a_keeper_that_is_gone_is_not_alive(tmp_path: Path) -> None:
    assert failed(checks.alive(*proc(tmp_path, keeper=""))) == ["keeper"]


def test_without_the_keepers_note_nothing_is_alive(tmp_path: Path) -> None:
    assert failed(checks.alive(str(tmp_path / "none"), str(tmp_path))) == ["keeper", "master"]


def test_a_relay_that_is_being_stopped_says_so(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_text('{"keeper": 11, "master": 12, "stopping": 1}\n')
    assert failed(checks.stopping(str(state))) == ["running"]
    state.write_text('{"keeper": 11, "master": 12, "stopping": 0}\n')
    assert checks.stopping(str(state)) == []


def throttled(tmp_path: Path, program: str, seconds_ago: float) -> list[Check]:
    at = int(time.monotonic() - seconds_ago)
    state = tmp_path / "state.json"
    state.write_text(f'{{"keeper": 11, "throttled": "{program}", "throttled_at": {at}}}\n')
    return checks.startable(str(state))


@pytest.mark.parametrize(
    ("program", "consequence"),
    [
        ("cleanup", "no mail is accepted"),
        ("qmgr", "mail is accepted, but waits in the queue"),
        ("tlsmgr", "mail may be refused, or wait in the queue"),
    ],
)
def test_a_program_that_postfix_cannot_start_is_named_with_what_follows(
    tmp_path: Path, program: str, consequence: str
) -> None:
    [check] = throttled(tmp_path, program, 1)
    assert str(check).startswith(f"failed program {program}: ends whenever it is started")
    assert check.detail.endswith(consequence)


def test_a_program_stays_failed_from_one_of_masters_attempts_to_the_next_and_no_longer(
    tmp_path: Path,
) -> None:
    assert len(throttled(tmp_path, "smtp", 64)) == 1
    assert throttled(tmp_path, "smtp", 75) == []
    assert throttled(tmp_path, "", 0) == []
    assert checks.startable(str(tmp_path / "none")) == []


def test_many_probers_at_once_make_one_measurement() -> None:
    count = 0
    release = threading.Event()

    def measure() -> list[Check]:
        nonlocal count
        release.wait(5)
        count += 1
        return [Check("x")]

    shared = Shared(measure)
    probers = [threading.Thread(target=shared.checks) for _ in range(20)]
    for prober in probers:
        prober.start()
    release.set()
    for prober in probers:
        prober.join()
    assert count == 1


def test_a_later_probe_measures_again() -> None:
    results = iter([[Check("first")], [Check("second")]])
    shared = Shared(lambda: next(results), seconds=0.0)
    assert shared.checks()[0].name == "first"
    assert shared.checks()[0].name == "second"
