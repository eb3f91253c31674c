"""A configured upstream as the probe knows it, and the probe's advice in the words of the setting that configured it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from entrypoint.config.policy import upstreams
from entrypoint.probe import Upstream

if TYPE_CHECKING:
    from entrypoint.config.policy import Policy
    from entrypoint.config.tables.upstreams import Upstream as Configured

_ONE = "RELAYHOST"
# The probe knows one upstream and its settings; a line of UPSTREAMS has other words for them.
_WORDS = {
    "RELAYHOST_USERNAME": "user=",
    "RELAYHOST_PASSWORD": "password_file=",
    "RELAYHOST_TLS_LEVEL": "tls",
}


def probed(upstream: Configured, policy: Policy) -> Upstream:
    hop, ca = upstream.relayhost, policy.settings.relayhost_ca_file
    return Upstream(
        host=hop.host,
        port=hop.port,
        mx=hop.mx,
        implicit_tls=hop.port == upstreams.TLS_FROM_FIRST_BYTE,
        tls_level=upstreams.level(upstream, policy.settings),
        ca_file=ca.path if ca else None,
        username=upstream.username,
        password=upstream.password.reveal() if upstream.password else None,
        helo_name=policy.hostname,
    )


def sender(policy: Policy) -> str:
    """Whom a try is from, unless somebody is named: one who may send."""
    allowed = policy.settings.allowed_sender_domains
    return f"postmaster@{allowed[0] if allowed else policy.hostname}"


def in_words_of(upstream: Configured, advice: str) -> str:
    words = {} if upstream.where == _ONE else _WORDS | {_ONE: upstream.where}
    return re.sub(r"\bRELAYHOST\w*", lambda name: words.get(name[0], name[0]), advice)
