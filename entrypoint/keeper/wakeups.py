"""Waking qmgr(8) after a reload, and all of Postfix after the clock was set back.

When Postfix reads its configuration again, its queue manager ends and the next one begins with the next message. What
the old one was told as it ended is lost: a message that was accepted in that moment would wait for its neighbour, or for
the wakeup of every 300 s (master.cf).

Postfix's timers count by the time of day (event_request_timer in its events.c). When the clock is set back by a day, what
is to be tried again, and an upstream that was dead for a moment, would wait for a day more. Set forward, it only does
things sooner. Nothing announces either to a program that waits, so it is looked at.
"""

from __future__ import annotations

import socket
import time

from entrypoint.postfix import SPOOL

QUEUE_MANAGER = f"{SPOOL}/public/qmgr"
# Seconds after the reload; the second for a machine so busy that the old one still ran at the first.
_AFTER = (0.5, 5.0)
# "Look at what has come in", as cleanup(8) says it (QMGR_REQ_SCAN_INCOMING).
LOOK = b"I"
# "Try everything again, dead destinations too", as `postqueue -f` says it.
TRY_ALL = b"FADI"
_EVERY = 15.0
# What a time server corrects in passing delays nothing by more than that.
_MATTERS = 10.0


def tell(queue_manager: str, what: bytes) -> None:
    """Without waiting for an answer: there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as told:
        try:
            told.connect(queue_manager)
            told.send(what)
        except OSError:
            # Postfix is ending, or so busy that others wait to say the same.
            return


class Wakeups:
    def __init__(self, queue_manager: str) -> None:
        self.queue_manager = queue_manager
        self._due: list[float] = []
        self._what = LOOK
        self._ahead = _ahead()

    def reloaded(self, what: bytes = LOOK) -> None:
        if what == TRY_ALL or not self._due:
            self._what = what
        now = time.monotonic()
        self._due = [now + seconds for seconds in _AFTER]

    def wait(self) -> float:
        """Seconds until there is something to do."""
        return max(self._due[0] - time.monotonic(), 0.0) if self._due else _EVERY

    def turn(self) -> None:
        """Do what is due."""
        if self._due and self.wait() == 0.0:
            del self._due[0]
            tell(self.queue_manager, self._what)

    def set_back(self) -> float:
        """By how many seconds the clock was, since this was asked last; 0 if it does not matter."""
        before, self._ahead = self._ahead, _ahead()
        back = before - self._ahead
        return back if back >= _MATTERS else 0.0


def _ahead() -> float:
    """Of the clock that nobody sets."""
    return time.time() - time.monotonic()
