"""Passwords in a sasldb: Cyrus SASL has both sides of each mechanism, also of those that never show the password."""

from __future__ import annotations

import os
import threading
from _blake2 import blake2b  # hashlib would bring libcrypto: 2 MB
from binascii import b2a_base64

from entrypoint.logins.backends import MalformedError, RefusedError, UnavailableError
from entrypoint.logins.exchange import named
from entrypoint.postfix.sasl import BROKEN, CONTINUE, NO_USER, NOBODY, OK, Cyrus, SaslError

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from entrypoint.logins.backends import Options
    from entrypoint.logins.exchange import Exchange, Request
    from entrypoint.postfix.sasl import Session


class Backend:
    """Has the mechanisms that logins.json lists."""

    def __init__(self, options: Options) -> None:
        self._path = str(options["path"])
        try:
            self._cyrus = Cyrus(self._path, options["mechanisms"])
        except SaslError as error:
            raise OSError(f"Cyrus SASL: {error}") from None
        # The library is not thread-safe. The slowest step, a key of SCRAM, takes 5 ms.
        self._lock = threading.Lock()
        self._key = os.urandom(32)

    def begin(self, request: Request) -> Exchange:
        kind = _Scram if request.mechanism.startswith("SCRAM-") else _Exchange
        return kind(self, request.mechanism)

    def ping(self) -> None:
        session = self.session()
        try:
            # Whoever this is, finding him takes a database that can be read.
            self.ask(session, "PLAIN", f"\0{NOBODY}\0?".encode())
        finally:
            self.close(session)

    def session(self) -> Session:
        """Raises UnavailableError."""
        # To Cyrus a file that it cannot read is a login that does not exist.
        if not os.access(self._path, os.R_OK):
            raise UnavailableError(f"cannot read {self._path}")
        with self._lock:
            try:
                return self._cyrus.session()
            except SaslError as error:
                raise UnavailableError(str(error)) from None

    def ask(self, session: Session, mechanism: str, response: bytes | None) -> tuple[int, bytes]:
        """Cyrus' result and words; the mechanism is "" after the first step. Raises UnavailableError."""
        with self._lock:
            self._cyrus.last_error = ""
            result, words = session.start(mechanism, response) if mechanism else session.step(response or b"")
            # It calls a login of nothing but spaces a generic failure too; but only of its own it says more.
            if result in BROKEN and self._cyrus.last_error:
                raise UnavailableError(self._cyrus.last_error)
            return result, words

    def close(self, session: Session) -> None:
        with self._lock:
            session.close()

    def salt(self, login: str, like: bytes) -> bytes:
        """In base 64, for a login that does not exist: always the same one, as long as those of the others."""
        length = len(like) * 3 // 4 - like.count(b"=")
        made = blake2b(login.encode("utf-8", "replace"), key=self._key, digest_size=length)
        return b2a_base64(made.digest(), newline=False)


class _Exchange:
    def __init__(self, backend: Backend, mechanism: str) -> None:
        self._backend = backend
        self._mechanism = mechanism
        self._session = backend.session()
        self._begun = self._named = False
        self.login = ""

    def answer(self, response: bytes | None) -> bytes | None:
        if response is not None and not self._named:
            self._named = True
            self.login = named(self._mechanism, response).decode("utf-8", "replace")
        result, words = self._ask(response)
        if result == CONTINUE:
            return words
        if result != OK:
            raise RefusedError
        self.login = self._session.login()
        if not self.login.isprintable():
            raise MalformedError
        return None

    def close(self) -> None:
        self._backend.close(self._session)

    def _ask(self, response: bytes | None) -> tuple[int, bytes]:
        mechanism = "" if self._begun else self._mechanism
        self._begun = True
        return self._backend.ask(self._session, mechanism, response)


class _Scram(_Exchange):
    """SCRAM (RFC 5802), which asks also those for their proof who do not exist: Cyrus would refuse them before, and so
    tell who exists.
    """

    def _ask(self, response: bytes | None) -> tuple[int, bytes]:
        result, words = super()._ask(response)
        if result != NO_USER or not response:
            return result, words
        # The same with somebody whose password nobody knows, and with a salt that is this login's own.
        self.close()
        self._session = self._backend.session()
        flag, authorization, _, *rest = response.split(b",")
        nobody = b",".join((flag, authorization, f"n={NOBODY}".encode(), *rest))
        result, words = self._backend.ask(self._session, self._mechanism, nobody)
        return result, b",".join(map(self._salted, words.split(b",")))

    def _salted(self, field: bytes) -> bytes:
        return b"s=" + self._backend.salt(self.login, field[2:]) if field.startswith(b"s=") else field
