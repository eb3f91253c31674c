"""A changed table takes effect within 5 s, without a restart and without a dropped connection; a bad one never does.

The files are changed as people and machines do it: written in place, renamed over, and by the swap of a symlink with
which Kubernetes changes a mounted ConfigMap.
"""

from __future__ import annotations

import os
import re
import smtplib
import ssl
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from tests.image import engine, tls
from tests.image.conftest import StartRelay
from tests.image.relay import Relay, letter, someone
from tests.image.senders import Sender
from tests.image.sink import Sink
from tests.image.tls import Certificates
from tests.image.waiting import until

SECONDS = 5.0
"""Within which a change has taken effect."""
INBOUND, RELAY, SUBMISSIONS = 25, 587, 465
# crypt(5) of "secret", with few rounds.
HASH = "$6$rounds=1000$postern$o/pQYOo9rjsSU8kNFOmbLW3hwINoMwq6ccmexfW90YKz9eeU6apUcOJUyXZGkIK282ecx.J1AKd20mq80AVVo0"
TABLES = {
    "relay_domains": "example.net [sink]:25\n",
    "relay_recipients": "ann@example.net\nleaving@example.net\n",
    "transport": "elsewhere.example smtp:[sink]:25\n",
    "virtual": "info@example.com first@example.org\n",
    "sender_logins": "app app@example.com\n",
    "users": f"app:{HASH}\n",
}


class Mounted:
    """The directory at /config, as the kubelet makes it: visible names lead through ..data to a version of all files."""

    def __init__(self, directory: Path, tables: dict[str, str]) -> None:
        self._directory = directory
        self.tables: dict[str, str] = {}
        self._versions = 0
        for name, text in tables.items():
            self.swap(name, text)

    def swap(self, name: str, text: str) -> None:
        self.tables[name] = text
        self._versions += 1
        version = self._directory / f"..version{self._versions}"
        version.mkdir()
        for each, content in self.tables.items():
            (version / each).write_text(content)
        self._link("..data", version.name)
        self._link(name, f"..data/{name}")

    def rename(self, name: str, text: str) -> None:
        self.tables[name] = text
        (new := self._directory / f".{name}.new").write_text(text)
        new.rename(self._directory / name)

    def in_place(self, name: str, text: str) -> None:
        self.tables[name] = text
        (self._directory / name).write_text(text)

    def _link(self, name: str, target: str) -> None:
        (new := self._directory / f"..{name}.new").symlink_to(target)
        new.rename(self._directory / name)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config")


@pytest.fixture(scope="module")
def mounted(directory: Path) -> Mounted:
    """What a test adds stays for those after it."""
    return Mounted(directory, TABLES)


@pytest.fixture(scope="module")
def _live(start_shared_relay: StartRelay, directory: Path, mounted: Mounted) -> Relay:
    env = {
        "LISTEN": "25:inbound 587:relay 465:submissions",
        # A session here asks again and again until it is answered otherwise.
        "POSTFIX_smtpd_soft_error_limit": "1000",
        "POSTFIX_smtpd_hard_error_limit": "1000",
        "POSTFIX_smtpd_junk_command_limit": "1000",
    }
    volumes = {str(directory): {"bind": "/config", "mode": "ro"}}
    return start_shared_relay(env, ports=(INBOUND, RELAY, SUBMISSIONS), volumes=volumes)


@pytest.fixture
def live(_live: Relay, sink: Sink) -> Relay:
    """A relay with all tables mounted."""
    return _live


def reply(session: smtplib.SMTP, to: str, sender: str = "app@example.com") -> int:
    """To RCPT, or to a MAIL that was refused."""
    session.rset()
    code = session.mail(sender)[0]
    return session.rcpt(to)[0] if code == 250 else code


Change = Callable[[Mounted, str, str], None]


def becomes(code: int, ask: Callable[[], int]) -> float:
    """The seconds until then."""
    began = time.monotonic()
    until(f"the answer is {code}", lambda: ask() == code, state=ask)
    return time.monotonic() - began


def new_reply(relay: Relay, port: int, to: str) -> int:
    """In a session of its own. A busy smtpd(8) may take one more before it hears that it is of the last configuration."""
    with relay.smtp(port) as session:
        return reply(session, to)


