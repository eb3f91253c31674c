"""The container engine as the tests use it: everything labelled, and removed whatever happens."""

from __future__ import annotations

import gc
import os
import secrets
import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.models.networks import Network
from docker.models.volumes import Volume
from docker.types import IPAMConfig, IPAMPool

RELAY = os.environ.get("POSTERN_IMAGE", "postern:latest")
SINK = "postern-sink:latest"
TOOLS = "postern-test-tools:latest"
CLIENTS = "postern-test-clients:latest"
SERVERS = "postern-test-servers:latest"
BROWSER = "postern-test-browser:latest"
PODMAN = "postern-test-podman:latest"
_CALLED = {
    RELAY: "relay",
    SINK: "sink",
    TOOLS: "tools",
    CLIENTS: "clients",
    SERVERS: "servers",
    BROWSER: "browser",
    PODMAN: "podman",
}
_BUILT_BY = {
    RELAY: "make image",
    SINK: "make sink-image",
    TOOLS: "make tools-image",
    CLIENTS: "make clients-image",
    SERVERS: "make servers-image",
    BROWSER: "make browser-image",
    PODMAN: "make podman-image",
}
# Without these no test runs; the others are asked for by the tests of one file.
_EVERYBODYS = (RELAY, SINK, TOOLS)

LABEL = "org.postern.test"
# The process that started it: what a killed test run left behind is found, and removed, by the next one.
_OWNER = "org.postern.test.owner"


class UnavailableError(Exception):
    """The tests cannot run on this machine as it is; the text says in one line what to do."""


@dataclass(frozen=True)
class Result:
    """What a command in a container printed, on both streams, and its exit status."""

    status: int
    output: str

    @property
    def lines(self) -> list[str]:
        return self.output.splitlines()


class Engine:
    def __init__(self) -> None:
        self.client = _connect()
        for image in _EVERYBODYS:
            _demand(self.client, image)
        self._remove_leftovers()
        self.labels = {LABEL: "1", _OWNER: f"{os.uname().nodename}/{os.getpid()}"}
        self.containers: list[Container] = []
        """Those alive or not yet removed, oldest first."""

    def start(
        self, image: str, network: Network | None = None, aliases: tuple[str, ...] = (), **options: Any
    ) -> Container:
        """`docker run -d`, on the network under further names."""
        if image not in _EVERYBODYS:
            _demand(self.client, image)
        if network is not None:
            endpoint = self.client.api.create_endpoint_config(aliases=list(aliases))
            options |= {"network": network.name, "networking_config": {network.name: endpoint}}
        name = f"postern-test-{_CALLED[image]}-{secrets.token_hex(3)}"
        container = self.client.containers.create(image, name=name, labels=self.labels, **options)
        self.containers.append(container)
        container.start()
        return container

    def adopt(self, project: str) -> dict[str, Container]:
        """The containers of a compose project, by service: as if they were started here. It gave them `labels`."""
        label = "com.docker.compose"
        found = self.client.containers.list(all=True, filters={"label": f"{label}.project={project}"})
        self.containers += found
        return {container.labels[f"{label}.service"]: container for container in found}

    def network(self, *, ipv6: bool = False) -> Network:
        """A bridge of its own; with IPv6, a range that nobody else has (RFC 4193)."""
        pool = IPAMPool(subnet=f"fd{secrets.token_hex(1)}:{secrets.token_hex(2)}:{secrets.token_hex(2)}::/64")
        created: Network = self.client.networks.create(
            f"postern-test-{secrets.token_hex(3)}",
            driver="bridge",
            labels=self.labels,
            enable_ipv6=ipv6,
            ipam=IPAMConfig(pool_configs=[pool]) if ipv6 else None,
        )
        return created

    def volume(self) -> Volume:
        return self.client.volumes.create(f"postern-test-{secrets.token_hex(3)}", labels=self.labels)

    def remove(self, *things: Container | Network | Volume) -> None:
        for thing in things:
            if isinstance(thing, Container) and thing in self.containers:
                self.containers.remove(thing)
            _remove(thing)

    def remove_with_all_on_it(self, network: Network) -> None:
        mine = {container.id: container for container in self.containers}
        network.reload()
        self.remove(*(mine[c.id] for c in network.containers if c.id in mine), network)

    def remove_all(self) -> None:
        self.containers.clear()
        self._remove_owned_by({self.labels[_OWNER]})

    def _remove_leftovers(self) -> None:
        """Of test runs of this machine whose process has ended."""
        node = os.uname().nodename
        owners = {str((c.labels or {}).get(_OWNER)) for c in self._all(LABEL) if isinstance(c, Container)}
        owners |= {
            str((n.attrs or {}).get("Labels", {}).get(_OWNER))
            for n in self._all(LABEL)
            if isinstance(n, Network)
        }
        gone = {
            owner for owner in owners if owner.startswith(f"{node}/") and not _alive(owner.rpartition("/")[2])
        }
        self._remove_owned_by(gone)

    def _remove_owned_by(self, owners: set[str]) -> None:
        for owner in owners:
            for thing in self._all(f"{_OWNER}={owner}"):
                _remove(thing)

    def _all(self, label: str) -> list[Container | Network | Volume]:
        """Containers first: the others cannot be removed while they are used."""
        mine: dict[str, str | list[str] | bool] = {"label": label}
        containers = self.client.containers.list(all=True, filters=mine, ignore_removed=True)
        volumes = self.client.volumes.list(filters=mine)
        return [*containers, *self.client.networks.list(filters=mine), *volumes]


def address(container: Container, network: Network, *, ipv6: bool = False) -> str:
    container.reload()
    endpoint = container.attrs["NetworkSettings"]["Networks"][network.name]
    return str(endpoint["GlobalIPv6Address" if ipv6 else "IPAddress"])


def published(container: Container, port: int) -> int:
    """The port of 127.0.0.1 behind which the container's is."""
    container.reload()
    bindings = container.attrs["NetworkSettings"]["Ports"].get(f"{port}/tcp")
    assert bindings, f"{container.name} does not publish port {port}"
    return int(bindings[0]["HostPort"])


def execute(
    container: Container, command: list[str], environment: dict[str, str] | None = None, user: str = ""
) -> Result:
    done = container.exec_run(command, environment=environment, user=user)
    assert isinstance(done.output, bytes)
    assert done.exit_code is not None
    return Result(done.exit_code, done.output.decode(errors="surrogateescape"))


def _connect() -> docker.DockerClient:
    try:
        client = docker.from_env(timeout=120)
        client.ping()
    except DockerException as error:
        reason = str(error)
    else:
        return client
    # The SDK leaves its socket open when it cannot connect, and pytest would report that instead.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    raise UnavailableError(f"no container engine answers; is it running, may you use it? ({reason})")


def _demand(client: docker.DockerClient, image: str) -> None:
    try:
        client.images.get(image)
    except ImageNotFound:
        raise UnavailableError(f"there is no image {image}: `{_BUILT_BY[image]}` builds it") from None


def _remove(thing: Container | Network | Volume) -> None:
    with suppress(NotFound, APIError):
        thing.remove(force=True, v=True) if isinstance(thing, Container) else thing.remove()


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
