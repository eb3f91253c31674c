"""Clients that log in (rows C2, C3, C4, C10), and those whose address a load balancer tells.

The codes and the words before them are promises: monitoring greps for them.
"""

from __future__ import annotations

import base64
import re
import smtplib
import socket
import ssl
from pathlib import Path

import pytest
from docker.models.networks import Network

from tests.image import engine
from tests.image.conftest import StartRelay
from tests.image.inbound import tables
from tests.image.relay import Relay, letter, someone
from tests.image.sink import Sink
from tests.image.stations import Client

USER, PASSWORD = "app@example.com", "a secret"
JOHN = "john@example.org"
NO_VERIFICATION = ssl._create_unverified_context()  # who is verified is test_tls_clients.py's claim

Told = tuple[int, str]


@pytest.fixture(scope="module")
def relay(start_shared_relay: StartRelay) -> Relay:
    """Users, and nothing else set; 443 is one more door for them."""
    return start_shared_relay(
        {
            "SMTPD_SASL_USERS": f"{USER}:{PASSWORD},{JOHN}:{PASSWORD}",
            "LISTEN": "25:relay 587:submission 465:submissions 443:submission",
        },
        ports=(25, 587, 465, 443),
    )


@pytest.fixture(scope="module")
def owned(start_shared_relay: StartRelay) -> Relay:
    """It is said who may send as what."""
    return start_shared_relay(
        {
            "SMTPD_SASL_USERS": f"{USER}:{PASSWORD},{JOHN}:{PASSWORD},boss:{PASSWORD},nobody:{PASSWORD}",
            "SENDER_LOGINS": f"{JOHN} sales@example.com @team.example; boss *",
        },
        ports=(587,),
    )


