"""The candidates: Postern, bare Postfix, and bare Postfix again, whose ratio to itself is the noise."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .containers import BANNER_SECONDS, POLL_SECONDS, BenchError, Lab, answers, greets, remove, until
from .station.agent import FAR_PORT, SINK_PORT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docker.models.containers import Container

HEALTH_PORT = 9154
NANOSECONDS = 10**9
LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Upstream:
    port: int
    tls: bool


NEAR = Upstream(SINK_PORT, tls=False)
FAR = Upstream(FAR_PORT, tls=True)


@dataclass(frozen=True)
class Candidate:
    name: str
    image: str
    ours: bool
    environment: Mapping[str, str] = field(default_factory=dict)
    config: Path | None = None
    """What is mounted at /config."""


def candidates(image: str, bare: str, environment: Mapping[str, str]) -> list[Candidate]:
    """Bare may be measured in our place too, which shows what the bench makes of equal images."""
    return [
        Candidate("bare", bare, ours=False),
        Candidate("control", bare, ours=False),
        Candidate("ours", image, ours=image != bare, environment=environment),
    ]


@dataclass(frozen=True)
class Relay:
    candidate: Candidate
    container: Container
    address: str

    def url(self, path: str) -> str:
        """Of what ours answers over HTTP."""
        return f"http://{self.address}:{HEALTH_PORT}{path}"


def launch(
    lab: Lab, candidate: Candidate, upstream: Upstream = NEAR, probe_seconds: int | None = None
) -> Relay:
    """Start a relay; it need not answer yet. Only ours has a health check, and it runs every `probe_seconds` or never."""
    how = _ours(lab, candidate, upstream, probe_seconds) if candidate.ours else _bare(upstream)
    container = lab.run(candidate.image, candidate.name, hostname=f"{candidate.name}.bench.test", **how)
    return Relay(candidate, container, lab.address(container))


def greeting(relay: Relay) -> None:
    """Wait for the 220. A relay that ended instead is named with the last it said."""
    began = looked = time.monotonic()
    while not greets(relay.address):
        now = time.monotonic()
        if now - began > BANNER_SECONDS:
            raise BenchError(f"{relay.candidate.image}: no greeting within {BANNER_SECONDS:.0f} s")
        # Asking the engine costs it CPU that the start being measured would miss, so it is asked rarely.
        if now - looked > LOOK_SECONDS:
            looked = now
            _complain_if_ended(relay)
        time.sleep(POLL_SECONDS)


def ready(relay: Relay) -> None:
    greeting(relay)
    if relay.candidate.ours:
        until("ours: /readyz", BANNER_SECONDS, lambda: answers(relay.url("/readyz")))


def discard(relays: list[Relay]) -> None:
    for relay in relays:
        remove(relay.container)


def _complain_if_ended(relay: Relay) -> None:
    relay.container.reload()
    if relay.container.status == "exited":
        said = relay.container.logs(tail=8).decode(errors="replace")
        raise BenchError(f"{relay.candidate.image} ended by itself; it said:\n{said}")


def _bare(upstream: Upstream) -> dict[str, Any]:
    if not upstream.tls:
        return {}
    change = f"postconf -e 'relayhost=[sink]:{upstream.port}' smtp_tls_security_level=encrypt"
    return {"command": ["sh", "-c", f"{change} && exec postfix start-fg"]}


def _ours(lab: Lab, candidate: Candidate, upstream: Upstream, probe_seconds: int | None) -> dict[str, Any]:
    environment = {
        "MYHOSTNAME": "ours.bench.test",
        "MYNETWORKS": f"127.0.0.0/8 {lab.subnet}",
        "RELAYHOST": f"[sink]:{upstream.port}",
    }
    if upstream.tls:
        environment["RELAYHOST_TLS_LEVEL"] = "encrypt"
    check = {"interval": probe_seconds * NANOSECONDS} if probe_seconds else {"test": ["NONE"]}
    mounts = {str(candidate.config): {"bind": "/config", "mode": "ro"}} if candidate.config else {}
    return {
        "environment": environment | dict(candidate.environment),
        "healthcheck": check,
        "volumes": mounts,
    }
