"""Tables of addresses and of the ways that mail takes: transport, relay_domains, relay_recipients, virtual."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from entrypoint.config.parsers import addresses
from entrypoint.config.problem import Problem
from entrypoint.config.tables.lines import Line, Source, once
from entrypoint.config.values import Relayhost

# Services of master.cf.j2 that deliver by SMTP, and those that end a message's way.
SMTP = ("smtp", "smtps", "relay")
ENDS = ("error", "retry", "discard")

# No longer than RFC 5321 allows (4.5.3.1): the keys of an lmdb table end at 511 bytes.
_LOCAL_PART = r"[^\s\x00-\x1f\x7f@<>,;:\"()\[\]\\]{1,64}"
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DOMAIN = rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*{_LABEL}"
ADDRESS = re.compile(rf"{_LOCAL_PART}@{_DOMAIN}\Z")
RECIPIENT = re.compile(rf"(?:{_LOCAL_PART})?@{_DOMAIN}\Z")
_ANY_LOCAL_PART = re.compile(rf"(?:{_LOCAL_PART})?\Z")
_ONE_DOMAIN = re.compile(rf"{_DOMAIN}\Z")
_NAMED_SERVICE = re.compile(r"([A-Za-z0-9_-]*):(.*)\Z")
_ENDING = re.compile(rf"(?:^|\s)((?:{'|'.join(ENDS)}):.*)")


@dataclass(frozen=True)
class Route:
    """A line of transport(5): mail for `pattern` goes through `transport` to `nexthop`; either may be empty."""

    where: str
    pattern: str
    transport: str
    nexthop: str

    def __str__(self) -> str:
        return f"{self.transport}:{self.nexthop}"


@dataclass(frozen=True)
class RelayDomain:
    """A domain to take mail for from strangers; ".example.com" means its subdomains."""

    where: str
    name: str
    route: Route | None


@dataclass(frozen=True)
class Alias:
    """A line of virtual(5)."""

    where: str
    pattern: str
    targets: tuple[str, ...]


def transport(source: Source) -> tuple[Route, ...]:
    seen: dict[str, str] = {}

    def parse(line: Line) -> Route:
        pattern, *result = line.text.split(None, 1)
        if not result:
            raise ValueError(
                "must be a pattern and a transport, such as: example.com smtp:[mail.example.com]:25"
            )
        pattern = pattern.lower()
        if pattern != "*" and not ADDRESS.match(pattern):
            pattern = _domain(pattern)
        once(source, line, pattern, seen)
        return _route(line.where, pattern, result[0])

    return source.entries(parse)


class Recipients(tuple[str, ...]):  # noqa: SLOT001  # a tuple can have no slots
    """Addresses and @domains. `domains` has the place of the first one at each domain."""

    domains: Mapping[str, str] = MappingProxyType({})


def relay_domains(source: Source) -> tuple[RelayDomain, ...]:
    """A next hop is told from a domain by its bracket or colon, so that domains alone may share a line."""
    seen: dict[str, str] = {}
    found: list[RelayDomain] = []

    def parse(line: Line) -> None:
        for name, way in _domains_and_ways(line.text):
            once(source, line, name, seen)
            found.append(RelayDomain(line.where, name, nexthop(way, line.where, name) if way else None))

    source.entries(parse)
    return tuple(found)


def _domains_and_ways(text: str) -> Iterator[tuple[str, str]]:
    """Each domain, and what follows it: next hops in their order of preference, or the reason of an error: to its end."""
    ending = _ENDING.search(text)
    name, hops = "", list[str]()
    for word in re.split(r"[\s,]+", text[: ending.start()] if ending else text):
        if "[" in word or ":" in word:
            hops.append(word)
        elif word:
            if name or hops:
                yield _begun(name), ", ".join(hops)
            name, hops = _domain(word.lower()), []
    yield _begun(name), ending[1] if ending else ", ".join(hops)


def _begun(name: str) -> str:
    if not name:
        raise ValueError("must begin with the domain, such as: example.com [mail.example.com]:25")
    return name


def relay_recipients(source: Source) -> Recipients:
    """Written for a million lines: no object for each, and its domain is looked at once."""
    local_part = _ANY_LOCAL_PART.match
    found: list[str] = []
    domains: dict[str, str] = {}
    for number, text in source.numbered():
        name, at, domain = text.rpartition("@")
        if (
            at
            and local_part(name)
            and (domain in domains or _ONE_DOMAIN.match(domain))
            and text.isprintable()
        ):
            # Most are lower case already, and a copy of each would double what they take.
            found.append(text if text.islower() else text.lower())
            if domain not in domains:
                domains.setdefault(domain.lower(), source.where(number))
            continue
        rule = "must be one address, or a whole domain, such as: user@example.com or @example.com"
        source.problems.append(Problem(source.where(number), text, rule))
    source.close()
    recipients = Recipients(found)
    recipients.domains = domains
    return recipients


def virtual(source: Source) -> tuple[Alias, ...]:
    seen: dict[str, str] = {}

    def parse(line: Line) -> Alias:
        pattern, *targets = re.split(r"[\s,]+", line.text)
        if not RECIPIENT.match(pattern):
            raise ValueError("must begin with an address or @domain, such as: @example.com user@example.com")
        if not targets:
            raise ValueError("must name at least one address after the first")
        for target in targets:
            if not RECIPIENT.match(target):
                raise ValueError(f"must lead to addresses, and {target!r} is none")
        once(source, line, pattern.lower(), seen)
        return Alias(line.where, pattern.lower(), tuple(targets))

    return source.entries(parse)


def nexthop(text: str, where: str = "", pattern: str = "") -> Route:
    """Next hops with or without a transport: `[host]:25`, `smtps:[host]:465`, `[first]:25, [second]:25`, `error:text`."""
    named = _NAMED_SERVICE.match(text)
    if named and named[1] in (*SMTP, *ENDS):
        return _route(where, pattern, text)
    return Route(where, pattern, "relay", ", ".join(map(str, _hosts(text))))


def hops(route: Route) -> list[Relayhost]:
    """The hosts that an SMTP transport tries in turn; none where the recipient's own domain is meant."""
    # Without a transport it is that of the domain's class, which is one of these.
    if route.transport not in (*SMTP, "") or not route.nexthop:
        return []
    return _hosts(route.nexthop)


def _hosts(text: str) -> list[Relayhost]:
    return [addresses.relayhost(part) for part in re.split(r"[\s,]+", text)]


def _route(where: str, pattern: str, result: str) -> Route:
    named = _NAMED_SERVICE.match(result)
    if not named:
        raise ValueError(
            f"must name a transport before the next hop, such as smtp:[mail.example.com]:25, not {result!r}"
        )
    route = Route(where, pattern, named[1], named[2].strip())
    if route.transport in SMTP and route.nexthop.isdigit():
        raise ValueError(
            f"must name a host after {route.transport}:, or put {route.transport!r} in brackets if it is one"
        )
    hops(route)
    return route


def _domain(name: str) -> str:
    try:
        [one] = addresses.domains(name)
        # A top-level domain has a letter: what has none is a server's address without its brackets.
        if one.rpartition(".")[2].isdigit():
            raise ValueError  # noqa: TRY301
    except ValueError:
        raise ValueError(
            f"must be a domain such as example.com (.example.com for its subdomains), not {name!r}"
        ) from None
    return one
