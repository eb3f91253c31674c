"""Mail that comes in for others needs a way, and a way that does not lead back. More is in test_inbound.py."""

from __future__ import annotations

import pytest

from tests.unit.rule_cases import Case, accepted, elsewhere, holds

LOGIN = {"RELAYHOST": "[h]:587", "RELAYHOST_USERNAME": "u", "RELAYHOST_PASSWORD": "hunter2"}
ONE = {"RELAY_DOMAINS": "example.com [inside]:25"}
BRACKETS = "in brackets: the MX of a domain that is taken in here is this relay"
ITSELF = "must not be this relay itself: mail would go in circles"
FOR_DOMAINS = "must come with RELAY_DOMAINS: it is for mail that comes in for them"

CASES = {
    "a_domain_without_a_way": Case(
        {"RELAY_DOMAINS": "example.com"},
        [
            'RELAY_DOMAINS=example.com: must have a server, as in "example.com [mail.example.net]:25", or RELAY_TRANSPORT'
        ],
        {"RELAY_DOMAINS": "example.com", "RELAY_TRANSPORT": "[inside]"},
    ),
    "a_way_for_another_domain": Case(
        {
            "RELAY_DOMAINS": "example.com example.org",
            "TRANSPORT": "example.com smtp:[a]; .example.org smtp:[b]",
        },
        ["RELAY_DOMAINS=example.org: must have a server"],
        {
            "RELAY_DOMAINS": "example.com a.example.org",
            "TRANSPORT": "example.com smtp:[a]; .example.org smtp:[b]",
        },
    ),
    "the_smarthost_is_a_relay_domain": Case(
        ONE | {"RELAYHOST": "example.com"},
        ["RELAYHOST=example.com:25: must not be one of RELAY_DOMAINS without brackets"],
        ONE | {"RELAYHOST": "[example.com]"},
    ),
    "an_upstream_is_a_relay_domain": Case(
        ONE | {"UPSTREAMS": "* Example.com:25; * [b]; @example.org example.com.:587"},
        [
            "UPSTREAMS=Example.com:25: must not be one of RELAY_DOMAINS without brackets",
            "UPSTREAMS=example.com.:587: must not be one of RELAY_DOMAINS without brackets",
        ],
        ONE | {"UPSTREAMS": "* [example.com]:25; * sub.example.com:25; @example.org example.net:587"},
    ),
    "a_server_among_the_subdomains": Case(
        {"RELAY_DOMAINS": "example.org [a]; .example.com mail.example.com:25"},
        [f"RELAY_DOMAINS=mail.example.com:25: must be [mail.example.com], {BRACKETS}"],
        {"RELAY_DOMAINS": "example.org [a]; .example.com [mail.example.com]:25"},
    ),
    "a_relay_domain_is_its_own_server": Case(
        {"RELAY_DOMAINS": "example.com example.com:25"},
        [f"RELAY_DOMAINS=example.com:25: must be [example.com], {BRACKETS}"],
        {"RELAY_DOMAINS": "example.com [example.com]:25"},
    ),
    "everything_to_a_relay_domain": Case(
        ONE | {"TRANSPORT": "* smtp:example.com"},
        [f"TRANSPORT=example.com:25: must be [example.com], {BRACKETS}"],
        ONE | {"TRANSPORT": "* smtp:example.net"},
    ),
    "back_to_this_relay": Case(
        ONE | {"RELAY_TRANSPORT": "[172.18.0.5]", "TRANSPORT": "a.example :[relay.example.com]"},
        [f"RELAY_TRANSPORT=[172.18.0.5]:25: {ITSELF}", f"TRANSPORT=[relay.example.com]:25: {ITSELF}"],
        ONE | {"RELAY_TRANSPORT": "[172.18.0.6]", "TRANSPORT": "a.example :[relay.example.com]:2525"},
    ),
    "an_unknown_transport": Case(
        {"TRANSPORT": "example.com stmp:[a]; example.org lmtp:unix:/x"},
        [
            "TRANSPORT=stmp:[a]: must use a transport that exists (smtp, smtps, relay, error, retry, discard), not 'stmp'",
            "TRANSPORT=lmtp:unix:/x: must use a transport that exists",
        ],
        {
            "TRANSPORT": "example.com slow:[a]; a.example error:5.1.1 no; b.example discard:; c.example smtps:[h]:465",
            "POSTFIXMASTER_slow__unix": "slow unix - - n - 1 smtp",
        },
    ),
    "a_service_that_takes_mail_in_is_no_transport": Case(
        {"TRANSPORT": "example.com 2525:", "POSTFIXMASTER_2525__inet": "2525 inet n - n - - smtpd"},
        ["TRANSPORT=2525:: must use a transport that exists"],
        {"TRANSPORT": "example.com smtp:", "POSTFIXMASTER_2525__inet": "2525 inet n - n - - smtpd"},
    ),
    "recipients_elsewhere": Case(
        ONE | {"RELAY_RECIPIENTS": "a@example.com, b@sub.example.com, @example.org"},
        [
            "RELAY_RECIPIENTS=@sub.example.com: must be at RELAY_DOMAINS",
            "RELAY_RECIPIENTS=@example.org: must be at RELAY_DOMAINS",
        ],
        {
            "RELAY_DOMAINS": "example.com [a]; .example.com [a]",
            "RELAY_RECIPIENTS": "a@example.com, b@sub.example.com, @a.b.example.com",
        },
    ),
    "postmaster_here": Case(
        ONE | {"POSTMASTER": "root@Relay.example.com"},
        ["POSTMASTER=root@Relay.example.com: must be an address elsewhere"],
        ONE | {"POSTMASTER": "root@example.com"},
    ),
    "postmaster_nowhere": Case(
        {"RELAY_DOMAINS": ".example.com [a]"},
        ["RELAY_DOMAINS=.example.com: must come with POSTMASTER"],
        {"RELAY_DOMAINS": ".example.com [a]", "POSTMASTER": "ann@mail.example.com"},
    ),
    "aliases_in_a_circle": Case(
        {"VIRTUAL": "a@example.com B@example.com c@example.com; b@example.com a@Example.com"},
        [
            "VIRTUAL=b@example.com: must end at an address that is no alias: b@example.com leads to a@example.com leads to b@"
        ],
        {"VIRTUAL": "a@example.com A@example.com b@example.com; b@example.com b@example.com a@example.com"},
    ),
    "other_names_in_a_circle": Case(
        {"VIRTUAL": "@example.com @example.net; @example.net x@example.org; x@example.org x@example.com"},
        [
            "VIRTUAL=x@example.org: must end at an address that is no alias: x@example.org leads to x@example.com leads to x@"
        ],
        {"VIRTUAL": "@example.com @example.net; @example.net all@example.com; all@example.net a@example.org"},
    ),
    "the_name_of_an_address_inside": Case(
        {"RELAY_DOMAINS": "example.com [192.0.2.1]:25", "RELAY_TLS_LEVEL": "secure"},
        ["RELAY_DOMAINS=[192.0.2.1]:25: must be a name and not an address with RELAY_TLS_LEVEL=secure"],
        {"RELAY_DOMAINS": "example.com [192.0.2.1]:25", "RELAY_TLS_LEVEL": "verify"},
    ),
    "the_name_of_an_address_elsewhere": Case(
        LOGIN | {"TRANSPORT": "a.example smtps:[192.0.2.1]:465; b.example smtp:[192.0.2.2], [b]"},
        [
            "TRANSPORT=[192.0.2.1]:465: must be a name and not an address with RELAYHOST_TLS_LEVEL=secure",
            "TRANSPORT=[192.0.2.2]:25: must be a name and not an address with RELAYHOST_TLS_LEVEL=secure",
        ],
        LOGIN | {"TRANSPORT": "a.example smtps:[a]:465; b.example relay:[192.0.2.2]"},
    ),
    "dane_inside": Case(
        ONE | {"RELAY_TLS_LEVEL": "dane"},
        ["RELAY_TLS_LEVEL=dane: must come with RELAYHOST_TLS_LEVEL=dane"],
        ONE | {"RELAY_TLS_LEVEL": "dane", "RELAYHOST_TLS_LEVEL": "dane"},
    ),
    "what_is_for_no_domain": Case(
        {
            "RELAY_TRANSPORT": "[a]",
            "RELAY_RECIPIENTS": "a@example.com",
            "VERIFY_RECIPIENTS": "yes",
            "POSTMASTER": "a@example.com",
            "DNSBL_SITES": "bl.example",
            "POSTSCREEN": "yes",
        },
        [
            f"{name}: {FOR_DOMAINS}"
            for name in (
                "RELAY_TRANSPORT",
                "RELAY_RECIPIENTS",
                "VERIFY_RECIPIENTS",
                "POSTMASTER",
                "DNSBL_SITES",
                "POSTSCREEN",
            )
        ],
        {
            "RELAY_DOMAINS": "example.com",
            "RELAY_TRANSPORT": "[a]",
            "RELAY_RECIPIENTS": "a@example.com",
            "VERIFY_RECIPIENTS": "yes",
            "POSTMASTER": "a@example.com",
            "DNSBL_SITES": "bl.example",
            "POSTSCREEN": "yes",
        },
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_contradicts_itself_is_refused_and_what_does_not_is_taken(case: Case) -> None:
    holds(case)


def test_another_machines_address_is_no_way_back() -> None:
    way_back = ONE | {"RELAY_TRANSPORT": "[172.18.0.5]"}
    holds(Case(way_back, [f"RELAY_TRANSPORT=[172.18.0.5]:25: {ITSELF}"], ONE))
    accepted(way_back, elsewhere("172.18.0.7"))
