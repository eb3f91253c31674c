"""The bench's containers and its network: started with a label, removed at the end whatever happened."""

from __future__ import annotations

import contextlib
import os
import secrets
import smtplib
import socket
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from .engine_stats import anonymous_now, memory_stat_file, process_ticks, pss_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from types import TracebackType

    from docker.models.containers import Container

LABEL = "org.postern.test"
RUN_LABEL = "org.postern.bench"
BANNER_SECONDS = 60.0
POLL_SECONDS = 0.002
PEAK_SECONDS = 0.005


class BenchError(Exception):
    """The bench cannot go on; the text says why in one line."""


class Lab:
    """One run's network and everything on it. Leaving the `with` block removes both, and the anonymous volumes."""

    def __init__(self) -> None:
        self.engine = connect()
        self._labels = {LABEL: "1", RUN_LABEL: secrets.token_hex(4)}

    def __enter__(self) -> Self:
        name = f"postern-bench-{self._labels[RUN_LABEL]}"
        self._network = self.engine.networks.create(name, driver="bridge", labels=self._labels)
        self._network.reload()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        mine: dict[str, str | list[str] | bool] = {"label": f"{RUN_LABEL}={self._labels[RUN_LABEL]}"}
        for container in self.engine.containers.list(all=True, filters=mine):
            remove(container)
        with contextlib.suppress(APIError):
            self._network.remove()

    @property
    def subnet(self) -> str:
        configured = (self._network.attrs or {})["IPAM"]["Config"]
        return next(str(entry["Subnet"]) for entry in configured if "." in entry["Subnet"])

    def run(self, image: str, name: str, **how: Any) -> Container:
        """`docker run -d`; returns when the engine says that the container runs."""
        return self.engine.containers.run(
            image,
            detach=True,
            name=f"postern-bench-{name}-{secrets.token_hex(3)}",
            network=self._network.name,
            labels=self._labels,
            **how,
        )

    def alias(self, container: Container, name: str) -> None:
        self._network.disconnect(container)
        self._network.connect(container, aliases=[name])

    def address(self, container: Container) -> str:
        container.reload()
        return str(container.attrs["NetworkSettings"]["Networks"][self._network.name]["IPAddress"])


def connect() -> docker.DockerClient:
    try:
        engine = docker.from_env(timeout=120)
        engine.ping()
    except DockerException as problem:
        raise BenchError(f"no Docker engine to be reached: {problem}") from None
    return engine


def build(engine: docker.DockerClient, tag: str, dockerfile: str) -> None:
    here = Path(__file__).parent
    engine.images.build(path=str(here), dockerfile=dockerfile, tag=tag, rm=True, labels={LABEL: "1"})


def image_bytes(engine: docker.DockerClient, name: str) -> int:
    try:
        return int((engine.images.get(name).attrs or {})["Size"])
    except ImageNotFound:
        raise BenchError(f"there is no image {name}; `make image` builds it") from None


def remove(container: Container) -> None:
    with contextlib.suppress(NotFound):
        container.remove(force=True, v=True)


def stats(container: Container) -> dict[str, Any]:
    """Ask for what the engine reads from the container's control groups, at once instead of after its usual second."""
    client = container.client
    assert client is not None
    answer: dict[str, Any] = client.api.stats(str(container.id), stream=False, one_shot=True)
    return answer


def processes(container: Container, names: Collection[str] = ()) -> list[Path]:
    """Where the kernel tells of the container's processes, or of those with these names: none if the engine is elsewhere."""
    table = container.top()
    column = table["Titles"].index("PID")
    found = [Path(f"/proc/{process[column]}") for process in table["Processes"]]
    return [process for process in found if not names or _name(process) in names]


def _name(process: Path) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return (process / "comm").read_text().strip()
    return ""


def proportional_bytes(these: Sequence[Path]) -> int | None:
    """Sum of PSS over processes, or None where /proc is not ours to read (not root, or the engine is elsewhere)."""
    total = 0
    for process in these:
        try:
            total += pss_bytes((process / "smaps_rollup").read_text())
        except PermissionError:
            return None
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total or None


def used_seconds(these: Sequence[Path]) -> float:
    """CPU of processes that run, and of those they started that have ended."""
    return sum(process_ticks((process / "stat").read_text()) for process in these) / os.sysconf("SC_CLK_TCK")


class PeakMemory:
    """The most anonymous memory that all processes of a container had together inside the `with` block."""

    def __init__(self, container: Container) -> None:
        container.reload()
        cgroups = Path(f"/proc/{container.attrs['State']['Pid']}/cgroup")
        self._stat = Path(memory_stat_file(cgroups.read_text()) if cgroups.exists() else "")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.bytes: int | None = None
        """None where the control group is not to be seen: the engine is elsewhere."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        # A control group ends with its container.
        with contextlib.suppress(OSError):
            while not self._ended.wait(PEAK_SECONDS):
                self.bytes = max(self.bytes or 0, anonymous_now(self._stat.read_text()))


def until(what: str, seconds: float, happened: Callable[[], bool], pause: float = POLL_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)


def greets(address: str) -> bool:
    """Whether a mail server at this address says 220. Must run where the containers' addresses are reachable: on Linux."""
    try:
        with socket.create_connection((address, 25), BANNER_SECONDS) as connection:
            return connection.recv(4) == b"220 "
    except OSError:
        return False


def takes(address: str, sender: str, recipient: str) -> bool:
    """Whether the mail server at this address would take mail for the recipient."""
    with smtplib.SMTP(address, 25, timeout=BANNER_SECONDS) as client:
        client.ehlo()
        client.mail(sender)
        return client.rcpt(recipient)[0] == 250


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=BANNER_SECONDS) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
