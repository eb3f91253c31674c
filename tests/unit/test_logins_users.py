"""The users file as a backend: every kind of hash, and what an attempt costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from entrypoint.config.crypt import hash_fault
from entrypoint.logins import comparison, libcrypt
from entrypoint.logins.availability import Availability
from entrypoint.logins.backends import BusyError, RefusedError, UnavailableError
from entrypoint.logins.backends.users import Backend
from entrypoint.logins.passwords import Passwords

SETTINGS = {
    "yescrypt": b"$y$j75$0123456789abcdefghijk/",
    "sha512": b"$6$rounds=1000$salt",
    "sha256": b"$5$salt",
    "bcrypt_2b": b"$2b$04$abcdefghijklmnopqrstuu",
    "bcrypt_2a": b"$2a$04$abcdefghijklmnopqrstuu",
    "bcrypt_2y": b"$2y$04$abcdefghijklmnopqrstuu",
}

Make = Callable[[str], Backend]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def write(text: str) -> Backend:
        (tmp_path / "users").write_text(text)
        return Backend({"path": str(tmp_path / "users"), "mechanisms": ["PLAIN"]})

    return write


def hashed(password: str, setting: bytes) -> str:
    result = libcrypt.hashed(password.encode(), setting)
    assert result
    return result.decode()


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """By which settings hashes were computed: they are the time that it takes, and no clock measures it as well."""
    settings: list[bytes] = []

    def counted(password: bytes, setting: bytes) -> bytes | None:
        settings.append(setting.rpartition(b"$")[0])
        return libcrypt.hashed(password, setting)

    monkeypatch.setattr(comparison, "hashed", counted)
    return settings


def wrong(backend: Backend, login: str) -> None:
    with pytest.raises(RefusedError):
        backend.check(login, "wrong")


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS.keys())
def test_each_kind_of_hash_that_a_file_may_hold_is_understood(make: Make, setting: bytes) -> None:
    text = hashed("right", setting)
    assert hash_fault(text) == ""
    backend = make(f"ann:{text}\n")
    backend.check("ann", "right")
    with pytest.raises(RefusedError):
        backend.check("ann", "wrong")
    with pytest.raises(RefusedError):
        backend.check("ann", text)


def test_a_hash_is_no_password_for_another_login(make: Make) -> None:
    backend = make(f"ann:{hashed('a', SETTINGS['sha256'])}\nbob:{hashed('b', SETTINGS['sha256'])}\n")
    backend.check("ann", "a")
    with pytest.raises(RefusedError):
        backend.check("bob", "a")


@pytest.mark.parametrize("count", [0, 1, 100])
def test_a_login_that_does_not_exist_is_refused_whoever_else_there_is(make: Make, count: int) -> None:
    backend = make("".join(f"u{n}:{hashed('x', SETTINGS['sha256'])}\n" for n in range(count)))
    with pytest.raises(RefusedError):
        backend.check("nobody", "x")


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS.keys())
def test_a_wrong_password_costs_as_much_whether_the_login_exists_or_not(
    make: Make, costs: list[bytes], setting: bytes
) -> None:
    backend = make(f"ann:{hashed('right', setting)}\n")
    for login in ("ann", "nobody", "another"):
        wrong(backend, login)
    assert len(costs) == 3
    assert len(set(costs)) == 1


def test_where_kinds_are_mixed_unknown_logins_cost_now_this_now_that_but_each_always_the_same(
    make: Make, costs: list[bytes]
) -> None:
    cheap, dear = b"$5$rounds=1000$salt", b"$5$rounds=2000$salt"
    backend = make("".join(f"u{n}:{hashed('x', dear if n % 2 else cheap)}\n" for n in range(20)))
    for _ in range(3):
        for login in map(str, range(12)):
            wrong(backend, login)
    assert costs[:12] == costs[12:24] == costs[24:]
    assert set(costs) == {cheap, dear}


def test_a_password_that_was_right_is_remembered_until_it_changes(make: Make, costs: list[bytes]) -> None:
    backend = make(f"ann:{hashed('right', SETTINGS['sha512'])}\n")
    backend.check("ann", "right")
    backend.check("ann", "right")
    assert len(costs) == 1
    wrong(backend, "ann")
    wrong(backend, "ann")
    assert len(costs) == 3, "what was wrong must not be cheap to try again"
    make(f"ann:{hashed('new', SETTINGS['sha256'])}\n")
    with pytest.raises(RefusedError):
        backend.check("ann", "right")


def test_a_file_that_is_gone_is_no_refusal(make: Make, tmp_path: Path) -> None:
    backend = make("")
    backend.ping()
    (tmp_path / "users").unlink()
    for ask in (backend.ping, lambda: backend.check("ann", "x")):
        with pytest.raises(UnavailableError, match=r"cannot read .*users: No such file"):
            ask()


def test_a_password_longer_than_any_hash_takes_is_refused(make: Make) -> None:
    with pytest.raises(RefusedError):
        make(f"ann:{hashed('x', SETTINGS['sha256'])}\n").check("ann", 600 * "x")


def test_no_more_checks_run_at_a_time_than_the_backend_says() -> None:
    class Counting:
        concurrency = 2
        running = most = 0

        def check(self, *_: str) -> None:
            self.running += 1
            self.most = max(self.most, self.running)
            time.sleep(0.01)
            self.running -= 1

        def ping(self) -> None:
            """Well."""

    backend = Counting()
    passwords = Passwords(backend)
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda _: passwords.check(b"a", b"b"), range(30)))
    assert backend.most == 2


def test_who_waits_too_long_is_told_to_try_again(monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    monkeypatch.setattr("entrypoint.logins.passwords.PATIENCE", 0.01)
    passwords = Passwords(make(""))
    for _ in range(Backend.concurrency):
        passwords._free.acquire()
    with pytest.raises(BusyError):
        passwords.check(b"a", b"b")


def test_guesses_that_keep_the_processors_busy_do_not_hold_up_who_was_right_before(
    monkeypatch: pytest.MonkeyPatch, make: Make
) -> None:
    monkeypatch.setattr("entrypoint.logins.comparison.PATIENCE", 0.01)
    passwords = Passwords(backend := make(f"ann:{hashed('right', SETTINGS['sha256'])}\n"))
    passwords.check(b"ann", b"right")
    while backend._comparison._computing.acquire(blocking=False):
        pass
    passwords.check(b"ann", b"right")
    with pytest.raises(BusyError):
        passwords.check(b"ann", b"guess")


def test_hashes_that_take_for_ever_are_told_of_and_those_that_only_take_long_are_not(
    monkeypatch: pytest.MonkeyPatch, make: Make
) -> None:
    """Two guesses at a login whose hash has an absurd cost would else keep all logins out, with a relay that is ready."""
    backend = make(f"ann:{hashed('right', SETTINGS['sha256'])}\n")
    backend.check("ann", "right")
    while backend._comparison._computing.acquire(blocking=False):
        pass
    backend.ping()
    monkeypatch.setattr("entrypoint.logins.comparison.PATIENCE", 0.01)
    time.sleep(0.02)
    with pytest.raises(UnavailableError, match="takes longer than"):
        backend.ping()
    backend._comparison._computing.release()
    backend.ping()


def test_too_many_logins_at_a_time_are_no_fault_while_some_get_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else guessers could have the relay taken out of service. With no answer at all the backend hangs."""
    monkeypatch.setattr("entrypoint.logins.availability.PATIENCE", 0.05)
    availability = Availability(lambda: None)
    availability.checked()
    availability.busy("busy")
    assert availability.problem() == ""
    time.sleep(0.06)
    availability.busy("busy")
    assert availability.problem() == "busy"
