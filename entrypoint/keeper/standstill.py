"""Postfix's log, when it stands still for good.

Postfix writes it to postlogd(8)'s socket, which holds some ten lines and makes who writes more wait. When postlogd was killed,
master(8) first logs that, and then starts another. If the socket was full, master waits for the program that only it can
start, and all others wait with it: no mail goes in or out, and nothing ends. Then only a new Postfix helps.
"""

from __future__ import annotations

import select
import socket
import time

from entrypoint import processes
from entrypoint.postfix import SPOOL

SOCKET = f"{SPOOL}/public/postlog"
READER = "postlogd"
# Seconds: another postlogd reads within milliseconds of being started.
PATIENCE = 10.0
_EVERY = 5.0


class Standstill:
    """`heard` is to be called when lines of the log came, `look` now and then."""

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._since = 0.0  # time.monotonic; 0: the log goes on, as far as is known
        self._next = 0.0

    def heard(self) -> None:
        self._since = 0.0

    def look(self, master: int) -> bool:
        """Whether the log of this master stands still, without a reader and for as long as no start of one takes."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + _EVERY
        if not full(self._path) or any(one.name == READER for one in processes.in_group(master)):
            self._since = 0.0
            return False
        self._since = self._since or now
        return now - self._since >= PATIENCE


def full(path: str = SOCKET) -> bool:
    """Whether who writes there would have to wait; nothing is written."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as asking:
        try:
            asking.connect(path)
        except OSError:
            # Postfix is starting or ending.
            return False
        return not select.select([], [asking], [], 0)[1]
