"""What the page on the health port says of the relay itself; nothing that must be kept from who reads `/readyz`."""

from __future__ import annotations

import json

from .policy import Policy, upstreams
from .policy.upstreams import Way
from .values import TLS_IN_WORDS

_PROFILES = {
    "relay": "trusted networks",
    "submission": "logins, after STARTTLS",
    "submissions": "logins, over TLS",
    "inbound": "anybody, for listed domains",
}
# Of a long list.
_NAMED = 5


def about(policy: Policy) -> str:
    """A JSON object."""
    found = {
        "hostname": policy.hostname,
        "listeners": [[str(each), _PROFILES[each.profile]] for each in policy.listeners],
        "ways": [_way(policy, way) for way in (*policy.ways, policy.way)],
        "domains": [domain.name for domain in policy.settings.relay_domains[:_NAMED]],
        "more_domains": max(len(policy.settings.relay_domains) - _NAMED, 0),
        "password": policy.settings.health_page_password is not None,
        "addresses": policy.settings.log_addresses,
    }
    return json.dumps(found) + "\n"


def _way(policy: Policy, way: Way) -> dict[str, object]:
    levels = [upstreams.level(each, policy.settings) for each in way.upstreams] or [policy.tls_level]
    return {
        "senders": list(way.senders[:_NAMED]),
        "more_senders": max(len(way.senders) - _NAMED, 0),
        "to": [str(each.relayhost) for each in way.upstreams],
        "tls": " or ".join(dict.fromkeys(TLS_IN_WORDS[level] for level in levels)),
        "login": any(each.username for each in way.upstreams),
    }
