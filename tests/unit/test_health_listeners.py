"""Ready means that a client would get as far as the relay decision, in the way that the listener's profile demands."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from entrypoint.health import listeners, smtp
from entrypoint.health.listeners import Listener

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from entrypoint.health.checks import Check

SOURCE = "127.98.67.25"
FIRST = "530 5.7.0 Must issue a STARTTLS command first"
PROBED = "450 4.7.0 <unknown[127.98.67.25]>: Client host rejected: readiness probe: no mail is taken from this address"
LOGINS = "250-relay.example.org\r\n250-AUTH PLAIN LOGIN\r\n250 SMTPUTF8"
# By the first letters of the command; "tls " is for those that come in TLS and have a reply of their own.
WELL = {
    "": "220 relay.example.org ESMTP Postfix",
    "EHLO": "250-relay.example.org\r\n250-SIZE 1000\r\n250 SMTPUTF8",
    "MAIL": "250 2.1.0 Ok",
    "RCPT": PROBED,
    "RSET": "250 2.0.0 Ok",
    "QUIT": "221 2.0.0 Bye",
}
SUBMISSION = {
    "EHLO": "250-relay.example.org\r\n250-STARTTLS\r\n250 SMTPUTF8",
    "MAIL": FIRST,
    "STAR": "220 2.0.0 Ready to start TLS",
    "tls EHLO": LOGINS,
    "tls MAIL": "250 2.1.0 Ok",
}
WALK = ["EHLO localhost", "MAIL FROM:<>", "RCPT TO:<readiness-probe@postern.invalid>", "RSET", "QUIT"]

Replies = Mapping[str, str | None]


@pytest.fixture(scope="module")
def tls() -> ssl.SSLContext:
    """A server's, with a certificate that nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("relay.example.org").configure_cert(context)
    return context


class Smtp:
    """Answers each command with the reply of that name; None closes the connection, "" says nothing."""

    def __init__(self, replies: Replies, tls: ssl.SSLContext | None, *, first: bool) -> None:
        self._replies = replies
        self._tls = tls
        self._tls_first = first
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.commands: list[str] = []
        self.clients: list[str] = []
        self.cut: list[bool] = []
        """Of each session, whether the client left without its QUIT."""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, (address, _) = self._server.accept()
                self.clients.append(address)
                with contextlib.suppress(OSError), connection:
                    self._session(connection)

    def _session(self, connection: socket.socket) -> None:
        greeting = ""
        with contextlib.ExitStack() as open_ones:
            if self._tls_first:
                assert self._tls
                connection = open_ones.enter_context(self._tls.wrap_socket(connection, server_side=True))
            with connection.makefile("rw", encoding="latin-1", newline="") as file:
                wants_tls = self._talk(file, greeting, "tls " if self._tls_first else "")
            if wants_tls and self._tls:
                connection = open_ones.enter_context(self._tls.wrap_socket(connection, server_side=True))
                with connection.makefile("rw", encoding="latin-1", newline="") as file:
                    self._talk(file, None, "tls ")

    def _talk(self, file: TextIO, greeting: str | None, layer: str) -> bool:
        """Whether it ended with a STARTTLS that was granted."""
        line = greeting
        while True:
            if line is not None and not line.startswith("PROXY "):
                command = line[:4]
                reply = self._replies.get(layer + command, self._replies.get(command))
                if reply is None:
                    return False
                if reply:
                    file.write(f"{reply}\r\n")
                    file.flush()
                if command == "STAR" and reply.startswith("220"):
                    return True
            line = file.readline().strip()
            if not line:
                return False
            self.commands.append(line)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()


@contextlib.contextmanager
def serving(
    changes: Replies | None = None, tls: ssl.SSLContext | None = None, *, first: bool = False
) -> Iterator[Smtp]:
    server = Smtp({**WELL, **(changes or {})}, tls, first=first)
    try:
        yield server
    finally:
        server.close()


def verdict(changes: Replies, patience: float = 5.0) -> Check:
    with serving(changes) as server:
        return listeners.probe(Listener("127.0.0.1", server.port), SOURCE, patience)


def submission(changes: Replies, tls: ssl.SSLContext, *, logins: bool = True) -> Check:
    with serving({**SUBMISSION, **changes}, tls) as server:
        listener = Listener("127.0.0.1", server.port, "submission")
        return listeners.probe(listener, SOURCE, 5.0, logins=logins)


