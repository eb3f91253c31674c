"""Decisions that an auditor asks about."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import trustme

from entrypoint.config import decision
from entrypoint.config.host import Host
from entrypoint.config.policy import logins
from entrypoint.config.policy.restrictions import PROBE_REPLY
from entrypoint.keeper.stream import MARKER


def test_the_connected_networks_are_trusted_but_never_their_gateway(machine: Host) -> None:
    policy = decision.make({}, None, machine)
    assert policy.mynetworks == ["!172.18.0.1", "127.0.0.0/8", "[::1]/128", "172.18.0.0/16"]


def test_the_gateway_is_trusted_when_asked_for(machine: Host) -> None:
    policy = decision.make({"TRUST_GATEWAY": "yes"}, None, machine)
    assert policy.mynetworks == ["127.0.0.0/8", "[::1]/128", "172.18.0.0/16"]
    assert not any("gateway" in restriction for restriction in policy.restrictions["relay"].relay)


def test_the_gateway_stays_out_of_networks_that_were_given(machine: Host) -> None:
    policy = decision.make({"MYNETWORKS": "172.16.0.0/12"}, None, machine)
    assert policy.mynetworks == ["!172.18.0.1", "172.16.0.0/12"]


def test_a_public_network_is_not_trusted_because_it_is_connected(machine: Host) -> None:
    on_the_internet = replace(
        machine, networks=(ip_network("8.8.8.0/24"),), gateways=(ip_address("8.8.8.1"),)
    )
    assert decision.make({}, None, on_the_internet).mynetworks == ["127.0.0.0/8", "[::1]/128"]


def test_loopback_alone_by_choice(machine: Host) -> None:
    assert decision.make({"MYNETWORKS": "127.0.0.0/8"}, None, machine).mynetworks == ["127.0.0.0/8"]


def test_the_gateways_refusal_says_what_to_set(machine: Host) -> None:
    restrictions = decision.make({}, None, machine).restrictions["relay"].relay
    assert restrictions[0] == "permit_mynetworks"
    assert restrictions[-1] == "reject_unauth_destination"
    assert "172.18.0.1 = 554 5.7.1 Relay access denied" in restrictions[2]
    assert "TRUST_GATEWAY=yes" in restrictions[2]


@pytest.mark.parametrize(
    ("environ", "level"),
    [
        ({}, "may"),
        ({"RELAYHOST": "[h]"}, "may"),
        ({"RELAYHOST": "[h]:465"}, "encrypt"),
        ({"RELAYHOST": "[h]", "RELAYHOST_USERNAME": "u", "RELAYHOST_PASSWORD": "p"}, "secure"),
        ({"RELAYHOST": "[h]:465", "RELAYHOST_USERNAME": "u", "RELAYHOST_PASSWORD": "p"}, "secure"),
        ({"RELAYHOST": "[h]", "RELAYHOST_TLS_LEVEL": "none"}, "none"),
        ({"RELAYHOST": "[192.0.2.1]", "RELAYHOST_USERNAME": "u", "RELAYHOST_PASSWORD": "p"}, "verify"),
    ],
)
def test_tls_is_as_strict_as_what_it_protects(environ: dict[str, str], level: str, machine: Host) -> None:
    assert decision.make(environ, None, machine).tls_level == level


def test_a_ca_file_asks_for_verification(machine: Host, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    environ = {"RELAYHOST": "[h]", "RELAYHOST_CA_FILE": str(file)}
    assert decision.make(environ, None, machine).tls_level == "secure"


def test_without_ipv6_postfix_is_told_so(machine: Host) -> None:
    policy = decision.make({}, None, replace(machine, ipv6=False))
    assert policy.inet_protocols == "ipv4"
    assert "[::1]/128" not in policy.mynetworks


def test_the_probe_is_answered_before_a_users_own_restrictions(machine: Host) -> None:
    environ = {"POSTFIX_smtpd_recipient_restrictions": "reject_unknown_recipient_domain"}
    policy = decision.make(environ, None, machine)
    lookup, answer, own = policy.restrictions["relay"].recipient
    assert (lookup, own) == ("reject_unlisted_recipient", "reject_unknown_recipient_domain")
    assert "readiness probe" in answer


def test_a_users_own_sender_restrictions_do_not_replace_the_list_of_domains(machine: Host) -> None:
    environ = {
        "ALLOWED_SENDER_DOMAINS": "example.com",
        "POSTFIX_smtpd_sender_restrictions": "reject_non_fqdn_sender",
    }
    policy = decision.make(environ, None, machine)
    assert "ALLOWED_SENDER_DOMAINS" in policy.restrictions["relay"].sender[0]
    assert policy.restrictions["relay"].sender[1:] == ["reject_non_fqdn_sender"]
    assert "smtpd_sender_restrictions" not in policy.parameters


def test_the_bare_name_postmaster_is_open_to_no_stranger(machine: Host) -> None:
    """Postfix accepts it as a recipient from everybody, whatever the other restrictions say."""
    restrictions = (
        decision.make({"ALLOWED_SENDER_DOMAINS": "example.com"}, None, machine).restrictions["relay"].data
    )
    assert "ALLOWED_SENDER_DOMAINS" in restrictions[0]
    assert restrictions[1] == "permit_mynetworks"
    assert restrictions[-1] == "reject"


def test_the_bare_name_postmaster_is_written_to_by_a_login_as_itself(machine: Host) -> None:
    environ = {
        "SMTPD_SASL_USERS": "ann:one",
        "SENDER_LOGINS": "ann @example.com",
        "ALLOWED_SENDER_DOMAINS": "example.com",
        "CLIENT_CERTIFICATES": "AB" * 32,
    }
    data = decision.make(environ, None, machine).restrictions["submission"].data
    assert "ALLOWED_SENDER_DOMAINS" in data[0]
    assert data[1] == "reject_authenticated_sender_login_mismatch"
    assert "ALLOW_NULL_SENDER" in data[2]
    assert data[3:] == [
        "permit_sasl_authenticated",
        "reject_unauthenticated_sender_login_mismatch",
        "permit_tls_clientcerts",
        "reject",
    ]


@pytest.mark.parametrize(
    ("environ", "level"),
    [
        ({"SASL_SQL_URL": "mysql://relay@db.example.com/mail"}, "verify"),
        ({"SASL_SQL_URL": "mysql://relay@10.0.0.5/mail"}, "verify"),
        ({"SASL_SQL_URL": "mysql://relay@localhost.example.com/mail"}, "verify"),
        ({"SASL_SQL_URL": "mysql://relay@127.0.0.1/mail"}, "may"),
        ({"SASL_SQL_URL": "mysql://relay@[::1]/mail"}, "may"),
        ({"SASL_SQL_URL": "mysql://relay@localhost/mail"}, "may"),
        ({"SASL_SQL_URL": "mysql://relay@localhost/mail", "SASL_SQL_CA_FILE": "CA"}, "verify"),
        ({"SASL_SQL_URL": "mysql://relay@localhost/mail", "SASL_SQL_TLS_LEVEL": "verify"}, "verify"),
        ({"SASL_SQL_URL": "mysql://relay@db.example.com/mail", "SASL_SQL_TLS_LEVEL": "may"}, "may"),
    ],
)
def test_a_database_is_verified_unless_it_is_here_or_that_is_said(
    environ: dict[str, str], level: str, machine: Host, tmp_path: Path
) -> None:
    """Whoever answers in its place would send a hash of a password of his own."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    given = {name: value.replace("CA", str(tmp_path / "ca.pem")) for name, value in environ.items()}
    settings = decision.make(given, None, machine).settings
    assert logins.sql_tls_level(settings) == level
    assert logins.configuration(settings, "relay", "/run")["sql"]["verified"] == (level == "verify")


_LDAP = {"SASL_LDAP_URL": "ldaps://ldap.example.com", "SASL_LDAP_SEARCH_BASE": "dc=example,dc=com"}


@pytest.mark.parametrize(
    ("logins", "owned"),
    [
        (
            {"SMTPD_SASL_USERS": "ann@example.com:one,bob@example.com:two"},
            {"ann@example.com", "bob@example.com"},
        ),
        # Who is known elsewhere is not known here.
        (_LDAP, {"ann@example.com"}),
    ],
    ids=["listed_here", "elsewhere"],
)
def test_a_login_that_is_an_address_owns_it_if_the_relay_knows_the_login(
    logins: dict[str, str], owned: set[str], machine: Host
) -> None:
    environ = logins | {"SENDER_LOGINS": "ann@example.com sales@example.org"}
    owners = decision.make(environ, None, machine).tables["sender_logins"]
    assert {address for address, login in owners.items() if address == login} == owned


def test_the_keeper_knows_the_answer_that_the_probe_gets() -> None:
    """Else each readiness probe would leave a line in the mail log."""
    assert MARKER.decode() in PROBE_REPLY
