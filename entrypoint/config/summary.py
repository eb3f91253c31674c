"""What the relay will do, in the few lines that the start logs: a reader sees a mistake here before mail shows it."""

from __future__ import annotations

from . import passthrough
from .policy import Policy, public

_TLS = {
    "none": "without TLS",
    "may": "over TLS where offered, unverified",
    "encrypt": "over TLS only, certificate not verified",
    "verify": "over TLS only, certificate verified",
    "secure": "over TLS only, certificate verified",
    "dane": "over TLS by DANE, else where offered",
}


def summary(policy: Policy) -> list[str]:
    """Who may send, to where, with which TLS, as which name. Never a secret."""
    doors = ", ".join(f"{listener} ({listener.profile})" for listener in policy.listeners)
    trusted = " ".join(map(str, policy.trusted))
    but = f", but not {' '.join(map(str, policy.distrusted))}" if policy.distrusted else ""
    senders = policy.settings.allowed_sender_domains
    return [
        f"{policy.hostname} listens on {doors}",
        f"may send: {trusted}{but}" + (f"; only as {' '.join(senders)}" if senders else ""),
        f"sends {_to(policy)} {_TLS[policy.tls_level]} ({policy.tls_level})",
    ]


def _to(policy: Policy) -> str:
    if policy.relayhost is None:
        return "directly to each recipient's mail server,"
    login = f" as {policy.credentials.username}" if policy.credentials else ""
    how = "whose MX is looked up," if policy.relayhost.mx else ""
    return " ".join(filter(None, [f"everything to {policy.relayhost}{login}", how]))


def warnings(policy: Policy) -> list[str]:
    """What lowers security or will make mail fail, said at every start."""
    settings = policy.settings
    found = []
    if "." not in policy.hostname:
        found.append(
            f"{policy.hostname} is not a fully qualified name: many servers refuse mail from such a HELO; set MYHOSTNAME"
        )
    if settings.trust_gateway:
        found.append(
            "TRUST_GATEWAY=yes: safe only while the ports are published on 127.0.0.1, else an open relay"
        )
    elif policy.distrusted:
        found.append(
            f"may not send: {' '.join(map(str, policy.distrusted))} (the gateway, or an address of the relay's own): "
            "mail from the host itself through a published port comes from there; if the port is published on "
            "127.0.0.1 only, set TRUST_GATEWAY=yes"
        )
    strangers = [str(network) for network in policy.trusted if public(network)]
    if strangers:
        found.append(f"ALLOW_PUBLIC_NETWORKS=yes: {' '.join(strangers)} may send anything to anywhere")
    if policy.credentials and policy.tls_level == "encrypt":
        found.append("RELAYHOST_TLS_LEVEL=encrypt: whoever answers as the upstream gets the password")
    found.extend(
        f"POSTFIX_{name}={value} replaces the relay's own choice"
        for name, value in settings.parameters.items()
    )
    found.extend(f"{passthrough.variable(name)} replaces or adds a service" for name in settings.services)
    return found
