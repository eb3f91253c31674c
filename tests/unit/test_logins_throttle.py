"""How guesses are slowed, by a clock of the test's own."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from itertools import count, cycle

import pytest

from entrypoint.logins import throttle as throttle_module
from entrypoint.logins.throttle import FORGOTTEN, INTERVAL, MINUTE, MOST_WRONG, Throttle
from tests.unit.conftest import Clock

GUESSER = "192.0.2.66"


@pytest.fixture
def throttle(clock: Clock) -> Throttle:
    return Throttle(10, clock)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle_module, "PATIENCE", 0.05)


def fail(throttle: Throttle, times: int, address: str = GUESSER) -> list[int]:
    """Whether or not they may be checked: as if all had begun before the limit."""
    return [throttle.failed(address) for _ in range(times)]


def guess(throttle: Throttle, login: str = "", address: str = GUESSER) -> bool:
    """Whether a wrong password was looked at."""
    if not throttle.admits(address, login):
        return False
    throttle.failed(address, login)
    throttle.checked(address, login)
    return True


def enters(throttle: Throttle, login: str = "", address: str = GUESSER) -> bool:
    """Whether a right password was looked at."""
    if not throttle.admits(address, login):
        return False
    throttle.succeeded(address, login)
    throttle.checked(address, login)
    return True


def guesses(throttle: Throttle, clock: Clock, logins: Iterable[str], seconds: float) -> list[float]:
    """When one who never gives up was told something: ten attempts a second."""
    told = []
    for login, _ in zip(logins, range(round(10 * seconds)), strict=False):
        clock.now += 0.1
        if guess(throttle, login):
            told.append(clock.now)
    return told


def in_time(throttle: Throttle, clock: Clock, login: str, others: Iterable[str], seconds: float) -> bool:
    """Whether a right password that is tried every four seconds is looked at, while others guess."""
    for _ in range(int(seconds / 4)):
        guesses(throttle, clock, others, 4)
        if enters(throttle, login):
            return True
    return False


def most_in_a_minute(times: list[float]) -> int:
    return max(sum(start <= when < start + MINUTE for when in times) for start in times)


def known(throttle: Throttle, number: int) -> list[str]:
    names = [f"known{i}" for i in range(number)]
    for name in names:
        throttle.succeeded(GUESSER, name)
    return names


def test_it_begins_with_the_failure_beyond_the_limit_and_says_so_once(throttle: Throttle) -> None:
    assert fail(throttle, 10) == 10 * [0]
    assert guess(throttle)
    assert fail(throttle, 3) == [0, 0, 0]
    assert not guess(throttle)
    assert fail(Throttle(10), 13) == [*10 * [0], 11, 0, 0]


def test_failures_of_more_than_a_minute_do_not_add_up(throttle: Throttle, clock: Clock) -> None:
    for _ in range(100):
        assert throttle.failed(GUESSER) == 0
        clock.now += MINUTE / 10
    assert guess(throttle)


@pytest.mark.parametrize("names", [1, 2, 5, 40])
@pytest.mark.parametrize("right_before", [True, False])
def test_a_slowed_address_gets_fewer_than_ten_answers_a_minute_whatever_logins_it_names(
    throttle: Throttle, clock: Clock, names: int, *, right_before: bool
) -> None:
    logins = known(throttle, names) if right_before else [f"made up {i}" for i in range(names)]
    fail(throttle, 11)
    times = guesses(throttle, clock, cycle(logins), 1200)
    assert most_in_a_minute(times) < 10
    assert len(times) > 20, "it is slowed, and not shut out"


def test_also_if_the_owners_of_those_logins_log_in_all_the_time(throttle: Throttle, clock: Clock) -> None:
    names = known(throttle, 20)
    fail(throttle, 11)
    times = []
    for name, _ in zip(cycle(names), range(6000), strict=False):
        clock.now += 0.1
        if enters(throttle, name) and guess(throttle, name):
            times.append(clock.now)
    assert most_in_a_minute(times) < 10


def test_also_if_they_all_come_at_the_same_time(throttle: Throttle) -> None:
    names = known(throttle, 30)
    fail(throttle, 11)
    admitted = [name for name in names if throttle.admits(GUESSER, name)]
    assert len(admitted) == MOST_WRONG
    for name in admitted:
        throttle.failed(GUESSER, name)
        throttle.checked(GUESSER, name)
    assert not [name for name in names if throttle.admits(GUESSER, name)]


def test_guesses_at_one_login_do_not_take_all_places_by_coming_at_the_same_time(throttle: Throttle) -> None:
    known(throttle, 2)
    fail(throttle, 11)
    assert [throttle.admits(GUESSER, "known0") for _ in range(5)] == [True, *4 * [False]]
    assert enters(throttle, "known1")


def test_a_right_login_waits_for_the_answers_to_others_of_that_name(
    throttle: Throttle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that logs in on many connections at once at a slowed address."""
    monkeypatch.setattr(throttle_module, "PATIENCE", 10.0)
    known(throttle, 1)
    fail(throttle, 11)
    let_in: list[bool] = []
    threads = [threading.Thread(target=lambda: let_in.append(enters(throttle, "known0"))) for _ in range(50)]
    assert throttle.admits(GUESSER, "known0")
    for thread in threads:
        thread.start()
    assert let_in == []
    throttle.checked(GUESSER, "known0")
    for thread in threads:
        thread.join()
    assert let_in == 50 * [True]


