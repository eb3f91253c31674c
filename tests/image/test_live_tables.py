"""Each table of /config takes effect while the relay runs, seen by where mail arrives; nonsense in one changes nothing.

How files are changed, and that no session notices, is in test_live_changes.py. Here the old way and the new one end at
different servers.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.image import engine, tls
from tests.image.backends import log_in
from tests.image.conftest import StartRelay
from tests.image.inbound import tables
from tests.image.relay import Relay, letter, someone
from tests.image.sink import Sink
from tests.image.test_live_changes import HASH, metric, reply
from tests.image.tls import Pieces
from tests.image.waiting import until

SECONDS = 5.0
"""Within which a change has taken effect."""
APP, BOSS = "app@example.com", "boss@example.com"
PLAINTEXT = "correct-horse"
TABLES = {
    "relay_domains": "example.net [sink]:25\n",
    "relay_recipients": "@example.net\n",
    "transport": "away.example smtp:[inside]:25\n",
    "virtual": "info@example.com first@example.org\n",
    "sender_logins": f"app {APP}\n",
    "upstreams": "ceo@example.com [inside]:25\n",
    "users": f"app:{HASH}\n",
}


@pytest.fixture(scope="module")
def certificate() -> Pieces:
    """A client's."""
    return tls.issue("app.example.com", by=trustme.CA())


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config")


@pytest.fixture(scope="module")
def _live(start_shared_relay: StartRelay, directory: Path, _inside: Sink) -> Relay:
    stranger = tls.issue("stranger.example.com", by=trustme.CA()).fingerprint
    volumes = tables(directory, **TABLES, client_certificates=f"{stranger} stranger\n")
    env = {
        "LISTEN": "25:inbound 587:relay 465:submissions",
        "POSTFIX_smtpd_error_sleep_time": "0s",
    }
    return start_shared_relay(env, ports=(25, 587, 465), volumes=dict(volumes))


@pytest.fixture
def live(_live: Relay, sink: Sink, inside: Sink) -> Relay:
    """A relay with every table mounted; what is not told to go inside goes to the sink."""
    return _live


@pytest.fixture
def change(directory: Path, live: Relay) -> Iterator[Callable[[str, str], None]]:
    """Replaces a table by rename, as editors do; afterwards all are as they were."""
    before: dict[str, str] = {}

    def replace(name: str, text: str) -> None:
        if name not in before:
            before[name] = (directory / name).read_text()
        (new := directory / f".{name}.new").write_text(text)
        new.rename(directory / name)

    yield replace
    reloads = metric(live, "postern_config_reloads_total")
    refused = metric(live, "postern_config_refused")
    for name, text in before.items():
        replace(name, text)
    if before:
        until(
            "all is as it was",
            lambda: (
                metric(live, "postern_config_reloads_total") > reloads
                or refused > metric(live, "postern_config_refused")
            ),
            needs=[live.container],
            state=live.readiness,
        )


Change = Callable[[str, str], None]


WAYS = {
    "transport": ("transport", "new.example smtp:[inside]:25\n", "new.example", APP),
    "relay_domains": ("relay_domains", "example.net [inside]:25\n", "example.net", APP),
    "upstreams": ("upstreams", f"{BOSS} [inside]:25\n", "example.org", BOSS),
    "upstreams_domain": ("upstreams", "@example.com [inside]:25\n", "example.org", APP),
    "virtual": ("virtual", "@alias.example ann@away.example\n", "alias.example", APP),
}


