"""Abuse (row C12, issue 3, section 7): what an honest program never meets, and what stops those who are not."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from docker.models.networks import Network

from tests.image import engine
from tests.image.conftest import StartRelay
from tests.image.relay import Relay, letter, someone
from tests.image.sink import Sink
from tests.image.stations import Client
from tests.image.waiting import until

USER, PASSWORD = "app@example.com", "correct horse"
NO_VERIFICATION = ssl._create_unverified_context()  # what is guessed here is the password
BURST = 1000
GUESSES_A_MINUTE = 10


@pytest.fixture(scope="module")
def relay(start_shared_relay: StartRelay) -> Relay:
    return start_shared_relay(
        {"SMTPD_SASL_USERS": f"{USER}:{PASSWORD}"}, ports=(25, 587), aliases=("guarded",)
    )


def submission(relay: Relay) -> smtplib.SMTP:
    session = relay.smtp(587)
    session.starttls(context=NO_VERIFICATION)
    return session


def failures(relay: Relay, address: str) -> int:
    """How many guesses were looked at: those that were not have another reason in the log."""
    return len(re.findall(rf"\[{re.escape(address)}\]: SASL \w+ authentication failed: wrong", relay.logs()))


def test_a_burst_of_a_thousand_mails_by_one_client_meets_no_limit(relay: Relay, sink: Sink) -> None:
    """Each in a connection of its own, as programs do that know no better; every tenth logs in as well."""
    to = someone()

    def send(number: int) -> None:
        with relay.smtp(25) if number % 10 else submission(relay) as session:
            if not number % 10:
                session.login(USER, PASSWORD)
            session.send_message(letter(to, USER), USER, [to])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(BURST)))
    assert len(sink.mail(to, count=BURST, needs=[relay.container])) == BURST
    assert not re.search(r" 421 | 45\d ", relay.logs())


def test_a_guesser_is_slowed_below_ten_tries_a_minute_and_others_are_not(
    relay: Relay, client: Client, network: Network, sink: Sink
) -> None:
    """hydra, from a trusted network. Another client, with the right password, notices nothing."""
    client.run("sh", "-c", "seq 1 5000 | sed s/^/guess/ >/tmp/passwords")
    guesser = engine.address(client.container, network)
    started = time.monotonic()
    client.run(
        "timeout",
        "20",
        "hydra",
        "-t",
        "8",
        "-l",
        USER,
        "-P",
        "/tmp/passwords",
        "smtp://guarded:587/TLS:PLAIN",
    )
    line = relay.logged(rf"logins from {re.escape(guesser)} are slowed")
    assert "warning" in line
    looked_at = failures(relay, guesser)
    minutes = (time.monotonic() - started) / 60
    # Up to the limit, then those that its eight connections had begun, then fewer than ten a minute.
    assert looked_at < GUESSES_A_MINUTE + 8 + GUESSES_A_MINUTE * max(minutes, 1)
    to = someone()
    with submission(relay) as session:
        session.login(USER, PASSWORD)
        session.send_message(letter(to, USER), USER, [to])
    assert sink.mail(to, needs=[relay.container])


def test_a_slowed_address_is_told_to_come_back_and_gets_in_with_the_right_password(
    relay: Relay, client: Client
) -> None:
    """After the guesser of the test before: what it is told is 454, and never 535 for a password nobody looked at."""
    wrong = ("--tls", "--auth", "PLAIN", "--auth-user", USER, "--quit-after", "AUTH", "--auth-password")
    told = [client.swaks("guarded:587", USER, *wrong, f"bad{i}").output for i in range(12)]
    assert any("454 4.7.0" in text for text in told)
    until(
        "the right password is looked at",
        lambda: "235 2.7.0" in client.swaks("guarded:587", USER, *wrong, PASSWORD).output,
        deadline=60,
        needs=[relay.container],
    )


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("SMTPD_CLIENT_CONNECTION_RATE_LIMIT", r"421 4\.7\.0 \S+ Error: too many connections from"),
        ("SMTPD_CLIENT_MESSAGE_RATE_LIMIT", r"450 4\.7\.1 Error: too much mail from"),
        ("SMTPD_CLIENT_RECIPIENT_RATE_LIMIT", r"450 4\.7\.1 Error: too many recipients from"),
    ],
)
def test_a_client_above_its_limit_is_told_so_and_others_are_not(
    start_relay: StartRelay, client: Client, network: Network, setting: str, told: str
) -> None:
    relay = start_relay({setting: "3"})
    address = engine.address(relay.container, network)
    answers = [client.swaks(address, someone()).output for _ in range(4)]
    assert all(re.search(" 250 2.0.0 Ok: queued", answer) for answer in answers[:3])
    assert re.search(told, answers[3])
    assert relay.logged(rf"limit.*{re.escape(engine.address(client.container, network))}|rate.*from")
    relay.send(someone())


def test_a_client_may_hold_so_many_connections(start_relay: StartRelay) -> None:
    relay = start_relay({"SMTPD_CLIENT_CONNECTION_COUNT_LIMIT": "2"})
    with relay.smtp(), relay.smtp(), pytest.raises(smtplib.SMTPConnectError) as told:
        relay.smtp()
    assert told.value.smtp_code == 421


SMUGGLED = [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r"]


@pytest.mark.parametrize("end", SMUGGLED, ids=repr)
def test_no_message_is_smuggled_inside_another_by_a_trusted_client(
    relay: Relay, sink: Sink, end: bytes
) -> None:
    """Whatever becomes of the outer message, the inner one must not be one of its own."""
    outer, inner = someone(), someone()
    forged = (
        b"MAIL FROM:<boss@example.com>\r\nRCPT TO:<%b>\r\nDATA\r\nSubject: forged\r\n\r\nx" % inner.encode()
    )
    with relay.smtp(25) as session:
        session.ehlo()
        session.mail("app@example.com")
        session.rcpt(outer)
        assert session.docmd("DATA")[0] == 354
        session.send(b"Subject: outer\r\n\r\nbody" + end + forged + b"\r\n.\r\n")
        session.getreply()
    after = someone()
    relay.send(after)
    sink.mail(after, needs=[relay.container])
    assert not sink.received(inner)


def test_vrfy_and_etrn_tell_nobody_anything(relay: Relay) -> None:
    with relay.smtp(25) as session:
        session.ehlo()
        assert not session.has_extn("vrfy")
        assert not session.has_extn("etrn")
        assert session.docmd("VRFY", "root")[0] == 502
        assert session.docmd("ETRN", "example.com")[0] in (459, 500, 502, 554)


def test_a_relay_port_cannot_be_talked_into_relaying_for_strangers(
    start_relay: StartRelay, relay: Relay, client: Client
) -> None:
    """Nmap's list of tricks, by one who is not trusted. One who is may relay, which shows that nmap can tell."""

    def tricks(server: str) -> str:
        found = client.run("nmap", "-Pn", "-n", "-p", "25", "--script", "+smtp-open-relay", server).output
        assert "25/tcp open" in found
        return found

    start_relay({"MYNETWORKS": "127.0.0.0/8"}, aliases=("closed",))
    assert "Server doesn't seem to be an open relay, all tests failed" in tricks("closed")
    assert "Server is an open relay" in tricks("guarded")


def test_a_client_that_says_nothing_is_sent_away(start_relay: StartRelay, relay: Relay) -> None:
    """After five minutes, or what is set instead."""
    assert relay.postconf("smtpd_timeout") == "300s"
    hasty = start_relay({"POSTFIX_smtpd_timeout": "2s"})
    address = ("127.0.0.1", engine.published(hasty.container, 25))
    with socket.create_connection(address, timeout=20) as raw, raw.makefile("rb") as lines:
        told = lines.readlines()
    assert [line[:3] for line in told] == [b"220", b"421"]
    assert b"timeout exceeded" in told[1]
