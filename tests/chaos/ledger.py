"""What was promised and what came: each attempt's outcome, each arrival, each event, and what they add up to.

Times are seconds since 1970, all by one clock: sender, sink and whoever makes the events are on one machine.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise


class Outcome(Enum):
    """Of one attempt to hand a message over. Each attempt has an id of its own, so none is ever sent again."""

    ACCEPTED = "250 to the final dot"
    REFUSED = "another answer"
    AMBIGUOUS = "connection lost after the final dot"
    UNSENT = "no connection, or lost before the final dot"


@dataclass(frozen=True)
class Event:
    kind: str
    detail: str
    began: float
    ended: float
    doubles: bool
    """Whether a message may come twice through it: it cuts between the sink's 250 and what the relay does then."""

    def near(self, moment: float) -> bool:
        return self.began - BEFORE <= moment <= self.ended + AFTER

    def kills_at(self, moment: float) -> bool:
        """Whether it may have cut between a line of the log and what the queue file was to say."""
        return self.kind in KILLS and self.began - LINE <= moment <= self.ended + LINE

    def __str__(self) -> str:
        return f"{self.kind} {self.detail}".strip()


# From the sink's note of a message to the end of its queue file, on a machine that is busy.
BEFORE = 4.0
# From the end of an event to its last effect: a server that hung answers whoever is still there.
AFTER = 2.0
KILLS = ("kill", "ended by itself")
# From the moment of a line to the engine's stamp of it.
LINE = 1.0
# What is slow on a busy machine needs no event: by the relay's log the answer to the final dot did not come in time.
UNANSWERED = "(no event, but no answer to the dot)"


@dataclass(frozen=True)
class Attempt:
    message: str
    outcome: Outcome
    moment: float
    answer: str = ""
    """What the relay said last; an acceptance has the queue id in it, by which its log is searched."""


@dataclass(frozen=True)
class Duplicate:
    id: str
    arrivals: tuple[float, ...]
    causes: tuple[str | None, ...]
    """Of each arrival but the last, what explains that the relay did not take it for delivered; None: nothing does."""

    @property
    def avoidable(self) -> bool:
        return None in self.causes


