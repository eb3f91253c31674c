"""The relay under test: a container of the image, started as the README says, and what one asks of it."""

from __future__ import annotations

import re
import secrets
import smtplib
import urllib.request
from email.message import EmailMessage
from typing import Any

from docker.models.containers import Container
from docker.models.networks import Network

from tests.image import engine
from tests.image.engine import Engine, Result
from tests.image.waiting import until

# Every test runs the relay with no more rights than the README's examples give it.
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")
HARDENED: dict[str, Any] = {
    "read_only": True,
    "tmpfs": {"/run": ""},
    "cap_drop": ["ALL"],
    "cap_add": list(CAPABILITIES),
    "security_opt": ["no-new-privileges"],
}
# What OpenShift gives: a number that nobody has, in root's group, and no capability.
NONROOT: dict[str, Any] = {"user": "1000740000:0", "cap_add": []}
HOSTNAME = "relay.example.com"
# The tests speak from the host, which the relay sees as its gateway, through a port published on 127.0.0.1.
_ENVIRONMENT = {"MYHOSTNAME": HOSTNAME, "RELAYHOST": "[sink]:25", "TRUST_GATEWAY": "yes"}
_READY_SECONDS = 30.0

Environment = dict[str, str | None]


def someone(domain: str = "example.org") -> str:
    """An address that no other test uses."""
    return f"{secrets.token_hex(4)}@{domain}"


class Relay:
    """`env` is added to what every test needs; None takes a variable out.

    `ports` are the container's ports that the test host speaks to; further options are those of `docker run`.
    """

    def __init__(
        self,
        docker: Engine,
        network: Network | None,
        env: Environment | None = None,
        *,
        ports: tuple[int, ...] = (25,),
        aliases: tuple[str, ...] = (),
        **options: Any,
    ) -> None:
        given = {**_ENVIRONMENT, **(env or {})}
        self._health_port = int(given.get("HEALTH_PORT") or 9154)
        self.container: Container = docker.start(
            engine.RELAY,
            network,
            aliases,
            environment={name: value for name, value in given.items() if value is not None},
            ports={f"{port}/tcp": ("127.0.0.1", None) for port in (*ports, self._health_port)},
            # Only the tests of the health check itself need it run by the engine.
            **({"healthcheck": {"test": ["NONE"]}} | HARDENED | options),
        )

    def wait_until_ready(self, deadline: float = _READY_SECONDS) -> None:
        """By its own word, over HTTP: what it calls ready is what every test relies on."""
        told: list[str] = []

        def ready() -> bool:
            told[:] = [self.readiness()]
            return told[0].startswith("200 ") and "not asked yet" not in told[0]

        until("the relay is ready", ready, deadline=deadline, needs=[self.container], state=told.copy)

    def readiness(self) -> str:
        """The answer of /readyz: status and body."""
        url = f"http://127.0.0.1:{engine.published(self.container, self._health_port)}/readyz"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return f"{answer.status} {answer.read().decode()}"
        except urllib.error.HTTPError as error:
            return f"{error.code} {error.read().decode()}"
        except OSError as error:
            return str(error)

    def exit_code(self, deadline: float = 15.0) -> int:
        """Of a relay that ends by itself."""

        def ended() -> str | None:
            self.container.reload()
            return (
                str(self.container.attrs["State"]["ExitCode"]) if self.container.status == "exited" else None
            )

        return int(until("the relay has ended", ended, deadline=deadline))

    def exec(self, *command: str, env: dict[str, str] | None = None, user: str = "") -> Result:
        return engine.execute(self.container, list(command), env, user)

    def postconf(self, name: str) -> str:
        """What Postfix believes a parameter to be, variables in it expanded."""
        return self.exec("postconf", "-hx", name).output.strip()

    def services(self) -> dict[str, str]:
        """What Postfix believes master.cf to be: "name/type" to the command."""
        lines = [line.split(None, 7) for line in self.exec("postconf", "-M").lines]
        return {f"{fields[0]}/{fields[1]}": fields[7] for fields in lines}

    def queue(self) -> str:
        return self.exec("postern", "queue").output

    def logs(self) -> str:
        return self.container.logs().decode(errors="replace")

    def logged(self, pattern: str) -> str:
        """The first line of the log that holds a regular expression, once there is one."""
        return until(
            f"the relay's log has {pattern!r}",
            lambda: next((line for line in self.logs().splitlines() if re.search(pattern, line)), None),
            needs=[self.container],
        )

    def queued(self, pattern: str) -> str:
        """The queue as `postern queue` shows it, once it holds a regular expression."""
        return until(
            f"the queue shows {pattern!r}",
            lambda: shown if re.search(pattern, shown := self.queue()) else None,
            needs=[self.container],
            state=self.queue,
        )

    def smtp(self, port: int = 25) -> smtplib.SMTP:
        """A session from the test host, which the relay sees as its gateway."""
        return smtplib.SMTP("127.0.0.1", engine.published(self.container, port), "client.example", timeout=20)

    def send(self, to: str, sender: str = "app@example.com", *, port: int = 25) -> None:
        with self.smtp(port) as session:
            session.send_message(letter(to, sender), sender, [to])


def letter(to: str, sender: str = "app@example.com") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, "A test"
    message.set_content("One line.\n")
    return message
