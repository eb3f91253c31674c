"""A password and the hash that is kept for its login."""

from __future__ import annotations

import os
import threading
import time
from _blake2 import blake2b  # hashlib would bring libcrypto: 2 MB
from _operator import _compare_digest as same  # hmac would bring hashlib

from entrypoint.logins.backends import PATIENCE, BusyError, RefusedError, UnavailableError
from entrypoint.logins.libcrypt import hashed

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Sequence

# Where no hash is known yet, a password costs what it costs elsewhere.
_NOBODY = b"$y$j9T$0123456789abcdefghijk/$" + 43 * b"."
_MOST_REMEMBERED = 1000
# For as long as it is computed, a hash takes a processor, and that of yescrypt 16 MB.
_AT_ONCE = 2


class Comparison:
    def __init__(self) -> None:
        self._last = _NOBODY
        self._key = os.urandom(64)
        self._computing = threading.BoundedSemaphore(_AT_ONCE)
        self._moved = 0.0  # when the last one began or ended
        self._lock = threading.Lock()
        # Of what was right: a program that logs in for each mail shall not pay for the hash each time.
        self._remembered: dict[bytes, None] = {}

    def check(self, login: str, password: str, known: bytes | None, stand_ins: Sequence[bytes] = ()) -> None:
        """Raises RefusedError if the hash (crypt(5)) is not this password's, or is None; and BusyError.

        For None another's hash is computed, which takes as long: one of the `stand_ins`, always the same for a login,
        or the one that was right last.
        """
        right = known or self._stand_in(login, stand_ins)
        token = self._digest(login.encode(), password.encode(), right)
        if known and token in self._remembered:
            return
        if not self._computing.acquire(timeout=PATIENCE):
            raise BusyError("more logins than there is time for are waiting for their hash to be computed")
        self._moved = time.monotonic()
        try:
            computed = hashed(password.encode(), right)
        finally:
            self._moved = time.monotonic()
            self._computing.release()
        if not known or computed is None or not same(computed, right):
            raise RefusedError
        with self._lock:
            self._last = right
            self._remembered[token] = None
            if len(self._remembered) > _MOST_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]

    def ping(self) -> None:
        """Raises UnavailableError if nobody gets an answer. The cost that a hash asks for may be days."""
        if self._computing.acquire(blocking=False):
            self._computing.release()
        elif time.monotonic() - self._moved > PATIENCE:
            raise UnavailableError(f"a password's hash takes longer than {PATIENCE:g} s to compute")

    def _stand_in(self, login: str, stand_ins: Sequence[bytes]) -> bytes:
        if not stand_ins:
            return self._last
        number = int.from_bytes(self._digest(login.encode())[:8], "big")
        return stand_ins[number % len(stand_ins)]

    def _digest(self, *parts: bytes) -> bytes:
        """Nobody can compute it elsewhere; the parts' lengths are among what is digested."""
        digest = blake2b(key=self._key, digest_size=32)
        for part in parts:
            digest.update(b"%d:%b" % (len(part), part))
        return digest.digest()
