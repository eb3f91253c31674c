"""What a long table costs: relays that know a million recipients beside relays that know a thousand.

A thousand, and not one: smtpd remembers the ways of a hundred recipients, and would be asked for nothing else.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .containers import BANNER_SECONDS, BenchError, PeakMemory, takes, until
from .measure import LOAD_SECONDS, MB, Samples, memory, running, say, settle
from .relays import NEAR, Candidate, Relay, discard, launch, ready
from .station.recipients import DOMAIN, address, scattered
from .station.source import SENDER
from .stats import rotated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .containers import Lab
    from .control import Station
    from .plan import Options

FEW, MILLION = 1_000, 1_000_000
COUNTS = {"few": FEW, "control": FEW, "million": MILLION}
LIST = "relay_recipients"
FILE = f"/var/lib/postern/tables/{LIST}.lmdb"
# Every question is a connection, which costs the relay CPU that the compiler would miss.
ASK_SECONDS = 0.05


def a_million_recipients(lab: Lab, station: Station, chosen: Options, samples: Samples) -> None:
    plan = chosen.plan
    with tempfile.TemporaryDirectory(prefix="postern-bench-") as scratch:
        who = [_candidate(chosen, name, Path(scratch)) for name in COUNTS]
        for turn in range(plan.table_starts):
            say(f"start with recipients, turn {turn + 1} of {plan.table_starts}")
            _lives(lab, rotated(who, turn), samples)
        with running(lab, who, NEAR) as relays:
            _lookups(station, relays, plan.lookup_rows, plan.lookups, samples)
            for relay in relays:
                memory("asked-memory", relay, samples)
            for turn in range(plan.table_changes):
                say(f"change of recipients, turn {turn + 1} of {plan.table_changes}")
                for relay in rotated(relays, turn):
                    _changes(relay, turn, samples)
            for relay in relays:
                settle(relay)
                memory("changed-memory", relay, samples)
                samples.add("changed-size", relay.candidate, _size(relay))


def _candidate(chosen: Options, name: str, scratch: Path) -> Candidate:
    directory = scratch / name
    directory.mkdir()
    # TemporaryDirectory's own mode would shut out the relay where its root is not the host's.
    scratch.chmod(0o755)
    write_list(directory, COUNTS[name])
    environment = {**chosen.environment, "RELAY_DOMAINS": f"{DOMAIN} [sink]:25"}
    return Candidate(name, chosen.image, ours=True, environment=environment, config=directory)


def write_list(directory: Path, count: int, generation: str = "user", newcomer: str = "") -> None:
    """As many recipients in no order, and one more. The file is replaced, as editors do it."""
    new = directory / f".{LIST}.new"
    names = [address(number, generation) for number in scattered(count, 0, count)]
    new.write_text("".join(f"{name}\n" for name in [*names, newcomer] if name))
    new.rename(directory / LIST)


def _lives(lab: Lab, who: Sequence[Candidate], samples: Samples) -> None:
    relays: list[Relay] = []
    try:
        for candidate in who:
            began = time.monotonic()
            relays.append(relay := launch(lab, candidate))
            with PeakMemory(relay.container) as peak:
                ready(relay)
            samples.add("list-ready", candidate, time.monotonic() - began)
            _add_peak("list-peak", relay, peak, samples)
            samples.add("list-size", candidate, _size(relay))
        for relay in relays:
            settle(relay)
            memory("list-memory", relay, samples)
    finally:
        discard(relays)


def _lookups(station: Station, relays: Sequence[Relay], rows: int, count: int, samples: Samples) -> None:
    """Microseconds for each RCPT. The first row reads the table from the disk, and is not measured."""
    for row in range(rows + 1):
        say(f"recipients asked for, row {row} of {rows}")
        for relay in rotated(relays, row):
            population = COUNTS[relay.candidate.name]
            try:
                took = station.ask(
                    "recipients",
                    host=relay.address,
                    population=population,
                    begin=row * count,
                    count=count,
                    seconds=LOAD_SECONDS,
                )
            except BenchError as problem:
                raise BenchError(f"{relay.candidate.image}: {problem}") from None
            if row:
                samples.add("lookup", relay.candidate, 1e6 * took["seconds"] / count)


def _changes(relay: Relay, turn: int, samples: Samples) -> None:
    """One recipient more, then all of them others: until the newest is taken."""
    before, after = ("user", "other") if turn % 2 == 0 else ("other", "user")
    for metric, generation in (("one", before), ("all", after)):
        newcomer = f"{metric}-{turn}@{DOMAIN}"
        assert relay.candidate.config is not None
        with PeakMemory(relay.container) as peak:
            write_list(relay.candidate.config, COUNTS[relay.candidate.name], generation, newcomer)
            began = time.monotonic()
            until(
                f"{newcomer} is taken",
                BANNER_SECONDS,
                lambda newcomer=newcomer: takes(relay.address, SENDER, newcomer),  # type: ignore[misc]
                ASK_SECONDS,
            )
            samples.add(f"{metric}-effect", relay.candidate, time.monotonic() - began)
        _add_peak(f"{metric}-peak", relay, peak, samples)


def _add_peak(metric: str, relay: Relay, peak: PeakMemory, samples: Samples) -> None:
    if peak.bytes is not None:
        samples.add(metric, relay.candidate, peak.bytes / MB)


def _size(relay: Relay) -> float:
    status, output = relay.container.exec_run(["stat", "-c", "%s", FILE])
    if status or not isinstance(output, bytes):
        raise BenchError(f"{relay.candidate.image} has no {FILE}")
    return int(output) / MB