class Balanced(smtplib.SMTP):
    """A session through a load balancer, which says first who the client is."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection: socket.socket = super()._get_socket(host, port, timeout)  # type: ignore[misc]
        connection.sendall(b"PROXY TCP4 203.0.113.77 192.0.2.1 55555 587\r\n")
        return connection


def submission(relay: Relay, port: int = 587) -> smtplib.SMTP:
    if port == 465:
        return smtplib.SMTP_SSL(
            "127.0.0.1",
            engine.published(relay.container, port),
            "client.example",
            timeout=20,
            context=NO_VERIFICATION,
        )
    session = relay.smtp(port)
    session.starttls(context=NO_VERIFICATION)
    return session


def refused(session: smtplib.SMTP, sender: str, to: str) -> Told:
    """What RCPT is answered, when it is no yes."""
    assert session.mail(sender)[0] == 250
    code, text = session.rcpt(to)
    session.rset()
    assert code >= 400
    return code, text.decode()


@pytest.mark.parametrize("port", [587, 443])
def test_before_tls_no_login_is_offered_and_no_mail_is_taken(relay: Relay, port: int) -> None:
    assert "syslog_name=postfix/submission " in relay.services()[f"{port}/inet"]
    with relay.smtp(port) as session:
        assert session.ehlo()[0] == 250
        assert session.has_extn("starttls")
        assert not session.has_extn("auth")
        assert session.docmd("AUTH", "PLAIN") == (530, b"5.7.0 Must issue a STARTTLS command first")
        assert session.docmd("MAIL", "FROM:<a@example.com>") == (
            530,
            b"5.7.0 Must issue a STARTTLS command first",
        )


@pytest.mark.parametrize("port", [587, 465, 443])
def test_inside_tls_a_login_may_send_anywhere(relay: Relay, sink: Sink, port: int) -> None:
    to = someone()
    with submission(relay, port) as session:
        session.ehlo()
        assert session.esmtp_features["auth"].split() == ["PLAIN", "LOGIN"]
        answer = session.docmd("AUTH", "PLAIN " + base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode())
        assert answer == (235, b"2.7.0 Authentication successful")
        session.send_message(letter(to, USER), USER, [to])
    (message,) = sink.mail(to, needs=[relay.container])
    assert message.mail_from == USER
    assert "using TLS" in message.header("Received")


@pytest.mark.parametrize("port", [587, 465])
@pytest.mark.parametrize(("user", "password"), [(USER, "wrong"), ("nobody@example.com", PASSWORD)])
def test_a_wrong_password_and_an_unknown_user_are_told_the_same(
    relay: Relay, port: int, user: str, password: str
) -> None:
    with submission(relay, port) as session, pytest.raises(smtplib.SMTPAuthenticationError) as told:
        session.login(user, password)
    assert (told.value.smtp_code, told.value.smtp_error.split()[0]) == (535, b"5.7.8")
    relay.logged(
        rf"{'submission' if port == 587 else 'submissions'}/smtpd.*authentication failed.*sasl_username={user}"
    )


@pytest.mark.parametrize("port", [587, 465, 443])
@pytest.mark.parametrize(
    "to", ["someone@example.org", "root@relay.example.com", "postmaster@relay.example.com"]
)
def test_without_a_login_nobody_sends_to_anybody(relay: Relay, port: int, to: str) -> None:
    """The test host is in a trusted network, which counts on relay ports only."""
    with submission(relay, port) as session:
        code, text = refused(session, USER, to)
    assert (code, text.split()[0]) == (554, "5.7.1")
    assert text.endswith("Access denied")


def test_the_bare_name_postmaster_is_no_way_around_a_login(relay: Relay) -> None:
    with submission(relay) as session:
        session.mail("a@example.com")
        session.rcpt("postmaster")
        code, text = session.docmd("DATA")
    assert code == 554
    assert text.endswith(b"Access denied")


@pytest.mark.parametrize("sender", [USER, "whoever@elsewhere.example", ""])
def test_the_bare_name_postmaster_is_no_way_to_be_somebody_else(owned: Relay, sender: str) -> None:
    with submission(owned) as session:
        session.login(JOHN, PASSWORD)
        session.mail(sender)
        assert session.rcpt("postmaster")[0] == 250
        code, text = session.docmd("DATA")
    said = f"not owned by user {JOHN}" if sender else "ALLOW_NULL_SENDER"
    assert (code, said in text.decode()) == (553, True)


def test_a_login_may_write_to_the_bare_name_postmaster_as_itself(owned: Relay, sink: Sink) -> None:
    with submission(owned) as session:
        session.login(JOHN, PASSWORD)
        session.send_message(letter("postmaster", JOHN), JOHN, ["postmaster"])
    assert sink.mail("postmaster@relay.example.com", needs=[owned.container])[0].mail_from == JOHN


def test_trusted_networks_go_on_sending_without_a_login_on_a_relay_port(relay: Relay, sink: Sink) -> None:
    to = someone()
    with relay.smtp(25) as session:
        session.ehlo()
        assert not session.has_extn("auth")
        assert not session.has_extn("starttls")
        session.send_message(letter(to), "app@example.com", [to])
    assert sink.mail(to, needs=[relay.container])


def test_users_alone_open_the_ports_that_clients_expect(owned: Relay) -> None:
    assert {name for name in owned.services() if name.endswith("/inet")} == {
        "25/inet",
        "587/inet",
        "465/inet",
    }
    assert owned.logged("listens on").endswith("25 (relay), 587 (submission), 465 (submissions)")


@pytest.mark.parametrize(
    ("login", "sender"),
    [
        (JOHN, JOHN),
        (JOHN, "Sales@Example.com"),
        (JOHN, "anybody@team.example"),
        (USER, USER),
        ("boss", JOHN),
        ("boss", "anybody@team.example"),
        ("boss", "whoever@elsewhere.example"),
    ],
)
def test_a_login_sends_as_what_is_its_own(owned: Relay, sink: Sink, login: str, sender: str) -> None:
    to = someone()
    with submission(owned) as session:
        session.login(login, PASSWORD)
        session.send_message(letter(to, sender), sender, [to])
    (message,) = sink.mail(to, needs=[owned.container])
    assert message.mail_from == sender


@pytest.mark.parametrize(
    ("login", "sender"),
    [
        (JOHN, "john@example.com"),
        (JOHN, USER),
        (JOHN, "a@sub.team.example"),
        (USER, "sales@example.com"),
        ("nobody", "nobody@example.com"),
    ],
)
def test_a_login_cannot_send_as_somebody_else(owned: Relay, login: str, sender: str) -> None:
    with submission(owned) as session:
        session.login(login, PASSWORD)
        told = refused(session, sender, someone())
    assert told == (553, f"5.7.1 <{sender}>: Sender address rejected: not owned by user {login}")


def test_an_emptied_table_gives_no_login_everybodys_addresses(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    mount = tables(tmp_path, sender_logins=f"{JOHN} @example.org\n")
    relay = start_relay({"SMTPD_SASL_USERS": f"{JOHN}:{PASSWORD}"}, ports=(587,), volumes=mount)
    (tmp_path / "sender_logins").write_text("")
    relay.logged("error: /config/sender_logins: must have an entry")
    with submission(relay) as session:
        session.login(JOHN, PASSWORD)
        assert refused(session, USER, someone())[0] == 553


def test_a_login_names_a_sender_unless_it_is_allowed_not_to(
    owned: Relay, start_relay: StartRelay, sink: Sink
) -> None:
    with submission(owned) as session:
        session.login(JOHN, PASSWORD)
        code, text = refused(session, "", someone())
    assert code == 553
    assert "ALLOW_NULL_SENDER" in text
    lenient = start_relay(
        {
            "SMTPD_SASL_USERS": f"{JOHN}:{PASSWORD}",
            "SENDER_LOGINS": f"{JOHN} {JOHN}",
            "ALLOW_NULL_SENDER": "yes",
        },
        ports=(587,),
    )
    lenient.logged("warning: ALLOW_NULL_SENDER=yes")
    to = someone()
    with submission(lenient) as session:
        session.login(JOHN, PASSWORD)
        session.send_message(letter(to), "", [to])
    assert sink.mail(to, needs=[lenient.container])[0].mail_from == ""


def test_allowed_domains_hold_for_logins_and_trusted_networks(start_relay: StartRelay) -> None:
    relay = start_relay(
        {"SMTPD_SASL_USERS": f"{USER}:{PASSWORD}", "ALLOWED_SENDER_DOMAINS": "example.com"}, ports=(25, 587)
    )
    with submission(relay) as session:
        session.login(USER, PASSWORD)
        assert "ALLOWED_SENDER_DOMAINS" in refused(session, "a@example.net", someone())[1]
        session.mail("a@example.net")
        session.rcpt("postmaster")
        assert b"ALLOWED_SENDER_DOMAINS" in session.docmd("DATA")[1]
    with relay.smtp(25) as session:
        session.ehlo()
        assert "ALLOWED_SENDER_DOMAINS" in refused(session, "a@example.net", someone())[1]


def test_a_load_balancer_tells_the_clients_address(
    start_relay: StartRelay, client: Client, network: Network, sink: Sink
) -> None:
    """PROXY protocol: the log, the limits and the Received header have the client's address, not the balancer's."""
    relay = start_relay(
        {
            "SMTPD_SASL_USERS": f"{USER}:{PASSWORD}",
            "LISTEN": "587:submission:haproxy 465:submissions:haproxy 25:relay",
        },
        ports=(587,),
    )
    to = someone()
    with Balanced(
        "127.0.0.1", engine.published(relay.container, 587), "client.example", timeout=20
    ) as session:
        session.starttls(context=NO_VERIFICATION)
        session.login(USER, PASSWORD)
        session.send_message(letter(to, USER), USER, [to])
    (message,) = sink.mail(to, needs=[relay.container])
    assert "[203.0.113.77]" in message.header("Received")
    assert re.search(r"client=unknown\[203\.0\.113\.77\]", relay.logged("sasl_method"))
    # Without the balancer's line nobody gets in, and the plain port takes none.
    direct = client.swaks(f"{engine.address(relay.container, network)}:587", to)
    assert direct.status != 0
