"""The measurements. Each takes its turns and adds what it saw to the samples; nothing is averaged here."""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .containers import BenchError, Lab, answers, image_bytes, processes, proportional_bytes, stats
from .engine_stats import anonymous_bytes, cpu_seconds
from .plan import MESSAGE_BYTES, PROBE_INTERVAL, SESSIONS, Plan
from .relays import NEAR, Candidate, Relay, Upstream, discard, greeting, launch, ready
from .stats import rotated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .control import Station

LOAD_SECONDS = 120.0
STOP_SECONDS = 30
MB = 1e6


class Samples:
    """metric -> candidate -> one value per turn, in the order of the turns."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, metric: str, candidate: Candidate, value: float) -> None:
        self.values[metric][candidate.name].append(value)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def running(lab: Lab, who: Sequence[Candidate], upstream: Upstream) -> Iterator[list[Relay]]:
    relays = [launch(lab, candidate, upstream) for candidate in who]
    try:
        for relay in relays:
            ready(relay)
        yield relays
    finally:
        discard(relays)


def sizes(lab: Lab, who: Sequence[Candidate], samples: Samples) -> None:
    for candidate in who:
        samples.add("size", candidate, image_bytes(lab.engine, candidate.image) / MB)


def start_and_stop(lab: Lab, who: Sequence[Candidate], plan: Plan, samples: Samples) -> None:
    for turn in range(plan.starts):
        say(f"start and stop, turn {turn + 1} of {plan.starts}")
        for candidate in rotated(who, turn):
            _one_life(lab, candidate, samples)


def _one_life(lab: Lab, candidate: Candidate, samples: Samples) -> None:
    began = time.monotonic()
    relay = launch(lab, candidate)
    greeting(relay)
    samples.add("start", candidate, time.monotonic() - began)
    ready(relay)
    samples.add("ready", candidate, time.monotonic() - began)
    began = time.monotonic()
    relay.container.stop(timeout=STOP_SECONDS)
    samples.add("stop", candidate, time.monotonic() - began)
    status = relay.container.wait()["StatusCode"]
    discard([relay])
    if candidate.ours and status:
        raise BenchError(f"{candidate.image} ended with status {status} after `docker stop`, not 0")


@dataclass(frozen=True)
class Load:
    """`turns` of `messages` each through relays to `upstream`; metrics are named after `prefix`."""

    prefix: str
    upstream: Upstream
    turns: int
    messages: int


def bursts(
    station: Station,
    relays: Sequence[Relay],
    load: Load,
    samples: Samples,
    during: Callable[[Relay], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> None:
    """Rates over a burst (messages per second), and the relay's CPU for it (milliseconds per message).

    Each burst that counts is sent inside of `during`.
    """
    before, sent = station.ask("taken", sink=load.upstream.port)["count"], 0
    # The first burst of a fresh relay starts its processes; it is nobody's everyday, and is not measured.
    for relay in relays:
        _send(station, "burst", relay, load.upstream, sessions=SESSIONS, count=SESSIONS * 5)
        sent += SESSIONS * 5
    for turn in range(load.turns):
        say(f"{load.prefix}, turn {turn + 1} of {load.turns}")
        for relay in rotated(relays, turn):
            with during(relay):
                _burst(station, relay, load, samples)
            sent += load.messages
    if (arrived := station.ask("taken", sink=load.upstream.port)["count"] - before) != sent:
        raise BenchError(f"{arrived} messages reached the sink, {sent} were sent: some came twice")


def _burst(station: Station, relay: Relay, load: Load, samples: Samples) -> None:
    before = cpu_seconds(stats(relay.container))
    took = _send(station, "burst", relay, load.upstream, sessions=SESSIONS, count=load.messages)
    used = cpu_seconds(stats(relay.container)) - before
    samples.add(f"{load.prefix}-delivered", relay.candidate, load.messages / took["delivered"])
    samples.add(f"{load.prefix}-accepted", relay.candidate, load.messages / took["accepted"])
    samples.add(f"{load.prefix}-cpu", relay.candidate, 1000 * used / load.messages)


def _send(station: Station, op: str, relay: Relay, upstream: Upstream, **what: int) -> dict[str, Any]:
    everywhere = {
        "host": relay.address,
        "sink": upstream.port,
        "size": MESSAGE_BYTES,
        "seconds": LOAD_SECONDS,
    }
    try:
        return station.ask(op, **everywhere, **what)
    except BenchError as problem:
        raise BenchError(f"{relay.candidate.image}: {problem}") from None


def latencies(station: Station, relays: Sequence[Relay], load: Load, samples: Samples) -> None:
    """Medians of each turn, in milliseconds, from connect() to the 250 and to the message's end at the sink."""
    for turn in range(load.turns):
        say(f"{load.prefix}, turn {turn + 1} of {load.turns}")
        for relay in rotated(relays, turn):
            took = _send(station, "singles", relay, load.upstream, count=load.messages)
            samples.add(f"{load.prefix}-250", relay.candidate, 1000 * statistics.median(took["accepted"]))
            samples.add(f"{load.prefix}-sink", relay.candidate, 1000 * statistics.median(took["delivered"]))


