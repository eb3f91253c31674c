"""Row I7: one relay between two networks, with a door in each, and an address of its own for what leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import pytest
from docker.models.containers import Container
from docker.models.networks import Network

from tests.image import engine
from tests.image.engine import Engine
from tests.image.relay import HARDENED, HOSTNAME, someone
from tests.image.sink import Sink
from tests.image.stations import Client
from tests.image.tls import Certificates
from tests.image.waiting import until


@dataclass
class Host:
    """A machine with a cable to each network; `source` is its second address outside, which the routes never choose."""

    container: Container
    outside: str
    inside: str
    source: str


@pytest.fixture(scope="module")
def inner(docker: Engine) -> Iterator[Network]:
    """The network that the outside has no way into."""
    made = docker.network()
    yield made
    docker.remove_with_all_on_it(made)


@pytest.fixture(scope="module")
def host(docker: Engine, network: Network, inner: Network) -> Host:
    container = docker.start(engine.TOOLS, network, cap_add=["NET_ADMIN"], init=True)
    inner.connect(container)
    outside = engine.address(container, network)
    # The engine gives addresses from the other end.
    network.reload()
    subnet = ip_network((network.attrs or {})["IPAM"]["Config"][0]["Subnet"])
    source = str(subnet.broadcast_address - 1)
    added = engine.execute(container, ["ip", "address", "add", f"{source}/{subnet.prefixlen}", "dev", "eth0"])
    assert added.status == 0, added.output
    return Host(container, outside, engine.address(container, inner), source)


@pytest.fixture(scope="module")
def mailbox(docker: Engine, inner: Network, certificates: Certificates) -> Sink:
    """The server inside, which only that network reaches."""
    return Sink(docker, inner, certificates, "mailbox")


@pytest.fixture(scope="module")
def colleague(docker: Engine, inner: Network) -> Client:
    """Somebody on the inside network."""
    return Client(docker, inner)


@pytest.fixture(scope="module")
def relay(docker: Engine, host: Host, mailbox: Sink, network: Network, inner: Network) -> Iterator[Container]:
    assert mailbox
    inner.reload()
    subnet = (inner.attrs or {})["IPAM"]["Config"][0]["Subnet"]
    environment: dict[str, Any] = {
        "MYHOSTNAME": HOSTNAME,
        "LISTEN": f"{host.outside}:25:inbound {host.inside}:25:relay",
        "MYNETWORKS": f"127.0.0.0/8 {subnet}",
        "RELAYHOST": "[sink]:25",
        "RELAY_DOMAINS": "example.com [mailbox]:25",
        "SMTP_BIND_ADDRESS": host.source,
    }
    # In the host's own network namespace, as in a Pod.
    options = HARDENED | {"network_mode": f"container:{host.container.id}", "healthcheck": {"test": ["NONE"]}}
    made = docker.start(engine.RELAY, environment=environment, **options)
    until(
        "the relay is ready",
        lambda: engine.execute(made, ["postern", "health"]).status == 0,
        needs=[made],
        state=lambda: engine.execute(made, ["postern", "health"]).output,
    )
    yield made
    docker.remove(made)


def test_mail_leaves_from_the_address_that_was_chosen(
    relay: Container, host: Host, colleague: Client, sink: Sink
) -> None:
    assert relay
    sent = colleague.swaks(host.inside, to := someone())
    assert sent.status == 0, sent.output
    [message] = sink.mail(to)
    assert (message.peer, message.helo) == (host.source, HOSTNAME)


def test_mail_for_the_inside_leaves_by_its_own_network(
    relay: Container, host: Host, client: Client, mailbox: Sink
) -> None:
    """The server there could not answer the other address."""
    assert relay
    sent = client.swaks(host.outside, to := someone("example.com"))
    assert sent.status == 0, sent.output
    assert mailbox.mail(to)[0].peer == host.inside


def test_each_network_has_its_own_door(
    relay: Container, host: Host, client: Client, colleague: Client
) -> None:
    assert relay
    denied = f"554 5.7.1 <{(to := someone())}>: Relay access denied"
    assert denied in client.swaks(host.outside, to).output
    assert "Connection refused" in client.swaks(host.source, to).output
    assert denied not in colleague.swaks(host.inside, to, "--quit-after", "RCPT").output
