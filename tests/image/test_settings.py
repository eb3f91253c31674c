"""Settings become what they say: Postfix is asked what it believes, and then a mail shows that it is so."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from docker.errors import APIError
from docker.models.networks import Network

from tests.image import engine, tls
from tests.image.conftest import StartRelay
from tests.image.engine import Engine
from tests.image.relay import HOSTNAME, Relay, someone
from tests.image.sink import Sink
from tests.image.stations import Client, Stranger
from tests.image.tls import Certificates

USER = "me@example.com"
LOGIN = {"RELAYHOST_USERNAME": USER, "RELAYHOST_CA_FILE": tls.CA}
# Each is what some program between the environment and the upstream would like to change.
PASSWORDS = {
    "every_kind_of_character": " a b'\"`#:;=,$HOME ${x} $$ %s {{ 7*7 }} {% x %} <&>\\n\\\t*?[]()|~^@!ü€😀 ",
    "a_comment": "#no comment",
    "a_colon_first": ":colon:",
    "a_template": "{{ 7*7 }}",
    "a_backslash_last": "back\\",
    "long": "0123456789" * 100,
}


@pytest.mark.parametrize("password", PASSWORDS.values(), ids=PASSWORDS.keys())
def test_any_password_reaches_the_upstream_as_it_was_given(
    start_relay: StartRelay, certificates: Certificates, sink: Sink, password: str
) -> None:
    sink.behave(require_auth=True, user=USER, password=password)
    relay = start_relay(LOGIN | {"RELAYHOST_PASSWORD": password}, volumes=certificates.mount)
    relay.send(to := someone())
    assert sink.mail(to)[0].user == USER
    assert sink.logins() == [(USER, password)]


@pytest.mark.parametrize("end", ["\n", "\r\n", ""], ids=["newline", "windows_newline", "no_newline"])
def test_a_password_file_may_end_in_a_newline(
    start_relay: StartRelay, certificates: Certificates, tmp_path: Path, sink: Sink, end: str
) -> None:
    password = PASSWORDS["every_kind_of_character"]
    (tmp_path / "password").write_bytes(f"{password}{end}".encode())
    secret = {str(tmp_path / "password"): {"bind": "/run/secrets/password", "mode": "ro"}}
    sink.behave(require_auth=True, user=USER, password=password)
    relay = start_relay(
        LOGIN | {"RELAYHOST_PASSWORD_FILE": "/run/secrets/password"}, volumes=certificates.mount | secret
    )
    relay.send(to := someone())
    assert sink.mail(to)
    assert sink.logins() == [(USER, password)]


@pytest.fixture(scope="module")
def configured(start_shared_relay: StartRelay) -> Relay:
    """One relay with every setting that does not stand in another's way."""
    own = {
        "LISTEN": "25:relay 10025:relay",
        "HEALTH_PORT": "8080",
        "MASQUERADED_DOMAINS": "example.com",
        "MESSAGE_SIZE_LIMIT": "20KB",
        "MAXIMAL_QUEUE_LIFETIME": "2d",
        "BOUNCE_QUEUE_LIFETIME": "1d",
        "QUEUE_RUN_DELAY": "1m",
        "MINIMAL_BACKOFF_TIME": "2m",
        "MAXIMAL_BACKOFF_TIME": "1h",
        "SMTP_TLS_LOGLEVEL": "0",
        "TZ": "Asia/Kolkata",
        "POSTFIX_smtpd_banner": "$myhostname ESMTP our own",
        "POSTFIX_max_use": "500",
        "POSTFIXMASTER_2525__inet": "2525 inet n - n - - smtpd -o smtpd_banner=another",
    }
    # As compose writes a variable that is not set, and Kubernetes a Service called postfix or relayhost.
    empty = dict.fromkeys(
        ["RELAYHOST_USERNAME", "RELAYHOST_PASSWORD", "MYNETWORKS", "POSTFIX_smtp_helo_name"], ""
    )
    links = {
        "POSTFIX_PORT": "tcp://10.0.0.1:25",
        "POSTFIX_PORT_25_TCP_ADDR": "10.0.0.1",
        "POSTFIX_SERVICE_HOST": "10.0.0.1",
        "RELAYHOST_PORT": "tcp://10.0.0.2:587",
        "RELAYHOST_PORT_587_TCP": "tcp://10.0.0.2:587",
        "RELAYHOST_SERVICE_PORT_SMTP": "587",
    }
    return start_shared_relay(own | empty | links, ports=(25, 2525, 10025))


