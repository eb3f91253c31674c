"""A table of ours, and the parameter of Postfix that would replace it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from entrypoint.config import passthrough
from entrypoint.config.host import Host
from entrypoint.config.problem import Problem
from entrypoint.config.rules.registry import rule
from entrypoint.config.settings import Settings

_PARAMETERS = {
    "transport_maps": ("TRANSPORT", "RELAY_DOMAINS"),
    "relay_recipient_maps": ("RELAY_RECIPIENTS",),
    "virtual_alias_maps": ("VIRTUAL", "RELAY_DOMAINS"),
    "relayhost": ("UPSTREAMS",),
    "sender_dependent_default_transport_maps": ("UPSTREAMS",),
    "sender_dependent_relayhost_maps": ("UPSTREAMS",),
    "smtp_tls_policy_maps": ("UPSTREAMS",),
    "smtpd_sender_login_maps": ("SENDER_LOGINS", "SASL_SQL_SENDERS_QUERY"),
}
# What Postfix does for mail that comes in, and the word that would undo it.
_UNDONE = {
    "receive_override_options": (
        "no_address_mappings",
        "strangers could send to postmaster at any address, whose mail would no longer end here",
    ),
    "parent_domain_matches_subdomains": ("relay_domains", "subdomains are written with a dot: .example.com"),
}


@rule(
    "UPSTREAMS",
    "TRANSPORT",
    "RELAY_DOMAINS",
    "RELAY_RECIPIENTS",
    "VIRTUAL",
    "SENDER_LOGINS",
    "SASL_SQL_SENDERS_QUERY",
)
def _tables_are_not_replaced(settings: Settings, _: Host) -> Iterator[Problem]:
    for parameter, tables in _PARAMETERS.items():
        if parameter not in settings.parameters:
            continue
        for table in tables:
            if getattr(settings, table.lower()):
                reason = f"must not be set together with {table}, which it would replace"
                yield Problem(passthrough.variable(parameter), settings.parameters[parameter], reason)


@rule("RELAY_DOMAINS")
def _domains_keep_their_meaning(settings: Settings, _: Host) -> Iterator[Problem]:
    for parameter, (word, why) in _UNDONE.items():
        value = settings.parameters.get(parameter, "")
        if settings.relay_domains and word in re.split(r"[\s,]+", value):
            reason = f"must not hold {word} together with RELAY_DOMAINS: {why}"
            yield Problem(passthrough.variable(parameter), value, reason)
