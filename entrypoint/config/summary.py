"""What the relay will do, in the few lines that the start logs: a reader sees a mistake here before mail shows it."""

from __future__ import annotations

from . import passthrough, render
from .policy import Policy, certificates, logins, routes, secrets, upstreams
from .policy.doors import SUBMISSION
from .policy.trust import public
from .policy.upstreams import Way
from .tables.upstreams import Upstream
from .values import TLS_IN_WORDS


def summary(policy: Policy) -> list[str]:
    """Who may send, to where, with which TLS, as which name. Never a secret."""
    doors = ", ".join(f"{listener} ({listener.profile})" for listener in policy.listeners)
    trusted = " ".join(map(str, policy.trusted))
    but = f", but not {' '.join(map(str, policy.distrusted))}" if policy.distrusted else ""
    senders = policy.settings.allowed_sender_domains
    only = f"; only as {' '.join(senders)}" if senders else ""
    lines = [f"{policy.hostname} listens on {doors}"]
    if _has_relay(policy):
        lines.append(f"may send: {trusted}{but}{only}")
    if any(listener.profile in SUBMISSION for listener in policy.listeners):
        lines.append(f"may send with a login: {_logins(policy)}{only}")
    if domains := [domain.name for domain in policy.settings.relay_domains]:
        lines.append(f"everybody may send to: {_some(domains)}; {_recipients(policy)}")
    lines.append(f"sends {_to(policy)}")
    lines += [f"sends mail for {_some(names)} to {server}" for server, names in _servers(policy)]
    lines += [f"sends mail of {_some(list(way.senders))} {_hops(way, policy)}" for way in policy.ways]
    if policy.room and policy.processes != "-":
        lines.append(
            f"has {policy.room.limit} MB of memory, by the container's limit: at most {policy.processes} at once of the "
            "clients at a port, and of the deliveries on a way out; the others wait (POSTFIX_default_process_limit)"
        )
    return lines


def _has_relay(policy: Policy) -> bool:
    return any(listener.profile == "relay" for listener in policy.listeners)


_BACKENDS = {
    "sasldb": "the users in SMTPD_SASL_USERS",
    "users": "the users in USERS",
    "ldap": "users of the LDAP server",
    "imap": "users of the IMAP server",
    "pam": "users that PAM knows",
    "sql": "users in the database",
    "dovecot": "users that Dovecot knows",
}


def _logins(policy: Policy) -> str:
    owned = policy.settings.sender_logins or policy.settings.sasl_sql_senders_query
    who = []
    if policy.logins_backend:
        who.append(_BACKENDS[policy.logins_backend] + (", each as its own addresses" if owned else ""))
    if policy.settings.client_certificates:
        # A certificate owns no address.
        but = ", as anybody whose address is no login's" if owned else ""
        who.append(f"clients with a listed certificate{but}")
    return ", and ".join(who) if owned else f"{' and '.join(who)}, as anybody"


def _recipients(policy: Policy) -> str:
    listed = len(policy.settings.relay_recipients)
    found = f"{listed} recipients are listed" if listed else "any recipient"
    return f"{found}, asked of the server inside" if policy.settings.verify_recipients else found


def _hops(way: Way, policy: Policy) -> str:
    """Each upstream in its turn, with what is its own: Postfix gives each its login at its TLS level."""
    return ", else ".join(f"to {_hop(u, upstreams.level(u, policy.settings))}" for u in way.upstreams)


def _hop(upstream: Upstream, level: str) -> str:
    login = f" as {upstream.username}" if upstream.username else ""
    how = ", whose MX is looked up," if upstream.relayhost.mx else ""
    return f"{upstream.relayhost}{how}{login} {TLS_IN_WORDS[level]} ({level})"


def _some(names: list[str], separator: str = " ") -> str:
    """A list that fits a line of a log."""
    return separator.join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _to(policy: Policy) -> str:
    sent_otherwise = policy.ways or _routes(policy) or _ROUTING & policy.parameters.keys()
    if policy.relayhost is None:
        else_ = "everything else " if sent_otherwise else ""
        return f"{else_}directly to each recipient's mail server, {TLS_IN_WORDS[policy.tls_level]} ({policy.tls_level})"
    return f"{'everything else' if sent_otherwise else 'everything'} {_hops(policy.way, policy)}"


# Each of them may send some mail, or all, past the upstream (postconf(5)).
_ROUTING = frozenset(
    """
    default_transport relay_transport sender_dependent_default_transport_maps sender_dependent_relayhost_maps transport_maps
    """.split()
)


def _routes(policy: Policy) -> dict[str, str]:
    """Transport and next hop by recipients, from RELAY_DOMAINS and TRANSPORT."""
    return policy.tables.get("relay_domains", {}) | policy.tables.get("transport", {})


def _servers(policy: Policy) -> list[tuple[str, list[str]]]:
    """Those of the routes, each with whom it serves; as many as a log has room for. ":" is no other way."""
    found: dict[str, list[str]] = {}
    for name, server in _routes(policy).items():
        if server != ":":
            found.setdefault(server, []).append(name)
    shown = list(found.items())
    if rest := [name for _, names in shown[_SERVERS:] for name in names]:
        shown[_SERVERS:] = [(f"{len(found) - _SERVERS} more servers", rest)]
    return shown


_SERVERS = 5


def warnings(policy: Policy) -> list[str]:
    """What lowers security or will make mail fail, said at every start."""
    settings = policy.settings
    found = []
    if policy.uid:
        found.append(
            f"runs as uid {policy.uid}, without root: Postfix's programs are not kept apart, and whoever breaks into one has "
            "the mail, the keys and the passwords of all"
        )
    if "." not in policy.hostname:
        found.append(
            f"{policy.hostname} is not a fully qualified name: many servers refuse mail from such a HELO; set MYHOSTNAME"
        )
    if settings.trust_gateway and _has_relay(policy):
        found.append(
            "TRUST_GATEWAY=yes: safe only while the ports are published on 127.0.0.1, else an open relay"
        )
    elif policy.distrusted and _has_relay(policy):
        found.append(
            f"may not send: {' '.join(map(str, policy.distrusted))} (the gateway, or an address of the relay's own): "
            "mail from the host itself through a published port comes from there; if the port is published on "
            "127.0.0.1 only, set TRUST_GATEWAY=yes"
        )
    strangers = [str(network) for network in policy.trusted if public(network)]
    if strangers:
        found.append(f"ALLOW_PUBLIC_NETWORKS=yes: {' '.join(strangers)} may send anything to anywhere")
    found.extend(certificates.warnings(settings, policy.hostname))
    if nobodys := list(routes.nobodys(settings)):
        found.append(
            f"VIRTUAL leads {_some(nobodys, ', ')}, whom RELAY_RECIPIENTS does not have: their mail would be returned"
        )
    if settings.allow_null_sender:
        found.append("ALLOW_NULL_SENDER=yes: logins may send mail that names no sender")
    found.extend(upstreams.unverified(settings))
    found.extend(logins.warnings(settings))
    found.extend(upstreams.here(settings))
    found.extend(secrets.warnings(settings))
    found.extend(
        f"POSTFIX_{name}={settings.parameters[name]} replaces the relay's own choice"
        for name in render.replaced(policy, render.templates())
    )
    found.extend(f"{passthrough.variable(name)} replaces or adds a service" for name in settings.services)
    return found
