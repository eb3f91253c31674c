"""Hashed passwords in a file of `login:hash` lines, which may be replaced at any time."""

from __future__ import annotations

import os
import threading

from entrypoint.logins.backends import UnavailableError
from entrypoint.logins.comparison import Comparison

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from entrypoint.logins.backends import Options

# pathlib would add 0.9 MB.
# ruff: noqa: PTH116, PTH123

_STAND_INS = 64


class Backend:
    # More than Postfix has processes: how many compute a hash at a time is known elsewhere (comparison.py), and who was
    # right before waits for none of them.
    concurrency = 1000

    def __init__(self, options: Options) -> None:
        self._path = str(options["path"])
        self._comparison = Comparison()
        self._lock = threading.Lock()
        self._state: object = None
        self._hashes: dict[str, bytes] = {}
        self._stand_ins: list[bytes] = []

    def check(self, login: str, password: str) -> None:
        hashes = self._current()
        self._comparison.check(login, password, hashes.get(login), self._stand_ins)

    def ping(self) -> None:
        self._current()
        self._comparison.ping()

    def _current(self) -> dict[str, bytes]:
        """The file's content. Raises UnavailableError."""
        try:
            with self._lock:
                found = os.stat(self._path)
                state = (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
                if state != self._state:
                    self._hashes = _read(self._path)
                    every = len(self._hashes) // _STAND_INS or 1
                    self._stand_ins = list(self._hashes.values())[::every]
                    self._state = state
                return self._hashes
        except OSError as error:
            raise UnavailableError(f"cannot read {self._path}: {error.strerror}") from None


def _read(path: str) -> dict[str, bytes]:
    """Raises OSError. The entrypoint wrote the file, and has checked each line."""
    with open(path, "rb") as file:
        pairs = (line.rstrip(b"\n").rpartition(b":") for line in file)
        return {login.decode("utf-8", "surrogateescape"): text for login, _, text in pairs if login}
