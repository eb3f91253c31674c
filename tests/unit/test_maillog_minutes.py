"""The last hour, minute by minute, from the lines that Postfix writes."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from entrypoint.maillog.lines import parse
from entrypoint.maillog.minutes import BOUNCED, BOUNDS, DEFERRED, DELAYS, RECEIVED, SENT, Minutes
from tests.unit.conftest import Clock

HEAD = "Nov 21 16:23:09 relay postfix/"
QID = "4jWyDY0YgDz5nFW"
CAME = f"smtpd[26]: {QID}: client=unknown[192.0.2.1]"
MADE = f"pickup[26]: {QID}: uid=0 from=<root>"
EXPIRED = f"qmgr[23]: {QID}: from=<a@example.com>, status=expired, returned to sender"


def delivery(status: str, delay: str = "0.07") -> str:
    return (
        f"smtp[31]: {QID}: to=<a@example.org>, relay=sink[192.0.2.2]:25, delay={delay}, delays=0.01/0.05/0.01/0, "
        f"dsn=2.0.0, status={status} (250 Ok)"
    )


@pytest.fixture
def minutes(clock: Clock) -> Minutes:
    return Minutes(clock, lambda: 5000.0 + clock.now)


def hear(minutes: Minutes, *lines: str) -> None:
    for line in lines:
        minutes.read(parse(HEAD + line))


def told(minutes: Minutes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(minutes.answer(""))
    return found


def test_what_comes_and_what_becomes_of_it_is_counted_in_its_minute(minutes: Minutes, clock: Clock) -> None:
    hear(minutes, CAME, MADE, delivery("sent"), delivery("sent", "0.4"), delivery("deferred"))
    clock.now += 60
    hear(minutes, delivery("bounced"), EXPIRED)
    first, second = told(minutes)["minutes"]
    assert (first[RECEIVED], first[SENT], first[DEFERRED], first[BOUNCED]) == (2, 2, 1, 0)
    assert (second[RECEIVED], second[SENT], second[DEFERRED], second[BOUNCED]) == (0, 0, 0, 2)
    assert first[DELAYS:][:3] == [1, 0, 1]
    assert sum(first[DELAYS:]) == 2
    assert sum(second[DELAYS:]) == 0


@pytest.mark.parametrize(
    ("delay", "bucket"), [("0", 0), ("0.1", 0), ("0.11", 1), ("59", 8), ("999999", len(BOUNDS))]
)
def test_a_delay_is_in_the_bucket_of_the_first_bound_that_it_does_not_pass(
    minutes: Minutes, delay: str, bucket: int
) -> None:
    hear(minutes, delivery("sent", delay))
    assert told(minutes)["minutes"][0][DELAYS:].index(1) == bucket


def test_a_relay_that_just_started_shows_what_it_has(minutes: Minutes, clock: Clock) -> None:
    assert told(minutes)["since"] == 6000
    assert [sum(row) for row in told(minutes)["minutes"]] == [0]
    clock.now += 150
    found = told(minutes)
    assert (found["since"], found["into"], len(found["minutes"])) == (6000, 30.0, 3)


def test_an_hour_is_all_that_is_kept_however_long_nothing_was_said(minutes: Minutes, clock: Clock) -> None:
    for _ in range(200):
        hear(minutes, CAME)
        clock.now += 60
    assert [row[RECEIVED] for row in told(minutes)["minutes"]] == [1] * 59 + [0]
    clock.now += 57 * 60
    assert [row[RECEIVED] for row in told(minutes)["minutes"]] == [1] * 2 + [0] * 58
    clock.now += 100 * 86400
    hear(minutes, CAME)
    assert [row[RECEIVED] for row in told(minutes)["minutes"]] == [0] * 59 + [1]


def test_what_is_no_mail_and_no_delivery_counts_nothing(minutes: Minutes) -> None:
    hear(
        minutes,
        "smtpd[26]: connect from unknown[192.0.2.1]",
        f"qmgr[23]: {QID}: removed",
        delivery("deliverable"),
        delivery("undeliverable"),
    )
    assert sum(told(minutes)["minutes"][0]) == 0


def test_a_line_costs_little(minutes: Minutes) -> None:
    """A thousand messages a second are some ten thousand lines."""
    others, own = parse(f"{HEAD}qmgr[23]: {QID}: removed"), parse(HEAD + delivery("sent"))
    for line, most in ((others, 2e-6), (own, 10e-6)):
        best = min(_seconds(minutes, line) for _ in range(5))
        assert best < most


def _seconds(minutes: Minutes, line: Any, times: int = 2000) -> float:
    began = time.thread_time()
    for _ in range(times):
        minutes.read(line)
    return (time.thread_time() - began) / times
