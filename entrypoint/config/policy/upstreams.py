"""The ways out: who is asked to take the mail, as whom, over which TLS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from entrypoint.config.secret import Secret
from entrypoint.config.settings import Settings
from entrypoint.config.tables.routing import hops
from entrypoint.config.tables.upstreams import EVERYBODY, Upstream
from entrypoint.config.values import Relayhost, loopback

TLS_FROM_FIRST_BYTE = 465
VERIFIED = ("verify", "secure")
"""The TLS levels at which the server is known to be the right one."""


@dataclass(frozen=True)
class Credentials:
    username: str
    password: Secret


@dataclass(frozen=True)
class Way:
    """Upstreams that are tried in their order, through one service of master.cf; "smtp" is main.cf's own."""

    service: str
    upstreams: tuple[Upstream, ...]
    senders: tuple[str, ...] = ()

    @property
    def nexthop(self) -> str:
        return ", ".join(str(upstream.relayhost) for upstream in self.upstreams)

    @property
    def passwords(self) -> dict[str, Secret]:
        """By next hop, for smtp_sasl_password_maps."""
        return {
            str(u.relayhost).lower(): Secret(f"{u.username}:{u.password.reveal()}")
            for u in self.upstreams
            if u.username and u.password
        }

    @property
    def implicit_tls(self) -> bool:
        return any(u.relayhost.port == TLS_FROM_FIRST_BYTE for u in self.upstreams)


def everybodys(settings: Settings) -> Way:
    """RELAYHOST, or the lines of UPSTREAMS for all. Without upstreams mail goes to the recipients' own servers."""
    if settings.relayhost:
        one = Upstream(
            "RELAYHOST",
            EVERYBODY,
            settings.relayhost,
            settings.relayhost_username,
            settings.relayhost_password,
            tls_level=settings.relayhost_tls_level,
        )
        return Way("smtp", (one,))
    return Way("smtp", tuple(u for u in settings.upstreams if u.sender == EVERYBODY))


def all_ways(settings: Settings) -> list[Way]:
    return [everybodys(settings), *senders(settings)]


def senders(settings: Settings) -> list[Way]:
    """For each upstream of some senders a service of its own: its password and TLS level are nobody else's."""
    found: dict[tuple[object, ...], list[Upstream]] = {}
    for upstream in settings.upstreams:
        if upstream.sender != EVERYBODY:
            secret = upstream.password.reveal() if upstream.password else None
            account = (upstream.relayhost, upstream.username, secret, upstream.tls_level)
            found.setdefault(account, []).append(upstream)
    return [
        Way(f"upstream{number}", (group[0],), tuple(u.sender for u in group))
        for number, group in enumerate(found.values(), 1)
    ]


def level(upstream: Upstream, settings: Settings) -> str:
    """A password, or a CA to check with, asks for a verified certificate; else TLS is used where it is offered."""
    if upstream.tls_level or settings.relayhost_tls_level:
        return upstream.tls_level or str(settings.relayhost_tls_level)
    if upstream.username or settings.relayhost_ca_file:
        # "secure" also wants the names below the next hop, and an address has none: Postfix would verify nothing.
        return "verify" if upstream.relayhost.literal else "secure"
    return "encrypt" if upstream.relayhost.port == TLS_FROM_FIRST_BYTE else "may"


def tls_level(settings: Settings) -> str:
    """That of the first upstream, which is main.cf's; without any, what was asked for."""
    if way := everybodys(settings).upstreams:
        return level(way[0], settings)
    # A CA file is for those upstreams that there are: the world's mail servers are not signed by it.
    if settings.relayhost_username or (settings.relayhost_ca_file and not settings.upstreams):
        return settings.relayhost_tls_level or "secure"
    return settings.relayhost_tls_level or "may"


def exceptions(settings: Settings) -> dict[str, str]:
    """The TLS levels of those upstreams for all whose level is not main.cf's, for smtp_tls_policy_maps."""
    usual = tls_level(settings)
    each = {str(u.relayhost).lower(): level(u, settings) for u in everybodys(settings).upstreams}
    return {nexthop: one for nexthop, one in each.items() if one != usual}


def _each(settings: Settings) -> Iterator[Upstream]:
    return (upstream for way in all_ways(settings) for upstream in way.upstreams)


def unverified(settings: Settings) -> Iterator[str]:
    """The upstreams that are given a password by whoever they are, each with where that was said."""
    for upstream in _each(settings):
        if upstream.username and level(upstream, settings) not in VERIFIED:
            own = upstream in settings.upstreams and upstream.tls_level
            place = f"{upstream.where}: tls" if own else "RELAYHOST_TLS_LEVEL"
            yield f"{place}={level(upstream, settings)}: whoever answers as {upstream.relayhost} gets the password"


def here(settings: Settings) -> Iterator[str]:
    """The upstreams in this container. In a Pod there may be one; elsewhere the host was meant, or another container."""
    for upstream in _each(settings):
        if loopback(upstream.relayhost.host):
            yield (
                f"{upstream.where}: {upstream.relayhost} is this container itself, where a Pod may have a server; one on the "
                "host or in another container has another name"
            )


def names(settings: Settings) -> list[str]:
    """The ways out as host:port, for metrics. The first is for mail of everybody, or "direct"."""
    usual = everybodys(settings).upstreams
    routes = (settings.relay_transport, *settings.transport, *(d.route for d in settings.relay_domains))
    hosts = [u.relayhost for u in (*usual, *settings.upstreams)]
    hosts += [host for route in dict.fromkeys(routes) if route for host in hops(route)]
    return list(dict.fromkeys([*([] if usual else ["direct"]), *map(_shown, hosts)]))


def _shown(relayhost: Relayhost) -> str:
    host = f"[{relayhost.host}]" if ":" in relayhost.host else relayhost.host
    return f"{host}:{relayhost.port}"


def login(way: Way) -> Credentials | None:
    """The first upstream's, for what shows or tries the way out."""
    for upstream in way.upstreams[:1]:
        if upstream.username and upstream.password:
            return Credentials(upstream.username, upstream.password)
    return None
