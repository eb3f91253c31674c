"""The pipe through which Postfix's log comes.

Postfix writes line by line, seven of them a message. Who wakes up for each finds its memory pushed out of the processor's
caches by Postfix every time, which costs a busy relay more than all that is done with the lines. So what comes in a rush is
left to gather: from a first rest of a millisecond on, each is twice as long as the last while enough was found after it.
"""

from __future__ import annotations

import os
import selectors
import time

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable

# As much as a pipe holds; and what it holds at least when no more lines fit, each of which is in one page of its sixteen.
PIECE, FULL = 65536, 49152
# Bytes a second that are a rush: some 30 messages.
RUSH = 30_000
# Seconds; in the longest, 500 messages a second do not fill the pipe.
SHORTEST, LONGEST = 0.001, 0.1


class LogPipe:
    """`take` gets what was read, in pieces of any size."""

    def __init__(self, selector: selectors.BaseSelector, take: Callable[[bytes], None]) -> None:
        self._selector = selector
        self._take = take
        self._end = -1  # ours; -1 before it is open, and after its end was read
        self._rest = 0.0  # 0: none, the selector says when there is something
        self._over = 0.0  # when the rest is (time.monotonic)

    def open(self) -> int:
        """The writers' end, to be closed when they have it."""
        self._end, writers = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._end, False)
        self._selector.register(self._end, selectors.EVENT_READ, self._look)
        return writers

    def wait(self, seconds: float | None) -> float | None:
        """How long to wait for others at most, who may wait for ever (None)."""
        if not self._rest:
            return seconds
        left = max(self._over - time.monotonic(), 0.0)
        return left if seconds is None else min(seconds, left)

    def turn(self) -> None:
        """To be called after each wait."""
        if self._rest and time.monotonic() >= self._over:
            self._look()

    def read_rest(self) -> None:
        """All that there is now: up to the end, or to what somebody may still write."""
        while self._end >= 0 and self._read():
            pass

    def _look(self) -> None:
        size = self._read()
        if self._end < 0:
            return
        rest = self._rest
        if size >= rest * RUSH:
            self._pause(min(max(2 * rest, SHORTEST), LONGEST))
        else:
            self._pause(rest / 2 if rest > SHORTEST else 0.0)
        if size >= FULL:
            # Who writes has waited.
            self._over = 0.0

    def _pause(self, seconds: float) -> None:
        if seconds and not self._rest:
            self._selector.unregister(self._end)
        if self._rest and not seconds:
            self._selector.register(self._end, selectors.EVENT_READ, self._look)
        self._rest, self._over = seconds, time.monotonic() + seconds

    def _read(self) -> int:
        """A piece; how large it was."""
        try:
            data = os.read(self._end, PIECE)
        except BlockingIOError:
            return 0
        if data:
            self._take(data)
            return len(data)
        self._pause(SHORTEST)  # so that the selector knows it no more
        os.close(self._end)
        self._end, self._rest = -1, 0.0
        return 0