def test_a_check_that_came_to_no_answer_is_no_guess(throttle: Throttle) -> None:
    """The server that is asked was away."""
    known(throttle, 1)
    fail(throttle, 11)
    for _ in range(20):
        assert throttle.admits(GUESSER, "known0")
        throttle.checked(GUESSER, "known0")


def test_an_honest_client_at_that_address_still_gets_through(throttle: Throttle, clock: Clock) -> None:
    fail(throttle, 11)
    clock.now += MINUTE
    assert enters(throttle, "new")
    assert not enters(throttle, "another")
    assert enters(throttle, "new")


def test_ten_minutes_without_a_failure_make_an_address_as_good_as_any(
    throttle: Throttle, clock: Clock
) -> None:
    fail(throttle, 11)
    clock.now += FORGOTTEN + 1
    assert [enters(throttle) for _ in range(100)] == 100 * [True]
    assert fail(throttle, 11) == [*10 * [0], 11]


def test_others_are_not_affected(throttle: Throttle) -> None:
    fail(throttle, 11)
    assert [enters(throttle, address="192.0.2.67") for _ in range(100)] == 100 * [True]


@pytest.mark.parametrize(
    ("first", "second", "one"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fd00:1::1", "fd00:1::2", False),
        ("203.0.113.1", "203.0.113.2", False),
        ("2001:nonsense", "2001:nonsense", True),
        ("", "", True),
    ],
)
def test_a_public_ipv6_network_is_one_client(throttle: Throttle, first: str, second: str, one: bool) -> None:
    fail(throttle, 11, first)
    assert enters(throttle, "", second) is not one


@pytest.mark.parametrize(
    "logins",
    [
        ["an old password"],
        ["known0"],
        ["known0", "known1"],
        ["known0", "known1", "known2", "made up", "an old password"],
        [f"made up {i}" for i in range(1000)],
        [f"known{i}" for i in range(MOST_WRONG - 1)],
    ],
    ids=["one", "known", "two_known", "some", "made_up", "eight_known"],
)
def test_a_login_that_was_right_there_gets_in_each_time_while_another_is_guessed(
    throttle: Throttle, clock: Clock, logins: list[str]
) -> None:
    """Behind a NAT, or where an engine hides who connects, one of them would lock out all."""
    known(throttle, MOST_WRONG - 1)
    throttle.succeeded(GUESSER, "ann")
    fail(throttle, 11)
    rounds = cycle(logins)
    for _ in range(100):
        guesses(throttle, clock, rounds, 5)
        assert enters(throttle, "ann")


def test_one_right_password_does_not_buy_guesses_that_shut_others_out(
    throttle: Throttle, clock: Clock
) -> None:
    known(throttle, 1)
    throttle.succeeded(GUESSER, "ann")
    fail(throttle, 11)
    for _ in range(1000):
        clock.now += 0.1
        enters(throttle, "known0")
        guess(throttle, "known0")
        assert enters(throttle, "ann")


@pytest.mark.parametrize("owners", [True, False])
def test_who_guesses_at_many_such_logins_shuts_another_out_for_minutes_only(
    throttle: Throttle, clock: Clock, *, owners: bool
) -> None:
    """Each can be used once until its owner is let in again, who has to wait for a turn."""
    names = known(throttle, 12)
    throttle.succeeded(GUESSER, "ann")
    fail(throttle, 11)
    guesses(throttle, clock, cycle(names), MINUTE * len(names) / 3)
    for _ in range(100):
        if owners:
            assert len([name for name in names if enters(throttle, name)]) <= 1
        guesses(throttle, clock, cycle(names), 5)
        assert enters(throttle, "ann")


def test_a_login_of_which_a_wrong_password_was_used_gets_in_while_names_are_made_up(
    throttle: Throttle, clock: Clock
) -> None:
    throttle.succeeded(GUESSER, "ann")
    fail(throttle, 11)
    made_up = map(str, count())
    assert guess(throttle, "ann")
    assert in_time(throttle, clock, "ann", made_up, MINUTE + 2 * INTERVAL)
    assert enters(throttle, "ann"), "and is known again"


@pytest.mark.parametrize("right_before", [True, False])
def test_programs_with_an_old_password_leave_turns_to_somebody_new(
    throttle: Throttle, clock: Clock, *, right_before: bool
) -> None:
    """They ask all the time, and somebody who was not there before now and then."""
    old = known(throttle, 2) if right_before else ["old0", "old1"]
    fail(throttle, 11)
    assert in_time(throttle, clock, "new", cycle(old), MINUTE)


def test_being_right_elsewhere_does_not_count(throttle: Throttle) -> None:
    throttle.succeeded("192.0.2.67", "ann")
    fail(throttle, 11)
    assert not enters(throttle, "ann")


def test_no_limit_is_no_limit(clock: Clock) -> None:
    throttle = Throttle(0, clock)
    assert fail(throttle, 1000) == 1000 * [0]
    assert guess(throttle)


def test_a_limit_of_one_is_one(clock: Clock) -> None:
    assert fail(Throttle(1, clock), 3) == [0, 2, 0]


def test_guesses_from_a_million_addresses_do_not_fill_the_memory(throttle: Throttle) -> None:
    fail(throttle, 11, "192.0.2.1")
    for number in range(30_000):
        throttle.failed(f"10.0.{number // 256}.{number % 256}")
        enters(throttle, str(number))
    assert len(throttle._clients) <= 10_000
    assert len(throttle._known) <= 10_000
    assert not throttle._checking
