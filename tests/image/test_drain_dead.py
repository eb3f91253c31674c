"""A stop with much mail for a server that is down: it is asked a few times, not once for each message, nor again."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.image.conftest import StartRelay
from tests.image.relay import Relay, letter, someone
from tests.image.sink import Sink
from tests.image.test_drain import own_seconds, stop
from tests.image.waiting import until

MESSAGES = 60
LIMIT = 25
"""Seconds that the stop may take: enough for one more try of what was deferred."""
# initial_destination_concurrency: so many tries begin before the first has failed.
AT_ONCE = 5


@pytest.fixture
def waiting(start_relay: StartRelay, sink: Sink) -> Relay:
    """A relay with mail for an upstream that has no time, which it tries again in minutes."""
    relay = start_relay({"DRAIN_TIMEOUT": f"{LIMIT}s"})
    sink.behave(replies={"connect": "421 4.3.2 no time"})
    with relay.smtp() as session:
        for _ in range(MESSAGES):
            session.send_message(letter(to := someone()), "app@example.com", [to])
    until("all are deferred", lambda: deferred(relay) == MESSAGES, needs=[relay.container])
    return relay


def deferred(relay: Relay) -> int:
    return len(relay.exec("find", "/var/spool/postfix/deferred", "-type", "f").lines)


@pytest.mark.flaky(rerun_except="^AssertionError")
@pytest.mark.parametrize(
    ("behaviour", "ends_early"),
    [({}, True), ({"replies": {}, "drop": ["connect"]}, True), ({"replies": {}, "hang": ["connect"]}, False)],
    ids=["refuses", "hangs_up", "is_silent"],
)
def test_a_stop_asks_a_dead_upstream_a_few_times_for_sixty_messages_and_loses_none(
    waiting: Relay, sink: Sink, behaviour: dict[str, Any], *, ends_early: bool
) -> None:
    """Only where nobody answers does it take the time that it has: each of the few still might."""
    sink.behave(**behaviour)
    before = len(sink.sessions())
    assert stop(waiting, timeout=LIMIT + 5)[0] == 0
    tried = len(sink.sessions()) - before
    assert 1 <= tried <= 2 * AT_ONCE
    assert (own_seconds(waiting) < LIMIT / 2) == ends_early
    assert own_seconds(waiting) < LIMIT + 1
    assert re.search(rf"0 delivered, {MESSAGES} stay in the spool for the next start", waiting.logs())
