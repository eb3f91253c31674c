"""A clock that is set, as a time server does after hours without one: mail must not wait for the difference."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.clock import Clock
from tests.image import engine
from tests.image.conftest import StartRelay
from tests.image.engine import Engine
from tests.image.relay import Relay, someone
from tests.image.sink import Sink
from tests.image.waiting import until

DAY = 86400


@pytest.fixture
def clock(docker: Engine, tmp_path: Path) -> Clock:
    made = Clock(tmp_path)
    tools = docker.start(engine.TOOLS, volumes=made.builder_mounts, init=True)
    made.build(tools)
    docker.remove(tools)
    return made


@pytest.fixture
def relay(start_relay: StartRelay, clock: Clock) -> Relay:
    started = start_relay({"MINIMAL_BACKOFF_TIME": "1h", "QUEUE_RUN_DELAY": "1h"}, volumes=clock.mounts)
    clock.prove(started)
    return started


@pytest.mark.parametrize("jump", [-DAY, DAY], ids=["back", "forward"])
def test_mail_that_waits_is_tried_soon_after_a_jump_of_the_clock_and_the_relay_stays_ready(
    relay: Relay, sink: Sink, clock: Clock, jump: int
) -> None:
    """Back, it would have to wait for a day and an hour. Nobody asks for anything: the relay notices by itself."""
    sink.behave(replies={"rcpt": "451 4.3.0 try later"})
    relay.send(to := someone())
    relay.logged(rf"to=<{to}>.*status=deferred")
    sink.behave(replies={})
    clock.jump(jump)
    until("it has arrived", lambda: sink.received(to), deadline=40, needs=[relay.container])
    relay.send(after := someone())
    assert len(sink.mail(after)) == 1
    assert len(sink.received(to)) == 1
    assert relay.readiness().startswith("200 ")
    assert ("the clock was set back by 86400 s" in relay.logs()) == (jump < 0)
