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


class Said(Enum):
    """What the relay's log has of an upstream's answer to a message's final dot."""

    SENT = "it came"
    UNANSWERED = "it did not come in time"
    CUT = "the connection was lost before it came"


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

    def kills_after(self, moment: float) -> bool:
        """Whether it may have ended who waited for the answer to what arrived then."""
        return self.kind in KILLS and self.began - BEFORE <= moment <= self.ended + LINE

    def cuts_at(self, moment: float) -> bool:
        """Whether it may be why the relay noted then that a connection was lost."""
        return self.began - LINE <= moment <= self.ended + AFTER

    def __str__(self) -> str:
        return f"{self.kind} {self.detail}".strip()


# From the sink's note of a message to the end of its queue file, on a machine that is busy.
BEFORE = 4.0
# From the end of an event to its last effect: a server that hung answers whoever is still there.
AFTER = 2.0
KILLS = ("kill", "ended by itself")
# Without these programs no stop is orderly: the one that waits for the queue, and Postfix itself.
STOPPERS = ("the container", "keeper", "master")
# From the death of one of them to the last moment when another is not yet in its place.
RESTART = 10.0
TOO_LONG = 137
# From the moment of a line to the engine's stamp of it.
LINE = 1.0
# Who waits to log that the answer came, when this is killed, is ended in his turn: by a new start, or by a stop.
LOGGER = "postlogd"
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


def _excuse(
    moment: float, noted: list[tuple[float, Said]], events: list[Event]
) -> tuple[list[Event], str | None]:
    """The events that may have kept the relay from knowing that what arrived then had; and what does without one."""
    causes = [event for event in events if event.doubles]
    sent = [told for told, what in noted if what is Said.SENT]
    if sent:
        return [event for event in causes if all(map(event.kills_at, sent))], None
    cuts = [told for told, _ in noted]
    if cuts:
        unanswered = any(what is Said.UNANSWERED for _, what in noted)
        return [e for e in causes if any(map(e.cuts_at, cuts))], UNANSWERED if unanswered else None
    # Nothing was noted: who would have is dead, or could not.
    killers = [event for event in causes if event.kills_after(moment)]
    silenced = [e for e in events if e.kind in KILLS and e.detail == LOGGER and e.near(moment)]
    return killers or silenced, None


class Ledger:
    """Written by the threads of senders, sink and events; read when they have ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._attempts: dict[str, Attempt] = {}
        self._arrivals: dict[str, list[float]] = {}
        self._events: list[Event] = []
        self._said: defaultdict[str, list[tuple[float, Said]]] = defaultdict(list)
        self._mangled: set[str] = set()
        self._stops: list[tuple[int, float]] = []
        self._missing: set[str] = set()
        self.unmended = ""
        """What was still wrong with the relay when nothing was done to it any more."""

    def sent(self, attempt: Attempt) -> None:
        with self._lock:
            assert attempt.message not in self._attempts, f"{attempt.message} was sent twice by the sender"
            self._attempts[attempt.message] = attempt
            if attempt.outcome is Outcome.ACCEPTED and attempt.message not in self._arrivals:
                self._missing.add(attempt.message)

    def arrived(self, message: str, moment: float, *, whole: bool = True) -> None:
        """`whole`: with the body that was sent, to the last byte. Nothing else counts as that message."""
        with self._lock:
            if not whole:
                self._mangled.add(message)
                return
            self._arrivals.setdefault(message, []).append(moment)
            self._missing.discard(message)

    def happened(self, event: Event) -> None:
        with self._lock:
            self._events.append(event)

    def said(self, message: str, moment: float, what: Said) -> None:
        """By the relay's log. What is sent must not come again, whatever happens, unless that very moment cut.

        Without an answer the upstream may have the message, and the relay must not think so (RFC 5321, 4.2.5 and 6.1): the
        next arrival is a duplicate that SMTP cannot avoid. A lost connection is that, too, if somebody else cut it.
        """
        with self._lock:
            self._said[message].append((moment, what))

    def stopped(self, status: int, moment: float) -> None:
        """The exit status of an orderly stop that began then; 137 is that of one that the engine had to end."""
        with self._lock:
            self._stops.append((status, moment))

    def told(self) -> int:
        """How many messages the relay said to have delivered."""
        with self._lock:
            return sum(any(what is Said.SENT for _, what in all_said) for all_said in self._said.values())

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
        return bool(
            self.lost() or self.mangled() or self.unexplained() or self.unclean() or self.unmended or doubled
        )

    def mangled(self) -> list[Attempt]:
        """Those of which something came that is not what was sent."""
        with self._lock:
            return [self._attempts[message] for message in sorted(self._mangled)]

    def unclean(self) -> list[int]:
        """The exit statuses of stops that were no clean ends, though nobody had killed who sees to that."""
        killed = [event for event in self.events if event.kind in KILLS]
        with self._lock:
            return [
                status
                for status, moment in self._stops
                if status == TOO_LONG
                or (
                    status
                    and not any(
                        0 <= moment - event.began <= RESTART
                        for event in killed
                        if event.kind != "kill" or event.detail in STOPPERS
                    )
                )
            ]

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
        events = self.events
        return [
            Duplicate(message, times, tuple(self._causes(message, times, events)))
            for message, times in several.items()
        ]

    def _causes(self, message: str, moments: tuple[float, ...], events: list[Event]) -> Iterator[str | None]:
        """Of each arrival but the last, by what the relay noted of that very delivery before the next."""
        for moment, again in pairwise(moments):
            noted = [(told, what) for told, what in self._said[message] if moment <= told < again]
            excused, otherwise = _excuse(moment, noted, events)
            nearest = min(excused, key=lambda event: abs(event.began - moment), default=None)
            yield str(nearest) if nearest else otherwise

    def unexplained(self) -> list[Attempt]:
        """What arrived although the relay had not taken it, and no kill came between its queue file and its answer.

        Of an ambiguous one nobody knows; of one that had no final dot nothing may come at all.
        """
        with self._lock:
            came = [
                attempt
                for attempt in self._attempts.values()
                if attempt.outcome in (Outcome.REFUSED, Outcome.UNSENT) and attempt.message in self._arrivals
            ]
        return [
            attempt
            for attempt in came
            if attempt.outcome is Outcome.UNSENT
            or not any(event.kills_at(attempt.moment) for event in self.events)
        ]

    def against_the_answer(self) -> Counter[Outcome]:
        """Arrivals of what was not accepted."""
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
        yield f"{'mangled':<10} {len(self.mangled()):>7}  (arrived with another body)"
        stops = Counter(status for status, _ in self._stops)
        yield f"{'stops':<10} {len(self._stops):>7}  (by exit status: {dict(stops)})"
        avoidable = sum(double.avoidable for double in twice)
        yield f"{'duplicates':<10} {len(twice):>7}  (arrived more than once), of which {avoidable} without a cause"
