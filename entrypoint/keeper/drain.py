"""A stop that loses nothing and sends nothing twice: take no more, deliver what is queued, then end.

A message that got its 250 is on the spool's disk whatever happens. What a drain prevents is that it stays there, and
that a delivery is cut off between its last byte and the answer to it, and happens again at the next start.
"""

from __future__ import annotations

import os
import signal
import time

from entrypoint import processes
from entrypoint.keeper import connections, leftovers, refusal, wakeups

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from entrypoint.maillog.lines import Line

_GLANCE = 0.05
# Seconds in which nothing must be found: until the last answer is written to a client, and the last line to the log.
_CALM = 0.1
# How often qmgr(8) is told to look at what has come in: one that was just begun by a reload may not have heard of it.
_REMIND = 1.0
# Seconds. A try of deferred mail may have to wait for a server that does not answer, which a short stop cannot.
_WORTH_A_TRY = 20.0
_TRY_TAKES_EFFECT, _NEXT_LOOK_AT_DEFERRED = 1.0, 2.0
# Of the time that there is, what deliveries that have begun get to end: a third, and no more than this.
_TO_FINISH = 10.0


class Drain:
    """`group` is Postfix's process group, `seconds` what all of it may take.

    `turn` lets the keeper do its other work for some seconds; `hurried` says whether somebody asked for the end at once.
    """

    kinds = ("delivery", "expired", "removed")

    def __init__(
        self,
        group: int,
        seconds: float,
        queue_manager: str,
        turn: Callable[[float], object],
        hurried: Callable[[], bool],
    ) -> None:
        self._group = group
        self._queue_manager = queue_manager
        self._turn = turn
        self._hurried = hurried
        self._began = time.monotonic()
        self._end = self._began + seconds
        self._retries = seconds >= _WORTH_A_TRY
        self._last_start = self._end - min(seconds / 3, _TO_FINISH)
        self._calm = _CALM
        self._remind = 0.0
        self._deferred = False
        self._next_look = 0.0
        self._halted = False
        self._cut_short = False
        self._finished: set[str] = set()  # messages of which something was sent after qmgr was halted
        self._bounced: set[str] = set()
        self.delivered = 0
        self.returned = 0

    def run(self, environ: Mapping[str, str]) -> Iterator[str]:
        """Gives what is to be told meanwhile. Afterwards nothing is under way, or the time is up."""
        if trouble := refusal.begin(environ, self._glance):
            yield trouble
        if not self._under_way() and not connections.seen()[0]:
            self._calm = 0.0
        if self._retries:
            wakeups.tell(self._queue_manager, wakeups.TRY_ALL)
            self._deferred = leftovers.holds("deferred")
            self._next_look = time.monotonic() + _TRY_TAKES_EFFECT
        if self._under_way() or self._deferred:
            yield (
                f"delivering what is queued, {self._end - self._began:g} s at the most (DRAIN_TIMEOUT); "
                "a second signal ends this at once"
            )
        if not self._wait(self._unfinished, self._last_start):
            # No new deliveries: those that have begun would otherwise be followed by others, for ever.
            self._halt()
            self._wait(self._in_flight, self._end)
        self._cut_short = self._hurried()

    def read(self, line: Line) -> None:
        """Postfix's log meanwhile."""
        status = line.fields.get("status")
        if line.kind == "removed":
            returned = line.queue_id in self._bounced
            self._bounced.discard(line.queue_id)
            self.returned += returned
            self.delivered += not returned
        elif status in ("bounced", "expired"):
            self._bounced.add(line.queue_id)
        elif status == "sent" and self._halted:
            self._finished.add(line.queue_id)

    def report(self) -> tuple[list[str], int]:
        """What came of it, line by line, and how many messages stay. Postfix must have ended."""
        took = time.monotonic() - self._began
        why = "as the wait was cut short" if self._cut_short else "as the time was up"
        left = {
            why: [name for queue in leftovers.UNDER_WAY for name in self._waiting_in(queue)],
            "as their next try was not due": self._waiting_in("deferred"),
            "as they are on hold": self._waiting_in("hold"),
        }
        count = sum(map(len, left.values()))
        told = f"stopped after {took:.1f} s: {self.delivered} delivered"
        if self.returned:
            told += f", {self.returned} returned to their senders"
        if not count:
            return [f"{told}; the spool is empty"], 0
        return [
            f"warning: {told}, {count} stay{'s' * (count == 1)} in the spool for the next start",
            *leftovers.listed(left),
        ], count

    def state(self) -> dict[str, int]:
        """For the keeper's answer: when it began (time.monotonic), and how many messages are in the spool."""
        left = sum(1 for queue in leftovers.QUEUES for _ in leftovers.names(queue))
        return {"draining_since": int(self._began), "left": left}

    def _glance(self) -> bool:
        """Let a moment pass; whether there is time for another."""
        self._turn(_GLANCE)
        return not self._over(self._last_start)

    def _wait(self, busy: Callable[[], bool], deadline: float) -> bool:
        """Whether nothing was busy any more, and for a while, before the deadline."""
        calm_since = 0.0
        while not self._over(deadline):
            now = time.monotonic()
            if busy():
                calm_since, self._calm = 0.0, _CALM
                self._remind_queue_manager(now)
            else:
                calm_since = calm_since or now
                if now - calm_since >= self._calm:
                    return True
            self._pause(now + _GLANCE)
        return False

    def _pause(self, until: float) -> None:
        while not self._hurried() and (left := until - time.monotonic()) > 0:
            self._turn(left)

    def _remind_queue_manager(self, now: float) -> None:
        if now >= self._remind and not self._halted:
            self._remind = now + _REMIND
            wakeups.tell(self._queue_manager, wakeups.LOOK)

    def _over(self, deadline: float) -> bool:
        return self._hurried() or time.monotonic() >= deadline

    def _unfinished(self) -> bool:
        return self._under_way() or (self._retries and self._will_be_due())

    @staticmethod
    def _under_way() -> bool:
        return any(map(leftovers.holds, leftovers.UNDER_WAY))

    def _will_be_due(self) -> bool:
        """Whether deferred mail will be tried before the time is up: for what comes later nobody need wait."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _NEXT_LOOK_AT_DEFERRED
            # qmgr(8) keeps the time of the next try as the file's own.
            in_time = time.time() + self._end - now
            self._deferred = any(found.st_mtime < in_time for _, found in leftovers.files("deferred"))
        return self._deferred

    def _halt(self) -> None:
        self._halted = True
        for process in processes.in_group(self._group):
            if process.name == "qmgr":
                try:
                    os.kill(process.pid, signal.SIGSTOP)
                except OSError:
                    # Without CAP_KILL: deliveries that begin now may be cut off, and happen again.
                    return

    def _in_flight(self) -> bool:
        """Whether a delivery has begun and not ended, or a client is handing over a message."""
        return leftovers.user() in connections.seen()[1] or leftovers.being_handed_in()

    def _waiting_in(self, queue: str) -> list[str]:
        """The queue ids of messages that somebody still has to get; the others are delivered."""
        names = [*leftovers.names(queue)]
        done = {name for name in self._finished.intersection(names) if leftovers.is_done(name)}
        self.delivered += len(done)
        return [name for name in names if name not in done]
