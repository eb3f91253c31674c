"""Whatever dies comes back, or the container ends: a container that is up without a Postfix helps nobody.

Processes are killed as the kernel does it when memory runs out: SIGKILL, with no chance to say goodbye.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from docker.errors import APIError
from docker.models.containers import Container

from tests.image import engine, inside
from tests.image.conftest import StartRelay
from tests.image.engine import Engine
from tests.image.relay import HARDENED, Relay, someone
from tests.image.sink import Sink
from tests.image.test_health import readiness
from tests.image.waiting import until

# From the moment that trying is given up, or was hopeless from the start.
SECONDS_TO_THE_END = 10.0

StartBeside = Callable[..., Container]


@pytest.fixture
def own(start_relay: StartRelay) -> Relay:
    """A relay whose processes a test may kill."""
    return start_relay()


@pytest.fixture
def start_beside(docker: Engine) -> Iterator[StartBeside]:
    """Starts a relay in the network namespace of another one, whose ports are taken there."""
    made: list[Container] = []

    def start(first: Relay, **environment: str) -> Container:
        options: dict[str, Any] = {**HARDENED, "network_mode": f"container:{first.container.id}"}
        given = {"MYHOSTNAME": "second.example.com", "RELAYHOST": "[sink]:25", **environment}
        made.append(docker.start(engine.RELAY, environment=given, healthcheck={"test": ["NONE"]}, **options))
        return made[-1]

    yield start
    docker.remove(*made)


def assert_works_again(relay: Relay, sink: Sink) -> None:
    relay.wait_until_ready()
    relay.send(to := someone())
    sink.mail(to, needs=[relay.container])
    relay.logged(f"to=<{to}>.*status=sent")
    assert len(inside.named(relay, "master")) == 1
    assert len(inside.named(relay, "keeper")) == 1
    assert_no_zombies(relay)


def assert_no_zombies(relay: Relay) -> None:
    """One may be seen in the moment between its end and its parent's look at it."""
    until("every dead process is buried", lambda: not any(p.zombie for p in inside.processes(relay)))


def ending(container: Container, deadline: float) -> tuple[int, str]:
    """Exit code and log of a container that ends by itself."""

    def ended() -> bool:
        container.reload()
        return bool(container.status == "exited")

    until("the container has ended", ended, deadline=deadline, state=container.logs)
    return int(container.attrs["State"]["ExitCode"]), container.logs().decode()


def test_a_killed_master_is_restarted_and_mail_flows(own: Relay, sink: Sink) -> None:
    master = inside.the(own, "master")
    inside.signal(own, "KILL", [master])
    inside.replaced(own, master)
    own.logged("error: Postfix's master ended .killed by SIGKILL.: no mail is accepted until")
    assert_works_again(own, sink)


def test_a_killed_keeper_is_restarted_without_a_second_master(own: Relay, sink: Sink) -> None:
    master, keeper = inside.the(own, "master"), inside.the(own, "keeper")
    inside.signal(own, "KILL", [keeper])
    inside.replaced(own, keeper)
    inside.replaced(own, master)
    own.logged("warning: the keeper was killed; restarting Postfix")
    assert_works_again(own, sink)


def test_keeper_and_master_killed_together_are_restarted(own: Relay, sink: Sink) -> None:
    """Postfix's other programs outlive master for a moment and hold the ports."""
    victims = [inside.the(own, "keeper"), inside.the(own, "master")]
    inside.signal(own, "KILL", victims)
    for victim in victims:
        inside.replaced(own, victim)
    assert_works_again(own, sink)


def test_a_killed_health_program_is_restarted_and_mail_is_not_interrupted(own: Relay, sink: Sink) -> None:
    master, health = inside.the(own, "master"), inside.the(own, "health")
    inside.signal(own, "KILL", [health])
    inside.replaced(own, health)
    assert_works_again(own, sink)
    assert inside.the(own, "master") == master


