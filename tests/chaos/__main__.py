"""`make chaos`: the long form. Exit status: 0 nothing was lost, no duplicate lacks a cause, and the relay was well at the end; 2 wrong options; else 1."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.run import Plan, chaos
from tests.chaos.sender import Load
from tests.image.engine import Engine, UnavailableError

# Half of the time the upstream is well: more of it would be another test, less of it would take hours.
_GAP = 6.0


def plan(arguments: list[str]) -> Plan:
    parser = argparse.ArgumentParser(prog="make chaos ARGS=...", description=__doc__, allow_abbrev=False)
    anything = random.SystemRandom().randrange(10_000)
    for name, default, text in (
        ("messages", 100_000, "accepted ones, at least"),
        ("rounds", 10, "of all events, at least"),
        ("stops", 3, "stops and starts in each round"),
        ("sessions", 8, "clients at the same time"),
        ("seed", anything, "of the order of the events: an earlier run's repeats it"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{text} (%(default)s)")
    chosen = parser.parse_args(arguments)
    return Plan(
        seed=chosen.seed,
        messages=chosen.messages,
        rounds=chosen.rounds,
        stops=chosen.stops,
        gap=_GAP,
        drain=900.0,
        load=Load(chosen.sessions, logins=True),
    )


def main() -> None:
    # SIGTERM would skip the removal of what the run started; as an exception it does not.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = plan(sys.argv[1:])
    try:
        docker = Engine()
    except UnavailableError as problem:
        sys.exit(f"chaos: {problem}")
    try:
        with tempfile.TemporaryDirectory() as directory:
            ledger = chaos(docker, Path(directory), chosen, say)
    finally:
        docker.remove_all()
    if ledger.told() < chosen.messages:
        # A message that came again after the relay knew that it was delivered would not be seen.
        sys.exit(f"chaos: the log tells of {ledger.told()} deliveries only")
    sys.exit(ledger.broken())


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


if __name__ == "__main__":
    main()
