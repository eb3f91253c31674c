"""The backend as logins.json has it now: the password with which we ask a server may be changed while we run."""

from __future__ import annotations

import os
import threading

from entrypoint import log
from entrypoint.logins.availability import PROGRAM
from entrypoint.logins.backends import UnavailableError
from entrypoint.logins.passwords import Passwords

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from entrypoint.logins.exchange import Exchange, Exchanges, Request

# pathlib would add 0.9 MB.
# ruff: noqa: PTH116, PTH123

# Cyrus SASL is set up once in a process, and nothing of these changes but the files that they read anyway.
_FIXED = ("sasldb", "users")


class Configured:
    """Raises OSError if the file or a library is missing."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.facts = _read(path)
        """What does not change: mechanisms, failures."""
        self._state = _state(path)
        self._backend = _backend(self.facts)
        self._exchanges = _exchanges(self._backend)

    def begin(self, request: Request) -> Exchange:
        self._renew()
        return self._exchanges.begin(request)

    def ping(self) -> None:
        self._renew()
        self._exchanges.ping()

    def senders(self, address: str) -> list[str] | None:
        """None if this backend knows nothing of senders. Raises UnavailableError."""
        self._renew()
        if not hasattr(self._backend, "senders"):
            return None
        found: list[str] = self._backend.senders(address)
        return found

    def _renew(self) -> None:
        """Raises UnavailableError."""
        if self.facts["backend"] in _FIXED:
            return
        try:
            with self._lock:
                if (state := _state(self._path)) == self._state:
                    return
                self._backend = _backend(_read(self._path))
                self._exchanges = _exchanges(self._backend)
                self._state = state
        except OSError as error:
            raise UnavailableError(f"cannot read {self._path}: {error.strerror}") from None
        log.write("logins are checked with what has changed in their settings", PROGRAM)


def _state(path: str) -> tuple[int, ...]:
    found = os.stat(path)
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def _read(path: str) -> Mapping[str, Any]:
    import json

    with open(path, encoding="utf-8") as file:
        found: Mapping[str, Any] = json.load(file)
    return found


def _backend(facts: Mapping[str, Any]) -> Any:
    """Only the module of the one that is used is loaded."""
    from importlib import import_module

    name = facts["backend"]
    options = {**(facts.get(name) or {}), "mechanisms": facts["mechanisms"]}
    return import_module(f"entrypoint.logins.backends.{name}").Backend(options)


def _exchanges(backend: Any) -> Exchanges:
    exchanges: Exchanges = backend if hasattr(backend, "begin") else Passwords(backend)
    return exchanges
