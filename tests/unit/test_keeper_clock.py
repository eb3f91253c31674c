"""Whether the clock was set back, by a clock that can be set and one that cannot."""

from __future__ import annotations

import time

import pytest

from entrypoint.keeper import wakeups
from entrypoint.keeper.wakeups import LOOK, TRY_ALL, Wakeups


class Clock:
    def __init__(self) -> None:
        self.day, self.monotonic = 1_800_000_000.0, 5000.0

    def passes(self, seconds: float, *, set_by: float = 0.0) -> None:
        self.monotonic += seconds
        self.day += seconds + set_by


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "time", lambda: made.day)
    monkeypatch.setattr(time, "monotonic", lambda: made.monotonic)
    return made


def test_a_clock_that_was_set_back_is_told_once_and_by_how_much(clock: Clock) -> None:
    looks = Wakeups("nowhere")
    clock.passes(10, set_by=-3600)
    assert looks.set_back() == 3600
    clock.passes(10)
    assert looks.set_back() == 0
    clock.passes(10, set_by=-11)
    assert looks.set_back() == 11


@pytest.mark.parametrize("step", [0.0, 3600.0, -9.0], ids=["none", "forward", "little"])
def test_what_delays_nothing_is_not_told_however_often_it_happens(clock: Clock, step: float) -> None:
    looks = Wakeups("nowhere")
    for _ in range(20):
        clock.passes(15, set_by=step)
        assert looks.set_back() == 0


def test_the_clock_is_looked_at_four_times_a_minute(clock: Clock) -> None:
    looks = Wakeups("nowhere")
    assert looks.wait() == 15
    looks.reloaded()
    assert looks.wait() < 1


@pytest.mark.parametrize("first", [LOOK, TRY_ALL])
def test_a_reload_at_the_same_time_does_not_take_the_place_of_the_try_of_all(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, first: bytes
) -> None:
    told: list[bytes] = []
    monkeypatch.setattr(wakeups, "tell", lambda _, what: told.append(what))
    looks = Wakeups("nowhere")
    for what in (first, TRY_ALL if first == LOOK else LOOK):
        looks.reloaded(what)
        clock.passes(0.1)
    for _ in range(3):
        clock.passes(5)
        looks.turn()
    assert told == [TRY_ALL, TRY_ALL]
    looks.reloaded()
    clock.passes(1)
    looks.turn()
    assert told[2:] == [LOOK]
