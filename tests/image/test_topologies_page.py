"""The recipes of docs/topologies.md that are no part of a compose file: each is started as it stands, and sends mail.

Only the servers are the tests'. Those whose logins others check are in test_logins_remote.py.
"""

from __future__ import annotations

import shutil
import smtplib
import ssl

import pytest

from tests.image.conftest import StartRelay
from tests.image.inbound import answers, send
from tests.image.relay import Relay, letter, someone
from tests.image.sink import Sink
from tests.image.tls import Certificates
from tests.topologies import recipe

USER, PASSWORD = "app@example.com", "change-me"
RECIPES = {
    "a private CA": recipe("O3-0", mail="[sink]:25"),
    "a null client": recipe("O5-0", smtp="[sink]:25"),
    "several domains": recipe("I2-0", smtp="[sink]:25", mail="[inside]:25", exchange="[inside]:25"),
    "subdomains": recipe("I3-0", mail="[inside]:25"),
    "a transport table": recipe("I6-0", mail="[inside]:25", vault="[sink]:465", lab="[sink]:25"),
    "another port": recipe("C4-0"),
    "hashed passwords": recipe("C6-0"),
    "limits": recipe("C12-0"),
}

Relays = dict[str, Relay]


@pytest.fixture(scope="module")
def relays(
    start_shared_relay: StartRelay, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Relays:
    """All of them, started at the same time."""
    directory = tmp_path_factory.mktemp("secrets")
    shutil.copy(certificates.directory / "ca.pem", directory)
    (directory / "users").write_text(f"{USER}:{PASSWORD}\n")
    secrets = {str(directory): {"bind": "/run/secrets", "mode": "ro"}}
    return {
        name: start_shared_relay(env, ports=(25, 587, 443), volumes=secrets, wait=False)
        for name, env in RECIPES.items()
    }


@pytest.fixture
def relay(relays: Relays, request: pytest.FixtureRequest) -> Relay:
    """The one that the test names."""
    relays[request.param].wait_until_ready()
    return relays[request.param]


def of(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("relay", [name], indirect=True)


@of("a private CA")
def test_an_upstream_is_verified_by_a_ca_from_a_secret(relay: Relay, sink: Sink) -> None:
    send(relay, to := someone())
    assert sink.mail(to)[0].tls
    assert relay.postconf("smtp_tls_security_level") == "secure"


@of("a null client")
def test_a_null_client_takes_mail_from_its_own_container_alone(relay: Relay, sink: Sink) -> None:
    with pytest.raises((ConnectionError, smtplib.SMTPServerDisconnected)):
        relay.smtp(25)
    program = (
        "import smtplib, sys; smtplib.SMTP('127.0.0.1').sendmail(*sys.argv[1:3], 'Subject: x\\n\\nx\\n')"
    )
    to = "root@relay.example.com"
    assert relay.exec("python3", "-c", program, sender := someone(), to).status == 0
    assert [message.mail_from for message in sink.mail(to)] == [sender]


@of("several domains")
def test_listed_domains_go_inside_and_the_rest_to_the_smarthost(
    relay: Relay, sink: Sink, inside: Sink
) -> None:
    domains = ("example.com", "example.org", "example.net")
    send(relay, *(listed := [someone(domain) for domain in domains]), port=25)
    for to in listed:
        assert inside.mail(to)
    send(relay, to := someone("elsewhere.example"), port=587)
    assert sink.mail(to)


@of("subdomains")
def test_subdomains_are_taken_where_a_line_says_so(relay: Relay, inside: Sink) -> None:
    send(relay, *(taken := [someone("example.com"), someone("deep.example.com")]))
    for to in taken:
        assert inside.mail(to)
    assert "Relay access denied" in answers(relay, someone("notexample.com"))[0]


@of("a transport table")
def test_a_transport_table_leads_each_where_it_says(relay: Relay, sink: Sink, inside: Sink) -> None:
    send(relay, ann := someone("example.com"), safe := someone("secure.example.com"), "bob@example.com")
    assert inside.mail(ann)
    assert sink.mail(safe)[0].tls
    assert sink.mail("bob@example.com")
    assert "5.1.2" in answers(relay, someone("old.example.com"))[0]


@of("another port")
def test_port_443_wants_a_login_while_25_does_not(relay: Relay, sink: Sink) -> None:
    assert_a_login_sends(relay, sink, 443)
    send(relay, to := someone())
    assert sink.mail(to)


@of("hashed passwords")
def test_a_hash_of_the_page_is_that_of_the_pages_password(relay: Relay, sink: Sink) -> None:
    assert_a_login_sends(relay, sink, 587)


@of("limits")
def test_narrow_limits_let_an_honest_login_send(relay: Relay, sink: Sink) -> None:
    assert_a_login_sends(relay, sink, 587)


def assert_a_login_sends(relay: Relay, sink: Sink, port: int) -> None:
    to = someone()
    with relay.smtp(port) as session:
        session.starttls(context=ssl._create_unverified_context())
        session.ehlo()
        session.mail(USER)
        assert session.rcpt(to)[0] == 554
        session.rset()
        session.login(USER, PASSWORD)
        session.send_message(letter(to, USER), USER, [to])
    assert sink.mail(to)[0].mail_from == USER
