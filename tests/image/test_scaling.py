"""Three relays behind one name, as docs/scaling.md has them: their limits add up, and a dead one's mail is not lost.

deploy/compose/three-relays.yml is started as it is. Programs send all the time. Meanwhile one relay is killed, as if with
its machine, and its spool is given to a new one; and somebody starts a relay on a spool that is in use.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from docker.models.containers import Container

from tests.chaos.ledger import Event, Ledger
from tests.chaos.world import SPOOL, said
from tests.image import engine
from tests.image.compose import Stack
from tests.image.engine import Engine
from tests.image.relay import HARDENED
from tests.image.replicas import Programs, arrivals, most_at_once
from tests.image.sink import Sink
from tests.image.tls import Certificates
from tests.image.waiting import until

NAME, UPSTREAM = "relay", "smtp.example.com"
RELAYS = ("relay-1", "relay-2", "relay-3")
# Seconds that the upstream takes for a message: mail comes faster than the relays may deliver it, and waits.
SLOW = 1.0
WAITING = 20
# With five messages in a session, that by chance one relay gets none of them happens once in 60,000 times.
ENOUGH = 150


@dataclass(frozen=True)
class Story:
    """What there was to see, when all was over."""

    ledger: Ledger
    limits: list[int]
    """The deliveries at once that each relay is allowed."""
    most: int
    """The deliveries at once that the upstream saw."""
    relays: set[str]
    """Their addresses."""
    served: set[str]
    """Those that programs came to, before one was killed."""
    inherited: set[str]
    """What the killed relay had accepted and the new one delivered."""
    second: Container
    """The relay on a spool that is in use."""


@pytest.fixture(scope="module")
def story(docker: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    certificates = Certificates.make(tmp_path_factory.mktemp("public"), (UPSTREAM,))
    others = list(docker.containers)
    stack = Stack(docker, "three-relays.yml", tmp_path_factory.mktemp("stack"), certificates)
    sink = Sink(docker, stack.network(), certificates, UPSTREAM)
    try:
        sink.behave(delay={"message": SLOW})
        programs = Programs(docker, stack.network(), tmp_path_factory.mktemp("programs"), NAME, 8)
        yield _story(docker, stack, sink, programs)
    finally:
        docker.remove(*(each for each in docker.containers if each not in others))
        stack.remove()


def test_programs_that_look_the_name_up_come_to_every_relay(story: Story) -> None:
    assert story.served == story.relays


def test_the_upstream_sees_as_many_deliveries_at_once_as_the_relays_limits_add_up_to_and_no_more(
    story: Story,
) -> None:
    """A busy machine may not get to the sum, but what two relays may is not it."""
    assert sum(story.limits[:-1]) < story.most <= sum(story.limits)


@pytest.mark.flaky(rerun_except="^AssertionError")
def test_nothing_is_lost_when_one_of_three_is_killed_and_its_spool_is_given_to_a_new_one(
    story: Story,
) -> None:
    """And nothing comes twice but what the kill caught between the upstream's 250 and the relay's note of it."""
    assert story.ledger.lost() == []
    assert len(story.inherited) > WAITING / 2
    assert [double for double in story.ledger.duplicates() if double.avoidable] == []


def test_a_second_relay_on_a_spool_in_use_ends_with_1_and_takes_no_mail(story: Story) -> None:
    """Two would each deliver what is in it. Whoever sees the log knows why."""
    log = story.second.logs().decode()
    assert story.second.attrs["State"]["ExitCode"] == 1, log
    assert "error: another relay works on this spool" in log
    assert not re.search(r"postfix/(qmgr|smtp|smtpd)\[", log)


def _story(docker: Engine, stack: Stack, sink: Sink, programs: Programs) -> Story:
    started = [stack.relay(name) for name in RELAYS]
    limits = [int(relay.postconf("smtp_destination_concurrency_limit")) for relay in started]
    second = _another_on_the_spool_of(docker, stack, RELAYS[0])
    relays = [relay.container for relay in started]
    addresses = [engine.address(relay, stack.network()) for relay in relays]
    until(
        "much was sent, and mail waits in the last relay",
        lambda: len(programs.accepted()) > ENOUGH and _waiting(relays[-1]) > WAITING,
        deadline=40,
        needs=[*relays, sink.container, programs.container],
        state=lambda: (len(programs.accepted()), _waiting(relays[-1])),
    )
    before, began = programs.accepted(), time.time()
    victim = relays.pop()
    victim.kill()
    killed = Event("kill", RELAYS[-1], began, time.time(), doubles=True)
    relays.append(_another_on_the_spool_of(docker, stack, RELAYS[-1], NAME))
    new = engine.address(relays[-1], stack.network())
    until(
        "programs are served by the new one",
        # It may have its predecessor's address.
        lambda: any(at == new and attempt.moment > killed.ended for attempt, at in programs.accepted()),
        needs=[*relays, sink.container, programs.container],
    )
    programs.end()
    sink.behave(delay={})
    until(
        "nothing waits any more",
        lambda: not any(map(_waiting, relays)),
        deadline=60,
        needs=[*relays, sink.container],
        state=lambda: list(map(_waiting, relays)),
    )
    until("the second relay has ended", lambda: _ended(second), state=second.logs)
    of_the_victim = {attempt.message for attempt, at in before if at == addresses[-1]}
    came_before = {message for message, moment in arrivals(sink) if moment <= killed.ended}
    came = {message for message, _ in arrivals(sink)}
    return Story(
        _ledger(programs, sink, killed, [*relays, victim]),
        limits,
        most_at_once(sink, addresses[-1], killed.ended),
        set(addresses),
        {at for _, at in before},
        of_the_victim & came - came_before,
        second,
    )


def _another_on_the_spool_of(docker: Engine, stack: Stack, service: str, *names: str) -> Container:
    """As on another machine: the same settings, the same spool, everything else new."""
    given = stack.services[service].attrs
    [spool] = [mount["Name"] for mount in given["Mounts"] if mount["Destination"] == SPOOL]
    return docker.start(
        engine.RELAY,
        stack.network(),
        names,
        environment=given["Config"]["Env"],
        volumes={spool: {"bind": SPOOL, "mode": "rw"}},
        healthcheck={"test": ["NONE"]},
        **HARDENED,
    )


def _waiting(relay: Container) -> int:
    listed = engine.execute(relay, ["postqueue", "-j"])
    # While Postfix starts, nobody could be asked.
    return len(listed.lines) if listed.status == 0 else 1


def _ended(container: Container) -> bool:
    container.reload()
    return bool(container.status == "exited")


def _ledger(programs: Programs, sink: Sink, killed: Event, relays: list[Container]) -> Ledger:
    ledger = Ledger()
    ledger.happened(killed)
    for attempt, _ in programs.attempts():
        ledger.sent(attempt)
    for message, moment in arrivals(sink):
        ledger.arrived(message, moment)
    for relay in relays:
        log = relay.logs(timestamps=True).decode(errors="replace").splitlines()
        for message, moment, what in said(log):
            ledger.said(message, moment, what)
    return ledger