def reloads(relay: Relay) -> int:
    """How often Postfix has read its configuration again."""
    return relay.logs().count(" reload -- version ")


WAYS: dict[str, Change] = {
    "in place": Mounted.in_place,
    "by rename": Mounted.rename,
    "by a ConfigMap's swap": Mounted.swap,
}


def in_time(take: Callable[[], float]) -> None:
    """The better of two: the machine may be busy with other tests."""
    assert take() < SECONDS or take() < SECONDS


@pytest.mark.parametrize("way", WAYS)
def test_a_new_recipient_is_known_within_5_s_in_open_sessions_and_new_ones(
    live: Relay, mounted: Mounted, way: str
) -> None:
    """Asked in each session before, and again after, whichever way the file is changed."""
    with live.smtp(INBOUND) as session:

        def take() -> float:
            to = someone("example.net")
            assert (reply(session, to), reply(session, "ann@example.net")) == (550, 250)
            WAYS[way](mounted, "relay_recipients", mounted.tables["relay_recipients"] + f"{to}\n")
            took = becomes(250, lambda: reply(session, to))
            assert reply(session, "ann@example.net") == 250
            with live.smtp(INBOUND) as another:
                assert (reply(another, to), reply(another, "ann@example.net")) == (250, 250)
            return took

        in_time(take)


def test_a_recipient_that_was_taken_out_is_refused_in_open_sessions_and_new_ones(
    live: Relay, mounted: Mounted
) -> None:
    before = mounted.tables["relay_recipients"]
    with live.smtp(INBOUND) as session:
        assert reply(session, "leaving@example.net") == 250
        mounted.in_place("relay_recipients", before.replace("leaving@example.net\n", ""))
        becomes(550, lambda: reply(session, "leaving@example.net"))
        with live.smtp(INBOUND) as another:
            assert reply(another, "leaving@example.net") == 550


def test_mail_for_a_new_domain_is_taken_in_open_sessions_and_new_ones(
    live: Relay, mounted: Mounted, sink: Sink
) -> None:
    """In an open session for addresses of which it was not asked yet: smtpd(8) remembers the others until its end."""
    to = someone("example.info")
    with live.smtp(INBOUND) as session:
        assert reply(session, to) == 554
        before = reloads(live)
        mounted.rename("relay_domains", "example.net [sink]:25\nexample.info [sink]:25\n")
        mounted.swap("relay_recipients", mounted.tables["relay_recipients"] + "@example.info\n")
        becomes(250, lambda: reply(session, someone("example.info")))
        until("Postfix has read it", lambda: reloads(live) > before)
    becomes(250, lambda: new_reply(live, INBOUND, to))
    live.send(to, port=INBOUND)
    assert sink.mail(to)


def test_a_way_that_is_closed_is_closed_in_open_sessions_and_new_ones(live: Relay, mounted: Mounted) -> None:
    to = someone("gone.example")
    with live.smtp(RELAY) as session:
        assert reply(session, to) == 250
        before = reloads(live)
        mounted.in_place("transport", mounted.tables["transport"] + "gone.example error:5.1.2 closed\n")
        becomes(550, lambda: reply(session, someone("gone.example")))
        until("Postfix has read it", lambda: reloads(live) > before)
    becomes(550, lambda: new_reply(live, RELAY, to))


def test_an_alias_leads_elsewhere_at_once(live: Relay, mounted: Mounted, sink: Sink) -> None:
    alias, to, before = someone("example.com"), someone(), someone()
    with live.smtp(RELAY) as session:

        def sent(target: str) -> bool:
            session.send_message(letter(alias), "app@example.com", [alias])
            return bool(sink.received(target))

        mounted.swap("virtual", f"{alias} {before}\n")
        until("the alias is known", lambda: sent(before))
        mounted.swap("virtual", f"{alias} {to}\n")
        until("the alias leads elsewhere", lambda: sent(to))


def submissions(relay: Relay) -> smtplib.SMTP_SSL:
    context = ssl._create_unverified_context()
    return smtplib.SMTP_SSL(
        "127.0.0.1", engine.published(relay.container, SUBMISSIONS), timeout=20, context=context
    )


