"""While several programs send all the time, a certificate, a password and the users change, and no client notices."""

from __future__ import annotations

import smtplib
import ssl
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.image import engine, tls
from tests.image.conftest import StartRelay
from tests.image.relay import HOSTNAME, Relay, someone
from tests.image.senders import Sender
from tests.image.sink import Sink
from tests.image.test_drain import arrived
from tests.image.test_live_changes import HASH, SECONDS
from tests.image.tls import Certificates
from tests.image.waiting import until

RELAY, SUBMISSIONS = 587, 465
ROUNDS = 3
# Seconds between two messages of one client: six make a hundred a second, which the sink can take, too.
PACE = 0.05


@dataclass(frozen=True)
class Way:
    """How a client sends: in clear or by STARTTLS (587), or by TLS with a login (465); in one session, or in many."""

    port: int
    encrypted: bool
    keeps_its_session: bool


WAYS = [
    Way(port, encrypted, keeps)
    for port, encrypted in ((RELAY, False), (RELAY, True), (SUBMISSIONS, True))
    for keeps in (True, False)
]


def opened(relay: Relay, way: Way, login: str = "app") -> smtplib.SMTP:
    context = ssl._create_unverified_context()
    if way.port == SUBMISSIONS:
        port = engine.published(relay.container, SUBMISSIONS)
        session: smtplib.SMTP = smtplib.SMTP_SSL("127.0.0.1", port, timeout=20, context=context)
        session.login(login, "secret")
        return session
    session = relay.smtp(RELAY)
    if way.encrypted:
        session.starttls(context=context)
    return session


def sender(relay: Relay, way: Way) -> Sender:
    name = someone()
    return Sender(
        lambda: opened(relay, way),
        lambda number: f"{number}-{name}",
        keeps_its_session=way.keeps_its_session,
        pause=PACE,
    )


class Given:
    """The files that change, each by a new one in its place."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._authority = trustme.CA()
        self._users = ""
        self.certificate()
        self.password("the-first-password")
        self.user("app")

    def certificate(self) -> str:
        """The fingerprint of the new one."""
        pieces = tls.issue(HOSTNAME, by=self._authority)
        self._put("tls/relay.pem", pieces.all)
        return pieces.fingerprint

    def password(self, text: str) -> None:
        self._put("secret/password", text)

    def user(self, login: str) -> None:
        self._users += f"{login}:{HASH}\n"
        self._put("config/users", self._users)

    @property
    def volumes(self) -> dict[str, dict[str, str]]:
        return {
            str(self._directory / name): {"bind": f"/{name}", "mode": "ro"}
            for name in ("tls", "secret", "config")
        }

    def _put(self, name: str, text: str) -> None:
        file = self._directory / name
        file.parent.mkdir(exist_ok=True)
        (new := file.with_suffix(".new")).write_text(text)
        new.rename(file)


def shown(relay: Relay) -> str:
    """The fingerprint of the certificate that a new client sees."""
    with opened(relay, Way(RELAY, encrypted=True, keeps_its_session=False)) as session:
        assert isinstance(session.sock, ssl.SSLSocket)
        certificate = session.sock.getpeercert(binary_form=True)
    assert certificate
    return tls.fingerprint(certificate)


def seconds_until(what: str, condition: Callable[[], bool]) -> float:
    began = time.monotonic()
    until(what, condition)
    return time.monotonic() - began


@pytest.fixture
def given(tmp_path: Path) -> Given:
    return Given(tmp_path)


@pytest.fixture
def loaded(start_relay: StartRelay, given: Given, certificates: Certificates) -> Relay:
    env = {
        "LISTEN": "587:relay 465:submissions",
        "RELAYHOST_USERNAME": "me",
        "RELAYHOST_PASSWORD_FILE": "/secret/password",
        "RELAYHOST_CA_FILE": tls.CA,
        "SMTPD_TLS_CERT_FILE": "/tls/relay.pem",
    }
    return start_relay(env, ports=(RELAY, SUBMISSIONS), volumes=given.volumes | certificates.mount)


def change(relay: Relay, sink: Sink, given: Given, number: int) -> dict[str, float]:
    """The seconds until a new client sees the new certificate, the upstream the new password, and a user is known."""
    fingerprint, took = given.certificate(), {}
    took["certificate"] = seconds_until("the certificate is shown", lambda: shown(relay) == fingerprint)
    given.password(password := f"password-{number}")
    took["password"] = seconds_until(
        "the upstream gets the password", lambda: ("me", password) in sink.logins()
    )
    before = relay.logs().count("/config/users has changed")
    given.user(login := f"user{number}")
    # Asking too early would be a guess, and guessers are slowed.
    took["user"] = seconds_until(
        "the user is known", lambda: relay.logs().count("/config/users has changed") > before
    )
    opened(relay, Way(SUBMISSIONS, encrypted=True, keeps_its_session=False), login).quit()
    return took


def test_new_certificates_passwords_and_users_are_in_use_within_5_s_and_no_client_notices(
    loaded: Relay, sink: Sink, given: Given
) -> None:
    sink.behave(require_auth=True)
    with ExitStack() as stack:
        senders = [stack.enter_context(sender(loaded, way)) for way in WAYS]
        until("all send", lambda: all(sender.sent for sender in senders))
        took = [change(loaded, sink, given, number) for number in range(ROUNDS)]
    assert [sender.failed for sender in senders] == [None] * len(WAYS)
    assert [sender.sessions == 1 for sender in senders] == [way.keeps_its_session for way in WAYS]
    # The machine may be busy with other tests for one of the three.
    assert all(sorted(each[kind] for each in took)[1] < SECONDS for kind in took[0]), took
    sent = [to for sender in senders for to in sender.sent]
    assert len(sent) > 300
    until(
        "all have arrived",
        lambda: set(arrived(sink)) >= set(sent),
        deadline=60,
        needs=[loaded.container],
        state=loaded.queue,
    )
    received = Counter(arrived(sink))
    assert {to: received[to] for to in sent} == dict.fromkeys(sent, 1)
    # qmgr(8) leaves what was being delivered during a reload for a minute, without a recipient, and then forgets it.
    assert "  to " not in loaded.queue()
