"""What a delivery met that tells of this relay's configuration and not of the mail: such mail waits until that is mended,
and is not returned to its sender (postconf(5), smtp_delivery_status_filter; the patterns are regexp_table(5)'s).

Postfix itself does so for the relayhost alone, and for a wrong password.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from entrypoint.config.settings import Settings
from entrypoint.config.tables import routing

# As smtp(8) words it, asking DNS or the system's resolver.
_NO_NAME = r"\.4\.4 (unable to look up host |Host or domain name not found\. Name service error for name=)"
# RFC 4954, section 6, and RFC 3207, section 4: log in, or start TLS, before anything else.
_NO_LOGIN = r"\.[0-9.]+ host [^ ]+ said: 530[ -]"
# Hosts that are told apart from a recipient's own server. Of thousands each smtp(8) would make one huge pattern at its start:
# then mail waits for all that have no name, and who misspelt a domain hears of it when MAXIMAL_QUEUE_LIFETIME is over.
_MOST = 100


def status_filter(settings: Settings) -> str:
    """For the service that also delivers to whatever server a recipient's domain has; "" without any fault to look for."""
    routes = [
        *settings.transport,
        settings.relay_transport,
        *(domain.route for domain in settings.relay_domains),
    ]
    hosts = {hop.host for route in routes if route for hop in routing.hops(route)}
    names = f"({'|'.join(map(re.escape, sorted(hosts)))})[: ]" if len(hosts) <= _MOST else ""
    found = [_NO_NAME + names] if hosts else []
    return _filter([*found, _NO_LOGIN] if settings.relayhost or settings.upstreams else found)


def status_filter_of_servers() -> str:
    """For services that deliver only to servers which the settings name."""
    return _filter([_NO_NAME, _NO_LOGIN])


def _filter(patterns: Iterable[str]) -> str:
    # $$ is Postfix's way to write a $ in main.cf.
    rules = "".join(f" {{ /^5({pattern}.*)$$/ 4$${{1}} }}" for pattern in patterns)
    return f"regexp:{{{rules} }}, $default_delivery_status_filter" if rules else ""
