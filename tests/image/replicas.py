"""Several relays behind one name: the programs that send to them, and what their upstream saw, by its log."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from docker.models.containers import Container
from docker.models.networks import Network

from tests.chaos.ledger import Attempt, Outcome
from tests.image import engine, spread
from tests.image.engine import Engine
from tests.image.sink import Sink

_TESTS = Path(__file__).parents[1]
_NEEDED = ("chaos/ledger.py", "chaos/sender.py", "image/spread.py")
_INSIDE = "/programs"


class Programs:
    """tests/image/spread.py in a container on the relays' network; `directory` is empty, and of this machine."""

    def __init__(self, docker: Engine, network: Network, directory: Path, name: str, count: int) -> None:
        for module in _NEEDED:
            (directory / "tests" / module).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(_TESTS / module, directory / "tests" / module)
        self.container: Container = docker.start(
            engine.SINK,
            network,
            entrypoint=["python3", "-m", spread.__name__],
            command=[name, str(count)],
            working_dir=_INSIDE,
            volumes={str(directory): {"bind": _INSIDE, "mode": "ro"}},
            # Else it might not read what is this user's.
            user="root",
            healthcheck={"test": ["NONE"]},
        )

    def end(self) -> None:
        """Each finishes its session."""
        engine.execute(self.container, ["touch", str(spread.ENOUGH)])
        self.container.wait(timeout=60)

    def attempts(self) -> list[tuple[Attempt, str]]:
        """Each with the address of the relay."""
        lines = self.container.logs().decode().splitlines(keepends=True)
        return [_attempt(json.loads(line)) for line in lines if line.endswith("\n")]

    def accepted(self) -> list[tuple[Attempt, str]]:
        return [(attempt, at) for attempt, at in self.attempts() if attempt.outcome is Outcome.ACCEPTED]


def _attempt(line: dict[str, Any]) -> tuple[Attempt, str]:
    attempt = Attempt(line["message"], Outcome[line["outcome"]], line["moment"], line["answer"])
    return attempt, line["relay"]


def arrivals(sink: Sink) -> Iterator[tuple[str, float]]:
    """Each message, and when; in their order."""
    for event in _events(sink, "message"):
        [to] = event["rcpt_tos"]
        yield to.partition("@")[0], datetime.fromisoformat(event["time"]).timestamp()


def most_at_once(sink: Sink, killed: str, moment: float) -> int:
    """Messages in the making, each from its MAIL to its end. Those of a relay that was killed end with it.

    Not connections: the end of one, and the next one that its relay then makes, may come to the sink's notice in either
    order. But it writes a message's end down before the relay can know of it.
    """
    peers: dict[int, str] = {}
    making: set[int] = set()
    most = 0
    for event in _events(sink, "connect", "command", "message", "disconnect"):
        session = event["session"]
        if datetime.fromisoformat(event["time"]).timestamp() > moment:
            making = {each for each in making if peers[each] != killed}
            # Its successor may have its address.
            moment = float("inf")
        if event["event"] == "connect":
            peers[session] = event["peer"]
        elif event["event"] in ("message", "disconnect") or event["command"] == "RSET":
            making.discard(session)
        elif event["command"] == "MAIL":
            making.add(session)
        most = max(most, len(making))
    return most


def _events(sink: Sink, *kinds: str) -> Iterator[dict[str, Any]]:
    for line in sink.container.logs().decode().splitlines():
        if any(f'"event": "{kind}"' in line for kind in kinds):
            yield json.loads(line)
