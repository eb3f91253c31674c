"""Ready means that each kind of listener would take a mail in the way that it demands; probing it shows nowhere.

One relay has every profile, with and without a load balancer in front, and logins; another has postscreen in front.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.image import inside
from tests.image.conftest import StartRelay
from tests.image.relay import Relay
from tests.image.sink import Sink
from tests.image.waiting import until

PROBE = "127.98.67.25"
MANY = 30
LISTEN = {
    "profiles": "25:relay 587:submission 465:submissions 26:inbound "
    "1587:submission:haproxy 1465:submissions:haproxy 1026:inbound:haproxy",
    "postscreen": "25:inbound 26:inbound:haproxy 27:relay",
}
CERTIFICATE = "/run/postern/etc/postfix/tls.pem"
SERVICES = "/run/postern/etc/postfix/master.cf"


@pytest.fixture(scope="module")
def profiles(start_shared_relay: StartRelay) -> Relay:
    env = {"SMTPD_SASL_USERS": "app:secret", "RELAY_DOMAINS": "example.org [sink]:25"}
    return start_shared_relay(env | {"LISTEN": LISTEN["profiles"]})


@pytest.fixture(scope="module")
def postscreen(start_shared_relay: StartRelay) -> Relay:
    env = {"RELAY_DOMAINS": "example.org [sink]:25", "POSTSCREEN": "yes"}
    return start_shared_relay(env | {"LISTEN": LISTEN["postscreen"]})


@pytest.fixture(params=sorted(LISTEN))
def each(request: pytest.FixtureRequest) -> tuple[Relay, str]:
    """A relay and what it listens on."""
    relay: Relay = request.getfixturevalue(request.param)
    return relay, LISTEN[request.param]


def readiness(relay: Relay, pattern: str) -> str:
    """The answer of /readyz, once it holds a regular expression."""
    told: list[str] = []

    def matches() -> str | None:
        told[:] = [relay.readiness()]
        return told[0] if re.search(pattern, told[0]) else None

    return until(f"/readyz says {pattern!r}", matches, needs=[relay.container], state=told.copy)


@contextmanager
def changed(relay: Relay, file: str, command: str) -> Iterator[None]:
    """A file of the running relay, changed by a shell command on it; as it was afterwards."""
    reload = "postfix reload 2>/dev/null"
    edited = relay.exec("sh", "-c", f"cp {file} {file}.kept; {command} {file}; {reload}")
    assert edited.status == 0, edited.output
    try:
        yield
    finally:
        relay.exec("sh", "-c", f"cat {file}.kept > {file}; rm {file}.kept; {reload}")
        readiness(relay, "^200 ")


def test_each_kind_of_listener_is_ready(each: tuple[Relay, str]) -> None:
    relay, listen = each
    ports = [entry.partition(":")[0] for entry in listen.split()]
    lines = relay.exec("postern", "health").lines
    assert [line for line in lines if "listener" in line] == [f"ok listener {port}" for port in ports]


def test_probes_leave_no_line_at_any_kind_of_listener(each: tuple[Relay, str]) -> None:
    relay, listen = each
    before = relay.logs()
    # /readyz remembers for a second; this asks Postfix itself each time.
    program = (
        "import sys; sys.path.append('/usr/lib/postern')\n"
        "from entrypoint.health.server import measures\n"
        f"facts = {{'listeners': '{listen}', 'probe_source': '{PROBE}'}}\n"
        f"print({{str(ask()) for _ in range({MANY}) for ask in measures(facts)}})"
    )
    assert "failed" not in (told := relay.exec("python3", "-c", program).output), told
    # The lines of a real client come after those of the probes, if there are any.
    relay.exec("python3", "-c", "import smtplib; smtplib.SMTP('127.0.0.1', 25, 'client').quit()")
    until("the client is in the log", lambda: "127.0.0.1" in relay.logs().removeprefix(before))
    assert PROBE not in relay.logs()
    assert "statistics" not in relay.logs()


def test_a_real_client_from_loopback_is_in_the_log_with_all_it_did(profiles: Relay) -> None:
    """A program in the same Pod comes from the same network as the probe."""
    before = profiles.logs()
    program = (
        "import smtplib, ssl; c = ssl.create_default_context(); c.check_hostname = False; c.verify_mode = 0\n"
        "s = smtplib.SMTP('127.0.0.1', 587, 'client'); s.starttls(context=c); s.ehlo()\n"
        "s.mail(''); s.rcpt('readiness-probe@postern.invalid'); s.rset(); s.quit()\n"
        "s = smtplib.SMTP('127.0.0.1', 26, 'client'); s.ehlo()\n"
        "s.mail(''); s.rcpt('readiness-probe@postern.invalid'); s.rset(); s.quit()"
    )
    with ThreadPoolExecutor(1) as prober:
        probed = prober.submit(lambda: [profiles.readiness() for _ in range(5)])
        done = profiles.exec("python3", "-c", program)
        probed.result()
    assert done.status == 0, done.output

    def said(service: str) -> list[str] | None:
        """What a service's lines about the client begin with, once it has left."""
        lines = profiles.logs().removeprefix(before).splitlines()
        texts = [line.partition("]: ")[2] for line in lines if service in line and "[127.0.0.1]" in line]
        verbs = [text.partition(" from ")[0] for text in texts]
        return verbs if "disconnect" in verbs else None

    session = ["connect", "NOQUEUE: reject: RCPT", "disconnect"]
    in_tls = ["connect", "Anonymous TLS connection established", "NOQUEUE: reject: RCPT", "disconnect"]
    assert until("it has left", lambda: said(" postfix/inbound/smtpd[")) == session
    assert until("it has left", lambda: said(" postfix/submission/smtpd[")) == in_tls


def test_a_port_whose_certificate_is_broken_is_not_ready(profiles: Relay) -> None:
    """It greets, and offers STARTTLS; but nobody could send a mail."""
    with changed(profiles, CERTIFICATE, "echo broken >"):
        answer = readiness(profiles, "^503 .*(?s:.*)failed listener 587")
    assert "ok listener 25\n" in answer
    for port in (587, 1587):
        assert f'failed listener {port}: answers STARTTLS with "454 4.7.0 TLS not available' in answer
    for port in (465, 1465):
        assert f"failed listener {port}: no TLS (" in answer


def test_a_submission_port_without_logins_is_not_ready(profiles: Relay) -> None:
    with changed(profiles, SERVICES, "sed -i 's/smtpd_sasl_auth_enable = yes/smtpd_sasl_auth_enable = no/'"):
        answer = readiness(profiles, "^503 .*(?s:.*)failed listener 587")
    for port in (587, 465, 1587, 1465):
        assert f"failed listener {port}: offers no AUTH: nobody can log in here" in answer
    for port in (25, 26, 1026):
        assert f"ok listener {port}\n" in answer


def test_logins_that_cannot_be_checked_are_named_with_what_clients_are_told(
    profiles: Relay, sink: Sink
) -> None:
    assert "ok logins\n" in profiles.readiness()
    server = [inside.the(profiles, "logins")]
    inside.signal(profiles, "STOP", server)
    answer = readiness(profiles, "^503 ")
    assert "failed logins: the logins server does not answer (timed out): logins are answered 454" in answer
    assert "ok listener 25\n" in answer
    inside.signal(profiles, "CONT", server)
    readiness(profiles, "^200 ")
