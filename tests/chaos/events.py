"""What happens to the relay: strikes, which take a moment, and weather, which lasts. One of each at a time."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from docker.errors import APIError

from tests.chaos.ledger import Event
from tests.chaos.world import World
from tests.image import inside

# Where a server answers a client that does not log in.
STAGES = ("connect", "ehlo", "starttls", "mail", "rcpt", "data", "message")
DAEMONS = (
    *("keeper", "master", "health", "logins"),
    *("smtpd", "cleanup", "qmgr", "smtp", "tlsmgr", "tlsproxy", "scache", "postlogd", "trivial-rewrite"),
)
# With each of these ends a connection to the upstream, maybe between the sink's 250 and the relay's note of it.
_CARRIERS = ("keeper", "master", "smtp", "tlsproxy")
# All of them together lead back: mail is never as old as the five days after which it would be returned.
JUMPS = {"1 h forward": 3600, "1 h back": -3600, "1 day forward": 86400, "1 day back": -86400}


@dataclass(frozen=True)
class Trouble:
    kind: str
    begin: Callable[[World], None]
    end: Callable[[World], None] = field(default=lambda _world: None)
    detail: str = ""
    doubles: bool = False

    def happened(self, began: float, ended: float) -> Event:
        return Event(self.kind, self.detail, began, ended, self.doubles)


def strikes(dice: random.Random, stops: int) -> list[Trouble]:
    """One round, in random order: the container, each program, the clock, and so many orderly stops."""
    found = [Trouble("kill", World.kill_the_relay, World.start_again, "the container", doubles=True)]
    found += [
        Trouble("kill", _killer(name, dice), detail=name, doubles=name in _CARRIERS) for name in DAEMONS
    ]
    # tlsproxy(8) counts by the time of day how long it has heard nothing: forward, it takes every answer to be overdue.
    found += [
        Trouble("clock", _jump(seconds), detail=detail, doubles=seconds > 0)
        for detail, seconds in JUMPS.items()
    ]
    # Cuts nothing but what the upstream does not answer in time, which is the upstream's event.
    found += [Trouble("stop", World.stop_the_relay, World.start_again) for _ in range(stops)]
    return dice.sample(found, len(found))


def weather(dice: random.Random) -> list[Trouble]:
    """One round, in random order: the disk, the names, and all that an upstream can do."""
    found = [
        Trouble("disk", lambda world: world.fill_the_disk(1_000_000), World.empty_the_disk, "nearly full"),
        Trouble("disk", lambda world: world.fill_the_disk(0), World.empty_the_disk, "full"),
        Trouble("names", World.kill_the_resolver, World.revive_the_resolver, "not resolved"),
        Trouble("upstream", World.kill_the_sink, World.restart_the_sink, "down", doubles=True),
        _upstream("drops after DATA, has it", doubles=True, drop=["message"], record_dropped=True),
        _upstream("drops after DATA, has it not", doubles=True, drop=["message"]),
        _upstream("hangs after DATA", doubles=True, hang=["message"]),
    ]
    found += [_upstream(f"drops at {stage}", drop=[stage]) for stage in dice.sample(STAGES[:-1], 2)]
    found += [_upstream(f"hangs at {stage}", hang=[stage]) for stage in dice.sample(STAGES[:-1], 2)]
    found += [_upstream(f"says 4xx at {stage}", replies={stage: "451 4.3.0 later"}) for stage in STAGES]
    return dice.sample(found, len(found))


def _upstream(detail: str, *, doubles: bool = False, **behaviour: object) -> Trouble:
    return Trouble(
        "upstream",
        lambda world: world.sink.behave(**behaviour),
        lambda world: world.sink.restore(),
        detail,
        doubles,
    )


def _jump(seconds: int) -> Callable[[World], None]:
    return lambda world: world.set_the_clock(seconds)


def _killer(name: str, dice: random.Random) -> Callable[[World], None]:
    """One of its processes at random; which may just have ended, as may the container."""

    def kill(world: World) -> None:
        with suppress(APIError, AssertionError):
            # The kernel keeps 15 characters of a name.
            found = inside.named(world.relay, name[:15])
            if found:
                inside.signal(world.relay, "KILL", [dice.choice(found)])

    return kill