def test_a_probe_goes_up_to_the_recipient_from_its_own_address_and_leaves_politely() -> None:
    with serving() as server:
        assert listeners.probe(Listener("", server.port), SOURCE).ok
    assert server.commands == WALK
    assert server.clients == [SOURCE]


@pytest.mark.parametrize(
    "changes",
    [
        {"RCPT": "250 2.1.5 Ok"},
        {"RCPT": "554 5.7.1 <a@b>: Relay access denied"},
        {"MAIL": "530 5.7.0 Authentication required", "EHLO": "250-relay.example.org\r\n250 AUTH PLAIN"},
        {"EHLO": "250 relay.example.org"},
    ],
)
def test_a_listener_that_decides_is_ready_even_if_it_refuses_the_probe(changes: Replies) -> None:
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
        ({"RCPT": "421 4.7.0 too many errors", "RSET": None}, 'answers RCPT TO with "421'),
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
def test_a_listener_that_is_broken_is_not_ready_and_says_how(changes: Replies, reason: str) -> None:
    check = verdict(changes)
    assert not check.ok
    assert reason in check.detail


def test_where_tls_is_demanded_the_probe_goes_on_in_tls(tls: ssl.SSLContext) -> None:
    with serving(SUBMISSION, tls) as server:
        listener = Listener("127.0.0.1", server.port, "submission")
        assert listeners.probe(listener, SOURCE, logins=True).ok
    assert server.commands == ["EHLO localhost", "MAIL FROM:<>", "STARTTLS", *WALK]


def test_a_relay_listener_may_demand_tls_too_and_need_not_know_logins(tls: ssl.SSLContext) -> None:
    with serving({**SUBMISSION, "tls EHLO": "250 relay.example.org"}, tls) as server:
        assert listeners.probe(Listener("127.0.0.1", server.port), SOURCE, logins=True).ok
    assert server.commands == ["EHLO localhost", "MAIL FROM:<>", "STARTTLS", *WALK]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"STAR": "454 4.7.0 TLS not available due to local problem"},
            'answers STARTTLS with "454 4.7.0 TLS not available due to local problem": nobody can send here',
        ),
        ({"tls EHLO": "250-relay.example.org\r\n250 SMTPUTF8"}, "offers no AUTH: nobody can log in here"),
        ({"tls EHLO": "421 4.3.0 bye"}, 'answers EHLO with "421'),
        ({"tls EHLO": None}, "connection closed without a reply"),
        ({"tls MAIL": "452 4.3.1 Insufficient system storage"}, 'answers MAIL FROM with "452'),
        ({"tls MAIL": FIRST, "tls EHLO": LOGINS + "\r\n"}, ""),
        ({"RCPT": "451 4.3.0 <a@b>: Temporary lookup failure"}, 'answers RCPT TO with "451'),
        (
            {"RCPT": "554 5.7.1 <unknown[127.98.67.25]>: Client host rejected: Access denied"},
            'answers RCPT TO with "554 5.7.1',
        ),
    ],
)
def test_a_submission_port_that_is_broken_behind_its_greeting_is_not_ready(
    changes: Replies, reason: str, tls: ssl.SSLContext
) -> None:
    assert reason in submission(changes, tls).detail


def test_a_submission_port_for_client_certificates_alone_offers_no_logins(tls: ssl.SSLContext) -> None:
    assert submission({"tls EHLO": "250 relay.example.org"}, tls, logins=False).ok


def test_a_submission_port_without_tls_is_not_ready_as_it_says_so() -> None:
    with serving({**SUBMISSION, "STAR": "220 2.0.0 Ready to start TLS"}) as server:
        check = listeners.probe(Listener("127.0.0.1", server.port, "submission"), SOURCE, logins=True)
    assert check.detail.startswith("no TLS (")


def test_tls_from_the_first_byte(tls: ssl.SSLContext) -> None:
    with serving({"EHLO": LOGINS}, tls, first=True) as server:
        listener = Listener("127.0.0.1", server.port, "submissions")
        assert listeners.probe(listener, SOURCE, logins=True).ok
    assert server.commands == WALK


def test_a_port_that_should_begin_with_tls_and_does_not_is_not_ready() -> None:
    with serving({"EHLO": LOGINS}) as server:
        listener = Listener("127.0.0.1", server.port, "submissions")
        check = listeners.probe(listener, SOURCE, patience=2.0, logins=True)
    assert check.detail.startswith("no TLS (")


