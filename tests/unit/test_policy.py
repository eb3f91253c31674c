"""Decisions that an auditor asks about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import trustme

from entrypoint.config import decision, summary
from entrypoint.config.host import Host
from entrypoint.config.policy import Policy, logins
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


def test_the_start_says_who_may_send_and_where_mail_goes(machine: Host) -> None:
    environ = {
        "RELAYHOST": "[smtp.example.com]:587",
        "RELAYHOST_USERNAME": "u",
        "RELAYHOST_PASSWORD": "hunter2",
    }
    said = "\n".join(summary.summary(decision.make(environ, None, machine)))
    assert said == (
        "relay.example.com listens on 25 (relay), 587 (relay)\n"
        "may send: 127.0.0.0/8 ::1/128 172.18.0.0/16, but not 172.18.0.1\n"
        "sends everything to [smtp.example.com]:587 as u over TLS only, certificate verified (secure)"
    )


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"TRUST_GATEWAY": "yes"}, "TRUST_GATEWAY=yes: safe only while"),
        (
            {"MYNETWORKS": "8.8.8.8", "ALLOW_PUBLIC_NETWORKS": "yes"},
            "ALLOW_PUBLIC_NETWORKS=yes: 8.8.8.8/32 may send",
        ),
        ({"MYHOSTNAME": "relay"}, "not a fully qualified name"),
        (
            {
                "RELAYHOST": "[h]",
                "RELAYHOST_USERNAME": "u",
                "RELAYHOST_PASSWORD": "p",
                "RELAYHOST_TLS_LEVEL": "encrypt",
            },
            "RELAYHOST_TLS_LEVEL=encrypt: whoever answers as [h]:25 gets the password",
        ),
        (
            {"SASL_SQL_URL": "mysql://relay@db.example.com/mail", "SASL_SQL_TLS_LEVEL": "may"},
            "SASL_SQL_TLS_LEVEL=may: whoever answers as the database says who may log in",
        ),
        (
            {"SASL_DOVECOT_PATH": "inet:dovecot.example.com:12345"},
            "SASL_DOVECOT_PATH=inet:dovecot.example.com:12345: every client's password goes there in clear",
        ),
        ({"POSTFIX_max_use": "5"}, "POSTFIX_max_use=5 replaces"),
    ],
)
def test_what_lowers_security_is_said_at_every_start(
    environ: dict[str, str], said: str, machine: Host
) -> None:
    warnings = summary.warnings(decision.make(environ, None, machine))
    assert any(said in warning for warning in warnings), warnings


@pytest.mark.parametrize(
    "environ",
    [
        {"SASL_SQL_URL": "mysql://relay@db.example.com/mail"},
        {"SASL_SQL_URL": "mysql://relay@localhost/mail"},
        {"SASL_SQL_URL": "postgresql://relay@[::1]/mail", "SASL_SQL_TLS_LEVEL": "may"},
        {"SASL_DOVECOT_PATH": "inet:127.0.0.1:12345"},
        {"SASL_DOVECOT_PATH": "inet:[::1]:12345"},
        {"SASL_DOVECOT_PATH": "unix:/run/dovecot/auth"},
    ],
    ids=lambda environ: str(next(iter(environ.values()))),
)
def test_where_no_network_can_be_listened_to_nothing_is_warned_of(
    environ: dict[str, str], machine: Host
) -> None:
    assert not [w for w in summary.warnings(decision.make(environ, None, machine)) if "SASL" in w]


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


@pytest.fixture
def of_several(machine: Host, tmp_path: Path) -> Callable[..., Policy]:
    """The decisions for lines of UPSTREAMS that each have a login."""
    (password := tmp_path / "password").write_text("hunter2\n")

    def make(*lines: str, **rest: str) -> Policy:
        whole = "\n".join(f"{line} user=u password_file={password}" for line in lines)
        return decision.make({"UPSTREAMS": whole, **rest}, None, machine)

    return make


def test_each_upstream_that_is_not_verified_is_named_with_what_made_it_so(
    of_several: Callable[..., Policy],
) -> None:
    gets = "whoever answers as {} gets the password"

    def told(policy: Policy) -> list[str]:
        return [warning for warning in summary.warnings(policy) if "gets the password" in warning]

    lines = ("* [h1]", "* [h2] tls=encrypt", "@a.example [h3]:587 tls=encrypt", "@b.example [h4]:587")
    assert told(of_several(*lines)) == [
        f"UPSTREAMS: tls=encrypt: {gets.format(hop)}" for hop in ("[h2]:25", "[h3]:587")
    ]
    assert told(of_several("* [h1] tls=secure", "* [h2]", RELAYHOST_TLS_LEVEL="encrypt")) == [
        f"RELAYHOST_TLS_LEVEL=encrypt: {gets.format('[h2]:25')}"
    ]


def test_the_start_says_of_each_upstream_how_mail_gets_there(of_several: Callable[..., Policy]) -> None:
    said = summary.summary(of_several("* [h1]", "* [h2]:587 tls=encrypt", "@a.example [h3]"))
    assert said[-2:] == [
        "sends everything else to [h1]:25 as u over TLS only, certificate verified (secure), else to [h2]:587 as u over TLS "
        "only, certificate not verified (encrypt)",
        "sends mail of @a.example to [h3]:25 as u over TLS only, certificate verified (secure)",
    ]


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"SMTPD_SASL_USERS": "ann:one"}, "the users in SMTPD_SASL_USERS, as anybody"),
        (
            {"SMTPD_SASL_USERS": "ann:one", "CLIENT_CERTIFICATES": "AB" * 32},
            "the users in SMTPD_SASL_USERS and clients with a listed certificate, as anybody",
        ),
        (
            {"SMTPD_SASL_USERS": "ann:one", "SENDER_LOGINS": "ann @example.com"},
            "the users in SMTPD_SASL_USERS, each as its own addresses",
        ),
        (
            {
                "SMTPD_SASL_USERS": "ann:one",
                "SENDER_LOGINS": "ann @a.example",
                "CLIENT_CERTIFICATES": "AB" * 32,
            },
            "the users in SMTPD_SASL_USERS, each as its own addresses, and clients with a listed certificate, as anybody "
            "whose address is no login's",
        ),
    ],
    ids=["logins", "certificates", "owners", "both"],
)
def test_the_start_says_as_whom_each_kind_of_login_may_send(
    environ: dict[str, str], said: str, machine: Host
) -> None:
    assert f"may send with a login: {said}" in summary.summary(decision.make(environ, None, machine))


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


def test_an_alias_that_leads_to_nobody_is_said_at_every_start(machine: Host) -> None:
    lines = [
        "info@example.com ann@example.com",
        "sales@example.com gone@example.com",
        "help@example.com sales@example.com",
        "boss@example.com ben@example.net",
        "web@example.com abuse@example.com",
    ]
    environ = {
        "RELAY_DOMAINS": "example.com [inside]:25",
        "RELAY_RECIPIENTS": "ann@example.com",
        "VIRTUAL": "\n".join(lines),
    }
    [told] = [w for w in summary.warnings(decision.make(environ, None, machine)) if "VIRTUAL" in w]
    assert told.startswith("VIRTUAL leads sales@example.com to gone@example.com, whom RELAY_RECIPIENTS")


def test_the_keeper_knows_the_answer_that_the_probe_gets() -> None:
    """Else each readiness probe would leave a line in the mail log."""
    assert MARKER.decode() in PROBE_REPLY
