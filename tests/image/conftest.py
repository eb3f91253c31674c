"""Fixtures for tests of the image.

Prefer `relay`, which is shared by all tests of a worker and has nothing special: every `start_relay` starts a
container. A test that lets the sink misbehave needs a relay of its own, as Postfix would hold the shared one's later
mail back. The sink is one container, too, and forgets what it was told and what it received after each test.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container
from docker.models.networks import Network

from tests.image.engine import Engine, UnavailableError
from tests.image.relay import HARDENED, NONROOT, Environment, Relay
from tests.image.sink import Sink
from tests.image.stations import Client, NameServer, Stranger
from tests.image.tls import OTHER_NAME, SINK_NAMES, Certificates

StartRelay = Callable[..., Relay]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--nonroot", action="store_true", help="start each relay as an ordinary user")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "root: claims what only root can do, or says of it; not for --nonroot")
    if config.getoption("--nonroot"):
        HARDENED.update(NONROOT)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--nonroot"):
        return
    of_root = [item for item in items if item.get_closest_marker("root")]
    config.hook.pytest_deselected(items=of_root)
    items[:] = [item for item in items if item not in of_root]


_ENGINE = pytest.StashKey[Engine]()
_BEGAN = pytest.StashKey[float]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[_BEGAN] = time.time()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure is otherwise just a missing mail: show what every container of the test said meanwhile."""
    report = yield
    docker = item.config.stash.get(_ENGINE, None)
    if report.failed and docker is not None:
        for container in docker.containers:
            log = _log(container, since=item.stash[_BEGAN])
            if log:
                report.sections.append((f"log of {container.name}", log))
    return report


def _log(container: Container, since: float) -> str:
    # The engine takes whole seconds: a line of the test before may be among them.
    return container.logs(since=int(since)).decode(errors="replace")


@pytest.fixture(scope="session")
def tmp_path_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.TempPathFactory]:
    """What is mounted into a container is for its users, too. tmp_path is made by this one."""
    make = tmp_path_factory.mktemp

    def mktemp(name: str, *, numbered: bool = True) -> Path:
        made = make(name, numbered)
        made.chmod(0o755)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tmp_path_factory, "mktemp", mktemp)
        yield tmp_path_factory


@pytest.fixture(scope="session")
def docker(pytestconfig: pytest.Config) -> Iterator[Engine]:
    try:
        made = Engine()
    except UnavailableError as error:
        pytest.fail(str(error), pytrace=False)
    pytestconfig.stash[_ENGINE] = made
    yield made
    made.remove_all()


@pytest.fixture(scope="session")
def network(docker: Engine) -> Network:
    return docker.network()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def _sink(docker: Engine, network: Network, certificates: Certificates) -> Sink:
    return Sink(docker, network, certificates, *SINK_NAMES, OTHER_NAME)


@pytest.fixture
def sink(_sink: Sink) -> Iterator[Sink]:
    """The upstream: STARTTLS on port 25, TLS on 465. Friendly, until the test says otherwise."""
    yield _sink
    _sink.restore()


@pytest.fixture(scope="session")
def _inside(docker: Engine, network: Network, certificates: Certificates) -> Sink:
    return Sink(docker, network, certificates, "inside")


@pytest.fixture
def inside(_inside: Sink) -> Iterator[Sink]:
    """The server behind the relay, which mail from outside is for; its certificate is for another name."""
    yield _inside
    _inside.restore()


@pytest.fixture(scope="session")
def _relay(docker: Engine, network: Network, _sink: Sink, certificates: Certificates) -> Relay:
    started = Relay(docker, network, ports=(25, 587), aliases=("relay",), volumes=certificates.mount)
    started.wait_until_ready()
    return started


@pytest.fixture
def relay(_relay: Relay, sink: Sink) -> Relay:
    """A relay that sends to the sink, and trusts its networks and the test host."""
    return _relay


@pytest.fixture
def start_relay(docker: Engine, network: Network, sink: Sink) -> Iterator[StartRelay]:
    """Starts a relay for one test; see `Relay`. `wait=False` for those that must not become ready."""
    yield from _starter(docker, network)


@pytest.fixture(scope="module")
def start_shared_relay(docker: Engine, network: Network, _sink: Sink) -> Iterator[StartRelay]:
    """The same for the tests of one file: for fixtures that several claims about one configuration share."""
    yield from _starter(docker, network)


def _starter(docker: Engine, network: Network) -> Iterator[StartRelay]:
    started: list[Relay] = []

    def start(env: Environment | None = None, *, wait: bool = True, **options: Any) -> Relay:
        made = Relay(docker, options.pop("network", network), env, **options)
        started.append(made)
        if wait:
            made.wait_until_ready()
        return made

    yield start
    docker.remove(*(made.container for made in started))


@pytest.fixture(scope="session")
def client(docker: Engine, network: Network) -> Client:
    """A program on the relay's network."""
    return Client(docker, network)


@pytest.fixture
def stranger_to(docker: Engine) -> Iterator[Callable[[Relay], Stranger]]:
    """A client with a public address that reaches the given relay."""
    made: list[Stranger] = []

    def reach(relay: Relay) -> Stranger:
        made.append(Stranger(docker, relay.container))
        return made[-1]

    yield reach
    docker.remove(*(each.container for each in made))


@pytest.fixture
def start_names(docker: Engine, network: Network) -> Iterator[Callable[..., NameServer]]:
    """Starts a DNS server with the given records (dnsmasq's options)."""
    made: list[NameServer] = []

    def start(*records: str) -> NameServer:
        made.append(NameServer(docker, network, *records))
        return made[-1]

    yield start
    docker.remove(*(each.container for each in made))


@pytest.fixture(scope="session")
def shell(docker: Engine, network: Network, certificates: Certificates) -> Relay:
    """The image with nothing running in it: for the verbs that judge an environment, each given with the command."""
    env: Environment = {"MYHOSTNAME": None, "RELAYHOST": None, "TRUST_GATEWAY": None}
    return Relay(docker, network, env, command=["sleep", "infinity"], volumes=certificates.mount, ports=())
