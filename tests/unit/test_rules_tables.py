"""A parameter of Postfix that would replace a table of ours, in silence."""

from __future__ import annotations

import pytest

from entrypoint.config.rules import tables
from tests.unit.rule_cases import HASH, Case, holds

GIVEN = {
    "TRANSPORT": {"TRANSPORT": "example.com smtp:[a]"},
    "RELAY_DOMAINS": {"RELAY_DOMAINS": "example.com [a]"},
    "RELAY_RECIPIENTS": {"RELAY_DOMAINS": "example.com [a]", "RELAY_RECIPIENTS": "@example.com"},
    "VIRTUAL": {"VIRTUAL": "a@example.com b@example.com"},
    "UPSTREAMS": {"UPSTREAMS": "@example.com [a]"},
    "SASL_SQL_SENDERS_QUERY": {
        "SASL_SQL_URL": "postgresql://postern@db/mail",
        "SASL_SQL_SENDERS_QUERY": "SELECT login FROM senders WHERE address = %s",
    },
    "SENDER_LOGINS": {"USERS": f"ann:{HASH}", "SENDER_LOGINS": "ann @example.com"},
}


@pytest.mark.parametrize(
    ("parameter", "table"),
    [(parameter, table) for parameter, names in tables._PARAMETERS.items() for table in names],
)
def test_a_parameter_does_not_replace_a_table(parameter: str, table: str) -> None:
    given = {f"POSTFIX_{parameter}": "static:x"}
    if parameter == "relayhost":  # which is RELAYHOST, and may stand beside the upstreams of some senders
        holds(Case({"POSTFIX_relayhost": "[b]", "UPSTREAMS": "* [a]"}, ["RELAYHOST=[b]:25: must not"], {}))
        return
    said = f"POSTFIX_{parameter}=static:x: must not be set together with {table}, which it would replace"
    holds(Case(given | GIVEN[table], [said], given))


@pytest.mark.parametrize(
    ("parameter", "value", "word"),
    [
        ("receive_override_options", "no_milters, no_address_mappings", "no_address_mappings"),
        ("parent_domain_matches_subdomains", "debug_peer_list relay_domains", "relay_domains"),
    ],
)
def test_a_parameter_does_not_undo_what_keeps_mail_for_the_domains_in_bounds(
    parameter: str, value: str, word: str
) -> None:
    given = {f"POSTFIX_{parameter}": value}
    said = f"POSTFIX_{parameter}={value!r}: must not hold {word} together with RELAY_DOMAINS: "
    holds(Case(given | GIVEN["RELAY_DOMAINS"], [said], given))
    holds(Case(given | GIVEN["RELAY_DOMAINS"], [said], {f"POSTFIX_{parameter}": "none"}))
