"""Logins are checked in one place, and addresses belong to logins that exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.rule_cases import HASH, USERS, Case, holds, refused

SASLDB = {"SMTPD_SASL_USERS": "ann:one"}
LDAP = {"SASL_LDAP_URL": "ldaps://ldap.example.com", "SASL_LDAP_SEARCH_BASE": "dc=example,dc=com"}
SQL = {"SASL_SQL_URL": "postgresql://postern@db.example.com/mail"}
DOVECOT = {"SASL_DOVECOT_PATH": "inet:dovecot:12345"}
CA = str(Path(__file__).parent / "golden/ca.pem")
CERTIFICATES = {"CLIENT_CERTIFICATES": f"{'AB' * 32} printer"}
ONE_PLACE = "must not be set together with"
SCRAM = "SASL_MECHANISMS: must come with SMTPD_SASL_USERS or SASL_DOVECOT_PATH"

CASES = {
    "two_backends": Case(
        USERS | LDAP,
        [f"SASL_LDAP_URL: {ONE_PLACE} USERS: logins are checked in one place"],
        USERS | CERTIFICATES,
    ),
    "a_login_that_owns_what_certificates_send_as": Case(
        USERS | CERTIFICATES | {"SENDER_LOGINS": "ann * ann@example.com"},
        ["SENDER_LOGINS=ann: must not list * together with CLIENT_CERTIFICATES"],
        USERS | CERTIFICATES | {"SENDER_LOGINS": "ann @example.com"},
    ),
    "all_backends": Case(
        {"SASL_PAM_SERVICE": "smtp", "SASL_IMAP_HOST": "imap"} | SASLDB | USERS | LDAP | SQL | DOVECOT,
        [
            f"{name}: {ONE_PLACE} SMTPD_SASL_USERS"
            for name in (
                "USERS",
                "SASL_LDAP_URL",
                "SASL_IMAP_HOST",
                "SASL_PAM_SERVICE",
                "SASL_SQL_URL",
                "SASL_DOVECOT_PATH",
            )
        ],
        SASLDB,
    ),
    "scram_without_passwords": Case(
        {"SASL_MECHANISMS": "PLAIN SCRAM-SHA-256"} | USERS,
        [SCRAM],
        {"SASL_MECHANISMS": "PLAIN SCRAM-SHA-256"} | SASLDB,
    ),
    "scram_without_logins": Case(
        {"SASL_MECHANISMS": "SCRAM-SHA-1"}, [SCRAM], {"SASL_MECHANISMS": "SCRAM-SHA-1"} | DOVECOT
    ),
    "details_of_no_server": Case(
        {
            "SASL_LDAP_BIND_DN": "cn=relay",
            "SASL_LDAP_BIND_PASSWORD": "hunter2",
            "SASL_SQL_PASSWORD": "hunter2",
        },
        [
            "SASL_LDAP_BIND_DN: must come with SASL_LDAP_URL",
            "SASL_LDAP_BIND_PASSWORD: must come with SASL_LDAP_URL",
            "SASL_SQL_PASSWORD: must come with SASL_SQL_URL",
        ],
        LDAP | {"SASL_LDAP_BIND_DN": "cn=relay", "SASL_LDAP_BIND_PASSWORD": "hunter2"},
    ),
    "queries_of_no_database": Case(
        {"SASL_SQL_SENDERS_QUERY": "SELECT 1", "SASL_SQL_PASSWORD_QUERY": "SELECT 2"},
        ["SASL_SQL_PASSWORD_QUERY: must come with", "SASL_SQL_SENDERS_QUERY: must come with"],
        SQL | {"SASL_SQL_SENDERS_QUERY": "SELECT 1", "SASL_SQL_PASSWORD_QUERY": "SELECT 2"},
    ),
    "ldap_without_a_base": Case(
        {"SASL_LDAP_URL": LDAP["SASL_LDAP_URL"]},
        ["SASL_LDAP_URL: must come with SASL_LDAP_SEARCH_BASE"],
        LDAP,
    ),
    "ldap_with_half_a_login": Case(
        LDAP | {"SASL_LDAP_BIND_PASSWORD": "hunter2"},
        ["SASL_LDAP_BIND_DN: must come with SASL_LDAP_BIND_PASSWORD, and it with this"],
        LDAP,
    ),
    "a_ca_that_verifies_nothing": Case(
        SQL | {"SASL_SQL_CA_FILE": CA, "SASL_SQL_TLS_LEVEL": "may"},
        [f"SASL_SQL_CA_FILE={CA}: has no effect with SASL_SQL_TLS_LEVEL=may"],
        SQL | {"SASL_SQL_CA_FILE": CA, "SASL_SQL_TLS_LEVEL": "verify"},
    ),
    "passwords_in_the_log": Case(
        USERS | {"POSTFIX_debug_peer_list": "10.0.0.5"},
        ["POSTFIX_debug_peer_list=10.0.0.5: must not be set while clients log in: their passwords would end"],
        CERTIFICATES | {"POSTFIX_debug_peer_list": "10.0.0.5"},
    ),
    "passwords_in_the_log_of_others": Case(
        LDAP | {"POSTFIX_debug_peer_list": "10.0.0.5"},
        ["POSTFIX_debug_peer_list=10.0.0.5: must not be set while clients log in"],
        LDAP | {"POSTFIX_debug_peer_level": "3"},
    ),
    "a_service_that_logs_passwords": Case(
        USERS
        | {"POSTFIXMASTER_2525__inet": "2525 inet n - n - - smtpd -v"}
        | {"POSTFIXMASTER_2526__inet": "2526 inet n - n - - smtpd -o debug_peer_list=10.0.0.5"},
        [f"POSTFIXMASTER_{port}__inet='{port} inet n - n - - smtpd -" for port in (2525, 2526)],
        USERS | {"POSTFIXMASTER_2525__inet": "2525 inet n - n - - smtpd -o syslog_name=-v"},
    ),
    "senders_in_two_places": Case(
        SQL | {"SASL_SQL_SENDERS_QUERY": "SELECT 1", "SENDER_LOGINS": "ann @example.com"},
        [f"SASL_SQL_SENDERS_QUERY: {ONE_PLACE} SENDER_LOGINS: which one is meant?"],
        SQL | {"SENDER_LOGINS": "ann @example.com"},
    ),
    "senders_without_logins": Case(
        {"SENDER_LOGINS": "ann @example.com"},
        ["SENDER_LOGINS: must come with logins: SMTPD_SASL_USERS, USERS, SASL_LDAP_URL"],
        LDAP | {"SENDER_LOGINS": "ann @example.com"},
    ),
    # They log nobody in: what belongs to whom would be asked of nobody.
    "senders_of_certificates": Case(
        CERTIFICATES | {"SENDER_LOGINS": "printer @example.com"},
        ["SENDER_LOGINS: must come with logins"],
        CERTIFICATES | USERS | {"SENDER_LOGINS": "ann @example.com"},
    ),
    "an_unknown_login": Case(
        USERS | {"SENDER_LOGINS": "ann @example.com; bob b@example.com"},
        ["SENDER_LOGINS=bob: must be a login that exists, and there is none of this name"],
        USERS | {"SENDER_LOGINS": "Ann @example.com"},
    ),
    "an_unknown_login_of_cyrus": Case(
        SASLDB | {"SENDER_LOGINS": "ann@example.com @example.com"},
        ["SENDER_LOGINS=ann@example.com: must be a login that exists"],
        SASLDB | {"SENDER_LOGINS": "ann @example.com"},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_contradicts_itself_is_refused_and_what_does_not_is_taken(case: Case) -> None:
    holds(case)
    assert "hunter2" not in "".join(refused(case.wrong))


def test_a_table_of_unknown_logins_does_not_fill_the_log() -> None:
    lines = "\n".join(f"user{number} u{number}@example.com" for number in range(1000))
    assert len(refused(USERS | {"SENDER_LOGINS": lines})) == 20


@pytest.mark.parametrize(
    "broken", [{"USERS": f"ann:{HASH};ann:{HASH}"}, {"USERS": "ann:hunter2"}, {"SASL_LDAP_URL": "ldap"}]
)
def test_a_mistake_in_the_logins_is_told_alone(broken: dict[str, str]) -> None:
    needs = {"SENDER_LOGINS": "bob @example.com", "SASL_MECHANISMS": "SCRAM-SHA-256"}
    [found] = refused(broken | needs | {"LISTEN": "25:relay 587:submission"})
    assert found.startswith(next(iter(broken)))