def idle(lab: Lab, who: Sequence[Candidate], plan: Plan, samples: Samples) -> None:
    """Memory and CPU of relays that have nothing to do but to answer health probes.

    Ours runs twice: probed by the engine's HEALTHCHECK, and over HTTP as Kubernetes does it. All windows are the same one.
    """
    say(f"a wakeup costs {1000 * wakeup():.2f} ms of CPU here, whoever wakes up")
    for window in range(plan.idles):
        say(f"idle for {plan.idle_seconds} s, window {window + 1} of {plan.idles}")
        relays = [launch(lab, candidate, NEAR, PROBE_INTERVAL) for candidate in who]
        by_http = [launch(lab, candidate, NEAR) for candidate in who if candidate.ours]
        try:
            for relay in [*relays, *by_http]:
                ready(relay)
                settle(relay)
            _window(relays, by_http, plan.idle_seconds, samples)
        finally:
            discard([*relays, *by_http])


def settle(relay: Relay) -> None:
    """Until a whole second has passed in which the relay used next to no CPU: its start is over.

    What each of its few wakeups costs is the machine's doing: 0.1 ms, or 10 under a hypervisor that is slow to resume.
    """
    rest = 0.010 + 3 * wakeup()
    last = cpu_seconds(stats(relay.container))
    for _ in range(60):
        time.sleep(1)
        now = cpu_seconds(stats(relay.container))
        if now - last < rest:
            return
        last = now
    raise BenchError(f"{relay.candidate.image} never came to rest")


def wakeup() -> float:
    """The seconds of CPU that a program takes here to wake up and do nothing."""
    began = time.process_time()
    for _ in range(5):
        time.sleep(0.2)
    return (time.process_time() - began) / 5


def _window(relays: list[Relay], by_http: list[Relay], seconds: int, samples: Samples) -> None:
    everyone = [*relays, *by_http]
    before = [cpu_seconds(stats(relay.container)) for relay in everyone]
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        for relay in by_http:
            if not answers(relay.url("/readyz")):
                raise BenchError(f"{relay.candidate.image} is not ready while idle")
        time.sleep(min(PROBE_INTERVAL, left))
    for relay, start in zip(everyone, before, strict=True):
        used = cpu_seconds(stats(relay.container)) - start
        samples.add("cpu-http" if relay in by_http else "cpu-healthcheck", relay.candidate, used)
        # Bare has no probes: its one figure serves both comparisons.
        if not relay.candidate.ours:
            samples.add("cpu-http", relay.candidate, used)
    for relay in relays:
        memory("memory", relay, samples)


def memory(prefix: str, relay: Relay, samples: Samples) -> None:
    samples.add(f"{prefix}-anonymous", relay.candidate, anonymous_bytes(stats(relay.container)) / MB)
    if (proportional := proportional_bytes(processes(relay.container))) is not None:
        samples.add(f"{prefix}-pss", relay.candidate, proportional / MB)
