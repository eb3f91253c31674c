"""Where mail for which recipient goes: the tables of transport(5), virtual(5) and of relay domains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import itemgetter

from entrypoint.config.policy.restrictions import domains_pattern, postmaster_pattern
from entrypoint.config.settings import Settings
from entrypoint.config.tables.routing import ENDS

ANYTHING = "*"
TABLES = "tables"
"""Below the place that the configuration is written to; on the data volume, for they may be large."""


def tables(settings: Settings) -> dict[str, dict[str, str]]:
    """Lookup tables by name, each with its entries. One that nobody configured is absent."""
    found = {
        "transport": {route.pattern: str(route) for route in settings.transport},
        "relay_domains": {name: way for name, way in ways(settings).items() if way},
        "relay_recipients": dict.fromkeys(settings.relay_recipients, "OK"),
        "virtual": _aliases(settings),
        "client_certificates": {c.fingerprint.lower(): c.name for c in settings.client_certificates},
        "sender_logins": sender_logins(settings),
    }
    return {name: entries for name, entries in found.items() if entries}


def sender_logins(settings: Settings) -> dict[str, str]:
    """The logins by sender, as smtpd_sender_login_maps asks: the address, else its @domain.

    Who may send as a whole domain, or as anything, is repeated at each narrower entry, where Postfix stops looking.
    """
    owners: dict[str, set[str]] = {}
    anything: set[str] = set()
    for line in settings.sender_logins:
        for sender in line.senders:
            (anything if sender == ANYTHING else owners.setdefault(sender, set())).add(line.login)
    for login in _addresses(settings):
        owners.setdefault(login.lower(), set()).add(login)
    whole = {sender: found for sender, found in owners.items() if sender[0] == "@"}
    for sender, found in owners.items():
        found.update(anything, whole.get("@" + sender.rpartition("@")[2], ()))
    if anything:
        owners[ANYTHING] = anything
    return {sender: ", ".join(sorted(found)) for sender, found in owners.items()}


def unowned_pattern(owners: Mapping[str, str]) -> str:
    """Which addresses belong to the owners of everything alone, if there are such; their key is ANYTHING.

    Postfix asks every map for the whole address before it asks any for the @domain: at a domain that has owners, none
    may be found by this.
    """
    if ANYTHING not in owners:
        return ""
    domains = sorted(sender[1:] for sender in owners if sender[0] == "@")
    # $$ is Postfix's way to write the $ of a pattern in main.cf.
    return rf"!/@({domains_pattern(domains)})$$/" if domains else "/@/"


def _addresses(settings: Settings) -> set[str]:
    """Logins that are addresses may send as themselves, once it is said at all who may send as what."""
    if not settings.sender_logins:
        return set()
    known = {login.name for login in (*settings.smtpd_sasl_users, *settings.users)}
    return {login for login in known | {line.login for line in settings.sender_logins} if "@" in login}


def ways(settings: Settings) -> dict[str, str | None]:
    """The transport and next hop of each relay domain; None for one that nothing says where its mail goes.

    This table also says which domains are relayed, and transport(5) looks up all tables for a domain before those for
    its parent or for "*": so what the transport table says of these is written here as well.
    """
    routed = {route.pattern: str(route) for route in settings.transport}
    aliased = {alias.pattern for alias in settings.virtual}
    found: dict[str, str | None] = {}
    for domain in settings.relay_domains:
        if route := domain.route or settings.relay_transport:
            found[domain.name] = str(route)
        elif known := next((routed[name] for name in _transport_keys(domain.name) if name in routed), None):
            found[domain.name] = known
        else:
            # Mail for another domain's people in their other name, which is rewritten before its way is asked.
            found[domain.name] = f"error:{_UNKNOWN}" if f"@{domain.name}" in aliased else None
    return found


_UNKNOWN = "5.1.1 User unknown"


def elsewhere(settings: Settings, recipient: str) -> str | None:
    """The setting that sends his mail another way than to the upstream, if one does; in Postfix's order (transport(5))."""
    found = {
        domain.name: domain.route.where if domain.route else "RELAY_TRANSPORT"
        for domain in settings.relay_domains
    } | {route.pattern: route.where for route in settings.transport}
    keys = (recipient.lower(), *_transport_keys(recipient.lower().rpartition("@")[2]))
    return next((found[key] for key in keys if key in found), None)


