"""Each file of deploy/compose starts with the image, and mail takes the ways that its first lines promise.

The names of upstreams and inside servers are sinks here; the rest is as people copy it (tests/image/compose.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docker.models.networks import Network

from tests.image import engine
from tests.image.compose import FILES, PASSWORD, USER, Stack
from tests.image.engine import Engine
from tests.image.relay import Relay, someone
from tests.image.sink import Sink
from tests.image.stations import Client
from tests.image.tls import Certificates
from tests.image.waiting import until

NAMES = (
    "smtp.example.com",
    "smtp.example.org",
    "mail.example.com",
    "exchange.example.org",
    "relay.example.com",
)
TRIED = {
    "failover.yml",
    "inbound-and-outbound.yml",
    "inbound.yml",
    "load-balancer.yml",
    "per-sender-upstreams.yml",
    "smarthost.yml",
    "submission.yml",
    "two-networks.yml",
}
LOGIN = ("--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD)
DENIED = "Relay access denied"

StartStack = Callable[[str], Stack]
StartSink = Callable[..., Sink]


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates for the names in the files, by what the relays take for a public CA."""
    return Certificates.make(tmp_path_factory.mktemp("public"), NAMES)


@pytest.fixture
def start(docker: Engine, public: Certificates, tmp_path: Path) -> Iterator[StartStack]:
    started: list[Stack] = []

    def start_one(name: str) -> Stack:
        started.append(Stack(docker, name, tmp_path, public))
        return started[-1]

    yield start_one
    for stack in started:
        stack.remove()


@pytest.fixture
def sink_at(start: StartStack, docker: Engine, network: Network, public: Certificates) -> Iterator[StartSink]:
    """Starts a sink; it is gone before its network is."""
    started: list[Sink] = []
    reachable = network

    def start_one(network: Network, name: str, port: int = 25, user: str | None = None) -> Sink:
        # The tests ask it through a published port, which an internal network does not have.
        isolated = network.attrs["Internal"]
        sink = Sink(docker, reachable if isolated else network, public, name, port=port)
        started.append(sink)
        if isolated:
            network.connect(sink.container, aliases=[name])
        if user:
            sink.behave(require_tls=True, require_auth=True, user=user, password=PASSWORD)
        return sink

    yield start_one
    docker.remove(*(sink.container for sink in started))


@pytest.fixture
def client_on(start: StartStack, docker: Engine) -> Iterator[Callable[[Network], Client]]:
    started: list[Client] = []

    def start_one(network: Network) -> Client:
        started.append(Client(docker, network))
        return started[-1]

    yield start_one
    docker.remove(*(client.container for client in started))


ClientOn = Callable[[Network], Client]


def test_every_file_is_tried_here() -> None:
    """But for the one that test_scaling.py tries."""
    assert {file.name for file in FILES.glob("*.yml")} == TRIED | {"three-relays.yml"}


def test_smarthost(start: StartStack, sink_at: StartSink, client_on: ClientOn) -> None:
    stack = start("smarthost.yml")
    provider = sink_at(stack.network(), "smtp.example.com", 587, "user@example.com")
    stack.relay()
    _taken(client_on(stack.network()), "relay", to := someone())
    [message] = provider.mail(to)
    assert message.user == "user@example.com"
    assert message.tls


def test_submission(start: StartStack, sink_at: StartSink, client_on: ClientOn) -> None:
    stack = start("submission.yml")
    upstream = sink_at(stack.network(), "smtp.example.com")
    relay = stack.relay()
    assert relay.exec("test", "-s", "/var/lib/postern/tls/ca.pem").status == 0
    client = client_on(stack.network())
    for door in (("--port", "587", "--tls"), ("--port", "465", "--tls-on-connect")):
        _taken(client, "relay.example.com", to := someone(), *door, *LOGIN, sender="news@example.com")
        assert upstream.mail(to)[0].mail_from == "news@example.com"
        assert "Access denied" in client.swaks("relay", someone(), *door).output
        another = client.swaks("relay", someone(), *door, *LOGIN, sender="ceo@example.org")
        assert f"not owned by user {USER}" in another.output


def test_inbound(start: StartStack, sink_at: StartSink, client_on: ClientOn) -> None:
    stack = start("inbound.yml")
    first = sink_at(stack.network(), "mail.example.com")
    second = sink_at(stack.network(), "exchange.example.org")
    stack.relay()
    client = client_on(stack.network())
    for to, server, other in (
        ("ann@example.com", first, second),
        (someone("example.org"), second, first),
    ):
        _taken(client, "relay", to)
        assert server.mail(to)
        assert not other.received(to)
    assert "550 5.1.1" in client.swaks("relay", "nobody@example.com").output
    assert DENIED in client.swaks("relay", someone("example.net")).output
    _taken(client, "relay", "postmaster@mx.example.com")
    assert first.mail("ann@example.com", count=2)


