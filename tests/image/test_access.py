"""Who may send (row C1): by default the networks the relay is connected to, without the gateway strangers stand behind.

What the wrong client is told is a promise: monitoring greps for the code, and people read the rest.
"""

from __future__ import annotations

import re
import smtplib
from collections.abc import Callable

import pytest
from docker.models.networks import Network

from tests.image import engine
from tests.image.conftest import StartRelay
from tests.image.relay import Relay, someone
from tests.image.sink import Sink
from tests.image.stations import STRANGER, Client, Stranger

DENIED = r"554 5.7.1 <{}>: Relay access denied"


@pytest.fixture(scope="module")
def untold(start_shared_relay: StartRelay) -> Relay:
    """A relay that was told nothing of whom to trust."""
    return start_shared_relay({"TRUST_GATEWAY": None})


@pytest.fixture(scope="module")
def only_local(start_shared_relay: StartRelay) -> Relay:
    """A relay for the programs beside it, in the same Pod."""
    return start_shared_relay({"MYNETWORKS": "127.0.0.0/8", "TRUST_GATEWAY": None})


@pytest.fixture(scope="module")
def limited(start_shared_relay: StartRelay) -> Relay:
    """A relay that only its own domains may be sent from cannot be used to forge others'."""
    return start_shared_relay({"ALLOWED_SENDER_DOMAINS": "example.com, .example.net"})


def at(relay: Relay, network: Network) -> str:
    return engine.address(relay.container, network)


def gateway(network: Network) -> str:
    network.reload()
    return str((network.attrs or {})["IPAM"]["Config"][0]["Gateway"])


def subnet(network: Network) -> str:
    network.reload()
    return str((network.attrs or {})["IPAM"]["Config"][0]["Subnet"])


def test_a_container_on_the_relays_network_may_send(
    untold: Relay, client: Client, network: Network, sink: Sink
) -> None:
    assert subnet(network) in untold.postconf("mynetworks")
    to = someone()
    sent = client.swaks(at(untold, network), to)
    assert sent.status == 0, sent.output
    assert sink.mail(to)[0].mail_from == "app@example.com"


def test_the_gateway_may_not_send_and_is_told_which_setting_it_needs(untold: Relay, network: Network) -> None:
    with untold.smtp() as session, pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        session.sendmail("app@example.com", [to := someone()], "Subject: x\n\nx\n")
    code, text = refused.value.recipients[to]
    assert code == 554
    assert text.startswith(b"5.7.1 ")
    assert b"Relay access denied" in text
    assert b"TRUST_GATEWAY=yes" in text
    assert b"published on 127.0.0.1 only" in text

    assert "TRUST_GATEWAY=yes" in untold.logged(rf"NOQUEUE: reject: .*\[{gateway(network)}\]: 554 5.7.1 ")


def test_the_start_says_that_the_gateway_may_not_send(untold: Relay, network: Network) -> None:
    assert "TRUST_GATEWAY=yes" in untold.logged(rf"warning: may not send: {gateway(network)} ")
    assert f"!{gateway(network)}" in untold.postconf("mynetworks")


def test_the_relays_own_address_may_not_send(
    untold: Relay, network: Network, stranger_to: Callable[[Relay], Stranger], sink: Sink
) -> None:
    """Rootless port forwarders show every client of a published port as the container itself."""
    beside = Client.swaks(stranger_to(untold), at(untold, network), to := someone())
    assert "Relay access denied" in beside.output
    assert not sink.received(to)
    assert f"!{at(untold, network)}" in untold.postconf("mynetworks")


@pytest.mark.parametrize("recipient", ["postmaster", "postmaster@", "Postmaster"])
def test_the_bare_name_postmaster_is_no_way_in_for_strangers(untold: Relay, recipient: str) -> None:
    """Postfix takes that recipient from everybody, and would send such mail to the upstream under your login."""
    with untold.smtp() as session:
        session.ehlo()
        session.mail("forged@example.com")
        session.rcpt(recipient)
        code, text = session.docmd("DATA")
    assert code == 554
    assert b"TRUST_GATEWAY" in text or b"no valid recipients" in text


def test_no_stranger_mails_postmaster(
    untold: Relay, stranger_to: Callable[[Relay], Stranger], sink: Sink
) -> None:
    told = stranger_to(untold).swaks("127.0.0.1", "postmaster")
    assert "554 5.7.1 <DATA>: Data command rejected: Access denied" in told.output
    assert not re.search(r"to=<postmaster.*status=", untold.logs())


def test_a_domain_that_may_not_send_cannot_mail_postmaster_either(limited: Relay) -> None:
    with limited.smtp() as session:
        session.ehlo()
        session.mail("app@example.org")
        code, text = session.rcpt("postmaster")
        if code == 250:
            code, text = session.docmd("DATA")
    assert code == 554
    assert b"ALLOWED_SENDER_DOMAINS" in text


