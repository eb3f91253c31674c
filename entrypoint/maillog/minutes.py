"""The last hour of mail, minute by minute: how much came, what became of it, and how long it took.

6 kB, whatever happens in that hour. Minutes are counted from when the keeper began, by a clock that nobody sets.
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.maillog.lines import Line

HOUR = 60
BOUNDS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
"""Seconds: the upper bounds of the delays' buckets."""
RECEIVED, SENT, DEFERRED, BOUNCED, DELAYS = range(5)
"""What stands where in a minute: from DELAYS on the buckets, of what was sent."""
_WIDTH = DELAYS + len(BOUNDS) + 1
_STATUSES = {"sent": SENT, "deferred": DEFERRED, "bounced": BOUNCED}
# That it has waited too long, the queue manager says in a line of its own.
_KINDS = {"client": RECEIVED, "pickup": RECEIVED, "expired": BOUNCED}


class Minutes:
    """A reader of the journal's. Messages are counted when they come, deliveries by recipient, as in Counts."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time
    ) -> None:
        self.kinds = ("delivery", *_KINDS)
        self._clock = clock
        self._now = now
        self._began = clock()
        self._last = 0
        self._ring = array("L", bytes(array("L").itemsize * HOUR * _WIDTH))

    def read(self, line: Line) -> None:
        if line.kind == "delivery":
            fields = line.fields
            if what := _STATUSES.get(fields["status"]):
                at = self._turned()
                self._ring[at + what] += 1
                if what == SENT:
                    self._ring[at + DELAYS + bisect_left(BOUNDS, float(fields["delay"]))] += 1
        elif line.kind in _KINDS:
            self._ring[self._turned() + _KINDS[line.kind]] += 1

    def answer(self, _: str) -> str:
        """JSON: when counting began, how far into the last of the minutes it is, and those there were, oldest first."""
        self._turned()
        count = min(self._last + 1, HOUR)
        numbers = range(self._last - count + 1, self._last + 1)
        rows = [[*self._ring[self._place(n) : self._place(n) + _WIDTH]] for n in numbers]
        passed = self._clock() - self._began
        return f'{{"since": {self._now() - passed:.0f}, "into": {passed % 60:.1f}, "bounds": {[*BOUNDS]}, "minutes": {rows}}}\n'

    def _turned(self) -> int:
        """Where the minute that is now begins, after those that nothing was said of were emptied."""
        number = int(self._clock() - self._began) // 60
        for missed in range(max(self._last, number - HOUR) + 1, number + 1):
            at = self._place(missed)
            self._ring[at : at + _WIDTH] = array("L", [0] * _WIDTH)
        self._last = number
        return self._place(number)

    def _place(self, number: int) -> int:
        return number % HOUR * _WIDTH
