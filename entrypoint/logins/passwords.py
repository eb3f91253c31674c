"""PLAIN (RFC 4616) and LOGIN: the client shows its password, and a backend says whether it is the right one."""

from __future__ import annotations

import threading

from entrypoint.logins.backends import PATIENCE, BusyError, MalformedError

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from entrypoint.logins.backends import PasswordBackend
    from entrypoint.logins.exchange import Exchange, Request

_QUESTIONS = (b"Username:", b"Password:")


class Passwords:
    """The exchanges of a backend that checks passwords."""

    def __init__(self, backend: PasswordBackend) -> None:
        self._backend = backend
        self._free = threading.BoundedSemaphore(backend.concurrency)
        self.ping = backend.ping

    def begin(self, request: Request) -> Exchange:
        if request.mechanism == "PLAIN":
            return _Plain(self)
        if request.mechanism == "LOGIN":
            return _Login(self)
        raise MalformedError

    def check(self, login: bytes, password: bytes) -> None:
        """Raises RefusedError and UnavailableError."""
        # An empty password is a yes to some servers: LDAP calls it an anonymous bind.
        if not login or not password or b"\0" in login + password:
            raise MalformedError
        try:
            texts = login.decode(), password.decode()
        except UnicodeDecodeError:
            raise MalformedError from None
        if not texts[0].isprintable():
            raise MalformedError
        if not self._free.acquire(timeout=PATIENCE):
            raise BusyError(f"more than {self._backend.concurrency} logins are waiting for an answer")
        try:
            self._backend.check(*texts)
        finally:
            self._free.release()


class _Plain:
    def __init__(self, passwords: Passwords) -> None:
        self._passwords = passwords
        self.login = ""

    def answer(self, response: bytes | None) -> bytes | None:
        if response is None:
            return b""
        # Who one wants to act as, who one is, and the password.
        parts = response.split(b"\0")
        if len(parts) != 3:
            raise MalformedError
        self.login = parts[1].decode("utf-8", "replace")
        if parts[0] not in (b"", parts[1]):
            raise MalformedError
        self._passwords.check(parts[1], parts[2])
        return None

    def close(self) -> None:
        """Nothing is held."""


class _Login:
    def __init__(self, passwords: Passwords) -> None:
        self._passwords = passwords
        self._said: list[bytes] = []
        self.login = ""

    def answer(self, response: bytes | None) -> bytes | None:
        if response is not None:
            self._said.append(response)
            self.login = self._said[0].decode("utf-8", "replace")
        if len(self._said) < len(_QUESTIONS):
            return _QUESTIONS[len(self._said)]
        self._passwords.check(*self._said)
        return None

    def close(self) -> None:
        """Nothing is held."""
