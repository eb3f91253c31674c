"""One of Postfix's connections, in the protocol of Dovecot's authentication server, version 1.

https://doc.dovecot.org/main/developers/design/auth_protocol.html, and xsasl_dovecot_server.c for what Postfix makes of
it: FAIL is 535, whatever else it says. Only a connection that ends before the answer is 454, for which Postfix then
opens a new one. As each of its processes has one client at a time, that is no other client's loss.
"""

from __future__ import annotations

import binascii
import os
import threading

from entrypoint import log
from entrypoint.logins.availability import PROGRAM, fault
from entrypoint.logins.backends import BusyError, MalformedError, RefusedError, UnavailableError
from entrypoint.logins.exchange import Request, named

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from entrypoint.logins.availability import Availability
    from entrypoint.logins.exchange import Exchange, Exchanges
    from entrypoint.logins.throttle import Throttle

# A response has at most 12,288 characters (smtpd_sasl_response_limit).
_LONGEST = 65536
# For the client, and for Postfix's log.
_REASON = "wrong login or password"
_PLAINTEXT = ("PLAIN", "LOGIN")


class Service:
    """What all conversations share."""

    def __init__(
        self, exchanges: Exchanges, mechanisms: list[str], throttle: Throttle, availability: Availability
    ) -> None:
        self.exchanges = exchanges
        self.mechanisms = mechanisms
        self.throttle = throttle
        self.availability = availability
        self._connections = 0
        self._lock = threading.Lock()

    def converse(self, connection: socket.socket) -> None:
        """Until Postfix hangs up, or until a login cannot be checked."""
        with self._lock:
            self._connections += 1
            number = self._connections
        with connection.makefile("rb") as lines:
            try:
                connection.sendall(self._greeting(number))
                _Conversation(self, connection.sendall).run(iter(lambda: lines.readline(_LONGEST), b""))
            except UnavailableError:
                pass

    def _greeting(self, number: int) -> bytes:
        properties = ("\tplaintext" if name in _PLAINTEXT else "" for name in self.mechanisms)
        mechanisms = (f"MECH\t{name}{more}" for name, more in zip(self.mechanisms, properties, strict=True))
        identity = (f"SPID\t{os.getpid()}", f"CUID\t{number}", f"COOKIE\t{os.urandom(16).hex()}")
        return "\n".join(("VERSION\t1\t2", *mechanisms, *identity, "DONE", "")).encode()


class _Conversation:
    """Postfix asks one question at a time."""

    def __init__(self, service: Service, send: Callable[[bytes], None]) -> None:
        self._service = service
        self._send = send
        self._exchange: Exchange | None = None
        self._id = ""
        self._client = ""
        self._mechanism = ""
        self._named: str | None = None
        self._admitted = False
        self._checking = False

    def run(self, lines: Iterator[bytes]) -> None:
        """Raises UnavailableError if the connection must end."""
        try:
            for line in lines:
                self._heed(*line.decode("utf-8", "replace").rstrip("\n").split("\t"))
        finally:
            self._forget()

    def _heed(self, command: str, *words: str) -> None:
        if command == "AUTH" and len(words) > 1:
            self._forget()
            self._id = words[0]
            self._begin(words[1].upper(), words[2:])
        elif command == "CONT" and len(words) > 1 and words[0] == self._id:
            self._continue(words[1])
        elif command == "CANCEL":
            self._forget()
        # VERSION and CPID ask for nothing.

    def _begin(self, mechanism: str, words: tuple[str, ...]) -> None:
        given = dict(word.partition("=")[::2] for word in words)
        self._client, self._mechanism, self._named = given.get("rip", ""), mechanism, None
        self._admitted = False
        request = Request(
            mechanism,
            client=self._client,
            server=given.get("lip", ""),
            secured="secured" in given,
            service=given.get("service", "smtp"),
        )
        response = given.get("resp")
        if response is not None:
            self._hear(response)
        self._answered(lambda: self._first(request, response))

    def _first(self, request: Request, response: str | None) -> bytes | None:
        if request.mechanism not in self._service.mechanisms:
            raise MalformedError
        self._exchange = self._service.exchanges.begin(request)
        return self._exchange.answer(None if response is None else _decoded(response))

    def _continue(self, response: str) -> None:
        if exchange := self._exchange:
            self._hear(response)
            self._answered(lambda: exchange.answer(_decoded(response)))

    def _hear(self, response: str) -> None:
        """The first response names the login; it or the next one is the proof. Raises UnavailableError."""
        first = self._named is None
        if first:
            try:
                self._named = named(self._mechanism, _decoded(response)).decode("utf-8", "replace")
            except MalformedError:
                self._named = ""
        # Not before the proof: who named a login and then said nothing would keep others waiting.
        if not first or self._mechanism == "PLAIN":
            self._admit()

    def _admit(self) -> None:
        """Once in an attempt, before a proof is looked at or a no is told. Raises UnavailableError."""
        if not self._admitted:
            if not self._service.throttle.admits(self._client, self._named or ""):
                raise UnavailableError("slowed")
            self._admitted = self._checking = True

    def _answered(self, ask: Callable[[], bytes | None]) -> None:
        """Tells Postfix what came of it. Raises UnavailableError, after noting it."""
        try:
            self._answer(ask)
        finally:
            if self._checking:
                self._checking = False
                self._service.throttle.checked(self._client, self._named or "")

    def _answer(self, ask: Callable[[], bytes | None]) -> None:
        service = self._service
        try:
            challenge = ask()
        except RefusedError as error:
            if not isinstance(error, MalformedError):
                service.availability.checked()
            self._refuse()
            return
        except BusyError as error:
            service.availability.busy(str(error))
            raise
        except UnavailableError as error:
            service.availability.checked(str(error))
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, it is no answer, and the text may hold a password
            service.availability.checked(problem := fault(error))
            raise UnavailableError(problem) from None
        if challenge is not None:
            self._send(
                f"CONT\t{self._id}\t{binascii.b2a_base64(challenge, newline=False).decode()}\n".encode()
            )
            return
        service.availability.checked()
        service.throttle.succeeded(self._client, self._named or "")
        self._send(f"OK\t{self._id}\tuser={self._login()}\n".encode())
        self._forget()

    def _refuse(self) -> None:
        self._admit()
        user = f"\tuser={login}" if (login := self._login()) else ""
        if failures := self._service.throttle.failed(self._client, self._named or ""):
            who = self._client or "unknown"
            log.write(f"warning: logins from {who} are slowed: {failures} failures in a minute", PROGRAM)
        self._send(f"FAIL\t{self._id}{user}\treason={_REASON}\n".encode())
        self._forget()

    def _login(self) -> str:
        """Whatever the client sent, it shall not end a field or a line."""
        login = self._exchange.login if self._exchange else ""
        return "".join(letter if letter.isprintable() else "?" for letter in login)

    def _forget(self) -> None:
        if self._exchange:
            self._exchange.close()
        self._exchange = None


def _decoded(text: str) -> bytes:
    """Raises MalformedError. "=" is how SMTP writes an empty response (RFC 4954)."""
    try:
        return b"" if text == "=" else binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise MalformedError from None
