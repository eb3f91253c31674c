"""Doors that contradict each other, or that nobody could come in by."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit import tls_files
from tests.unit.rule_cases import USERS, Case, holds, refused

INBOUND = {"RELAY_DOMAINS": "example.com [inside]:25"}
CERTIFICATES = {"CLIENT_CERTIFICATES": f"{'AB' * 32} printer"}
LDAP = {"SASL_LDAP_URL": "ldaps://ldap.example.com", "SASL_LDAP_SEARCH_BASE": "dc=example,dc=com"}
NO_LOGINS = "must come with logins: "
NO_DOMAINS = "must come with RELAY_DOMAINS: for which domains is mail taken?"

CASES = {
    "one_port_twice": Case(
        {"LISTEN": "25:relay 25:relay"},
        ["LISTEN=25:relay: must not open port 25 twice (25)"],
        {"LISTEN": "25:relay 26:relay"},
    ),
    "one_port_by_another_name": Case(
        {"LISTEN": "127.0.0.1:25:relay [::1]:25:relay 25:relay"},
        [
            "LISTEN=25:relay: must not open port 25 twice (127.0.0.1:25)",
            "LISTEN=25:relay: must not open port 25 twice ([::1]:25)",
        ],
        {"LISTEN": "127.0.0.1:25:relay [::1]:25:relay 127.0.0.2:25:relay"},
    ),
    "the_health_port": Case(
        {"LISTEN": "25:relay 2525:relay", "HEALTH_PORT": "2525"},
        ["LISTEN=2525:relay: must leave HEALTH_PORT to the health checks"],
        {"LISTEN": "25:relay 2525:relay", "HEALTH_PORT": "2526"},
    ),
    "the_health_port_by_default": Case(
        {"HEALTH_PORT": "587"},
        ["LISTEN=587:relay: must leave HEALTH_PORT to the health checks"],
        {"HEALTH_PORT": "465"},
    ),
    "submission_without_logins": Case(
        {"LISTEN": "25:relay 587:submission 465:submissions"},
        [f"LISTEN=587:submission: {NO_LOGINS}", f"LISTEN=465:submissions: {NO_LOGINS}"],
        {"LISTEN": "25:relay 587:submission 465:submissions"} | LDAP,
    ),
    "submission_by_certificate": Case(
        {"LISTEN": "25:relay"} | CERTIFICATES,
        ["LISTEN=25:relay: must have a submission port: CLIENT_CERTIFICATES is for nothing else"],
        {"LISTEN": "25:relay 465:submissions"} | CERTIFICATES,
    ),
    "logins_without_submission": Case(
        {"LISTEN": "25:relay"} | USERS,
        ["LISTEN=25:relay: must have a submission port: USERS is for nothing else"],
        {"LISTEN": "443:submission"} | USERS,
    ),
    "inbound_without_domains": Case(
        {"LISTEN": "25:inbound 587:relay"},
        [f"LISTEN=25:inbound: {NO_DOMAINS}"],
        {"LISTEN": "25:inbound 587:relay"} | INBOUND,
    ),
    "domains_without_inbound": Case(
        {"LISTEN": "25:relay"} | INBOUND,
        ["LISTEN=25:relay: must have an inbound port: RELAY_DOMAINS would get no mail"],
        {"LISTEN": "25:inbound:haproxy"} | INBOUND,
    ),
    "public_networks": Case(
        {"MYNETWORKS": "10.0.0.0/8 198.51.100.0/23 8.8.8.8"},
        ["MYNETWORKS='198.51.100.0/23 8.8.8.8/32': holds public addresses"],
        {"MYNETWORKS": "10.0.0.0/8 198.51.100.0/24 100.64.0.0/10"},
    ),
    "the_gateway": Case(
        {"MYNETWORKS": "127.0.0.1 172.18.0.1"},
        ["MYNETWORKS=172.18.0.1: is the gateway, and strangers can appear as it"],
        {"MYNETWORKS": "127.0.0.1 172.18.0.1", "TRUST_GATEWAY": "yes"},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_contradicts_itself_is_refused_and_what_does_not_is_taken(case: Case) -> None:
    holds(case)


def test_a_network_around_the_gateway_is_not_the_gateway() -> None:
    holds(
        Case({"MYNETWORKS": "172.18.0.1/32"}, ["MYNETWORKS=172.18.0.1: is"], {"MYNETWORKS": "172.18.0.0/24"})
    )


def test_a_certificate_that_nobody_would_see_is_refused(tmp_path: Path) -> None:
    (tmp_path / "relay.pem").write_text(tls_files.issue().all)
    shown = {"SMTPD_TLS_CERT_FILE": f"{tmp_path}/relay.pem"}
    holds(
        Case(
            shown | {"SMTPD_TLS_SECURITY_LEVEL": "none"},
            [f"SMTPD_TLS_CERT_FILE={tmp_path}/relay.pem: has no effect with SMTPD_TLS_SECURITY_LEVEL=none"],
            shown | {"SMTPD_TLS_SECURITY_LEVEL": "none"} | USERS,
        )
    )


def test_a_mistake_in_the_logins_is_not_a_lack_of_logins() -> None:
    for backend in (
        "SASL_LDAP_URL",
        "SASL_IMAP_HOST",
        "SASL_PAM_SERVICE",
        "SASL_SQL_URL",
        "SASL_DOVECOT_PATH",
    ):
        [found] = refused({"LISTEN": "25:relay 587:submission", backend: "/ /"})
        assert found.startswith(f"{backend}: must")
