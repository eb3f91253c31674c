"""The far side, as a container: what it received, and how it is told to misbehave. The program is tests/sink."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from docker.models.containers import Container
from docker.models.networks import Network

from tests.image import engine, tls
from tests.image.waiting import until

SMTP, SMTPS = 25, 465
_HTTP = 8025

Json = Any


@dataclass
class Message:
    """As the sink received it."""

    mail_from: str
    rcpt_tos: list[str]
    headers: list[list[str]]
    raw: bytes
    peer: str
    helo: str
    tls: str | None
    user: str | None
    rest: dict[str, Json] = field(repr=False, default_factory=dict)

    def header(self, name: str) -> str:
        return next(value for key, value in self.headers if key.lower() == name.lower())


class Sink:
    def __init__(
        self,
        docker: engine.Engine,
        network: Network,
        certificates: tls.Certificates | None,
        *names: str,
        port: int = SMTP,
        journal: Path | None = None,
    ) -> None:
        """With a `journal`, a directory, each message is a line of `received` in it, and nothing is kept in memory."""
        environment = {"SINK_SMTP_PORT": str(port), "SINK_SMTPS_PORT": str(SMTPS)}
        volumes: dict[str, dict[str, str]] = {}
        if journal:
            environment["SINK_JOURNAL"] = "/journal/received"
            volumes[str(journal)] = {"bind": "/journal", "mode": "rw"}
        if certificates:
            environment |= {
                "SINK_TLS_CERT": f"{tls.INSIDE}/sink.pem",
                "SINK_TLS_KEY": f"{tls.INSIDE}/sink.key",
            }
            volumes |= certificates.mount
        self.container: Container = docker.start(
            engine.SINK,
            network,
            names,
            environment=environment,
            volumes=volumes,
            sysctls={"net.ipv4.ip_unprivileged_port_start": "0"},
            ports={f"{_HTTP}/tcp": ("127.0.0.1", None)},
            # The tests ask it themselves, and each check of the engine's is a start of Python.
            healthcheck={"test": ["NONE"]},
        )
        self.wait_until_it_answers()

    def wait_until_it_answers(self) -> None:
        """After each start: the engine may publish it at another port than before."""
        self._url = f"http://127.0.0.1:{engine.published(self.container, _HTTP)}"
        until("the sink answers over HTTP", self._answers, needs=[self.container])

    def behave(self, **changes: Json) -> None:
        """Change what it does with clients, for the rest of the test; the fields are in tests/sink/behaviour.py."""
        self._ask("PUT", "/behaviour", changes)

    def restore(self) -> None:
        self._ask("DELETE", "/behaviour")
        self._ask("DELETE", "/messages")

    def mail(self, to: str, *, count: int = 1, needs: list[Container] | None = None) -> list[Message]:
        """The messages to an address, once there are `count` of them."""
        until(
            f"the sink has {count} message(s) to {to}",
            lambda: len(self.received(to)) >= count,
            needs=[self.container, *(needs or [])],
            state=lambda: f"it has {len(self.received(to))}",
        )
        return self.received(to)

    def received(self, to: str) -> list[Message]:
        """The messages to an address so far."""
        return [self._message(shown) for shown in self._ask("GET", f"/messages?to={quote(to)}")]

    def sessions(self) -> list[dict[str, Json]]:
        found: list[dict[str, Json]] = self._ask("GET", "/sessions")
        return found

    def commands(self) -> list[str]:
        """Every command of every client since the test began."""
        return [command["command"] for session in self.sessions() for command in session["commands"]]

    def logins(self) -> list[tuple[str | None, str | None]]:
        """Every login and password that a client gave, accepted or not."""
        return [
            (login["login"], login["password"]) for session in self.sessions() for login in session["auth"]
        ]

    def _message(self, shown: dict[str, Json]) -> Message:
        with urllib.request.urlopen(f"{self._url}/messages/{shown['id']}/raw", timeout=10) as answer:
            raw = answer.read()
        wanted = ("mail_from", "rcpt_tos", "headers", "peer", "helo", "tls", "user")
        return Message(**{name: shown[name] for name in wanted}, raw=raw, rest=shown)

    def _answers(self) -> bool:
        try:
            return bool(self._ask("GET", "/health"))
        except OSError:
            return False

    def _ask(self, method: str, path: str, body: Json = None) -> Json:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")