@pytest.mark.parametrize(
    ("parameter", "value"),
    {
        "message_size_limit": "20480",
        "maximal_queue_lifetime": "2d",
        "bounce_queue_lifetime": "1d",
        "queue_run_delay": "1m",
        "minimal_backoff_time": "2m",
        "maximal_backoff_time": "1h",
        "smtp_tls_loglevel": "0",
        "masquerade_domains": "example.com",
        "myhostname": HOSTNAME,
        "smtpd_banner": f"{HOSTNAME} ESMTP our own",
    }.items(),
)
def test_postfix_believes_what_was_set(configured: Relay, parameter: str, value: str) -> None:
    assert configured.postconf(parameter) == value


def test_a_message_beyond_the_size_limit_is_refused(configured: Relay, sink: Sink) -> None:
    message = "Subject: large\n\n" + 20 * f"{1023 * 'x'}\n"
    with configured.smtp() as session, pytest.raises(smtplib.SMTPSenderRefused) as announced:
        session.sendmail("app@example.com", [to := someone()], message)
    assert announced.value.smtp_code == 552
    with configured.smtp() as session:
        session.helo()  # no ESMTP, and so no word about the size before the message itself
        with pytest.raises(smtplib.SMTPDataError) as unannounced:
            session.sendmail("app@example.com", [to], message)
    assert unannounced.value.smtp_code == 552
    configured.send(small := someone())
    assert sink.mail(small)
    assert not sink.received(to)


def test_a_postfix_parameter_is_passed_on_and_the_start_says_what_it_replaces(configured: Relay) -> None:
    assert _greeting(configured, 25) == f"{HOSTNAME} ESMTP our own"
    configured.logged(r"warning: POSTFIX_max_use=500 replaces the relay's own choice")
    assert "POSTFIX_smtpd_banner" not in configured.logs()


def test_a_line_of_master_cf_opens_a_door_that_mail_goes_through(configured: Relay, sink: Sink) -> None:
    assert configured.services()["2525/inet"] == "smtpd -o smtpd_banner=another"
    assert _greeting(configured, 2525) == "another"
    configured.send(to := someone(), port=2525)
    assert sink.mail(to)
    configured.logged("warning: POSTFIXMASTER_2525__inet replaces or adds a service")


def test_each_listener_takes_mail_and_no_other_port_does(configured: Relay, sink: Sink) -> None:
    for port in (25, 10025):
        configured.send(to := someone(), port=port)
        assert sink.mail(to)
    assert sorted(name for name in configured.services() if name.endswith("/inet")) == [
        "10025/inet",
        "25/inet",
        "2525/inet",
    ]


def test_host_names_below_a_masqueraded_domain_are_cut_off(configured: Relay, sink: Sink) -> None:
    configured.send(to := someone(), "app@web1.example.com")
    [message] = sink.mail(to)
    assert (message.mail_from, message.header("From")) == ("app@example.com", "app@example.com")


def test_log_and_headers_bear_the_time_of_the_zone(configured: Relay, sink: Sink) -> None:
    configured.send(to := someone())
    assert re.search(r"\+0530 \(IST\)", sink.mail(to)[0].header("Received"))
    now = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=5, minutes=30)
    for line in (configured.logged(r" postern\[\d+\]: "), configured.logged(r" postfix/smtp\[\d+\]: ")):
        logged = datetime.strptime(f"{now.year} {line[:15]}", "%Y %b %d %H:%M:%S")  # noqa: DTZ007  # syslog's form
        assert abs(now - logged) < timedelta(minutes=10)


def test_a_relay_without_a_name_uses_its_containers_and_warns(start_relay: StartRelay, sink: Sink) -> None:
    relay = start_relay({"MYHOSTNAME": None}, hostname="box")
    relay.logged("warning: box is not a fully qualified name: many servers refuse mail from such a HELO")
    relay.send(to := someone())
    assert sink.mail(to)[0].helo == "box"


def test_a_start_and_an_ordinary_mail_leave_no_warning_in_the_log(
    start_relay: StartRelay, client: Client, network: Network, sink: Sink
) -> None:
    """A warning that is always there teaches its readers to overlook the others."""
    relay = start_relay({"TRUST_GATEWAY": None})
    sent = client.swaks(engine.address(relay.container, network), to := someone())
    assert sent.status == 0, sent.output
    assert sink.mail(to)[0].tls
    relay.logged(": removed$")
    # Without root that is said as well, once.
    said = [line for line in relay.logs().splitlines() if "without root" not in line]
    warnings = [line for line in said if re.search("warning|error|fatal|panic", line)]
    assert len(warnings) == 1, warnings
    assert "warning: may not send: " in warnings[0]


@pytest.fixture
def hooks(tmp_path: Path) -> Callable[..., dict[str, dict[str, str]]]:
    """Puts scripts into /docker-entrypoint.d; returns the mount."""

    def put(**scripts: str) -> dict[str, dict[str, str]]:
        for name, script in scripts.items():
            file = tmp_path / name.replace("_", "-")
            file.write_text(f"#!/bin/sh\n{script}\n")
            file.chmod(0o755)
        return {str(tmp_path): {"bind": "/docker-entrypoint.d", "mode": "ro"}}

    return put


