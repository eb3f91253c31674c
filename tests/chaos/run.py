"""One run: senders on, events on, until there was enough of both; then everything is mended and the queue delivered."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import events
from tests.chaos.events import Trouble
from tests.chaos.ledger import Event, Ledger, Outcome
from tests.chaos.sender import Load, Senders
from tests.chaos.world import World
from tests.image.engine import Engine
from tests.image.waiting import until

_SHOWN = 10
_READY_AGAIN = 120.0


@dataclass(frozen=True)
class Plan:
    """It ends when so many messages were accepted and both kinds of events had so many rounds."""

    seed: int
    messages: int
    rounds: int = 1
    stops: int = 1
    """Orderly stops in each round."""
    lasts: float = 3.0
    """Seconds of each weather."""
    gap: float = 3.0
    """Seconds between two strikes, and between two weathers, at the most."""
    drain: float = 120.0
    """Seconds that the mended relay has for what waits."""
    load: Load = field(default_factory=Load)


class Run:
    def __init__(self, plan: Plan, world: World, ledger: Ledger, say: Callable[[str], None]) -> None:
        self._plan, self._world, self._ledger, self._say = plan, world, ledger, say
        self._failed = threading.Event()

    def go(self) -> None:
        senders = Senders(self._ledger, self._plan.load, self._world.port, self._plan.seed)
        senders.start()
        try:
            with ThreadPoolExecutor(2) as pool:
                try:
                    for running in [pool.submit(self._strike), pool.submit(self._change_the_weather)]:
                        running.result()
                except BaseException:
                    self._failed.set()
                    raise
        finally:
            senders.end()

    def _strike(self) -> None:
        dice = random.Random(f"{self._plan.seed} strikes")
        for trouble in self._rounds(lambda: events.strikes(dice, self._plan.stops)):
            self._happen(trouble, 0)
            self._revive()
            self._failed.wait(dice.uniform(0, self._plan.gap))

    def _change_the_weather(self) -> None:
        dice = random.Random(f"{self._plan.seed} weather")
        for trouble in self._rounds(lambda: events.weather(dice)):
            self._happen(trouble, self._plan.lasts)
            self._failed.wait(dice.uniform(0, self._plan.gap))

    def _rounds(self, one: Callable[[], list[Trouble]]) -> Iterator[Trouble]:
        done = 0
        while done < self._plan.rounds or self._accepted() < self._plan.messages:
            for trouble in one():
                if self._failed.is_set():
                    return
                yield trouble
            done += 1
            self._say(f"{self._accepted()} accepted, {self._ledger.waiting()} of them not yet delivered")

    def _happen(self, trouble: Trouble, seconds: float) -> None:
        began = time.time()
        try:
            trouble.begin(self._world)
            self._failed.wait(seconds)
        except BaseException:
            self._failed.set()
            raise
        finally:
            ended = time.time()
            trouble.end(self._world)
        # A weather is over when it has been mended, a strike when it has struck.
        self._ledger.happened(trouble.happened(began, time.time() if seconds else ended))

    def _revive(self) -> None:
        """As a restart policy does: a relay whose programs die again and again ends itself."""
        code = self._world.ended_by_itself()
        if code is not None:
            now = time.time()
            self._ledger.happened(Event("ended by itself", f"with {code}", now, now, doubles=True))
            self._world.start_again()

    def mend(self) -> None:
        """Nothing is wrong any more: all that was accepted has to come, and the queue to be empty."""
        self._say("all is mended; the rest is delivered")
        world, ledger = self._world, self._ledger
        until(
            "the queue is empty",
            lambda: world.flush() and not ledger.waiting(),
            deadline=self._plan.drain,
            needs=[world.relay.container],
            state=lambda: f"{ledger.waiting()} have not arrived",
        )
        # A program that could not start while the disk was full is told for a while.
        world.relay.wait_until_ready(deadline=_READY_AGAIN)

    def _accepted(self) -> int:
        return self._ledger.outcomes()[Outcome.ACCEPTED]


def chaos(docker: Engine, directory: Path, plan: Plan, say: Callable[[str], None] = print) -> Ledger:
    """`directory` is empty, and of this machine. What went wrong is said with both logs."""
    ledger, began = Ledger(), time.monotonic()
    say(f"seed {plan.seed}: {plan}")
    with World(docker, directory, ledger, plan.load.digest) as world:
        run = Run(plan, world, ledger, say)
        run.go()
        try:
            run.mend()
        except AssertionError as error:
            ledger.unmended = str(error)
            say(ledger.unmended)
            say("\n".join(f"  relay: {line}" for line in world.complaints()[-10 * _SHOWN :]))
        for message, moment, what in world.said():
            ledger.said(message, moment, what)
        lost = ledger.lost()
        for attempt, around in lost[:_SHOWN]:
            say(f"LOST {attempt}\n  around it: {', '.join(map(str, around))}")
            say("\n".join(f"  relay: {line}" for line in world.evidence(attempt)))
        doubled = [double for double in ledger.duplicates() if double.avoidable]
        for double in doubled[:_SHOWN]:
            say(f"TWICE {double.id} at {double.arrivals}\n  around it: {ledger.around(double.arrivals[0])}")
            say("\n".join(f"  relay: {line}" for line in world.evidence(ledger.attempt(double.id))))
        for attempt in [*ledger.mangled(), *ledger.unexplained()][:_SHOWN]:
            say(f"WRONG {attempt}\n  around it: {ledger.around(attempt.moment)}")
            say("\n".join(f"  relay: {line}" for line in world.evidence(attempt)))
    for line in ledger.report():
        say(line)
    say(f"{time.monotonic() - began:.0f} s, seed {plan.seed}")
    return ledger