def test_a_killed_program_of_postfix_is_restarted_by_master(own: Relay, sink: Sink) -> None:
    queue_manager = inside.the(own, "qmgr")
    inside.signal(own, "KILL", [queue_manager])
    own.send(to := someone())
    sink.mail(to, needs=[own.container])
    assert inside.the(own, "qmgr") != queue_manager


@pytest.mark.parametrize("name", ["keeper", "health"])
def test_a_program_that_dies_again_and_again_ends_the_container_with_1(own: Relay, name: str) -> None:
    """The engine's restart policy, and whoever watches it, must get to know."""

    def kill_it_again() -> bool:
        own.container.reload()
        if own.container.status != "running":
            return True
        # It may die, and the container with it, between any two of these steps.
        pids = f"grep -sl '^Name:.{name}$' /proc/[0-9]*/status | cut -d/ -f3"
        with suppress(APIError):
            own.exec("sh", "-c", f"for pid in $({pids}); do kill -9 $pid; done")
        return "fails again and again" in own.logs()

    until("supervisor gives up", kill_it_again, deadline=60, state=own.logs)
    code, log = ending(own.container, SECONDS_TO_THE_END)
    assert code == 1
    assert f"error: {name} fails again and again" in log


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"LISTEN": "9154:relay", "HEALTH_PORT": "9155"}, "port 9154 (LISTEN) is taken by another program"),
        ({"LISTEN": "25:relay", "HEALTH_PORT": "9155"}, "port 25 (LISTEN) is taken by another program"),
        ({"LISTEN": "2599:relay"}, "port 9154 (HEALTH_PORT) is taken by another program"),
    ],
    ids=["another_programs", "another_postfix", "health"],
)
def test_a_port_that_is_in_use_is_named_and_ends_the_container_with_1(
    relay: Relay, start_beside: StartBeside, settings: dict[str, str], said: str
) -> None:
    """Two Postfixes would otherwise share a port (SO_REUSEPORT), and each would get half of the mail unnoticed."""
    code, log = ending(start_beside(relay, **settings), SECONDS_TO_THE_END)
    assert code == 1
    assert said in log
    assert "daemon started" not in log


def test_an_address_that_the_container_does_not_have_is_named_and_ends_it_with_1(
    start_relay: StartRelay,
) -> None:
    relay = start_relay({"LISTEN": "203.0.113.77:25:relay"}, wait=False)
    code, log = ending(relay.container, 3 * SECONDS_TO_THE_END)
    assert code == 1
    assert "fatal: bind 203.0.113.77 port 25: Cannot assign requested address" in log


def test_two_relays_share_a_pod_when_their_ports_differ(relay: Relay, start_beside: StartBeside) -> None:
    second = start_beside(relay, LISTEN="2600:relay", HEALTH_PORT="9156")
    until(
        "the second relay is ready",
        lambda: engine.execute(second, ["postern", "health"]).status == 0,
        needs=[second],
    )
    assert relay.readiness().startswith("200 ")


# What the socket holds, until whoever writes has to wait.
FILL = """
import socket
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as log:
    log.connect("/var/spool/postfix/public/postlog")
    for number in range(10_000):
        try:
            log.send(b"a line of the test")
        except BlockingIOError:
            print("full after", number)
            break
"""


def test_a_postfix_that_waits_for_a_reader_of_its_log_that_only_it_can_start_is_started_anew(
    own: Relay, sink: Sink
) -> None:
    """The reader is killed while lines wait for it: master would tell of that first, and for that wait for the next one."""
    reader = inside.named(own, "postlogd")
    inside.signal(own, "STOP", reader)
    assert "full after" in own.exec("python3", "-c", FILL).output
    inside.signal(own, "KILL", reader)
    readiness(own, "^503 (?s:.*)failed log: postlogd is gone, and who logs waits for it")
    told = "Postfix stands still, as nobody reads its log"
    until("it is found", lambda: told in own.logs(), deadline=60, needs=[own.container])
    assert_works_again(own, sink)
