"""The answer to "queue": what waits, by reason and destination. Only who opens each message can tell, which takes seconds
for a long queue: `postern queue-sums`, a program that ends, so that the log is read meanwhile.
"""

from __future__ import annotations

import os
import signal
import time

PROGRAM = "/usr/bin/postern"
# Seconds: no count is older when it is told, but where the count itself took long: then the pause is as much longer.
_FRESH = 10.0
_REST = 20
# What a pipe holds: the program need not be read from to end.
_LARGEST = 65536
NOTHING = "{}\n"
"""While nothing has been counted yet, or nothing could be."""


class QueueSums:
    """One count at a time, however many ask."""

    def __init__(self) -> None:
        self._child = 0
        self._output = -1
        self._began = float("-inf")
        self._next = float("-inf")
        self._last = NOTHING

    def ask(self, which: str) -> str | None:
        """The `last` count, of whenever that was; else one that is fresh, or None if it must be waited for."""
        if which == "last":
            return self._last
        if self._child:
            return None
        if time.monotonic() < self._next:
            return self._last
        try:
            self._begin()
        except OSError:
            # No memory, or too many processes: who looks again will see.
            return self._last
        return None

    def reap(self) -> str:
        """To be called after SIGCHLD: what was counted, if a count has ended; else ""."""
        pid, status = os.waitpid(self._child, os.WNOHANG) if self._child else (0, 0)
        if not pid:
            return ""
        self._child = 0
        text = os.read(self._output, _LARGEST).decode("utf-8", "replace")
        os.close(self._output)
        now = time.monotonic()
        self._next = now + max(_FRESH, _REST * (now - self._began))
        self._last = text if status == 0 and text else NOTHING
        return self._last

    def end(self) -> None:
        if self._child:
            os.killpg(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
            self._child = 0

    def _begin(self) -> None:
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._child = os.posix_spawn(
                PROGRAM,
                [PROGRAM, "queue-sums"],
                {"PATH": "/usr/sbin:/usr/bin"},
                file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)],
                # Of its own, with the program that it starts: they end together.
                setpgroup=0,
                setsigdef=[signal.SIGALRM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ],
            )
        except OSError:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._output, self._began = reading, time.monotonic()