class Ledger:
    """Written by the threads of senders, sink and events; read when they have ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._attempts: dict[str, Attempt] = {}
        self._arrivals: dict[str, list[float]] = {}
        self._events: list[Event] = []
        self._unanswered: Counter[str] = Counter()
        self._delivered: defaultdict[str, list[float]] = defaultdict(list)
        self._missing: set[str] = set()
        self.unmended = ""
        """What was still wrong with the relay when nothing was done to it any more."""
        self.killed = 0
        """Stops that the engine had to end, as they took too long."""

    def sent(self, attempt: Attempt) -> None:
        with self._lock:
            assert attempt.message not in self._attempts, f"{attempt.message} was sent twice by the sender"
            self._attempts[attempt.message] = attempt
            if attempt.outcome is Outcome.ACCEPTED and attempt.message not in self._arrivals:
                self._missing.add(attempt.message)

    def arrived(self, message: str, moment: float) -> None:
        with self._lock:
            self._arrivals.setdefault(message, []).append(moment)
            self._missing.discard(message)

    def happened(self, event: Event) -> None:
        with self._lock:
            self._events.append(event)

    def unanswered(self, message: str) -> None:
        """The relay says that its final dot got no answer: the next arrival is a duplicate that SMTP cannot avoid.

        The upstream may have the message, and the relay must not think so (RFC 5321, 4.2.5 and 6.1).
        """
        with self._lock:
            self._unanswered[message] += 1

    def delivered(self, message: str, moment: float) -> None:
        """The relay says that it is sent: whatever happens, it must not come again, unless that very moment cut."""
        with self._lock:
            self._delivered[message].append(moment)

    def told(self) -> int:
        """How many messages the relay said to have delivered."""
        with self._lock:
            return len(self._delivered)

    @property
    def events(self) -> list[Event]:
        with self._lock:
            return sorted(self._events, key=lambda event: event.began)

    def outcomes(self) -> Counter[Outcome]:
        with self._lock:
            return Counter(attempt.outcome for attempt in self._attempts.values())

    def broken(self) -> bool:
        """Whether a promise was."""
        doubled = any(double.avoidable for double in self.duplicates())
        return bool(self.lost() or self.unmended or self.killed or doubled)

    def waiting(self) -> int:
        """How many accepted messages have not arrived yet."""
        return len(self._missing)

    def lost(self) -> list[tuple[Attempt, list[Event]]]:
        """The accepted messages that never arrived, each with the events around its acceptance."""
        with self._lock:
            lost = [self._attempts[message] for message in sorted(self._missing)]
        return [(each, [event for event in self.events if event.near(each.moment)]) for each in lost]

    def around(self, moment: float) -> str:
        """The events at that time, in words."""
        return ", ".join(str(event) for event in self.events if event.near(moment))

    def attempt(self, message: str) -> Attempt:
        return self._attempts[message]

    def duplicates(self) -> list[Duplicate]:
        with self._lock:
            several = {m: tuple(sorted(times)) for m, times in self._arrivals.items() if len(times) > 1}
        causes = [event for event in self.events if event.doubles]
        return [
            Duplicate(message, times, tuple(self._causes(message, times, causes)))
            for message, times in several.items()
        ]

    def _causes(self, message: str, moments: tuple[float, ...], causes: list[Event]) -> Iterator[str | None]:
        """An event that cuts, the one whose beginning is nearest; or else a cut that the relay noted, each once.

        Of what the relay took for delivered before it came again, only the kill that came between.
        """
        noted = self._unanswered[message]
        for moment, again in pairwise(moments):
            knew = [told for told in self._delivered[message] if moment <= told < again]
            if knew:
                near = [event for event in causes if all(map(event.kills_at, knew))]
                yield str(near[0]) if near else None
                continue
            near = [event for event in causes if event.near(moment)]
            if near:
                yield str(min(near, key=lambda event: abs(event.began - moment)))
            else:
                yield UNANSWERED if noted > 0 else None
                noted -= 1

    def against_the_answer(self) -> Counter[Outcome]:
        """Arrivals of what was not accepted. Ambiguous ones may; refused ones only when the relay's answer was late."""
        with self._lock:
            return Counter(
                attempt.outcome
                for attempt in self._attempts.values()
                if attempt.outcome is not Outcome.ACCEPTED and attempt.message in self._arrivals
            )

    def report(self) -> Iterator[str]:
        """The table, line by line."""
        outcomes, arrived, twice = self.outcomes(), self.against_the_answer(), self.duplicates()
        yield f"{'event':<44} {'times':>5} {'seconds':>8} {'duplicates':>10}"
        seconds: defaultdict[str, list[float]] = defaultdict(list)
        for event in self.events:
            seconds[str(event)].append(event.ended - event.began)
        doubled = Counter(cause for double in twice for cause in double.causes)
        for name, each in sorted(seconds.items()):
            yield f"{name:<44} {len(each):>5} {sum(each):>8.1f} {doubled[name]:>10}"
        for name, cause in ((UNANSWERED, UNANSWERED), ("(nothing explains it)", None)):
            yield f"{name:<44} {'':>5} {'':>8} {doubled[cause]:>10}"
        yield ""
        for outcome in Outcome:
            told = f", of which {arrived[outcome]} arrived" if outcome is not Outcome.ACCEPTED else ""
            yield f"{outcome.name.lower():<10} {outcomes[outcome]:>7}  ({outcome.value}){told}"
        yield f"{'lost':<10} {len(self.lost()):>7}  (accepted, never arrived)"
        avoidable = sum(double.avoidable for double in twice)
        yield f"{'duplicates':<10} {len(twice):>7}  (arrived more than once), of which {avoidable} without a cause"