def test_inbound_and_outbound(start: StartStack, sink_at: StartSink, client_on: ClientOn) -> None:
    stack = start("inbound-and-outbound.yml")
    inside = sink_at(stack.network(), "mail.example.com")
    provider = sink_at(stack.network(), "smtp.example.com", 587, "user@example.com")
    stack.relay()
    client = client_on(stack.network())
    _taken(client, "relay", to := someone("example.com"), sender=someone("example.net"))
    assert inside.mail(to)[0].user is None
    assert DENIED in client.swaks("relay", someone()).output
    _taken(client, "relay:587", to := someone())
    assert provider.mail(to)[0].user == "user@example.com"


def test_two_networks(start: StartStack, sink_at: StartSink, client_on: ClientOn) -> None:
    stack = start("two-networks.yml")
    outside, inside = stack.network("outside"), stack.network("inside")
    mailbox, world = sink_at(inside, "mail.example.com"), sink_at(outside, "world.example")
    stack.relay("inbound")
    stack.relay("outbound")

    stranger = client_on(outside)
    _taken(stranger, "10.25.1.2", to := someone("example.com"))
    assert mailbox.mail(to)[0].peer == "10.25.2.2"
    assert DENIED in stranger.swaks("10.25.1.2", someone()).output
    assert "Connection refused" in stranger.swaks("10.25.1.3", someone()).output

    # To the sink's address, as there is no DNS here that would lead to it.
    to = f"bob@[{engine.address(world.container, outside)}]"
    _taken(client_on(inside), "10.25.2.3", to)
    [message] = world.mail(to)
    assert message.peer == "10.25.1.3"
    assert message.helo == "out.example.com"


def test_per_sender_upstreams(start: StartStack, sink_at: StartSink, client_on: ClientOn) -> None:
    stack = start("per-sender-upstreams.yml")
    network = stack.network()
    upstreams = {
        someone("example.com"): sink_at(network, "smtp.example.com", 587, "relay@example.com"),
        someone("example.org"): sink_at(network, "smtp.example.org", 587, "relay@example.org"),
        "ceo@example.com": sink_at(network, "smtp.example.net"),
    }
    stack.relay()
    client = client_on(network)
    for sender, upstream in upstreams.items():
        _taken(client, "relay", to := someone(), sender=sender)
        assert [message.mail_from for message in upstream.mail(to)] == [sender]
        assert not [other for other in upstreams.values() if other is not upstream and other.received(to)]


def test_failover(start: StartStack, sink_at: StartSink, client_on: ClientOn, docker: Engine) -> None:
    stack = start("failover.yml")
    first = sink_at(stack.network(), "smtp.example.com", 587, "first@example.com")
    second = sink_at(stack.network(), "smtp.example.org", 587, "second@example.org")
    stack.relay()
    client = client_on(stack.network())
    _taken(client, "relay", to := someone())
    assert first.mail(to)[0].user == "first@example.com"
    first.container.kill()
    _taken(client, "relay", to := someone())
    assert second.mail(to)[0].user == "second@example.org"


def test_load_balancer(start: StartStack, sink_at: StartSink, client_on: ClientOn) -> None:
    stack = start("load-balancer.yml")
    upstream = sink_at(stack.network(), "smtp.example.com")
    relays = [stack.relay("relay-1"), stack.relay("relay-2")]
    client = client_on(stack.network())
    itself = engine.address(client.container, stack.network())
    starttls, first_byte = ("--port", "587", "--tls"), ("--port", "465", "--tls-on-connect")

    def both_serve() -> bool:
        client.swaks("balancer", someone(), *starttls, *LOGIN)
        return all(_served(relay, itself) for relay in relays)

    # It asks each relay once a second whether it is ready.
    until("the balancer has found both relays", both_serve, needs=[stack.services["balancer"]])
    for door in (starttls, first_byte):
        _taken(client, "balancer", to := someone(), *door, *LOGIN)
        assert f"[{itself}]" in upstream.mail(to)[0].header("Received")
    relays[0].container.kill()
    for _ in relays:
        _taken(client, "balancer", to := someone(), *starttls, *LOGIN)
        assert upstream.mail(to)


def _served(relay: Relay, client: str) -> bool:
    return f"[{client}], sasl_method=PLAIN, sasl_username={USER}" in relay.logs()


def _taken(client: Client, server: str, to: str, *options: str, sender: str = USER) -> None:
    sent = client.swaks(server, to, *options, sender=sender)
    assert sent.status == 0, sent.output
