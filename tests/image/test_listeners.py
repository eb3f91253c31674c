"""Doors as LISTEN opens them: the seed guide's pair, the names in the log, and strangers whom a load balancer announces."""

from __future__ import annotations

import re
import smtplib
import socket

import pytest
from docker.models.networks import Network

from tests.image import engine, inside
from tests.image.backends import log_in
from tests.image.conftest import StartRelay
from tests.image.relay import HOSTNAME, Environment, Relay, letter, someone
from tests.image.sink import Sink
from tests.image.stations import STRANGER, Client
from tests.image.test_topologies_clients import refused, submission

USER, PASSWORD = "app@example.com", "a secret"
LOGINS = {"SMTPD_SASL_USERS": f"{USER}:{PASSWORD}"}
INBOUND: Environment = {"RELAY_DOMAINS": "example.com [inside]:25", "LISTEN": "25:relay 26:inbound:haproxy"}


@pytest.fixture(scope="module")
def pair(start_shared_relay: StartRelay) -> Relay:
    listen = {"LISTEN": "127.0.0.1:25:relay 443:submission", "MYNETWORKS": "127.0.0.0/8"}
    return start_shared_relay(LOGINS | listen, ports=(443,))


class TestTheSeedGuidesPair:
    """`127.0.0.1:25:relay 443:submission`: programs beside it send as they are, all others log in."""

    def test_a_program_beside_it_sends_without_a_login(self, pair: Relay, sink: Sink) -> None:
        program = (
            "import smtplib; s = smtplib.SMTP('127.0.0.1', 25, 'client'); "
            f"s.sendmail('{USER}', '{(to := someone())}', 'Subject: x\\n\\nx')"
        )
        done = pair.exec("python3", "-c", program, user="nobody")
        assert done.status == 0, done.output
        assert sink.mail(to, needs=[pair.container])

    def test_nobody_else_reaches_port_25(self, pair: Relay, client: Client, network: Network) -> None:
        told = client.swaks(engine.address(pair.container, network), someone())
        assert "Connection refused" in told.output

    def test_443_takes_nothing_without_a_login(self, pair: Relay) -> None:
        """Not for the relay's own addresses, and not from those who are trusted on port 25."""
        local = ["root", f"root@{HOSTNAME}", f"postmaster@{HOSTNAME}", "root@localhost", "abuse@[127.0.0.1]"]
        program = (
            "import smtplib, ssl; s = smtplib.SMTP('127.0.0.1', 443, 'client'); "
            "s.starttls(context=ssl._create_unverified_context()); s.ehlo()\n"
            f"for to in {[someone(), *local]}: print(s.mail('{USER}')[0], *s.rcpt(to), s.rset()[0])"
        )
        told = pair.exec("python3", "-c", program).lines
        assert len(told) == 6
        for line in told:
            assert re.fullmatch(r"250 554 b'5\.7\.1 <.*>: .*Access denied' 250", line), line

    def test_443_takes_anything_with_one(self, pair: Relay, sink: Sink) -> None:
        with submission(pair, 443) as session:
            session.ehlo()
            assert log_in(session, USER, PASSWORD).startswith("235 2.7.0 ")
            session.send_message(letter(to := someone(), USER), USER, [to])
        assert sink.mail(to, needs=[pair.container])

    def test_nothing_else_is_open(self, pair: Relay) -> None:
        assert inside.listening(pair) == {443, 9154}


def test_the_log_has_a_name_for_each_profile(start_relay: StartRelay) -> None:
    """Outside tools watch for them: fail2ban, for one."""
    names = {25: "smtpd", 26: "inbound/smtpd", 587: "submission/smtpd", 465: "submissions/smtpd"}
    env = {
        "LISTEN": "25:relay 26:inbound 587:submission 465:submissions",
        "RELAY_DOMAINS": "example.com [inside]:25",
        "RELAY_RECIPIENTS": "ann@example.com",
    }
    relay = start_relay(LOGINS | env, ports=tuple(names))
    for port, name in names.items():
        to = someone("example.com")
        with submission(relay, port) if port in (587, 465) else relay.smtp(port) as session:
            session.ehlo()
            refused(session, USER, to)
        assert f" postfix/{name}[" in relay.logged(rf"NOQUEUE: reject: RCPT from .* to=<{to}>")


@pytest.mark.parametrize("postscreen", ["no", "yes"])
def test_a_stranger_whom_a_load_balancer_announces_is_judged_by_his_own_address(
    start_relay: StartRelay, inside: Sink, postscreen: str
) -> None:
    """The balancer is in a trusted network, the stranger is not; the mail for a listed domain says whence it came."""
    relay = start_relay(
        {**INBOUND, "POSTSCREEN": postscreen, "POSTFIX_postscreen_greet_wait": "1s"}, ports=(26,)
    )
    with Announced(relay, 26) as session:
        session.ehlo()
        session.mail(USER)
        code, text = session.rcpt(to := someone("elsewhere.example"))
        assert (code, text.decode()) == (554, f"5.7.1 <{to}>: Relay access denied")
        session.rset()
        session.send_message(letter(to := someone("example.com")), USER, [to])
    [message] = inside.mail(to, needs=[relay.container])
    assert f"[{STRANGER}]" in message.header("Received")
    relay.logged(rf"postfix/inbound/smtpd\[\d+\]: NOQUEUE: reject: RCPT from \S+\[{STRANGER}\]: 554 5\.7\.1 ")


class Announced(smtplib.SMTP):
    """A session that a load balancer passes on (PROXY protocol)."""

    def __init__(self, relay: Relay, port: int) -> None:
        super().__init__("127.0.0.1", engine.published(relay.container, port), "client.example", timeout=20)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection: socket.socket = super()._get_socket(host, port, timeout)  # type: ignore[misc]
        connection.sendall(f"PROXY TCP4 {STRANGER} 192.0.2.1 55555 26\r\n".encode())
        return connection