def test_a_new_user_may_log_in_at_once(live: Relay, mounted: Mounted) -> None:
    def login() -> int:
        with submissions(live) as session:
            try:
                return session.login("ben", "secret")[0]
            except smtplib.SMTPAuthenticationError as error:
                return error.smtp_code

    assert login() == 535
    mounted.swap("users", mounted.tables["users"] + f"ben:{HASH}\n")
    live.logged("/config/users has changed")
    assert login() == 235


def test_a_login_may_send_as_another_address_within_5_s(live: Relay, mounted: Mounted) -> None:
    with submissions(live) as session:
        session.login("app", "secret")

        def take() -> float:
            sender = someone("example.com")
            assert reply(session, someone(), sender) == 553
            mounted.rename("sender_logins", f"app app@example.com {sender}\n")
            return becomes(250, lambda: reply(session, someone(), sender))

        in_time(take)


def test_clients_that_send_all_the_time_notice_none_of_ten_reloads(
    live: Relay, mounted: Mounted, sink: Sink
) -> None:
    to, changes = someone(), list(WAYS.values())
    one, many = (
        Sender(lambda: live.smtp(RELAY), lambda _: to, keeps_its_session=keeps) for keeps in (True, False)
    )
    with one, many:
        for number in range(10):
            before = reloads(live)
            changes[number % 3](mounted, "transport", f"elsewhere.example smtp:[sink{number}]:25\n")
            until("Postfix has read it", lambda: reloads(live) > before)  # noqa: B023
    assert (one.failed, many.failed) == (None, None)
    assert min(len(one.sent), len(many.sent)) > 10
    sent = len(one.sent) + len(many.sent)
    assert len(sink.mail(to, count=sent)) == sent
    # qmgr(8) leaves what was being delivered during a reload for a minute, without a recipient, and then forgets it.
    assert "  to " not in live.queue()


def metric(relay: Relay, name: str) -> float:
    url = f"http://127.0.0.1:{engine.published(relay.container, 9154)}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return float(re.findall(rf"(?m)^{name} (\S+)$", answer.read().decode())[0])


def test_an_edit_into_nonsense_changes_nothing_and_is_told_until_it_is_mended(
    live: Relay, mounted: Mounted
) -> None:
    good = mounted.tables["transport"]
    refusals = metric(live, "postern_config_reload_failures_total")
    with live.smtp(RELAY) as session:
        # All of an edit or nothing: the good line has no effect either.
        mounted.swap(
            "transport", "shut.example error:5.1.2 closed\nexample.org smtp\nexample.net [sink]:25\n"
        )
        live.logged(r"error: /config/transport:2: 'example.org smtp' must name a transport")
        live.logged(r"error: /config/transport:3: 'example.net \[sink\]:25' must name a transport")
        live.logged("error: the change has no effect; what was in force before it stays")
        until("it is counted", lambda: metric(live, "postern_config_reload_failures_total") > refusals)
        until("it is shown", lambda: metric(live, "postern_config_refused") == 1)
        assert live.readiness().startswith("200 ")
        assert "/config/transport:2: must name a transport" in live.readiness()
        assert "'example.org smtp'" not in live.readiness(), "it may be a hash in the wrong file"
        assert reply(session, someone("shut.example")) == 250

        mounted.swap("transport", good + "shut.example error:5.1.2 closed\n")
        becomes(550, lambda: reply(session, someone("shut.example")))
    live.logged("the files are right again, and in force")
    until("it is shown", lambda: metric(live, "postern_config_refused") == 0)
    assert "/config/transport" not in live.readiness()


SALT = "a salt of enough characters"
PASSWORD = "the-first-password"
NEW_PASSWORD = "the password after it "


@pytest.fixture(scope="module")
def _plain(
    start_shared_relay: StartRelay, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Relay, Path]:
    directory = tmp_path_factory.mktemp("plain")
    (directory / "config").mkdir()
    (directory / "secret").mkdir()
    (directory / "secret/password").write_text(PASSWORD)
    (directory / "secret/salt").write_text(SALT)
    (directory / "secret/relay.pem").write_text(tls.issue("relay.example.com", by=trustme.CA()).all)
    env = {
        "SMTPD_TLS_CERT_FILE": "/secret/relay.pem",
        "LOG_ADDRESSES": "hashed",
        "LOG_ADDRESSES_SALT_FILE": "/secret/salt",
        "RELAYHOST_USERNAME": "me",
        "RELAYHOST_PASSWORD_FILE": "/secret/password",
        "RELAYHOST_CA_FILE": tls.CA,
    }
    volumes = {str(directory / name): {"bind": f"/{name}", "mode": "ro"} for name in ("config", "secret")}
    return start_shared_relay(env, volumes=volumes | certificates.mount), directory


