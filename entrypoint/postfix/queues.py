"""What waits in the queue, from the names of its files: 20,000 in 30 ms, and none is opened.

With enable_long_queue_ids, which main.cf has, a file's name begins with the time when the message arrived.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left

from entrypoint.maillog import queue_ids
from entrypoint.postfix import SPOOL

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUEUES = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt")
BOUNDS = (10, 100, 1000, 10000, 100000, 1000000)
"""Seconds: the upper bounds of the ages' buckets."""
# A look at a million files takes a second of CPU time, in which the log is not read: the pause after it is as much longer.
_REST = 50


class Queue:
    """`ages` are as in Histogram.counts; `total` is their sum, `oldest` the largest, in seconds."""

    __slots__ = ("ages", "depth", "oldest", "total")

    def __init__(self) -> None:
        self.depth = 0
        self.ages = [0] * (len(BOUNDS) + 1)
        self.total = 0.0
        self.oldest = 0.0


class Queues:
    """Looks when asked, but not all the time."""

    def __init__(self, spool: str = SPOOL, now: Callable[[], float] = time.time) -> None:
        self._spool = spool
        self._now = now
        self._found: dict[str, Queue] = {}
        self._next = float("-inf")

    def look(self) -> dict[str, Queue]:
        """By name, all of QUEUES. A queue that cannot be read counts as empty."""
        if time.monotonic() >= self._next:
            began = time.thread_time()
            self._found = {name: self._look(name) for name in QUEUES}
            self._next = time.monotonic() + _REST * (time.thread_time() - began)
        return self._found

    def _look(self, name: str) -> Queue:
        found = Queue()
        now = self._now()
        dated = 0
        arrivals = 0
        first = now
        for file in files(f"{self._spool}/{name}"):
            # One in the making has a dot.
            if "." in file.name:
                continue
            found.depth += 1
            arrived = queue_ids.arrived_in(file.name)
            if arrived is None:
                continue
            if arrived > now:
                arrived = int(now)
            elif arrived < first:
                first = arrived
            dated += 1
            arrivals += arrived
            found.ages[bisect_left(BOUNDS, now - arrived)] += 1
        found.total = max(now * dated - arrivals, 0.0)
        found.oldest = now - first
        return found


def files(directory: str) -> Iterator[os.DirEntry[str]]:
    """Those in it and in the directories below, which hash_queue_names makes; without those that go meanwhile."""
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from files(entry.path)
                else:
                    yield entry
    except OSError:
        return
