"""Which failures of a delivery are mistakes in the settings, so that mail waits, and which are the mail's own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from entrypoint.config import decision

if TYPE_CHECKING:
    from entrypoint.config.host import Host

LOGIN = (
    "5.7.0 host h.example[192.0.2.1] said: 530 5.7.0 Authentication required (in reply to MAIL FROM command)"
)


def name(host: str) -> list[str]:
    """As smtp(8) words it, by either way of asking."""
    return [
        f"5.4.4 unable to look up host {host}: Name or service not known",
        f"5.4.4 Host or domain name not found. Name service error for name={host} type=A: Host not found",
    ]


def filtered(value: str, text: str) -> str:
    """What regexp_table(5) makes of it."""
    for pattern in re.findall(r"\{ /(.*?)\$\$/ 4\$\$\{1\} \}", value):
        if found := re.match(f"{pattern}$", text, re.IGNORECASE):
            return f"4{found[1]}"
    return text


@pytest.mark.parametrize("text", [*name("inner"), *name("MAIL-1.example.net"), *name("hub")])
def test_mail_waits_for_a_server_that_the_settings_name_and_nobody_knows(text: str, machine: Host) -> None:
    policy = decision.make(
        {
            "RELAY_DOMAINS": "example.com [inner]:25; example.org smtp:[mail-1.example.net]",
            "TRANSPORT": "example.net smtps:[hub]:465",
            "RELAY_RECIPIENTS": "@example.com; @example.org",
            "LISTEN": "25:inbound",
        },
        None,
        machine,
    )
    assert filtered(policy.status_filter, text) == f"4{text[1:]}"


@pytest.mark.parametrize("text", [*name("misspelt.example"), *name("hub.example"), *name("xhub"), LOGIN])
def test_what_a_recipients_own_server_is_or_says_is_the_mails_own_affair(text: str, machine: Host) -> None:
    """Delivered directly. The sender gets to know of his mistake at once."""
    assert filtered(decision.make({}, None, machine).status_filter, text) == text
    policy = decision.make({"TRANSPORT": "example.net smtp:[hub]:25"}, None, machine)
    assert filtered(policy.status_filter, text) == text


@pytest.mark.parametrize("text", [*name("host100.example"), *name("misspelt.example")])
def test_beyond_a_hundred_servers_mail_waits_for_every_name_so_that_no_pattern_grows_huge(
    text: str, machine: Host
) -> None:
    table = "; ".join(f"domain{n}.example smtp:[host{n}.example]:25" for n in range(101))
    found = decision.make({"TRANSPORT": table}, None, machine).status_filter
    assert filtered(found, text) == f"4{text[1:]}"
    assert len(found) < 300


@pytest.mark.parametrize("upstream", [{"RELAYHOST": "[h.example]"}, {"UPSTREAMS": "* [h.example]:25"}])
def test_mail_waits_for_a_login_that_an_upstream_wants(upstream: dict[str, str], machine: Host) -> None:
    assert filtered(decision.make(upstream, None, machine).status_filter, LOGIN).startswith("4.7.0 ")


@pytest.mark.parametrize("text", [*name("anybody"), LOGIN])
def test_where_all_servers_are_the_settings_own_it_is_always_so(text: str, machine: Host) -> None:
    policy = decision.make({}, None, machine)
    assert filtered(policy.status_filter_of_servers, text) == f"4{text[1:]}"


def test_a_filter_of_the_users_own_is_for_all_deliveries(machine: Host) -> None:
    own = "regexp:{ { /^5(.*)$/ 4$1 } }"
    policy = decision.make({"POSTFIX_smtp_delivery_status_filter": own}, None, machine)
    assert policy.status_filter_of_servers == own
