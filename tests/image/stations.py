"""Others on the relay's network: a client that is not the test host, a stranger, and a DNS server."""

from __future__ import annotations

from typing import Any

from docker.models.containers import Container
from docker.models.networks import Network

from tests.image import engine
from tests.image.engine import Engine, Result
from tests.image.waiting import until

STRANGER = "203.0.113.9"  # RFC 5737: nobody's address


class Client:
    """A container of the test tools; `swaks` is its mail program."""

    def __init__(self, docker: Engine, network: Network, **options: Any) -> None:
        self.container: Container = docker.start(engine.TOOLS, network, init=True, **options)

    def run(self, *command: str) -> Result:
        return engine.execute(self.container, list(command))

    def swaks(self, server: str, to: str, *options: str, sender: str = "app@example.com") -> Result:
        """The whole conversation; status 0 when the mail was taken."""
        return self.run(
            "swaks", "--server", server, "--to", to, "--from", sender, "--timeout", "20", *options
        )


class Stranger(Client):
    """A client with a public address, beside the relay in its network namespace.

    A routed network would be nearer to life, but engines differ in what they let through and in whose name.
    """

    def __init__(self, docker: Engine, relay: Container) -> None:
        self.container = docker.start(
            engine.TOOLS, network_mode=f"container:{relay.id}", cap_add=["NET_ADMIN"], init=True
        )
        added = self.run("ip", "address", "replace", f"{STRANGER}/32", "dev", "lo")
        assert added.status == 0, added.output

    def swaks(self, server: str, to: str, *options: str, sender: str = "app@example.com") -> Result:
        return super().swaks(server, to, "--local-interface", STRANGER, *options, sender=sender)


class NameServer:
    """dnsmasq with the given records, as its options (dnsmasq(8)), and no other server to ask."""

    def __init__(self, docker: Engine, network: Network, *records: str) -> None:
        command = [
            "dnsmasq",
            "--keep-in-foreground",
            "--no-hosts",
            "--no-resolv",
            "--log-facility=-",
            *records,
        ]
        # Not as root: dnsmasq would change its user, for which a container without rights has no capability.
        self.container: Container = docker.start(engine.TOOLS, network, command=command)
        until(
            "dnsmasq has started",
            lambda: b"started" in self.container.logs(),
            needs=[self.container],
        )
        self.address = engine.address(self.container, network)
