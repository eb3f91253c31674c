"""Secrets in files change while the relay runs: within 5 s the new one is used, and nothing goes on with the old one.

What holds it may be a program that runs on, a session that is open, or a connection to the upstream that is kept.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.image import inside, scram
from tests.image.backends import log_in, login, session
from tests.image.conftest import StartRelay
from tests.image.relay import Relay, letter, someone
from tests.image.sink import Sink
from tests.image.test_live_changes import in_time
from tests.image.tls import Certificates
from tests.image.waiting import until

ACCEPTED, REFUSED = "235 ", "535 "
OLD = "the first one: "
SCRAM = "SCRAM-SHA-256"
# Whose mail goes out with a login, and so only where the certificate is verified.
BOSS = "boss@example.net"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Path:
    """What is mounted at /secrets."""
    directory = tmp_path_factory.mktemp("secrets")
    (directory / "users").write_text(f"ann:{OLD}\nben:{OLD}\n")
    (directory / "upstream").write_text(OLD)
    (directory / "ca").write_text((certificates.directory / "ca.pem").read_text())
    return directory


@pytest.fixture(scope="module")
def _live(start_shared_relay: StartRelay, files: Path) -> Relay:
    env = {
        "LISTEN": "25:relay 587:submission",
        "SMTPD_SASL_USERS_FILE": "/secrets/users",
        "SASL_MECHANISMS": f"PLAIN {SCRAM}",
        "AUTH_FAILURE_LIMIT": "1000",
        "UPSTREAMS": f"{BOSS} [sink]:25 user=me password_file=/secrets/upstream",
        "RELAYHOST_CA_FILE": "/secrets/ca",
    }
    volumes = {str(files): {"bind": "/secrets", "mode": "ro"}}
    return start_shared_relay(env, ports=(25, 587), volumes=volumes)


@pytest.fixture
def live(_live: Relay, sink: Sink) -> Relay:
    return _live


@pytest.fixture
def change(files: Path) -> Callable[[str, str], None]:
    """Puts another file in the place of one."""

    def replace(name: str, text: str) -> None:
        (new := files / ".new").write_text(text)
        new.rename(files / name)

    return replace


def seconds_until(what: str, condition: Callable[[], bool], relay: Relay) -> float:
    began = time.monotonic()
    until(what, condition, needs=[relay.container], state=relay.logs)
    return time.monotonic() - began


def test_a_changed_password_in_sasldb_counts_in_open_sessions_and_new_ones(
    live: Relay, sink: Sink, change: Callable[[str, str], None]
) -> None:
    """The program that checks it runs on, and must not look at the database that was."""
    before, given = inside.the(live, "logins"), [OLD]

    def take() -> float:
        old, new = given[-1], secrets.token_hex(8)
        given.append(new)
        change("users", f"ann:{new}\nlate:{new}\n")
        took = seconds_until(
            "the new password counts", lambda: login(live, "ann", new).startswith(ACCEPTED), live
        )
        for name, password in (("ann", old), ("ben", OLD), ("ben", new)):
            assert log_in(waiting, name, password).startswith(REFUSED)
        return took

    with session(live) as logged_in, session(live) as waiting:
        assert log_in(logged_in, "ann", OLD).startswith(ACCEPTED)
        assert login(live, "ben", OLD).startswith(ACCEPTED)
        in_time(take)
        assert log_in(waiting, "late", given[-1]).startswith(ACCEPTED)
        # Who had logged in is not asked again.
        logged_in.send_message(letter(to := someone()), "app@example.com", [to])
    assert sink.mail(to, needs=[live.container])
    for password, code in ((OLD, 535), (given[-1], 235)):
        with session(live) as client:
            assert scram.log_in(client, SCRAM, "ann", password)[0] == code
    assert inside.the(live, "logins") == before


def test_a_changed_password_file_of_an_upstream_is_what_the_upstream_gets(
    live: Relay, sink: Sink, change: Callable[[str, str], None]
) -> None:
    """While mail goes out all the time, over connections that are kept."""
    sink.behave(require_auth=True)

    def given() -> str | None:
        """The password that came last."""
        live.send(to := someone(), BOSS)
        sink.mail(to, needs=[live.container])
        return sink.logins()[-1][1]

    def take() -> float:
        change("upstream", new := secrets.token_hex(8))
        return seconds_until("the upstream gets it", lambda: given() == new, live)

    assert given() == OLD
    in_time(take)
    last = given()
    sink.behave(user="me", password=last)
    live.send(to := someone(), BOSS)
    assert sink.mail(to)[0].user == "me"
    assert str(last) not in live.logs()


def test_another_ca_counts_for_the_upstream_also_where_connections_are_kept(
    live: Relay, sink: Sink, change: Callable[[str, str], None], certificates: Certificates
) -> None:
    """An authority that is no longer trusted gets no more mail, and one that is trusted again does."""

    def sent() -> str:
        """What became of one more mail."""
        live.send(to := someone(), BOSS)
        return live.logged(rf"to=<{to}>.*status=")

    def becomes(authority: str, told: str) -> float:
        change("ca", (certificates.directory / authority).read_text())
        return seconds_until(f"there is {told}", lambda: told in sent(), live)

    def take() -> float:
        gone = becomes("other-ca.pem", "Server certificate not verified")
        before = sink.logins()
        assert "status=deferred" in sent()
        assert sink.logins() == before
        return max(gone, becomes("ca.pem", "status=sent"))

    assert "status=sent" in sent()
    in_time(take)