def _transport_keys(domain: str) -> Iterator[str]:
    """What transport(5) looks up, the most specific first."""
    yield domain
    labels = domain.lstrip(".").split(".")
    yield from ("." + ".".join(labels[depth:]) for depth in range(1, len(labels)))
    yield "*"


def _aliases(settings: Settings) -> dict[str, str]:
    """Lines of virtual(5). One for a whole domain is written out for each recipient that its targets have.

    Otherwise Postfix would take mail for everybody there, find out later who does not exist, and return it to senders
    that are forged.
    """
    entries = {alias.pattern: alias.targets for alias in settings.virtual}
    people = _people(settings, entries)
    inbound = {domain.name for domain in settings.relay_domains}
    found: dict[str, str] = {}
    for pattern, targets in entries.items():
        if pattern[0] != "@" or pattern[1:] not in inbound or not all(t.lower() in people for t in targets):
            found[pattern] = ", ".join(targets)
            continue
        for name in {name: None for target in targets for name in people[target.lower()]}:
            if f"{name}{pattern}" not in entries:
                found[f"{name}{pattern}"] = ", ".join(
                    f"{name}{t}" for t in targets if name in people[t.lower()]
                )
    return found


def _people(settings: Settings, aliases: Mapping[str, object]) -> dict[str, dict[str, None]]:
    """The local parts that exist at each "@domain" of which all are known."""
    if not settings.relay_recipients or not any(pattern[0] == "@" for pattern in aliases):
        return {}
    known = {*settings.relay_recipients.domains, *(domain.name for domain in settings.relay_domains)}
    recipients = (*settings.relay_recipients, *aliases)
    known -= {recipient[1:] for recipient in recipients if recipient[0] == "@"}
    found = {f"@{domain}": dict.fromkeys(("postmaster", "abuse")) for domain in known}
    for recipient in recipients:
        name, _, domain = recipient.rpartition("@")
        if domain in known:
            found[f"@{domain}"][name] = None
    return found


def postmasters_domain(settings: Settings) -> str | None:
    """The first that is no pattern, and whose mail somebody gets, if there is one."""
    names = {name: way for name, way in ways(settings).items() if name[0] != "."}
    aliased = {alias.pattern for alias in settings.virtual}
    ended = (f"@{name}" not in aliased and str(way).partition(":")[0] in ENDS for name, way in names.items())
    return min(zip(ended, names, strict=True), key=itemgetter(0), default=(False, None))[1]


def nobodys(settings: Settings) -> Iterator[str]:
    """Where aliases lead to whom RELAY_RECIPIENTS does not know: mail that was accepted would be returned."""
    known, ours = settings.relay_recipients, {domain.name for domain in settings.relay_domains}
    aliases = {alias.pattern for alias in settings.virtual}
    for alias in settings.virtual:
        for target in map(str.lower, alias.targets):
            name, _, domain = target.rpartition("@")
            listed = not {target, f"@{domain}"}.isdisjoint(known) or not {target, f"@{domain}"}.isdisjoint(
                aliases
            )
            if known and domain in ours and name not in ("", "postmaster", "abuse") and not listed:
                yield f"{alias.pattern} to {target}"


def postmaster(settings: Settings, hostname: str) -> str:
    """A regexp: table for virtual_alias_maps, or ""."""
    if not settings.relay_domains:
        return ""
    pattern = postmaster_pattern(hostname)
    if settings.postmaster is None:
        # $$ is Postfix's way to write the $ of main.cf; the name that was written, at our first domain.
        return f"regexp:{{ {{ {pattern} $${{1}}@{postmasters_domain(settings)} }} }}"
    names = [domain.name for domain in settings.relay_domains]
    ours = rf"/^(postmaster|abuse)@({domains_pattern(names)})$$/"
    return f"regexp:{{ {{ {pattern} {settings.postmaster} }} {{ {ours} {settings.postmaster} }} }}"
