"""What it costs to see what happens: a relay that logs JSON and is looked at all the time, beside one that does neither.

The agent is what the image adds to Postfix that works for each message: the keeper and the health program.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from .containers import BenchError, answers, processes, proportional_bytes, stats, until, used_seconds
from .engine_stats import cpu_seconds
from .measure import MB, Load, Samples, bursts, running, say
from .relays import NEAR, Candidate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .containers import Lab
    from .control import Station
    from .plan import Options
    from .relays import Relay

AGENT = ("keeper", "health")
SEEN = "seen"
# What monitoring asks for, more often than it ever does, and a browser that has the page open (health/view.py); every how
# many seconds, all bursts taken as one.
ASKED = {"/metrics": 1.0, "/": 30.0}
# So long without any CPU means that the agent has worked off what it was told.
REST_SECONDS = 0.2


def cost_of_seeing(lab: Lab, station: Station, chosen: Options, samples: Samples) -> None:
    plain = Candidate("plain", chosen.image, ours=True, environment=chosen.environment)
    seen = replace(plain, name=SEEN, environment={**chosen.environment, "LOG_FORMAT": "json"})
    who = [plain, replace(plain, name="control"), seen]
    load = Load("cost", NEAR, chosen.plan.costs, chosen.plan.cost_messages)
    with running(lab, who, NEAR) as relays:
        scales = {relay.candidate.name: Scales(relay) for relay in relays}
        bursts(station, relays, load, samples, lambda relay: scales[relay.candidate.name].weighed())
        for relay in relays:
            if share := scales[relay.candidate.name].share():
                samples.add("cost-share", relay.candidate, 100 * share)
    for candidate in who:
        say(f"the agent's memory after a burst, {candidate.name}")
        # Alone, as of a file's pages that other relays have mapped too each would be counted a part only.
        with running(lab, [candidate], NEAR) as [relay]:
            bursts(station, [relay], replace(load, turns=1), Samples(), lambda relay: Scales(relay).weighed())
            if (used := proportional_bytes(processes(relay.container, AGENT))) is not None:
                samples.add("cost-memory", candidate, used / MB)


class Scales:
    """What a relay uses while it is under load, and looked at if it is the one that is."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._agent = processes(relay.container, AGENT)
        self._agents = self._all = 0.0
        self._left = dict.fromkeys(ASKED if relay.candidate.name == SEEN else (), 1.0)

    def share(self) -> float | None:
        """The agent's part of the CPU, with what the programs took that it started; None where /proc is not the engine's."""
        return self._agents / self._all if self._agent else None

    @contextmanager
    def weighed(self) -> Iterator[None]:
        agents, everything = used_seconds(self._agent), cpu_seconds(stats(self._relay.container))
        with self._looked_at():
            yield
        self._at_rest()
        self._agents += used_seconds(self._agent) - agents
        self._all += cpu_seconds(stats(self._relay.container)) - everything

    def _at_rest(self) -> None:
        seen = [-1.0]

        def rests() -> bool:
            seen.append(used_seconds(self._agent))
            return seen[-1] == seen[-2]

        until("the agent at rest", 30, rests, REST_SECONDS)

    @contextmanager
    def _looked_at(self) -> Iterator[None]:
        over = threading.Event()
        failed: list[str] = []

        def ask(path: str) -> None:
            began = time.monotonic()
            while not over.wait(self._left[path]):
                if not answers(self._relay.url(path)):
                    failed.append(path)
                began, self._left[path] = time.monotonic(), ASKED[path]
            self._left[path] = max(self._left[path] - (time.monotonic() - began), 0.0)

        threads = [threading.Thread(target=ask, args=(path,)) for path in self._left]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()
        if failed:
            raise BenchError(f"{self._relay.candidate.image} did not answer {failed[0]} under load")
