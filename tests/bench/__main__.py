"""The story of a run: build the yardstick, measure in turn, print the table.

Exit status: 0 measured, whatever the figures; 1 the bench could not go on, above all because mail was lost; 2 wrong options.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from docker.errors import BuildError, DockerException

from .containers import BenchError, Lab, build, image_bytes
from .control import Station
from .cost import cost_of_seeing
from .measure import Load, Samples, bursts, idle, latencies, running, say, sizes, start_and_stop
from .plan import MESSAGE_BYTES, SESSIONS, Options, options
from .recipients import a_million_recipients
from .relays import FAR, NEAR, Candidate, candidates
from .report import between_markers, how_noisy, table

BARE, TOOLS = "postern-bench-bare", "postern-bench-tools"
LOADED = {"throughput", "latency", "tls", "cost", "recipients"}
"""The sections that need the station."""


def measure(lab: Lab, chosen: Options, samples: Samples) -> None:
    who = candidates(chosen.image, chosen.bare, chosen.environment)
    plan, sections = chosen.plan, set(chosen.sections)
    if "size" in sections:
        sizes(lab, who, samples)
    if sections & {"start", "stop"}:
        start_and_stop(lab, who, plan, samples)
    if sections & {"memory", "cpu"}:
        idle(lab, who, plan, samples)
    if sections & LOADED:
        under_load(lab, who, chosen, samples)


def under_load(lab: Lab, who: list[Candidate], chosen: Options, samples: Samples) -> None:
    plan, sections = chosen.plan, set(chosen.sections)
    station = Station(lab, TOOLS)
    if sections & {"throughput", "latency"}:
        with running(lab, who, NEAR) as relays:
            if "latency" in sections:
                latencies(
                    station, relays, Load("latency", NEAR, plan.latencies, plan.latency_messages), samples
                )
            if "throughput" in sections:
                bursts(station, relays, Load("throughput", NEAR, plan.bursts, plan.burst_messages), samples)
    if "tls" in sections:
        with running(lab, who, FAR) as relays:
            bursts(station, relays, Load("tls", FAR, plan.far_bursts, plan.far_messages), samples)
    if "cost" in sections:
        cost_of_seeing(lab, station, chosen, samples)
    if "recipients" in sections:
        a_million_recipients(lab, station, chosen, samples)


def describe(lab: Lab, chosen: Options, load_before: float, minutes: float) -> str:
    """Where and how the figures came about: what a reader needs to repeat or to doubt them."""
    engine = lab.engine.info()
    plan = chosen.plan
    settings = "".join(f" With {name}={value}." for name, value in chosen.environment.items())
    return (
        f"`make bench`, {time.strftime('%Y-%m-%d')}, {minutes:.0f} min: {SESSIONS} sessions, {MESSAGE_BYTES // 1000} kB messages, "
        f"a connection for each message. Medians [quartiles] of {plan.starts} starts, {plan.bursts} bursts of "
        f"{plan.burst_messages}, {plan.far_bursts} of {plan.far_messages} to the distant upstream, "
        f"{plan.costs} of {plan.cost_messages} to see what seeing costs, {plan.latencies} rows of "
        f"{plan.latency_messages} single messages, {plan.idles} idle windows, {plan.table_starts} starts and "
        f"{plan.table_changes} changes with recipients, {plan.lookup_rows} rows of {plan.lookups} RCPT, all up and in turn. "
        f"{os.cpu_count()} cores shared with source and sink, load {load_before:.1f} before the run; "
        f"Docker {engine['ServerVersion']}, {engine['Driver']}.{settings}\n"
    )


def publish(chosen: Options, report: str, samples: Samples) -> None:
    print(report)
    directory = Path(chosen.output)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "bench.md").write_text(report)
    (directory / "bench.json").write_text(json.dumps(samples.values, indent=1))
    if chosen.readme:
        Path(chosen.readme).write_text(with_report(chosen.readme, report))


def with_report(readme: str, report: str) -> str:
    """The file's text, with the report between its markers."""
    try:
        return between_markers(Path(readme).read_text(), report)
    except (OSError, ValueError) as problem:
        raise BenchError(f"{readme}: {problem}") from None


def run(chosen: Options) -> None:
    if chosen.readme:
        # Half an hour before it is needed.
        with_report(chosen.readme, "")
    began, load_before, samples = time.monotonic(), os.getloadavg()[0], Samples()
    with Lab() as lab:
        say("building the yardstick and the station")
        build(lab.engine, BARE, "bare.Dockerfile")
        build(lab.engine, TOOLS, "tools.Dockerfile")
        image_bytes(lab.engine, chosen.image)
        measure(lab, chosen, samples)
        about = describe(lab, chosen, load_before, (time.monotonic() - began) / 60)
    noise = how_noisy(samples.values, chosen.sections)
    publish(chosen, f"{table(samples.values, chosen.sections)}\n{about}{noise}", samples)


def main() -> None:
    # SIGTERM would skip the removal of what the run started; as an exception it does not.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run(options(sys.argv[1:]))
    except BenchError as problem:
        sys.exit(f"bench: {problem}")
    except BuildError as problem:
        sys.exit(f"bench: the yardstick could not be built: {problem}")
    except DockerException as problem:
        sys.exit(f"bench: the engine refused: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
