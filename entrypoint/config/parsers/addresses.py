"""Hosts, networks, domains, addresses of mail, and what is made of them: next hops and listeners."""

from __future__ import annotations

import re
from ipaddress import ip_network

from entrypoint.config.parsers import simple
from entrypoint.config.values import PROXY_PROTOCOL, Address, Listener, Network, Relayhost, ip_literal

PROFILES = ("relay", "submission", "submissions", "inbound")

# Underscores are not legal in host names, but container engines' DNS is full of them and Postfix accepts them.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOSTNAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?\Z", re.IGNORECASE | re.ASCII)


def hostname(value: str) -> str:
    if not _HOSTNAME.match(value):
        raise ValueError("must be a host name such as relay.example.com")
    return value


def port(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", value) or not 1 <= int(value) <= 65535:
        raise ValueError("must be a port from 1 to 65535")
    return int(value)


def address(value: str) -> Address:
    literal = ip_literal(value.strip("[]"))
    if literal is None:
        raise ValueError("must be an IP address")
    return literal


def mail_address(value: str) -> str:
    """An address that may stand in main.cf, where $ and braces mean something."""
    local, at, domain = value.rpartition("@")
    if not at or not re.fullmatch(r"[^\s@<>,;:\"()\[\]\\${}]+", local) or not _HOSTNAME.match(domain):
        raise ValueError("must be one address such as user@example.com")
    return value


# The ports of the URLs that other programs take.
_SCHEMES = {"smtp": 25, "submission": 587, "smtps": 465, "submissions": 465}
_URL = re.compile(
    rf"({'|'.join(_SCHEMES)})://(.*@)?(?:\[([^\[\]\s]+)\]|([^\[\]\s:/]+))(?::([0-9]+))?/?", re.IGNORECASE
)


def relayhost(value: str) -> Relayhost:
    """`[host]`, `host`, each with `:port`; an address is never looked up, so it gets its brackets by itself."""
    if url := _URL.fullmatch(value):
        scheme, login, host = url[1].lower(), url[2], url[3] or url[4]
        apart = "; the login is given apart" if login else ""
        raise ValueError(f"must be no URL, but [{host}]:{url[5] or _SCHEMES[scheme]}{apart}")
    match = re.fullmatch(r"(?:\[([^\[\]\s]+)\]|([^\[\]\s:]+))(?::([0-9]+))?", value)
    if not match:
        raise ValueError("must be one next hop: [host]:port, host:port, [2001:db8::1]:port or a mail domain")
    bracketed, bare = match[1], match[2]
    host = bracketed or bare
    literal = ip_literal(host.removeprefix("IPv6:").removeprefix("ipv6:"))
    # A top-level domain has a letter: what has none is an address with a mistake, or a port without its host.
    if literal is None and (not _HOSTNAME.match(host) or re.search(r"(^|\.)[0-9]+\.?\Z", host)):
        raise ValueError("must name a host or an address: letters, digits, '-' and '.'")
    return Relayhost(str(literal or host), port(match[3] or "25"), mx=bracketed is None and literal is None)


def domains(value: str) -> tuple[str, ...]:
    for name in simple.words(value):
        if not _HOSTNAME.match(name.removeprefix(".")):
            raise ValueError(
                f"must be domains such as example.com (.example.com for its subdomains), not {name!r}"
            )
    return tuple(name.lower().rstrip(".") for name in simple.words(value))


def blocklists(value: str) -> tuple[str, ...]:
    """Domains, each with the answers that count, if not all do (postconf(5), reject_rbl_client)."""
    for word in simple.words(value):
        domain, equals, answers = word.partition("=")
        domains(domain)
        if equals and not re.fullmatch(r"127(\.([0-9]{1,3}|\[[0-9.;]+\])){3}", answers):
            raise ValueError(
                f"must have an address of 127.0.0.0/8 after =, such as 127.0.0.[2..11], not {answers!r}"
            )
    return tuple(simple.words(value))


def networks(value: str) -> tuple[Network, ...]:
    return tuple(_network(word) for word in simple.words(value))


def listeners(value: str) -> tuple[Listener, ...]:
    return tuple(_listener(word) for word in simple.words(value))


def _network(word: str) -> Network:
    # Postfix writes IPv6 as [2001:db8::]/32; both spellings are taken.
    plain = re.sub(r"^\[(.*)\]", r"\1", word)
    if "%" in plain:
        raise ValueError(f"must be networks without an interface, and {word} names one")
    try:
        return ip_network(plain)
    except ValueError:
        pass
    try:
        meant = ip_network(plain, strict=False)
    except ValueError:
        raise ValueError(f"must be networks such as 10.0.0.0/8 or 2001:db8::/32, not {word!r}") from None
    raise ValueError(f"must be networks without host bits: {word} is inside {meant}")


def _listener(word: str) -> Listener:
    match = re.fullmatch(r"(?:(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):)?([0-9]+):([a-z]+)(?::([a-z]+))?", word)
    if not match:
        raise ValueError(
            f"must be [address:]port:profile, such as 25:relay or [::1]:2525:relay, not {word!r}"
        )
    if match[4] not in PROFILES:
        raise ValueError(f"must use a profile that exists ({', '.join(PROFILES)}), not {match[4]!r}")
    if match[5] not in (None, PROXY_PROTOCOL):
        raise ValueError(f"must have nothing but :{PROXY_PROTOCOL} after the profile, not {match[5]!r}")
    if match[5] and match[4] == "relay":
        raise ValueError(
            f"must not be relay and {PROXY_PROTOCOL}: whoever connects could claim the address of a trusted client"
        )
    where = match[1] or match[2] or ""
    literal = ip_literal(where)
    if where and literal is None:
        raise ValueError(f"must listen on an IP address of this container, not {where!r}")
    return Listener(str(literal or ""), port(match[3]), match[4], proxied=match[5] is not None)