@pytest.mark.parametrize("way", WAYS)
def test_mail_takes_a_new_way_within_5_s(
    live: Relay, sink: Sink, inside: Sink, change: Change, way: str
) -> None:
    table, text, domain, sender = WAYS[way]
    port = 25 if domain == "example.net" else 587

    sent: set[str] = set()

    def send() -> str:
        """One more mail, known by its subject: its recipient may be another one when it arrives."""
        sent.add(subject := someone())
        message = letter(to := someone(domain), sender)
        message.replace_header("Subject", subject)
        with live.smtp(port) as session:
            session.send_message(message, sender, [to])
        return subject

    def arrived(server: Sink) -> set[str]:
        headers = [header for shown in server._ask("GET", "/messages") for header in shown["headers"]]
        return sent & {text for name, text in headers if name == "Subject"}

    def more_arrives(server: Sink) -> bool:
        send()
        return bool(arrived(server))

    until("mail goes to the sink", lambda: more_arrives(sink), needs=[live.container])
    assert not arrived(inside)
    change(table, text)
    until("mail goes inside", lambda: more_arrives(inside), deadline=SECONDS, state=live.logs)
    last = send()
    until("all has arrived", lambda: arrived(sink) | arrived(inside) == sent, needs=[live.container])
    assert last in arrived(inside)


def submissions(relay: Relay, certificate: Path | None = None) -> smtplib.SMTP_SSL:
    context = ssl._create_unverified_context()
    if certificate:
        context.load_cert_chain(certificate)
    port = engine.published(relay.container, 465)
    return smtplib.SMTP_SSL("127.0.0.1", port, "client.example", timeout=20, context=context)


def test_a_client_certificate_counts_once_it_is_listed_and_no_longer_than_it_is(
    live: Relay, change: Change, certificate: Pieces, tmp_path: Path
) -> None:
    (file := tmp_path / "client.pem").write_text(certificate.all)

    def told() -> int:
        with submissions(live, file) as session:
            session.ehlo()
            # What belongs to a login is not a certificate's.
            return reply(session, someone(), "printer@example.com")

    assert told() == 554
    change("client_certificates", f"{certificate.fingerprint} app\n")
    until("it is a login", lambda: told() == 250, deadline=SECONDS, state=live.logs)
    change("client_certificates", f"{tls.issue('x.example', by=trustme.CA()).fingerprint} x\n")
    until("it is none", lambda: told() == 554, deadline=SECONDS, state=live.logs)


NONSENSE = {
    "relay_domains": ("example.net [sink]:25\nexample.com example.com\n", 2),
    "relay_recipients": ("@example.net\nnot an address\n", 2),
    "transport": ("away.example smpt:[inside]:25\n", 1),
    "virtual": ("info@example.com\n", 1),
    "sender_logins": (f"app {APP}\nnobody nobody@example.com\n", 2),
    "upstreams": (f"{BOSS} [inside]:25\n{BOSS} [sink]:25\n", 2),
    "users": (f"app:{HASH}\nben:{PLAINTEXT}\n", 2),
    "client_certificates": ("app.pem app\n", 1),
}


@pytest.mark.parametrize("table", NONSENSE)
def test_nonsense_in_any_table_keeps_all_that_was_there_and_is_told(
    live: Relay, inside: Sink, change: Change, table: str
) -> None:
    text, line = NONSENSE[table]
    before = in_force(live)
    change(table, text)
    told = f"/config/{table}:{line}: "
    until("it is told", lambda: told in live.readiness(), needs=[live.container], state=live.logs)
    assert live.readiness().startswith("200 ")
    until("it is counted", lambda: metric(live, "postern_config_refused") == 1, needs=[live.container])
    assert f"error: {told}" in live.logs()
    assert PLAINTEXT not in live.logs() + live.readiness()
    assert in_force(live) == before
    with submissions(live) as session:
        session.ehlo()
        assert log_in(session, "app", "secret").startswith("235 ")
        session.send_message(letter(to := someone("away.example"), APP), APP, [to])
    assert inside.mail(to)


SECRETS = {
    "hashes": f"ann:{HASH}\nbob:{HASH}\n",
    "passwords": f"ann:{PLAINTEXT}\nbob:{PLAINTEXT}\n",
    "a key": tls.issue("x.example", by=trustme.CA()).key,
}


@pytest.mark.parametrize("kind", SECRETS)
def test_secrets_in_a_tables_place_are_refused_by_their_line_and_not_shown(
    live: Relay, change: Change, kind: str
) -> None:
    """A file that was mounted at the wrong name; every mistake that it is would be told."""
    before = live.logs().count("error: /config/transport:2: must ")
    change("transport", SECRETS[kind])
    until("it is told", lambda: "/config/transport:2: must " in live.readiness(), state=live.logs)
    assert live.logs().count("error: /config/transport:2: must ") == before + 1
    told = live.logs() + live.readiness()
    for secret in (HASH, PLAINTEXT, *SECRETS["a key"].splitlines()[1:-1]):
        assert secret not in told


