"""Whom the relay trusts by their address."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from entrypoint.config.host import Host
from entrypoint.config.settings import Settings
from entrypoint.config.values import Address, Network

_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
# RFC 1918, RFC 4193
_PRIVATE = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
_NOT_PUBLIC = (
    *_LOOPBACK,
    *_PRIVATE,
    *map(ip_network, ("169.254.0.0/16", "fe80::/10")),  # link-local
    ip_network("100.64.0.0/10"),  # shared behind a carrier's NAT, RFC 6598
    *map(ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")),  # documentation
    ip_network("198.18.0.0/15"),  # benchmarks
)


def trusted_by_default(host: Host) -> tuple[Network, ...]:
    """Loopback and the connected private networks. Others hold strangers, whoever's network it is."""
    loopback = _LOOPBACK if host.ipv6 else _LOOPBACK[:1]
    return (*loopback, *(network for network in host.networks if _inside(network, _PRIVATE)))


def distrusted(settings: Settings, host: Host, trusted: tuple[Network, ...]) -> tuple[Address, ...]:
    """The gateways inside the trusted networks: behind a published port, anybody can appear as one."""
    if settings.trust_gateway:
        return ()
    return tuple(g for g in host.gateways if any(g in network for network in trusted))


def public(network: Network) -> bool:
    """Whether some address of the network may belong to a stranger."""
    return not _inside(network, _NOT_PUBLIC)


def pattern(what: Network | Address) -> str:
    """As mynetworks wants it (postconf(5)): IPv6 addresses in brackets, before the slash."""
    address, slash, length = str(what).partition("/")
    return (f"[{address}]" if ":" in address else address) + slash + length


def _inside(network: Network, ranges: Iterable[Network]) -> bool:
    return any(network.version == r.version and network.subnet_of(r) for r in ranges)  # type: ignore[arg-type]