@pytest.fixture
def plain(_plain: tuple[Relay, Path], sink: Sink) -> tuple[Relay, Path]:
    """A relay without tables that logs in to its upstream, and where its /config and /secret are on this side."""
    return _plain


def test_a_first_table_is_used_without_a_restart(plain: tuple[Relay, Path]) -> None:
    """From the next session on: those that are open know of no table."""
    relay, directory = plain
    (directory / "config/transport").write_text("gone.example error:5.1.2 closed\n")

    def asked() -> int:
        with relay.smtp() as session:
            return reply(session, someone("gone.example"))

    becomes(550, asked)
    assert "warning" not in relay.readiness()


def test_a_new_password_for_the_upstream_is_used_without_a_restart(
    plain: tuple[Relay, Path], sink: Sink
) -> None:
    relay, directory = plain
    sink.behave(require_auth=True, user="me", password=PASSWORD)
    relay.send(to := someone())
    assert sink.mail(to)
    sink.behave(password=NEW_PASSWORD)
    before = reloads(relay)
    (new := directory / "secret/.password").write_text(NEW_PASSWORD)
    new.rename(directory / "secret/password")
    relay.logged("the way to an upstream, or its password, has changed: 1 entry")
    until("Postfix has read it", lambda: reloads(relay) > before)
    relay.send(to := someone())
    assert sink.mail(to)
    assert PASSWORD not in relay.logs()
    assert NEW_PASSWORD not in relay.logs()


def shown(relay: Relay) -> str:
    """The fingerprint of the certificate that a new client sees."""
    with relay.smtp() as session:
        session.starttls(context=ssl._create_unverified_context())
        assert isinstance(session.sock, ssl.SSLSocket)
        return tls.fingerprint(session.sock.getpeercert(binary_form=True) or b"")


def test_what_takes_a_restart_is_said_and_nothing_is_done_by_halves(plain: tuple[Relay, Path]) -> None:
    """Logins where there were none: supervisord would have to start their server, and further ports.

    But a certificate is renewed meanwhile: it might end before somebody comes.
    """
    relay, directory = plain
    services = relay.services()
    (directory / "config/users").write_text(TABLES["users"])
    relay.logged(
        "error: this changes what a port is for or where logins come from, which takes a restart of the relay"
    )
    until("it is told", lambda: "takes a restart" in relay.readiness(), needs=[relay.container])
    renewed = tls.issue("relay.example.com", by=trustme.CA())
    (directory / "secret/relay.pem").write_text(renewed.all)
    until("the new certificate is shown", lambda: shown(relay) == renewed.fingerprint)
    assert "takes a restart" in relay.readiness()
    assert relay.readiness().startswith("200 ")
    assert relay.services() == services
    (directory / "config/users").unlink()
    until("it is forgotten", lambda: "takes a restart" not in relay.readiness(), needs=[relay.container])


def test_a_new_salt_of_the_log_waits_for_a_restart_and_keeps_no_other_change_waiting(
    plain: tuple[Relay, Path], sink: Sink
) -> None:
    """Else a certificate would not be renewed as long as it waits."""
    relay, directory = plain
    told = "LOG_ADDRESSES_SALT: the new one takes a restart of the relay"

    def logged_as(to: str) -> str:
        relay.send(to)
        sink.mail(to)
        relay.logged("status=sent")
        return str(re.findall(r"to=<(\w+)@example.info>", relay.logs())[-1])

    before = logged_as(to := someone("example.info"))
    (directory / "secret/salt").write_text(f"another: {SALT}")
    until("it is told", lambda: told in relay.readiness(), needs=[relay.container])
    (directory / "config/transport").write_text(
        "gone.example error:5.1.2 closed\nshut.example error:5.1.2 x\n"
    )
    becomes(550, lambda: new_reply(relay, 25, someone("shut.example")))
    assert told in relay.readiness()
    assert logged_as(to) == before
    (directory / "secret/salt").write_text(SALT)
    until("it is forgotten", lambda: told not in relay.readiness(), needs=[relay.container])
    assert SALT not in relay.logs()


