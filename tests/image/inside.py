"""What goes on inside a container of the image: its processes and the ports that are open."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tests.image.relay import Relay
from tests.image.waiting import until

_FIELDS = ("Name", "State", "Pid", "PPid", "Uid")
_LISTENING = "0A"  # linux/include/net/tcp_states.h


@dataclass(frozen=True)
class Process:
    pid: int
    name: str
    parent: int
    uid: int
    state: str

    @property
    def zombie(self) -> bool:
        return self.state == "Z"


def processes(relay: Relay) -> list[Process]:
    """All of the relay's own, without the command that asks and whatever else the engine put beside it."""
    pattern = f"^({'|'.join(_FIELDS)}):"
    shown = relay.exec("sh", "-c", f"grep -shE '{pattern}' /proc/[0-9]*/status").lines
    found = {process.pid: process for process in _parsed(shown)}
    return [process for process in found.values() if _descends_from_first(process, found)]


def named(relay: Relay, *names: str) -> list[Process]:
    """Those that do something: a zombie is nobody."""
    return [process for process in processes(relay) if process.name in names and not process.zombie]


def the(relay: Relay, name: str) -> Process:
    """The one process of that name: a child has its parent's until it has become another program."""

    def alone() -> Process | None:
        found = named(relay, name)
        return found[0] if len(found) == 1 else None

    return until(f"there is one {name}", alone, needs=[relay.container], state=lambda: processes(relay))


def signal(relay: Relay, name: str, victims: Iterable[Process]) -> None:
    pids = " ".join(str(process.pid) for process in victims)
    result = relay.exec("sh", "-c", f"kill -{name} {pids}")
    assert result.status == 0, result.output


def replaced(relay: Relay, before: Process) -> Process:
    """The process that took the place of one that was killed, once there is one."""
    return until(
        f"there is a new {before.name}",
        lambda: next((p for p in named(relay, before.name) if p.pid != before.pid), None),
        needs=[relay.container],
    )


def listening(relay: Relay) -> set[int]:
    """The TCP ports that another machine can reach."""
    rows = [line.split() for line in relay.exec("sh", "-c", "cat /proc/net/tcp /proc/net/tcp6").lines]
    open_at = [fields[1].split(":") for fields in rows if fields[3] == _LISTENING]
    # Docker's own name server is in every container's network namespace, on a loopback address.
    return {int(port, 16) for address, port in open_at if not re.fullmatch(r"[0-9A-F]{6}7F", address)}


def _parsed(lines: list[str]) -> Iterable[Process]:
    told: dict[str, str] = {}
    for line in lines:
        field, _, value = line.partition(":")
        told[field] = value.strip()
        if field == "Uid":
            yield Process(
                pid=int(told["Pid"]),
                name=told["Name"],
                parent=int(told["PPid"]),
                uid=int(value.split()[1]),
                state=told["State"][:1],
            )


def _descends_from_first(process: Process, known: dict[int, Process]) -> bool:
    """What `docker exec` starts has no parent in the container."""
    while process.pid != 1:
        if process.parent not in known:
            return False
        process = known[process.parent]
    return True