def test_behind_a_load_balancer_the_probe_names_its_address_first(tls: ssl.SSLContext) -> None:
    with serving(SUBMISSION, tls) as server:
        listener = Listener("127.0.0.1", server.port, "submission", proxied=True)
        assert listeners.probe(listener, SOURCE, logins=True).ok
    proxy = server.commands[0].split(" ")
    assert (proxy[:4], proxy[5:]) == (["PROXY", "TCP4", SOURCE, "127.0.0.1"], [str(server.port)])
    assert server.commands[1] == "EHLO localhost"


def test_a_listener_that_hangs_is_not_ready_after_the_time_limit() -> None:
    begun = time.monotonic()
    check = verdict({"RCPT": ""}, patience=0.2)
    assert check.detail.startswith("timed out")
    assert time.monotonic() - begun < 2


def test_a_listener_whose_places_are_all_taken_is_busy_and_says_so_soon() -> None:
    """Mail waits for its turn, and gets it. Who turns away a relay that is merely busy has none at all."""
    begun = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        waiting = Listener("127.0.0.1", silent.getsockname()[1])
        check = listeners.probe(waiting, SOURCE, patience=20.0, busy=lambda: True)
        assert not listeners.probe(waiting, SOURCE, patience=0.2).ok
    assert (check.ok, check.warning) == (True, True)
    assert check.detail == "busy: a client waits until others have been served"
    assert time.monotonic() - begun < 2


def test_a_listener_that_hangs_before_its_tls_is_not_ready_after_the_time_limit() -> None:
    begun = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        check = listeners.probe(Listener("127.0.0.1", silent.getsockname()[1], "submissions"), SOURCE, 0.2)
    assert check.detail.startswith("timed out")
    assert time.monotonic() - begun < 2


def test_a_port_that_nobody_listens_on_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    check = listeners.probe(Listener("", port), SOURCE)
    assert str(check) == f"failed listener {port}: connection refused: no program can hand in mail here"


def test_without_ipv6_it_is_the_port_that_is_missing_and_not_the_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def connect(address: str, *_: object) -> None:
        raise ConnectionRefusedError if address == "127.0.0.1" else OSError(errno.EADDRNOTAVAIL, "no address")

    monkeypatch.setattr(smtp, "connect", connect)
    check = listeners.probe(Listener("", 25), SOURCE)
    assert str(check) == "failed listener 25: connection refused: no program can hand in mail here"
    assert "no address" in str(listeners.probe(Listener("::1", 25), SOURCE))


def test_a_reply_may_not_smuggle_a_line_into_the_answer() -> None:
    assert "\n" not in str(verdict({"RCPT": "451 4.3.0 a\rb"}))


def test_a_host_name_is_no_offer_of_starttls() -> None:
    check = verdict({"MAIL": FIRST, "EHLO": "250-STARTTLS\r\n250 SIZE 1000"})
    assert check.detail.startswith('answers MAIL FROM with "530')


@pytest.mark.parametrize(
    ("spec", "address", "port", "profile", "proxied"),
    [
        ("25:relay", "", 25, "relay", False),
        ("127.0.0.1:26:inbound", "127.0.0.1", 26, "inbound", False),
        ("[::1]:587:submission:haproxy", "::1", 587, "submission", True),
        ("465:submissions:haproxy", "", 465, "submissions", True),
    ],
)
def test_a_listener_is_what_listen_says_and_is_called_as_in_master_cf(
    spec: str, address: str, port: int, profile: str, proxied: bool
) -> None:
    listener = Listener.of(spec)
    assert (listener.address, listener.port, listener.profile, listener.proxied) == (
        address,
        port,
        profile,
        proxied,
    )
    assert str(listener) == f"listener {spec.partition(f':{profile}')[0]}"


def test_without_listeners_that_need_it_tls_costs_nothing() -> None:
    """Half of the health program's memory again, in a relay that has no use for it."""
    with serving() as server:
        code = (
            f"import sys; sys.path.append({str(Path(__file__).parents[2])!r})\n"
            "from entrypoint.health import server\n"
            f"[check] = [m() for m in server.measures({{'listeners': '{server.port}:relay', 'probe_source': '{SOURCE}'}}).values()]\n"
            "print(check.ok, *sorted(set(sys.modules) & {'ssl', '_ssl', 'json', 're', 'typing', 'pathlib', 'logging'}))"
        )
        run = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
        )
    assert run.stdout == "True\n"
