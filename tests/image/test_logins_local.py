"""Logins that the relay checks itself (rows C5, C6): in Cyrus' sasldb, and by the hashes of a users file."""

from __future__ import annotations

import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

import pytest

from tests.image import inside, scram
from tests.image.backends import log_in, login, session
from tests.image.conftest import StartRelay
from tests.image.relay import CAPABILITIES, HOSTNAME, Environment, Relay, letter, someone
from tests.image.sink import Sink
from tests.image.waiting import until

ACCEPTED, REFUSED, LATER = "235 2.7.0 ", "535 5.7.8 ", "454 4.7.0 "
# Each is what some program between the setting and the check would like to change.
PASSWORDS = {
    "plain": "correct horse",
    "colon": "a:colon:",
    "comma": "a,comma;",
    "percent": "100%s %u%%",
    "quotes": "'\"`\\",
    "utf8": "pässwörd €😀",
    "space_at_the_end": "a space ",
    "braces": "{{ x }}{SHA}x",
    "dollar": "$y$ ${HOME} $$",
    "comment": "#none",
}
# Some with a domain and some without, among them two of one name, and one with the relay's own.
NAMES = {
    "plain": "ann",
    "colon": "ann@example.com",
    "comma": f"ann@{HOSTNAME}",
    "percent": "per%s",
    "quotes": "o'brien@example.com",
    "utf8": "jörg@example.com",
    "braces": "a+b@example.com",
}
USERS = {NAMES.get(kind, f"{kind}@example.com"): password for kind, password in PASSWORDS.items()}
MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-1")
SECONDS = 5.0
"""Within which a changed file counts."""


@pytest.fixture(scope="module")
def in_sasldb(start_shared_relay: StartRelay) -> Relay:
    """Every mechanism. Logins take no right that is not in the image's shortest list."""
    return start_shared_relay(
        {
            "SMTPD_SASL_USERS": "\n".join(f"{name}:{password}" for name, password in USERS.items()),
            "SASL_MECHANISMS": "PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-1",
            # The last 20 tests of a guesser's file would be slowed.
            "AUTH_FAILURE_LIMIT": "1000",
        },
        ports=(25, 587),
        cap_add=[name for name in CAPABILITIES if name != "CHOWN"],
        wait=False,
    )


