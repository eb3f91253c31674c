"""The rows I1, I2, I3, I5 and I6: for which domains mail is taken from everybody, and which server gets it.

One relay for all, with the tables that an organisation of several domains would have; it also sends, through the
smarthost. What is outside (`sink`), what is inside (`inside`, `other`) are three servers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.utils import formatdate

import pytest
from docker.models.networks import Network

from tests.image import engine
from tests.image.conftest import StartRelay
from tests.image.engine import Engine
from tests.image.inbound import SENDER, answers, send, stranger_is_told, tables
from tests.image.relay import HOSTNAME, Relay, someone
from tests.image.sink import Sink
from tests.image.stations import STRANGER, Client, Stranger

RELAY_DOMAINS = """
# Two domains of one server, and one of another, with its subdomains.
example.com     [inside]:25
example.net     [inside]
example.org     [other]:2525
.example.org    [other]:2525
# The transport table has its server.
own.example
# Another name of example.com; two that may be wrong.
alias.example
"""
TRANSPORT = """
own.example             relay:[other]:2525
gone@example.com        error:5.1.6 has left the company
closed.example          error:5.7.1 no mail goes there
void@example.com        discard:
desk@example.com        smtp:[other]:2525
.lab.example            smtp:[other]:2525
"""
VIRTUAL = """
info@example.com    ann@example.com, bob@example.org eve@elsewhere.example
@alias.example      @example.com
"""
LIMIT = 100 * 1024


@pytest.fixture(scope="module")
def _other(docker: Engine, network: Network) -> Iterator[Sink]:
    made = Sink(docker, network, None, "other", port=2525)
    yield made
    docker.remove(made.container)


@pytest.fixture
def other(_other: Sink) -> Iterator[Sink]:
    """A second server inside, on a port of its own."""
    yield _other
    _other.restore()


@pytest.fixture(scope="module")
def _gateway(
    start_shared_relay: StartRelay, tmp_path_factory: pytest.TempPathFactory, _inside: Sink, _other: Sink
) -> Relay:
    config = tmp_path_factory.mktemp("config")
    mount = tables(config, relay_domains=RELAY_DOMAINS, transport=TRANSPORT, virtual=VIRTUAL)
    # Postfix answers ever more slowly to those who make one mistake after another, as scanners do.
    env = {"MESSAGE_SIZE_LIMIT": "100KB", "POSTFIX_smtpd_error_sleep_time": "0s"}
    return start_shared_relay(env, volumes=mount, ports=(25, 587))


@pytest.fixture
def gateway(_gateway: Relay, inside: Sink, other: Sink, sink: Sink) -> Relay:
    """Port 25 is for everybody's mail to these domains, 587 for the own network's mail to the world."""
    return _gateway


@pytest.fixture(scope="module")
def _small(start_shared_relay: StartRelay, _inside: Sink) -> Relay:
    env = {
        "RELAY_DOMAINS": "example.net, example.org, .example.com; example.info [sink]:26 [inside]:25",
        "RELAY_TRANSPORT": "[inside]:25",
        "POSTMASTER": "ann@example.org",
    }
    return start_shared_relay(env)


@pytest.fixture
def small(_small: Relay, inside: Sink, sink: Sink) -> Relay:
    """A relay that two variables say all to; no domain but example.org has its postmaster."""
    return _small


@pytest.fixture(scope="module")
def _stranger(docker: Engine, _gateway: Relay) -> Iterator[Stranger]:
    made = Stranger(docker, _gateway.container)
    yield made
    docker.remove(made.container)


@pytest.fixture
def stranger(gateway: Relay, _stranger: Stranger) -> Stranger:
    """Somebody on the Internet who reaches the gateway."""
    assert gateway
    return _stranger


def denied(recipient: str) -> str:
    return f"554 5.7.1 <{recipient}>: Relay access denied"


class TestI1ListedDomains:
    def test_a_strangers_mail_for_a_listed_domain_reaches_the_server_inside(
        self, stranger: Stranger, inside: Sink
    ) -> None:
        sent = stranger.swaks("127.0.0.1", to := someone("example.com"), sender=SENDER)
        assert sent.status == 0, sent.output
        [message] = inside.mail(to)
        assert (message.mail_from, message.rcpt_tos) == (SENDER, [to])
        assert f"from {message.header('Received').split()[1]}" in message.header("Received")
        assert STRANGER in message.header("Received")
        assert message.helo == HOSTNAME

    def test_a_strangers_mail_for_any_other_domain_is_denied(
        self, gateway: Relay, stranger: Stranger
    ) -> None:
        strange = [someone("elsewhere.example"), someone("notexample.com"), f"root@{HOSTNAME}", "root"]
        strange += [f"double-bounce@{HOSTNAME}", "double-bounce"]
        assert stranger_is_told(stranger, *strange) == [denied(to) for to in strange]
        assert denied(strange[0]) in gateway.logged(
            rf"postfix/inbound/smtpd.* reject: RCPT from .*{STRANGER}"
        )

    def test_the_trusted_network_cannot_relay_there_either(
        self, gateway: Relay, client: Client, network: Network
    ) -> None:
        """A web server that is broken into sends no spam through the port that the whole world may use."""
        to = someone("elsewhere.example")
        assert answers(gateway, to, someone("example.com")) == [denied(to), "250 2.1.5 Ok"]
        address = engine.address(gateway.container, network)
        assert denied(to) in client.swaks(address, to).output
        assert client.swaks(f"{address}:587", to, "--quit-after", "RCPT").status == 0

    @pytest.mark.parametrize(
        "disguised",
        [
            "eve%elsewhere.example@example.com",
            "@example.com:eve@elsewhere.example",
            '"eve@elsewhere.example"@example.com',
            "eve@elsewhere.example@example.com",
            "elsewhere.example!eve@example.com",
            "eve@[127.0.0.1]",
            "eve@[203.0.113.77]",
            "eve@[IPv6:2001:db8::1]",
        ],
    )
    def test_no_way_of_writing_an_address_gets_mail_past_the_list(
        self, gateway: Relay, disguised: str
    ) -> None:
        [told] = answers(gateway, disguised)
        assert re.fullmatch(r"554 5\.7\.1 <.*>: .*Relay access denied", told)

    def test_a_scanner_finds_no_open_relay(self, gateway: Relay, client: Client, network: Network) -> None:
        address = engine.address(gateway.container, network)
        scan = client.run("nmap", "-Pn", "-n", "-p", "25", "--script", "+smtp-open-relay", address)
        assert "Server doesn't seem to be an open relay, all tests failed" in scan.output

    def test_strangers_cannot_use_the_trusted_networks_port(self, stranger: Stranger) -> None:
        to = [someone("example.com"), someone("elsewhere.example")]
        for recipient in to:
            told = stranger.swaks("127.0.0.1:587", recipient, "--quit-after", "RCPT")
            assert "554 5.7.1 " in told.output


class TestI2SeveralDomains:
    def test_each_server_gets_exactly_its_own(
        self, gateway: Relay, inside: Sink, other: Sink, sink: Sink
    ) -> None:
        domains = ("example.com", "example.net", "example.org", "own.example", "elsewhere.example")
        com, net, org, own, elsewhere = map(someone, domains)
        send(gateway, com, net, org, own, elsewhere, port=587)
        assert inside.mail(com)[0].rcpt_tos == inside.mail(net)[0].rcpt_tos == [com, net]
        assert other.mail(org)[0].rcpt_tos == other.mail(own)[0].rcpt_tos == [org, own]
        assert sink.mail(elsewhere)[0].rcpt_tos == [elsewhere]
        everything = [
            [m["rcpt_tos"] for m in each._ask("GET", "/messages")] for each in (inside, other, sink)
        ]
        assert everything == [[[com, net]], [[org, own]], [[elsewhere]]]

    def test_one_setting_names_the_server_of_all(self, small: Relay, inside: Sink, sink: Sink) -> None:
        send(small, net := someone("example.net"), org := someone("example.org"))
        assert inside.mail(net)[0].rcpt_tos == inside.mail(org)[0].rcpt_tos == [net, org]
        assert "MAIL" not in sink.commands()

    def test_the_second_server_of_a_domain_is_used_while_the_first_is_away(
        self, small: Relay, inside: Sink
    ) -> None:
        send(small, to := someone("example.info"))
        assert inside.mail(to)


class TestI3Subdomains:
    def test_they_are_not_taken_by_default(self, gateway: Relay) -> None:
        to = someone("host.example.com")
        assert answers(gateway, to) == [denied(to)]

    def test_a_dot_turns_them_on(self, gateway: Relay, other: Sink) -> None:
        send(gateway, near := someone("host.example.org"), far := someone("a.b.example.org"))
        assert other.mail(near)
        assert other.mail(far)

    def test_the_dot_alone_leaves_the_domain_itself_out(self, small: Relay, inside: Sink) -> None:
        [itself, below] = answers(small, to := someone("example.com"), someone("host.example.com"))
        assert (itself, below) == (denied(to), "250 2.1.5 Ok")
        send(small, to := someone("host.example.com"))
        assert inside.mail(to)


class TestI5PostmasterAndAbuse:
    @pytest.mark.parametrize("name", ["postmaster", "abuse", "Postmaster"])
    @pytest.mark.parametrize(
        "at", ["", f"@{HOSTNAME}", "@{own}", "@[203.0.113.77]", "@[IPv6:2001:db8::1]", "@example.com"]
    )
    def test_each_form_reaches_the_first_domains_server(
        self, gateway: Relay, network: Network, inside: Sink, name: str, at: str
    ) -> None:
        send(gateway, name + at.format(own=f"[{engine.address(gateway.container, network)}]"))
        assert inside.mail(f"{name}@example.com")

    def test_each_domain_has_its_own(self, gateway: Relay, other: Sink) -> None:
        send(gateway, "abuse@example.org", "postmaster@host.example.org")
        assert other.mail("abuse@example.org")
        assert other.mail("postmaster@host.example.org")

    @pytest.mark.parametrize(
        "at", ["", f"@{HOSTNAME}", "@[203.0.113.77]", "@example.net", "@host.example.com"]
    )
    def test_all_of_them_may_go_to_one_person(self, small: Relay, inside: Sink, at: str) -> None:
        send(small, f"postmaster{at}", f"abuse{at}")
        assert {to for message in inside.mail("ann@example.org") for to in message.rcpt_tos} == {
            "ann@example.org"
        }

    def test_strangers_reach_them(self, stranger: Stranger, inside: Sink) -> None:
        sent = stranger.swaks("127.0.0.1", "postmaster,abuse@[203.0.113.77]", sender=SENDER)
        assert sent.status == 0, sent.output
        assert inside.mail("postmaster@example.com")
        assert inside.mail("abuse@example.com")


class TestI6TransportTable:
    def test_a_port_and_a_server_of_ones_own_for_a_single_address(
        self, gateway: Relay, inside: Sink, other: Sink
    ) -> None:
        send(gateway, "desk@example.com", to := someone("example.com"))
        assert other.mail("desk@example.com")[0].rcpt_tos == ["desk@example.com"]
        assert inside.mail(to)[0].rcpt_tos == [to]

    def test_an_error_is_the_answer_at_once_with_its_code_and_text(self, gateway: Relay) -> None:
        gone = "550 5.1.6 <gone@example.com>: Recipient address rejected: has left the company"
        assert answers(gateway, "gone@example.com") == [gone]
        [closed] = answers(gateway, "somebody@closed.example", port=587)
        assert closed == "550 5.7.1 <somebody@closed.example>: Recipient address rejected: no mail goes there"

    def test_discarded_mail_is_taken_and_goes_nowhere(self, gateway: Relay, inside: Sink) -> None:
        send(gateway, "void@example.com")
        gateway.logged(r"postfix/discard\[.*to=<void@example.com>, .*status=sent")
        assert not inside.received("void@example.com")

    def test_subdomains_of_somebody_else_go_where_the_table_says(
        self, gateway: Relay, other: Sink, sink: Sink
    ) -> None:
        send(gateway, below := someone("host.lab.example"), itself := someone("lab.example"), port=587)
        assert other.mail(below)[0].rcpt_tos == [below]
        assert sink.mail(itself)[0].rcpt_tos == [itself]

    def test_a_star_is_everything_that_has_no_line_of_its_own(
        self, start_relay: StartRelay, inside: Sink, sink: Sink
    ) -> None:
        """Relayed domains without a server among them, whose MX is this relay."""
        env = {
            "RELAYHOST": None,
            "RELAY_DOMAINS": "example.com",
            "TRANSPORT": "* smtp:[inside]:25; elsewhere.example smtp:[sink]:25",
        }
        relay = start_relay(env, ports=(25, 587))
        send(relay, com := someone("example.com"), port=25)
        send(relay, org := someone("example.org"), elsewhere := someone("elsewhere.example"), port=587)
        assert inside.mail(com)
        assert inside.mail(org)[0].rcpt_tos == [org]
        assert sink.mail(elsewhere)[0].rcpt_tos == [elsewhere]


class TestAliases:
    def test_one_address_may_be_several_inside_and_outside(
        self, gateway: Relay, inside: Sink, other: Sink, sink: Sink
    ) -> None:
        send(gateway, "info@example.com")
        assert inside.mail("ann@example.com")
        assert other.mail("bob@example.org")
        assert sink.mail("eve@elsewhere.example")

    def test_a_domain_may_be_another_name_of_one(self, gateway: Relay, inside: Sink) -> None:
        send(gateway, (name := someone("")) + "alias.example")
        assert inside.mail(f"{name}example.com")


class TestMailAsItIs:
    def test_a_bounce_comes_in(self, stranger: Stranger, inside: Sink) -> None:
        sent = stranger.swaks("127.0.0.1", to := someone("example.com"), sender="<>")
        assert sent.status == 0, sent.output
        assert inside.mail(to)[0].mail_from == ""

    def test_a_message_that_is_too_large_is_refused_before_it_is_sent(self, gateway: Relay) -> None:
        with gateway.smtp() as session:
            session.ehlo()
            assert session.esmtp_features["size"] == str(LIMIT)
            code, text = session.docmd(f"MAIL FROM:<{SENDER}> SIZE={LIMIT + 1}")
        assert (code, text[:6]) == (552, b"5.3.4 ")

    def test_text_and_addresses_beyond_ascii_pass_unchanged(self, gateway: Relay, inside: Sink) -> None:
        to = f"jürgen.{someone('example.com')}"
        headers = f"From: {SENDER}\r\nDate: {formatdate()}\r\nMessage-ID: <{to}>\r\nSubject: Grüße\r\n"
        text = f"{headers}\r\nÄÖÜ\r\n".encode()
        with gateway.smtp() as session:
            session.ehlo()
            session.sendmail(SENDER, [to], text, ["SMTPUTF8", "BODY=8BITMIME"])
        [message] = inside.mail(to)
        assert message.raw.endswith(text)
        assert "SMTPUTF8" in message.rest["mail_options"]

    def test_the_port_offers_nothing_that_strangers_have_no_business_with(
        self, gateway: Relay, stranger: Stranger
    ) -> None:
        """DSN: else whoever forges a sender has him told of each delivery. XFORWARD: nobody forges an address."""
        told = stranger.swaks("127.0.0.1", someone("example.com"), "--quit-after", "EHLO").output
        offered = set(re.findall(r"^<-  250[- ](\w+)", told, re.MULTILINE))
        assert {"PIPELINING", "SIZE", "STARTTLS", "8BITMIME", "SMTPUTF8"} <= offered
        assert not {"AUTH", "DSN", "ETRN", "VRFY", "XCLIENT", "XFORWARD"} & offered
        with gateway.smtp() as session:
            session.ehlo()
            assert session.docmd("VRFY ann@example.com")[0] == 502
            assert session.docmd("XFORWARD ADDR=192.0.2.1")[0] >= 500

    def test_a_server_may_send_its_mail_over_tls(self, stranger: Stranger, inside: Sink) -> None:
        sent = stranger.swaks("127.0.0.1", to := someone("example.com"), "--tls", sender=SENDER)
        assert sent.status == 0, sent.output
        [message] = inside.mail(to)
        assert "using TLSv1.3" in message.header("Received")
        # And the relay does the same with the server inside, whatever certificate it has.
        assert message.tls == "TLSv1.3"

    def test_what_the_server_inside_refuses_is_returned_to_its_sender(
        self, gateway: Relay, inside: Sink, sink: Sink
    ) -> None:
        refused = someone("example.com")
        inside.behave(recipients={refused: "550 5.2.2 mailbox full"})
        send(gateway, refused, sender=(sender := someone("elsewhere.example")))
        [report] = sink.mail(sender)
        assert (report.mail_from, b"mailbox full" in report.raw) == ("", True)