def test_hooks_run_in_order_before_the_configuration_is_checked(
    start_relay: StartRelay,
    certificates: Certificates,
    hooks: Callable[..., dict[str, dict[str, str]]],
    sink: Sink,
) -> None:
    mount = hooks(
        b_20="echo -word >> /run/password", b_10="printf pass > /run/password", b_30="echo done: $TZ"
    )
    sink.behave(require_auth=True, password="pass-word")
    env = LOGIN | {"RELAYHOST_PASSWORD_FILE": "/run/password", "TZ": "UTC"}
    relay = start_relay(env, volumes=mount | certificates.mount)
    relay.send(to := someone())
    assert sink.mail(to)
    relay.logged("done: UTC")


def test_a_hook_that_fails_ends_the_start(
    start_relay: StartRelay, hooks: Callable[..., dict[str, dict[str, str]]]
) -> None:
    relay = start_relay(volumes=hooks(a_10="exit 3", a_20="echo not reached"), wait=False)
    assert relay.exit_code() == 1
    assert "error: /docker-entrypoint.d/a-10 ended with status 3: the relay does not start" in relay.logs()
    assert "not reached" not in relay.logs()


def test_a_listener_on_loopback_is_closed_to_the_network(
    start_relay: StartRelay,
    stranger_to: Callable[[Relay], Stranger],
    client: Client,
    network: Network,
    sink: Sink,
) -> None:
    env = {"LISTEN": "127.0.0.1:2525:relay", "MYNETWORKS": "127.0.0.0/8", "TRUST_GATEWAY": None}
    relay = start_relay(env, ports=())
    address = engine.address(relay.container, network)
    for port in ("25", "587", "2525"):
        assert "refused" in client.run("nc", "-zv", "-w", "5", address, port).output
    beside = Client.swaks(stranger_to(relay), "127.0.0.1:2525", to := someone())
    assert beside.status == 0, beside.output
    assert sink.mail(to)


@pytest.fixture
def ipv6_network(docker: Engine) -> Iterator[Network]:
    try:
        made = docker.network(ipv6=True)
    except APIError as error:
        pytest.skip(f"this engine has no IPv6 networks: {error}")
    yield made
    docker.remove_with_all_on_it(made)


def test_mail_comes_and_goes_over_ipv6(
    docker: Engine, ipv6_network: Network, certificates: Certificates, start_relay: StartRelay
) -> None:
    far = Sink(docker, ipv6_network, certificates)
    near = Client(docker, ipv6_network)
    there = engine.address(far.container, ipv6_network, ipv6=True)
    env = {"RELAYHOST": f"[{there}]:25", "LISTEN": "25:relay [::1]:2525:relay", "TRUST_GATEWAY": None}
    relay = start_relay(env, network=ipv6_network)
    assert relay.postconf("relayhost") == f"[{there}]:25"
    here = engine.address(relay.container, ipv6_network, ipv6=True)
    whole = ip_network(f"{here}/64", strict=False)
    assert f"[{whole.network_address}]/64" in relay.postconf("mynetworks")
    assert "[::1]:2525/inet" in relay.services()
    sent = near.swaks(f"[{here}]:25", to := someone())
    assert sent.status == 0, sent.output
    assert far.mail(to)[0].peer == here


@pytest.mark.parametrize("relayhost", ["[upstream.internal]:25", "upstream.internal"])
def test_names_in_the_hosts_file_are_found(
    start_relay: StartRelay, network: Network, sink: Sink, relayhost: str
) -> None:
    hosts = {"upstream.internal": engine.address(sink.container, network)}
    relay = start_relay({"RELAYHOST": relayhost}, extra_hosts=hosts)
    relay.send(to := someone())
    assert sink.mail(to)
    relay.logged(rf"to=<{to}>, relay=upstream\.internal\[")


def _greeting(relay: Relay, port: int) -> str:
    with smtplib.SMTP() as session:
        code, text = session.connect("127.0.0.1", engine.published(relay.container, port))
        assert code == 220
        return text.decode()


def test_mail_without_a_date_or_an_id_gets_both(relay: Relay, sink: Sink) -> None:
    """Large providers refuse mail without them, and small programs forget them."""
    with relay.smtp() as session:
        session.sendmail("app@example.com", [to := someone()], "Subject: bare\r\n\r\nOne line.\r\n")
    received = sink.mail(to)[0]
    assert received.header("Message-ID").endswith(f"@{HOSTNAME}>")
    assert received.header("Date")
    assert received.header("From") == "app@example.com"
