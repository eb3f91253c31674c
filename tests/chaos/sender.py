"""Many clients at once, who note of each message what they were told about it."""

from __future__ import annotations

import hashlib
import itertools
import random
import smtplib
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from tests.chaos.ledger import Attempt, Ledger, Outcome

DOMAIN = "chaos.example"
LOGIN, PASSWORD = "chaos", "secret"
_SECONDS = 30.0
_LONGEST_SESSION = 50
_HEADER = b"Subject: chaos\r\n\r\n"


@dataclass(frozen=True)
class Load:
    sessions: int = 8
    size: int = 1000
    """Bytes of each message's body."""
    logins: bool = False
    """Whether every fourth client logs in (port 587)."""
    pause: float = 0.0
    """Seconds that a client thinks between two messages, at the most."""
    backlog: int = 5000
    """When so many wait in the relay, the clients wait as well: an outage shall not become an hour's queue."""

    def body(self, message: str) -> bytes:
        """No other message's, and whole only to its last byte."""
        line = f"{message}: all work and no play makes Jack a dull boy.\r\n".encode()
        return (line * (self.size // len(line) + 1))[: self.size - 2] + b"\r\n"

    def digest(self, message: str) -> str:
        """As the sink notes it (tests/sink/records.py)."""
        return hashlib.sha256(self.body(message)).hexdigest()


def address(message: str) -> str:
    """The recipient, whom nobody but this message has."""
    return f"{message}@{DOMAIN}"


class Senders:
    """`port` tells where the relay's port (25, 587) is on this machine at the moment: each start may move it."""

    def __init__(self, ledger: Ledger, load: Load, port: Callable[[int], int], seed: int) -> None:
        self._ledger, self._load, self._port = ledger, load, port
        self._ended = threading.Event()
        self._numbers = itertools.count(1)
        self._threads = [
            threading.Thread(
                target=self._client, args=(number, random.Random(f"{seed} {number}")), daemon=True
            )
            for number in range(load.sessions)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Each client finishes the message that it is at."""
        self._ended.set()
        for thread in self._threads:
            thread.join(3 * _SECONDS)
            assert not thread.is_alive(), "a client hangs"

    def _client(self, number: int, dice: random.Random) -> None:
        """Every second one stays for several messages, the others bring one."""
        while not self._ended.is_set():
            if self._ledger.waiting() > self._load.backlog:
                self._ended.wait(0.1)
                continue
            messages = dice.randrange(2, _LONGEST_SESSION) if number % 2 else 1
            session = self._open(logs_in=self._load.logins and number % 4 == 3)
            if session is None:
                self._ledger.sent(Attempt(self._next(), Outcome.UNSENT, time.time()))
                self._ended.wait(0.2)
                continue
            try:
                for _ in range(messages):
                    message = self._next()
                    outcome, answer = hand_over(session, message, _HEADER + self._load.body(message))
                    self._ledger.sent(Attempt(message, outcome, time.time(), answer))
                    self._ended.wait(dice.uniform(0, self._load.pause))
                    if outcome is not Outcome.ACCEPTED or self._ended.is_set():
                        break
            finally:
                with suppress(OSError, smtplib.SMTPException):
                    session.quit()
                session.close()

    def _next(self) -> str:
        return f"m{next(self._numbers):07d}"

    def _open(self, *, logs_in: bool) -> smtplib.SMTP | None:
        port = self._port(587 if logs_in else 25)
        try:
            session = smtplib.SMTP("127.0.0.1", port, "client.example", timeout=_SECONDS)
        except (OSError, smtplib.SMTPException):
            return None
        try:
            if logs_in:
                session.starttls(context=_any_certificate())
                session.login(LOGIN, PASSWORD)
            session.ehlo_or_helo_if_needed()
        except (OSError, smtplib.SMTPException):
            session.close()
            return None
        return session


def hand_over(session: smtplib.SMTP, message: str, text: bytes) -> tuple[Outcome, str]:
    """One message, up to the answer to its final dot; and the last answer."""
    try:
        for ask, argument, good in (
            (session.mail, f"sender@{DOMAIN}", 250),
            (session.rcpt, address(message), 250),
            (session.docmd, "DATA", 354),
        ):
            code, answer = ask(argument)
            if code != good:
                return Outcome.REFUSED, f"{code} {answer.decode()}"
    except (OSError, smtplib.SMTPException) as error:
        return Outcome.UNSENT, repr(error)
    try:
        session.send(text + b".\r\n")
        code, answer = session.getreply()
    except (OSError, smtplib.SMTPException) as error:
        return Outcome.AMBIGUOUS, repr(error)
    return Outcome.ACCEPTED if code == 250 else Outcome.REFUSED, f"{code} {answer.decode()}"


def _any_certificate() -> ssl.SSLContext:
    """The relay's own: who it is, is not what is asked here."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