def test_a_users_own_sender_restrictions_come_on_top_of_the_list_of_domains(
    start_relay: StartRelay, sink: Sink
) -> None:
    env = {
        "ALLOWED_SENDER_DOMAINS": "example.com",
        "POSTFIX_smtpd_sender_restrictions": "reject_non_fqdn_sender",
    }
    relay = start_relay(env)
    with pytest.raises(smtplib.SMTPRecipientsRefused, match="ALLOWED_SENDER_DOMAINS"):
        relay.send(someone(), "boss@bank.test")
    relay.send(to := someone(), "app@example.com")
    assert sink.mail(to)


def test_the_gateway_may_send_when_it_is_trusted_and_the_start_warns(relay: Relay, sink: Sink) -> None:
    relay.send(to := someone())
    assert sink.mail(to)
    relay.logged("warning: TRUST_GATEWAY=yes: safe only while the ports are published on 127.0.0.1")


def test_a_gateway_listed_as_a_trusted_address_is_a_mistake(
    start_relay: StartRelay, network: Network
) -> None:
    listed = {"MYNETWORKS": f"127.0.0.0/8 {gateway(network)}", "TRUST_GATEWAY": None}
    relay = start_relay(listed, wait=False)
    assert relay.exit_code() == 78
    assert f"MYNETWORKS={gateway(network)}: is the gateway" in relay.logs()


def test_a_network_that_holds_the_gateway_does_not_make_it_trusted(
    start_relay: StartRelay, network: Network, client: Client, sink: Sink
) -> None:
    relay = start_relay({"MYNETWORKS": subnet(network), "TRUST_GATEWAY": None})
    with relay.smtp() as session, pytest.raises(smtplib.SMTPRecipientsRefused, match="TRUST_GATEWAY=yes"):
        session.sendmail("app@example.com", [someone()], "Subject: x\n\nx\n")
    assert client.swaks(at(relay, network), to := someone()).status == 0
    assert sink.mail(to)


def test_a_stranger_may_not_send(untold: Relay, stranger_to: Callable[[Relay], Stranger], sink: Sink) -> None:
    told = stranger_to(untold).swaks("127.0.0.1", to := someone())
    assert DENIED.format(to) in told.output
    assert f"from unknown[{STRANGER}]: {DENIED.format(to)}" in untold.logged(rf"reject: RCPT .*{STRANGER}")
    assert not sink.received(to)


def test_with_localhost_alone_trusted_only_programs_in_the_pod_may_send(
    only_local: Relay,
    stranger_to: Callable[[Relay], Stranger],
    client: Client,
    network: Network,
    sink: Sink,
) -> None:
    assert only_local.postconf("mynetworks") == "127.0.0.0/8"
    told = client.swaks(at(only_local, network), outside := someone())
    assert DENIED.format(outside) in told.output

    beside = Client.swaks(stranger_to(only_local), "127.0.0.1", to := someone())
    assert beside.status == 0, beside.output
    assert sink.mail(to)
    assert not sink.received(outside)


def test_the_host_is_an_ordinary_stranger_to_a_relay_that_trusts_localhost_alone(only_local: Relay) -> None:
    with (
        only_local.smtp() as session,
        pytest.raises(smtplib.SMTPRecipientsRefused, match="Relay access denied"),
    ):
        session.sendmail("app@example.com", [someone()], "Subject: x\n\nx\n")


def test_a_scanner_finds_no_open_relay(only_local: Relay, client: Client, network: Network) -> None:
    scan = client.run(
        "nmap", "-Pn", "-n", "-p", "25", "--script", "+smtp-open-relay", at(only_local, network)
    )
    assert "Server doesn't seem to be an open relay, all tests failed" in scan.output


def test_public_networks_may_send_when_allowed_and_every_start_says_so(
    start_relay: StartRelay, stranger_to: Callable[[Relay], Stranger], sink: Sink
) -> None:
    # 203.0.113.0/24 alone would not count as public: it is reserved for documentation.
    public = {"MYNETWORKS": "203.0.0.0/16 127.0.0.0/8", "ALLOW_PUBLIC_NETWORKS": "yes"}
    relay = start_relay(public)
    relay.logged(r"warning: ALLOW_PUBLIC_NETWORKS=yes: 203.0.0.0/16 may send anything to anywhere")
    assert stranger_to(relay).swaks("127.0.0.1", to := someone()).status == 0
    assert sink.mail(to)


@pytest.mark.parametrize("sender", ["app@example.com", "APP@Example.COM", "app@web1.example.net", ""])
def test_mail_from_a_listed_domain_is_taken(limited: Relay, sink: Sink, sender: str) -> None:
    limited.send(to := someone(), sender)
    assert sink.mail(to)[0].mail_from == sender


@pytest.mark.parametrize(
    "sender",
    ["app@example.org", "app@web1.example.com", "app@example.net", "app@notexample.com", "app"],
)
def test_mail_from_any_other_domain_is_refused(limited: Relay, sink: Sink, sender: str) -> None:
    with limited.smtp() as session:
        session.ehlo()
        session.mail(sender)
        code, text = session.rcpt(to := someone())
    assert code == 554
    assert b"5.7.1 " in text
    assert b"ALLOWED_SENDER_DOMAINS" in text
    limited.logged(rf"reject: .*ALLOWED_SENDER_DOMAINS.*from=<{sender}>")
    assert not sink.received(to)
