"""The table of upstreams: for everybody in order of preference, or for a sender."""

from __future__ import annotations

from dataclasses import dataclass

from entrypoint.config.parsers import addresses, simple
from entrypoint.config.secret import Secret, read
from entrypoint.config.tables.lines import Line, Source, once
from entrypoint.config.tables.routing import RECIPIENT
from entrypoint.config.values import TLS_LEVELS, Relayhost

EVERYBODY = "*"


@dataclass(frozen=True)
class Upstream:
    """One way out: `sender` is "*", an address or "@domain"."""

    where: str
    sender: str
    relayhost: Relayhost
    username: str | None = None
    password: Secret | None = None
    password_file: str | None = None
    tls_level: str | None = None


def upstreams(source: Source) -> tuple[Upstream, ...]:
    seen: dict[str, str] = {}

    def parse(line: Line) -> Upstream:
        sender, *rest = line.words()
        if not rest:
            raise ValueError("must be a sender (or *) and a next hop, such as: * [smtp.example.com]:587")
        sender = _sender(sender.lower())
        relayhost = addresses.relayhost(rest[0])
        once(source, line, f"* {relayhost}".lower() if sender == EVERYBODY else sender, seen)
        return _upstream(line, sender, relayhost, _options(rest[1:]))

    return source.some(source.entries(parse, _shown), "mail goes to the recipients' own servers")


def _shown(line: Line) -> str | None:
    """Who the line is for, and where to. The rest may be a password, by mistake, and so may what is no next hop."""
    who, *rest = line.words()
    try:
        where = [str(addresses.relayhost(word)) for word in rest[:1]]
        return " ".join([_sender(who.lower()), *where])
    except ValueError:
        return None


def _sender(text: str) -> str:
    if text != EVERYBODY and not RECIPIENT.match(text):
        raise ValueError("must begin with *, a sender's address, or @domain")
    return text


def _options(words: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if name not in ("user", "password_file", "tls") or not equals or not value:
            raise ValueError("must have no options but user=NAME, password_file=/path and tls=LEVEL")
        if name in found:
            raise ValueError(f"must give {name}= once")
        found[name] = value
    return found


def _upstream(line: Line, sender: str, relayhost: Relayhost, options: dict[str, str]) -> Upstream:
    username, path, level = (options.get(name) for name in ("user", "password_file", "tls"))
    if (username is None) != (path is None):
        raise ValueError("must have user= and password_file= together")
    if level and level not in TLS_LEVELS:
        raise ValueError(f"must have tls= with one of {', '.join(TLS_LEVELS)}")
    password = _password(path) if path else None
    return Upstream(
        line.where, sender, relayhost, simple.user(username) if username else None, password, path, level
    )


def _password(path: str) -> Secret:
    try:
        return Secret(simple.line(read(simple.path(path)).reveal()))
    except ValueError as error:
        raise ValueError(f"password_file {error}") from None
