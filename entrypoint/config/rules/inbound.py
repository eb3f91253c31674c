"""Mail that comes in for others: each domain has a way, and none leads in circles."""

from __future__ import annotations

from collections.abc import Iterator

from entrypoint.config.host import Host
from entrypoint.config.policy import routes, upstreams
from entrypoint.config.policy.doors import opened
from entrypoint.config.problem import Problem
from entrypoint.config.rules.registry import rule
from entrypoint.config.rules.upstream import leads_back
from entrypoint.config.settings import Settings
from entrypoint.config.tables.routing import ENDS, SMTP, Route, hops
from entrypoint.config.values import Relayhost


@rule("RELAY_DOMAINS", "RELAY_TRANSPORT", "TRANSPORT", "VIRTUAL")
def _every_domain_has_a_way(settings: Settings, _: Host) -> Iterator[Problem]:
    ways = routes.ways(settings)
    for domain in settings.relay_domains:
        if _to_the_mx(ways[domain.name]):
            reason = (
                f'must have a server, as in "{domain.name} [mail.example.net]:25", or RELAY_TRANSPORT for all'
            )
            yield Problem(domain.where, domain.name, reason)


def _to_the_mx(way: str | None) -> bool:
    """Without a next hop, SMTP looks up the recipient's own domain."""
    transport, _, hop = (way or ":").partition(":")
    return transport in (*SMTP, "") and not hop


@rule("RELAY_DOMAINS", "RELAY_TRANSPORT", "TRANSPORT", "RELAYHOST", "UPSTREAMS", "MYHOSTNAME", "LISTEN")
def _no_circles(settings: Settings, host: Host) -> Iterator[Problem]:
    """A relay domain's MX is this relay, as a rule: who looks it up comes back here."""
    names = {domain.name for domain in settings.relay_domains}
    for upstream in (u for way in upstreams.all_ways(settings) for u in way.upstreams):
        if _mx_among(upstream.relayhost, names):
            reason = "must not be one of RELAY_DOMAINS without brackets: its MX is this relay, and mail would go in circles"
            yield Problem(upstream.where, str(upstream.relayhost), reason)
    for where, route in _ways(settings):
        for hop in hops(route):
            if _mx_among(hop, names):
                reason = f"must be [{hop.host}], in brackets: the MX of a domain that is taken in here is this relay"
                yield Problem(where, str(hop), reason)
            elif leads_back(hop, settings, host):
                yield Problem(where, str(hop), "must not be this relay itself: mail would go in circles")


def _mx_among(hop: Relayhost, domains: set[str]) -> bool:
    return hop.mx and _among(hop.host.lower().rstrip("."), domains)


def _ways(settings: Settings) -> Iterator[tuple[str, Route]]:
    if settings.relay_transport:
        yield "RELAY_TRANSPORT", settings.relay_transport
    yield from ((d.where, d.route) for d in settings.relay_domains if d.route)
    yield from ((route.where, route) for route in settings.transport)


@rule("VIRTUAL")
def _aliases_end(settings: Settings, _: Host) -> Iterator[Problem]:
    """Postfix would answer 451 to every message for one that does not, until its sender gives up."""
    # Imported here: few relays have aliases.
    from graphlib import CycleError, TopologicalSorter

    aliases = {alias.pattern: alias for alias in settings.virtual}
    leads: dict[str, list[str]] = {}
    todo = [pattern if pattern[0] != "@" else _ANYBODY + pattern for pattern in aliases]
    while todo:
        address = todo.pop()
        name, at, domain = address.rpartition("@")
        alias = aliases.get(address) or aliases.get(at + domain)
        if address in leads or not alias:
            continue
        targets = [(name if target[0] == "@" else "") + target.lower() for target in alias.targets]
        # What is among its own targets is looked up once.
        leads[address] = [] if address in targets else targets
        todo += leads[address]
    try:
        TopologicalSorter(leads).prepare()
    except CycleError as error:
        circle = [address.removeprefix(_ANYBODY) for address in reversed(error.args[1])]
        first = aliases.get(circle[0]) or aliases[circle[0][circle[0].index("@") :]]
        shown = " leads to ".join(circle)
        yield Problem(first.where, first.pattern, f"must end at an address that is no alias: {shown}")


_ANYBODY = "?"
"""A name that no alias has, for one whose domain alone is listed."""