@pytest.fixture(scope="module")
def file(shell: Relay, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A users file, each line of it made by `postern hash`."""
    directory = tmp_path_factory.mktemp("config")
    directory.chmod(0o755)
    (path := directory / "users").write_text("".join(line(shell, *pair) for pair in USERS.items()))
    return path


@pytest.fixture(scope="module")
def in_file(start_shared_relay: StartRelay, file: Path) -> Relay:
    mount = {str(file.parent): {"bind": "/config", "mode": "ro"}}
    return start_shared_relay({"AUTH_FAILURE_LIMIT": "1000"}, ports=(587,), volumes=mount, wait=False)


@pytest.fixture(params=["in_sasldb", "in_file"])
def relay(request: pytest.FixtureRequest, in_sasldb: Relay, in_file: Relay) -> Relay:
    """Each in turn; both were started at the same time."""
    chosen = {"in_sasldb": in_sasldb, "in_file": in_file}[request.param]
    chosen.wait_until_ready()
    return chosen


@pytest.fixture
def own(start_relay: StartRelay) -> Relay:
    env: Environment = {"SMTPD_SASL_USERS": "ann:right"}
    return start_relay(env, ports=(587,))


def line(shell: Relay, name: str, password: str) -> str:
    command = f"printf %s {shlex.quote(password)} | postern hash {shlex.quote(name)}"
    made = shell.exec("sh", "-c", command)
    assert made.status == 0, made.output
    return made.output


@pytest.mark.parametrize(("name", "password"), USERS.items(), ids=PASSWORDS)
def test_login_and_password_are_what_they_are_written(
    relay: Relay, sink: Sink, name: str, password: str
) -> None:
    with session(relay) as client:
        assert log_in(client, name, password) == f"{ACCEPTED}Authentication successful"
        client.send_message(letter(to := someone()), "app@example.com", [to])
    assert sink.mail(to, needs=[relay.container])
    for wrong in (password[:-1], password + " ", password.swapcase() + "x"):
        assert login(relay, name, wrong).startswith(REFUSED)


def test_the_mechanism_login_does_the_same(relay: Relay) -> None:
    with session(relay) as client:
        client.user, client.password = "ann", PASSWORDS["plain"]
        assert client.auth("LOGIN", client.auth_login)[0] == 235


@pytest.mark.parametrize("name", ["ann", "ann@example.com", f"ann@{HOSTNAME}"])
def test_one_name_with_and_without_a_domain_are_different_users(relay: Relay, name: str) -> None:
    answers = {other: login(relay, name, USERS[other])[:3] for other in USERS if other.startswith("ann")}
    assert answers == {other: "235" if other == name else "535" for other in answers}
    assert len(answers) == 3


def test_a_no_says_the_same_whatever_is_wrong(relay: Relay) -> None:
    tries = [("ann", "wrong"), ("nobody", "wrong"), ("nobody@example.com", "x"), ("ann", ""), ("", "x")]
    assert {login(relay, *each) for each in tries} == {
        f"{REFUSED}Error: authentication failed: wrong login or password"
    }
    relay.logged(
        r"submission/smtpd\[\d+\]: warning: \S+: SASL PLAIN .*wrong.*sasl_username=nobody@example.com$"
    )


def test_who_does_not_exist_is_refused_as_slowly_as_who_does(relay: Relay) -> None:
    """By the medians of some, generously: more than twice as long would be seen from anywhere."""

    def took(name: str) -> float:
        begun = time.monotonic()
        assert log_in(client, name, "wrong").startswith(REFUSED)
        return time.monotonic() - begun

    known: list[float] = []
    unknown: list[float] = []
    for number in range(20):
        # In turns: what comes first in a session takes longer, whoever it is.
        tries = [(known, "ann"), (unknown, f"nobody{number}")]
        with session(relay) as client:
            for times, name in tries[:: 1 if number % 2 else -1]:
                times.append(took(name))
    assert 0.5 < median(known) / median(unknown) < 2


def test_no_password_is_in_a_log_or_in_a_file_that_others_can_read(relay: Relay) -> None:
    log = relay.logs()
    assert not [password for password in PASSWORDS.values() if password.strip() in log]
    directory = "/run/postern/logins"
    for name in ("sasldb2", "users", "../etc/postern/logins.json"):
        if relay.exec("test", "-e", f"{directory}/{name}").status == 0:
            assert relay.exec("cat", f"{directory}/{name}", user="postern").status != 0
            assert relay.exec("cat", f"{directory}/{name}", user="postfix").status != 0


@pytest.mark.root
def test_passwords_are_checked_by_a_program_with_a_user_of_its_own(relay: Relay) -> None:
    uid = int(relay.exec("id", "-u", "logins").output)
    assert inside.the(relay, "logins").uid == uid
    assert uid not in {process.uid for process in inside.processes(relay) if process.name != "logins"}


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("name", ["ann", "ann@example.com", "o'brien@example.com"])
def test_scram_proves_on_both_sides_that_the_password_is_known(
    in_sasldb: Relay, sink: Sink, mechanism: str, name: str
) -> None:
    in_sasldb.wait_until_ready()
    with session(in_sasldb) as client:
        assert mechanism in client.esmtp_features["auth"].split()
        assert scram.log_in(client, mechanism, name, USERS[name]) == (235, "2.7.0 Authentication successful")
        client.send_message(letter(to := someone()), "app@example.com", [to])
    assert sink.mail(to, needs=[in_sasldb.container])


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("name", ["ann", "nobody", "nobody@example.com"])
def test_scram_does_not_tell_who_exists(in_sasldb: Relay, mechanism: str, name: str) -> None:
    """Each is asked for a proof, and each is asked with the same salt again; then it is a no."""
    in_sasldb.wait_until_ready()
    salts = set()
    for _ in range(2):
        with session(in_sasldb) as client:
            salts.add(scram.first_answer(client, mechanism, name)["s"])
    assert len(salts) == 1
    with session(in_sasldb) as client:
        code, text = scram.log_in(client, mechanism, name, "wrong")
        assert (code, text) == (535, "5.7.8 Error: authentication failed: wrong login or password")


def test_a_changed_password_counts_without_a_restart(in_file: Relay, file: Path, shell: Relay) -> None:
    in_file.wait_until_ready()
    before = inside.the(in_file, "logins")
    with session(in_file) as open_session:
        assert login(in_file, "ann", PASSWORDS["plain"]).startswith(ACCEPTED)
        changed = USERS | {"ann": "new", "late": "comer"}
        del changed["per%s"]
        (new := file.with_name("new")).write_text("".join(line(shell, *pair) for pair in changed.items()))
        new.rename(file)
        until(
            "the new password counts",
            lambda: login(in_file, "ann", "new").startswith("235"),
            deadline=SECONDS,
        )
        assert log_in(open_session, "ann", PASSWORDS["plain"]).startswith(REFUSED)
        assert log_in(open_session, "late", "comer").startswith(ACCEPTED)
    assert login(in_file, "per%s", PASSWORDS["percent"]).startswith(REFUSED)
    assert login(in_file, "ann@example.com", PASSWORDS["colon"]).startswith(ACCEPTED)
    assert inside.the(in_file, "logins") == before


def test_a_killed_logins_program_is_back_and_meanwhile_nobody_gets_a_no(own: Relay) -> None:
    """Not even a client that connects while it is not there; and the port stays open, which Postfix would close for a
    minute if it could not connect.
    """
    answers: list[str] = []

    def log_in_again_and_again() -> None:
        while len(answers) < 200:
            answers.append(login(own, "ann", "right")[:10])

    with ThreadPoolExecutor(4) as pool:
        threads = [pool.submit(log_in_again_and_again) for _ in range(4)]
        for count in (20, 70, 120):
            until(f"{count} logins were tried", partial(_longer, answers, count))
            victim = inside.the(own, "logins")
            inside.signal(own, "KILL", [victim])
            inside.replaced(own, victim)
        for thread in threads:
            thread.result()
    assert set(answers) <= {ACCEPTED, LATER}
    assert answers.count(LATER) < 40
    assert login(own, "ann", "right").startswith(ACCEPTED)
    assert login(own, "ann", "wrong").startswith(REFUSED)
    assert "throttling" not in own.logs()
    own.wait_until_ready()


def test_a_logins_program_that_hangs_is_a_temporary_no_and_shows_in_readyz(own: Relay) -> None:
    victim = inside.the(own, "logins")
    inside.signal(own, "STOP", [victim])
    try:
        with session(own) as client:
            # Postfix itself waits for 10 s.
            assert log_in(client, "ann", "right").startswith(LATER)
        assert "503" in own.readiness()
        assert "failed logins" in own.readiness()
    finally:
        inside.signal(own, "CONT", [victim])
    until("it is checked again", lambda: login(own, "ann", "right").startswith(ACCEPTED))


def _longer(answers: list[str], count: int) -> bool:
    return len(answers) > count