def test_a_start_on_a_full_disk_is_no_mistake_in_the_settings(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    """78 would say that another start does not help."""
    lines = (f"{number}.example.org smtp:[sink]:25\n" for number in range(60_000))
    (tmp_path / "transport").write_text("".join(lines))
    relay = start_relay(
        volumes={str(tmp_path): {"bind": "/config", "mode": "ro"}},
        tmpfs={"/run": "", "/var/lib/postern": "size=1m"},
        wait=False,
    )
    assert relay.exit_code(deadline=60) == 1
    assert "error: /run/postern/tables/transport.lmdb cannot be written" in relay.logs()


def test_an_edit_that_the_disk_has_no_room_for_changes_nothing(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    """Nor do smaller tables that are of the same edit, before it or after it."""
    before = {"transport": "example.org smtp:[sink]:25\n", "virtual": "info@example.com ann@example.com\n"}
    large = {
        "transport": "".join(f"{n}.example.org error:x\n" for n in range(60_000)),
        "virtual": "".join(f"{n}@example.com ann@example.com\n" for n in range(60_000)),
    }
    tables = Mounted(tmp_path, before)
    relay = start_relay(
        volumes={str(tmp_path): {"bind": "/config", "mode": "ro"}},
        tmpfs={"/run": "", "/var/lib/postern": "size=1m"},
    )

    def in_force() -> dict[str, list[str]]:
        return {
            name: relay.exec("postmap", "-s", f"lmdb:/run/postern/tables/{name}").lines for name in before
        }

    had = in_force()
    assert had["transport"] == ["example.org\tsmtp:[sink]:25"]
    for name, small in (("virtual", "transport"), ("transport", "virtual")):
        tables.tables |= {small: before[small].replace("example", "changed")}
        tables.swap(name, large[name])
        relay.logged(f"error: /run/postern/tables/{name}.lmdb cannot be written")
        until("it is told", lambda: f"{name}.lmdb cannot be written" in relay.readiness())  # noqa: B023
        assert relay.readiness().startswith("200 ")
        assert in_force() == had


def test_neither_a_full_tmpfs_nor_a_pipe_in_a_files_place_ends_the_relay(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    tables = Mounted(tmp_path, {"transport": "example.org smtp:[sink]:25\n"})
    relay = start_relay(volumes={str(tmp_path): {"bind": "/config", "mode": "ro"}}, tmpfs={"/run": "size=2m"})
    (tmp_path / "certificates").mkdir()
    os.mkfifo(tmp_path / "certificates/mx.example.com.pem")
    relay.logged("error: /config/certificates/mx.example.com.pem: must be a file, and .* is a pipe")
    relay.exec("sh", "-c", "cat /dev/zero >/run/full")
    tables.rename("transport", "example.org\n")
    relay.logged("warning: cannot write /run/postern/state.json .No space left on device")
    relay.exec("rm", "/run/full")
    (tmp_path / "certificates/mx.example.com.pem").unlink()
    tables.rename("transport", "example.org error:x\n")
    relay.logged("the files are right again, and in force")
    assert relay.readiness().startswith("200 ")
    assert relay.logs().count("daemon started") == 1


def test_a_restart_with_nonsense_in_a_table_is_refused_by_its_line(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    """On the same volumes: what was in force before is no longer, since nobody could say from where it came."""
    tables = Mounted(tmp_path, {"transport": "example.org smtp:[sink]:25\n"})
    relay = start_relay(volumes={str(tmp_path): {"bind": "/config", "mode": "ro"}})
    tables.in_place("transport", "example.org\n")
    relay.logged("error: the change has no effect")
    relay.container.restart()
    assert relay.exit_code() == 78
    assert (
        relay.logs()
        .splitlines()[-2]
        .endswith(
            "error: /config/transport:1: example.org must be a pattern and a transport, such as: "
            "example.com smtp:[mail.example.com]:25"
        )
    )
    assert relay.logs().splitlines()[-1].endswith("error: the relay does not start; no mail was taken")