def test_a_users_file_that_grows_to_100_mb_keeps_those_who_were_there(
    live: Relay, directory: Path, change: Change
) -> None:
    before = in_force(live)
    change("users", TABLES["users"])
    with (directory / "users").open("ab") as file:
        file.truncate(100 * 1024 * 1024)
    told = "/config/users: must be a file of at most 16 MB"
    until("it is told", lambda: told in live.readiness(), needs=[live.container], state=live.logs)
    assert in_force(live) == before
    with submissions(live) as session:
        session.ehlo()
        assert log_in(session, "app", "secret").startswith("235 ")


def in_force(relay: Relay) -> str:
    """Sums of everything that Postfix and the logins read."""
    found = relay.exec(
        "sh",
        "-c",
        "find /run/postern/etc /run/postern/tables /run/postern/logins -type f | sort | xargs sha256sum",
    )
    assert found.status == 0, found.output
    return found.output


def test_a_single_file_that_is_mounted_may_be_written_in_place(
    start_relay: StartRelay, tmp_path: Path, inside: Sink
) -> None:
    (file := tmp_path / "routes").write_text("away.example smtp:[sink]:25\n")
    relay = start_relay(volumes={str(file): {"bind": "/config/transport", "mode": "ro"}})
    file.write_text("away.example smtp:[inside]:25\n")
    relay.logged("/config/transport has changed")

    def arrived() -> bool:
        relay.send(to := someone("away.example"))
        relay.logged(rf"to=<{to}>.*status=sent")
        return bool(inside.received(to))

    until("mail goes inside", arrived, needs=[relay.container])


def test_tables_that_hold_senders_and_recipients_in_bounds_keep_them_there_when_they_vanish(
    live: Relay, directory: Path, change: Change
) -> None:
    def recipient() -> int:
        with live.smtp(25) as session:
            session.ehlo()
            return reply(session, "ben@example.net", "")

    change("sender_logins", TABLES["sender_logins"])
    change("relay_recipients", "ann@example.net\n")
    until("the list is in force", lambda: recipient() == 550, deadline=SECONDS, state=live.logs)
    for name in ("sender_logins", "relay_recipients"):
        (directory / name).unlink()
    for name in ("SENDER_LOGINS", "RELAY_RECIPIENTS"):
        live.logged(f"error: {name}: must not go while the relay runs")
    assert "must not go" in live.readiness()
    with submissions(live) as session:
        session.ehlo()
        assert log_in(session, "app", "secret").startswith("235 ")
        assert reply(session, someone("example.org"), "somebody.else@example.com") == 553
    assert recipient() == 550


def test_mail_keeps_its_way_while_its_table_is_away_or_empty(
    live: Relay, directory: Path, change: Change, sink: Sink, inside: Sink
) -> None:
    """What is for a server inside, or for nobody, would go to the upstream: to the world."""
    change("virtual", TABLES["virtual"])
    change("transport", TABLES["transport"] + "secret.example error:5.1.2 for nobody\n")

    def refused() -> bool:
        with live.smtp(587) as session:
            return reply(session, someone("secret.example"), APP) == 550

    until("the table is in force", refused, state=live.logs)
    for action in (Path.unlink, Path.touch):
        for name in ("transport", "virtual"):
            told = f"error: {name.upper()}: must not go while the relay runs"
            before = live.logs().count(told)
            action(directory / name)
            until(f"{name} is missed", lambda: live.logs().count(told) > before, state=live.logs)  # noqa: B023
        assert "must not go" in live.readiness()
        assert refused()
        live.send(to := someone("away.example"), port=587)
        assert inside.mail(to)
        live.send("info@example.com", port=587)
        assert sink.mail("first@example.org")
        assert not sink.received(to) + sink.received("info@example.com")
