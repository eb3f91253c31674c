"""From the next hop's name to addresses, in the order in which Postfix tries them."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, NamedTuple

from entrypoint.probe.upstream import ProbeError
from entrypoint.probe.wire import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.probe.upstream import Upstream

_DNS_ADVICE = "check the container's DNS (/etc/resolv.conf, docker run --dns)"


class Target(NamedTuple):
    """One address; `host` is the name that led to it, which level verify compares with the certificate."""

    host: str
    family: int
    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def resolve(upstream: Upstream, say: Callable[[str], None], timeout: float) -> list[Target]:
    """Return at least one address or raise ProbeError; `timeout` (seconds) bounds the MX lookup.

    Addresses come from the C library, so that /etc/hosts and the search lists of Docker and Kubernetes count,
    as with Postfix's `smtp_host_lookup = native, dns`; their lookup is bounded by resolv.conf(5).
    """
    by_mx = upstream.mx and not _literal(upstream.host)
    hosts = _exchangers(upstream.host, say, timeout) if by_mx else [upstream.host]
    targets: list[Target] = []
    refusals: list[str] = []
    for host in hosts:
        try:
            targets += _addresses(host, upstream.port, say)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            refusals.append(reason)
            say(f"resolve    {clean(host)}: {clean(reason)}")
    if targets:
        return targets
    what = f"{clean(' and '.join(hosts))} has no address: {clean(refusals[0])}"
    raise ProbeError(
        "resolve", what, f"check the spelling of {_setting(upstream)}; if it is right, {_DNS_ADVICE}"
    )


def _addresses(host: str, port: int, say: Callable[[str], None]) -> list[Target]:
    begun = time.monotonic()
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # dict.fromkeys: some resolvers repeat an address, e.g. one that /etc/hosts holds twice.
    targets = list(
        dict.fromkeys(Target(host, family, str(where[0]), port) for family, _, _, _, where in found)
    )
    if not _literal(host):
        took = f"{(time.monotonic() - begun) * 1000:.0f} ms"
        say(f"resolve    {clean(host)} -> {', '.join(target.address for target in targets)} ({took})")
    return targets


def _exchangers(domain: str, say: Callable[[str], None], timeout: float) -> list[str]:
    # Some 40 ms, and needed for MX only.
    import dns.exception
    import dns.resolver

    try:
        answer = dns.resolver.resolve(domain.rstrip(".") + ".", "MX", lifetime=timeout)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        say(f"resolve    {clean(domain)} has no MX, so the name itself is the host (RFC 5321)")
        return [domain]
    except (dns.exception.DNSException, OSError, UnicodeError) as error:
        shown = clean(domain)
        what = f"the MX lookup of {shown} failed: {clean(str(error)) or type(error).__name__}"
        advice = f"if {shown} is a host and not a mail domain, write RELAYHOST=[{shown}]; else {_DNS_ADVICE}"
        raise ProbeError("resolve", what, advice) from None
    records = sorted((record.preference, record.exchange.to_text(omit_final_dot=True)) for record in answer)
    hosts = [host for _, host in records if host not in {"", ".", "@"}]
    listed = ", ".join(f"{clean(host)} ({rank})" for rank, host in records)
    say(f"resolve    {clean(domain)} MX -> {listed}")
    if not hosts:
        what = f"{clean(domain)} says by a null MX (RFC 7505) that it takes no mail"
        raise ProbeError(
            "resolve", what, "use another domain, or RELAYHOST=[host] to name the host itself", final=True
        )
    return hosts


def _setting(upstream: Upstream) -> str:
    return "RELAYHOST (without it: of the recipient's domain)" if upstream.mx else "RELAYHOST"


def _literal(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return False
    return True