@rule("TRANSPORT", "RELAY_DOMAINS")
def _transports_exist(settings: Settings, _: Host) -> Iterator[Problem]:
    known = {*SMTP, *ENDS, "", *(name.split("/")[0] for name in settings.services if name.endswith("/unix"))}
    for where, route in _ways(settings):
        if route.transport not in known:
            reason = (
                f"must use a transport that exists ({', '.join((*SMTP, *ENDS))}), not {route.transport!r}"
            )
            yield Problem(where, str(route), reason)


@rule("RELAY_RECIPIENTS", "RELAY_DOMAINS")
def _recipients_are_at_our_domains(settings: Settings, _: Host) -> Iterator[Problem]:
    if not settings.relay_domains:
        return
    domains, ours = settings.relay_recipients.domains, {domain.name for domain in settings.relay_domains}
    strange = (name for name in domains if not _among(name, ours))
    for name in strange:
        yield Problem(
            domains[name], f"@{name}", "must be at RELAY_DOMAINS, and this domain is not one of them"
        )


def _among(name: str, domains: set[str]) -> bool:
    """Itself, or by a domain with a dot. There may be ten thousand of both."""
    labels = name.split(".")
    parents = (f".{'.'.join(labels[depth:])}" for depth in range(1, len(labels)))
    return name in domains or any(parent in domains for parent in parents)


@rule("RELAY_DOMAINS", "POSTMASTER", "MYHOSTNAME")
def _postmaster_is_elsewhere(settings: Settings, host: Host) -> Iterator[Problem]:
    own = (settings.myhostname or host.name).lower()
    if settings.postmaster and settings.postmaster.rpartition("@")[2].lower() == own:
        yield Problem(
            "POSTMASTER",
            settings.postmaster,
            "must be an address elsewhere: nothing is delivered inside this relay",
        )


@rule("RELAY_DOMAINS", "POSTMASTER")
def _postmaster_is_somewhere(settings: Settings, _: Host) -> Iterator[Problem]:
    if settings.relay_domains and not settings.postmaster and not routes.postmasters_domain(settings):
        reason = "must come with POSTMASTER: who gets mail for postmaster without a domain? None is listed but by a dot"
        yield Problem(settings.relay_domains[0].where, settings.relay_domains[0].name, reason)


@rule(
    "TRANSPORT",
    "RELAY_DOMAINS",
    "RELAY_TRANSPORT",
    "RELAY_TLS_LEVEL",
    "RELAYHOST",
    "RELAYHOST_USERNAME",
    "RELAYHOST_TLS_LEVEL",
    "RELAYHOST_CA_FILE",
    "UPSTREAMS",
)
def _servers_can_be_verified(settings: Settings, _: Host) -> Iterator[Problem]:
    """The level "secure" asks for a name, and an address has none: mail would wait until it is returned."""
    if "smtp_tls_policy_maps" in settings.parameters:
        return
    usual, others = upstreams.tls_level(settings), upstreams.exceptions(settings)
    for where, route in _ways(settings):
        for hop in (hop for hop in hops(route) if hop.literal):
            if route.transport == "relay":
                setting, level = "RELAY_TLS_LEVEL", settings.relay_tls_level
            else:
                setting, level = "RELAYHOST_TLS_LEVEL", others.get(str(hop).lower(), usual)
            if level == "secure":
                reason = (
                    f"must be a name and not an address with {setting}=secure; verify takes addresses, too"
                )
                yield Problem(where, str(hop), reason)


@rule("RELAY_TLS_LEVEL", "RELAYHOST_TLS_LEVEL")
def _dane_has_signed_answers(settings: Settings, _: Host) -> Iterator[Problem]:
    if settings.relay_tls_level == "dane" and upstreams.tls_level(settings) != "dane":
        reason = "must come with RELAYHOST_TLS_LEVEL=dane: only then are all names looked up in DNS alone"
        yield Problem("RELAY_TLS_LEVEL", "dane", reason)


_FOR_INBOUND = (
    "RELAY_TRANSPORT",
    "RELAY_RECIPIENTS",
    "VERIFY_RECIPIENTS",
    "POSTMASTER",
    "DNSBL_SITES",
    "POSTSCREEN",
)


@rule("RELAY_DOMAINS", "LISTEN", *_FOR_INBOUND)
def _inbound_has_domains(settings: Settings, _: Host) -> Iterator[Problem]:
    if settings.relay_domains and any(one.profile == "inbound" for one in opened(settings)):
        return
    for name in _FOR_INBOUND:
        if getattr(settings, name.lower()) and not settings.relay_domains:
            yield Problem(name, None, "must come with RELAY_DOMAINS: it is for mail that comes in for them")
