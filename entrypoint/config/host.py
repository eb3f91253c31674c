"""What the configuration must know of the machine it is made for: its name, its networks, who stands at their edge,
and how much memory it may use.

The kernel's own tables are read as text (proc(5)), so that tests give them as text too.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import pairwise
from pathlib import Path

from entrypoint import nonroot

from .values import Address, Network

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
# Of version 2 and version 1; a container sees its own group at the top.
_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class Host:
    """`networks` are the directly connected ones, without loopback.

    Behind one of the `gateways` anybody may stand: routers, the engine's bridges, and the machine's own addresses,
    by which rootless port forwarders present every client.
    """

    name: str
    networks: tuple[Network, ...] = ()
    gateways: tuple[Address, ...] = ()
    ipv6: bool = True
    own: tuple[Address, ...] = ()
    """The machine's own addresses."""
    memory: int | None = None
    """Bytes that the container's limit allows, if there is one; it may be more than the machine has."""
    uid: int = 0
    """The user that the relay runs as."""


def read(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> Host:
    """Read this machine. A table that cannot be read counts as empty: fewer networks are trusted, never more."""
    networks4, routers4 = _ipv4_routes(_text(proc / "net/route"))
    networks6, own6 = _ipv6_addresses(_text(proc / "net/if_inet6"))
    own = [*_own_ipv4(_text(proc / "net/fib_trie")), *own6]
    networks = (*networks4, *networks6)
    gateways = [*routers4, *_ipv6_routers(_text(proc / "net/ipv6_route")), *own]
    # Container engines give their bridge the first address of a network. It is also the source of published ports'
    # traffic on a network that has no default route, so the routing table alone would miss it.
    gateways += [network.network_address + 1 for network in networks if network.num_addresses > 2]
    ordered = dict.fromkeys(address for address in gateways if not address.is_loopback)
    return Host(
        socket.gethostname(),
        networks,
        tuple(ordered),
        _ipv6_works(),
        tuple(own),
        memory_limit(cgroups),
        nonroot.uid(),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def memory_limit(cgroups: Path = _CGROUPS) -> int | None:
    """In bytes. Version 2 says "max" where there is none, version 1 a number that no machine has."""
    texts = (_text(cgroups / name).strip() for name in _LIMITS)
    return next((int(text) for text in texts if text.isdecimal()), None)


def _ipv4_routes(table: str) -> tuple[list[Network], list[Address]]:
    """/proc/net/route: addresses are hexadecimal, lowest byte first; a route without a gateway is a network here."""
    networks: list[Network] = []
    routers: list[Address] = []
    for line in table.splitlines()[1:]:
        name, destination, gateway, *_, mask, _mtu, _window, _irtt = line.split()
        if gateway != "00000000":
            routers.append(_little_endian(gateway))
        elif name != "lo" and destination != "00000000":
            networks.append(ip_network(f"{_little_endian(destination)}/{_little_endian(mask)}"))
    return networks, routers


def _little_endian(digits: str) -> IPv4Address:
    return IPv4Address(bytes.fromhex(digits)[::-1])


def _own_ipv4(trie: str) -> list[Address]:
    """/proc/net/fib_trie: an address line followed by "/32 host LOCAL" is one of this machine's."""
    lines = [line.strip() for line in trie.splitlines()]
    pairs = pairwise(lines)
    return [ip_address(line.split()[-1]) for line, kind in pairs if kind == "/32 host LOCAL"]


def _ipv6_addresses(table: str) -> tuple[list[Network], list[Address]]:
    """/proc/net/if_inet6: address, index, prefix length, scope (00 is global), flags, device, all hexadecimal."""
    networks: list[Network] = []
    own: list[Address] = []
    for line in table.splitlines():
        digits, _, length, scope, *_ = line.split()
        address = IPv6Address(bytes.fromhex(digits))
        own.append(address)
        if scope == "00":
            networks.append(IPv6Network((address, int(length, 16)), strict=False))
    return networks, own


def _ipv6_routers(table: str) -> list[Address]:
    """/proc/net/ipv6_route: the fifth word is the next hop, all zeros where there is none."""
    hops = (line.split()[4] for line in table.splitlines())
    return [IPv6Address(bytes.fromhex(hop)) for hop in hops if hop.strip("0")]


def _ipv6_works() -> bool:
    """Without AF_INET6 every Postfix process would warn about it, in every line's company."""
    try:
        socket.socket(socket.AF_INET6).close()
    except OSError:
        return False
    return True
