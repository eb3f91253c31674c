"""Cheap checks of strangers, both by choice: blocklists, asked of a real DNS server, and postscreen's patience."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from docker.models.networks import Network

from tests.image.conftest import StartRelay
from tests.image.engine import Engine
from tests.image.inbound import SENDER, answers, send, stranger_is_told
from tests.image.relay import Relay, someone
from tests.image.sink import Sink
from tests.image.stations import STRANGER, Client, NameServer, Stranger

ANOTHER, A_THIRD = "203.0.113.10", "203.0.113.11"
DOMAIN = {"RELAY_DOMAINS": "example.com [inside]:25"}
# Long enough that a readiness probe that had to wait as well (3 s at most) would fail.
PATIENCE = "4s"

TALK_AT_ONCE = r"""
    my ($me, $sender, $to) = @ARGV;
    my $line = IO::Socket::INET->new(PeerAddr => "127.0.0.1:25", LocalAddr => $me) or die $@;
    print $line "EHLO x\r\n";
    while (<$line>) {
        print;
        print $line "MAIL FROM:<$sender>\r\nRCPT TO:<$to>\r\nQUIT\r\n" if /^250 / and !$said++;
    }
"""


def stranger_to(docker: Engine, relay: Relay) -> Stranger:
    made = Stranger(docker, relay.container)
    for address in (ANOTHER, A_THIRD):
        assert made.run("ip", "address", "replace", f"{address}/32", "dev", "lo").status == 0
    return made


def send_from(stranger: Stranger, address: str, to: str) -> str:
    """The conversation of a whole mail."""
    return Client.swaks(
        stranger, "127.0.0.1", to, "--local-interface", address, "--timeout", "30", sender=SENDER
    ).output


@pytest.fixture(scope="module")
def names(docker: Engine, network: Network) -> Iterator[NameServer]:
    """Lists one stranger, has an error to say of another, and knows no third."""
    made = NameServer(
        docker,
        network,
        "--local=/example/",
        "--host-record=9.113.0.203.bl.example,127.0.0.2",
        "--txt-record=9.113.0.203.bl.example,seen sending spam",
        "--host-record=10.113.0.203.bl.example,127.255.255.254",
        "--host-record=11.113.0.203.picky.example,127.0.0.10",
        "--host-record=10.113.0.203.picky.example,127.0.0.3",
    )
    yield made
    docker.remove(made.container)


@pytest.fixture(scope="module")
def _guarded(start_shared_relay: StartRelay, names: NameServer, _inside: Sink) -> Relay:
    env = DOMAIN | {"DNSBL_SITES": "bl.example, picky.example=127.0.0.[2..9]"}
    return start_shared_relay(env, dns=[names.address])


@pytest.fixture(scope="module")
def caller(docker: Engine, _guarded: Relay) -> Iterator[Stranger]:
    made = stranger_to(docker, _guarded)
    yield made
    docker.remove(made.container)


@pytest.fixture
def guarded(_guarded: Relay, inside: Sink) -> Relay:
    assert inside
    return _guarded


@pytest.fixture(scope="module")
def _patient(start_shared_relay: StartRelay, network: Network, _inside: Sink) -> Relay:
    network.reload()
    # Without loopback, which the probe comes from and which would be let through unasked.
    trusted = (network.attrs or {})["IPAM"]["Config"][0]["Subnet"]
    env = {"POSTSCREEN": "yes", "POSTFIX_postscreen_greet_wait": PATIENCE, "MYNETWORKS": trusted}
    return start_shared_relay(DOMAIN | env)


@pytest.fixture(scope="module")
def newcomer(docker: Engine, _patient: Relay) -> Iterator[Stranger]:
    made = stranger_to(docker, _patient)
    yield made
    docker.remove(made.container)


@pytest.fixture
def patient(_patient: Relay, inside: Sink) -> Relay:
    assert inside
    return _patient


class TestBlocklists:
    def test_who_is_listed_is_refused_with_the_lists_name_and_reason(
        self, guarded: Relay, caller: Stranger
    ) -> None:
        [told] = stranger_is_told(caller, someone("example.com"))
        blocked = f"554 5.7.1 Service unavailable; Client host [{STRANGER}] blocked using bl.example; seen sending spam"
        assert told == blocked
        assert blocked in guarded.logged(
            rf"postfix/inbound/smtpd.*reject: RCPT from .*{STRANGER}.*bl\.example"
        )

    def test_the_lists_answers_that_count_may_be_chosen(self, guarded: Relay, caller: Stranger) -> None:
        told = send_from(caller, ANOTHER, someone("example.com"))
        assert f"554 5.7.1 Service unavailable; Client host [{ANOTHER}] blocked using picky.example" in told
        assert guarded

    def test_who_is_not_listed_passes(self, guarded: Relay, caller: Stranger, inside: Sink) -> None:
        """Picky has an answer, but none that counts."""
        told = send_from(caller, A_THIRD, to := someone("example.com"))
        assert guarded
        assert inside.mail(to), told

    def test_a_lists_error_blocks_nobody(
        self, start_relay: StartRelay, docker: Engine, names: NameServer, inside: Sink
    ) -> None:
        """Large lists give one to whoever asks through a public resolver; once that stopped all mail."""
        relay = start_relay(DOMAIN | {"DNSBL_SITES": "bl.example"}, dns=[names.address])
        stranger = stranger_to(docker, relay)
        told = send_from(stranger, ANOTHER, to := someone("example.com"))
        docker.remove(stranger.container)
        assert inside.mail(to), told


class TestPostscreen:
    def test_who_speaks_before_he_is_greeted_is_refused(self, patient: Relay, newcomer: Stranger) -> None:
        to = someone("example.com")
        told = newcomer.run("perl", "-MIO::Socket::INET", "-e", TALK_AT_ONCE, STRANGER, SENDER, to).output
        assert re.search(r"^550 5\.5\.1 Protocol error\r?$", told, re.MULTILINE), told
        patient.logged(rf"postfix/inbound/postscreen.*: PREGREET .* from \[{STRANGER}\]")

    def test_who_waits_gets_his_mail_through_and_waits_once(
        self, patient: Relay, newcomer: Stranger, inside: Sink
    ) -> None:
        told = send_from(newcomer, ANOTHER, to := someone("example.com"))
        assert inside.mail(to), told
        assert "STARTTLS" in told
        patient.logged(rf"postfix/inbound/postscreen.*PASS NEW \[{ANOTHER}\]")
        told = send_from(newcomer, ANOTHER, again := someone("example.com"))
        assert inside.mail(again), told
        patient.logged(rf"postfix/inbound/postscreen.*PASS OLD \[{ANOTHER}\]")

    def test_the_own_network_does_not_wait(self, patient: Relay, inside: Sink) -> None:
        send(patient, to := someone("example.com"))
        assert inside.mail(to)
        assert answers(patient, to := someone("elsewhere.example")) == [
            f"554 5.7.1 <{to}>: Relay access denied"
        ]
        patient.logged(r"postfix/inbound/postscreen.*ALLOWLISTED")

    def test_the_readiness_probe_is_not_delayed(self, patient: Relay) -> None:
        assert patient.readiness().startswith("200 ")
        assert "127.98.67.25" not in patient.logs()
