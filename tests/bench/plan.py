"""What a run measures, and how often."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

SECTIONS = ("size", "start", "stop", "memory", "cpu", "throughput", "latency", "tls", "cost", "recipients")


@dataclass(frozen=True)
class Plan:
    """Turns and messages. Each turn measures every candidate once; the order rotates."""

    starts: int = 9
    bursts: int = 12
    burst_messages: int = 2000
    latencies: int = 10
    latency_messages: int = 60
    far_bursts: int = 6
    far_messages: int = 300
    # Many and short: what is looked for is less than one burst differs from the next.
    costs: int = 30
    cost_messages: int = 1000
    idles: int = 2
    idle_seconds: int = 30
    table_starts: int = 3
    table_changes: int = 3
    lookup_rows: int = 8
    lookups: int = 2000


QUICK = Plan(
    starts=3,
    bursts=3,
    burst_messages=600,
    latencies=3,
    latency_messages=20,
    far_bursts=1,
    costs=6,
    cost_messages=400,
    idles=1,
    table_starts=1,
    table_changes=1,
    lookup_rows=3,
    lookups=1000,
)

SESSIONS = 20
MESSAGE_BYTES = 10_000
PROBE_INTERVAL = 10


@dataclass(frozen=True)
class Options:
    plan: Plan
    sections: tuple[str, ...]
    image: str
    bare: str
    output: str
    readme: str | None
    environment: dict[str, str]


def options(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", type=_sections, default=SECTIONS, help="of " + ",".join(SECTIONS))
    parser.add_argument("--rounds", type=_positive, help="turns of each measurement")
    parser.add_argument(
        "--quick", action="store_true", help="fewer and smaller turns: under three minutes, more noise"
    )
    parser.add_argument("--image", default="postern:latest", help="the image to measure")
    parser.add_argument(
        "--bare", default="postern-bench-bare", help="the yardstick; built when it has this name"
    )
    parser.add_argument("--output", default="build/bench", help="directory for bench.md and bench.json")
    parser.add_argument(
        "--readme", nargs="?", const="README.md", help="put the table between this file's bench markers"
    )
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        type=_variable,
        metavar="NAME=VALUE",
        help="a setting for the image to measure",
    )
    given = parser.parse_args(arguments)
    plan = QUICK if given.quick else Plan()
    if given.rounds:
        plan = with_rounds(plan, given.rounds)
    return Options(
        plan, tuple(given.only), given.image, given.bare, given.output, given.readme, dict(given.env)
    )


def with_rounds(plan: Plan, rounds: int) -> Plan:
    """Keep the messages per turn, take `rounds` turns. What costs half a minute a turn grows more slowly."""
    return Plan(
        starts=rounds,
        bursts=rounds,
        burst_messages=plan.burst_messages,
        latencies=rounds,
        latency_messages=plan.latency_messages,
        far_bursts=rounds,
        far_messages=plan.far_messages,
        costs=2 * rounds,
        cost_messages=plan.cost_messages,
        idles=max(1, rounds // 5),
        idle_seconds=plan.idle_seconds,
        table_starts=max(1, rounds // 3),
        table_changes=max(1, rounds // 3),
        lookup_rows=rounds,
        lookups=plan.lookups,
    )


def _sections(text: str) -> tuple[str, ...]:
    chosen = tuple(part.strip() for part in text.split(",") if part.strip())
    if unknown := [part for part in chosen if part not in SECTIONS]:
        raise argparse.ArgumentTypeError(f"no such section: {', '.join(unknown)}")
    return chosen


def _variable(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not name or not sign:
        raise argparse.ArgumentTypeError("must be NAME=VALUE")
    return name, value


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a number from 1")
    return int(text)
