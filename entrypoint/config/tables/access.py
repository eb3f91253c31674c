"""Tables of who may send, and as whom: users, sender_logins, client_certificates."""

from __future__ import annotations

import re
from dataclasses import dataclass

from entrypoint.config import crypt
from entrypoint.config.secret import Secret
from entrypoint.config.tables.lines import Line, Source, once
from entrypoint.config.tables.routing import RECIPIENT

_COMMA = " (a comma in a password: use SMTPD_SASL_USERS_FILE, its first line a comment)"
_SHA256 = re.compile(r"[0-9A-F]{64}\Z")


@dataclass(frozen=True)
class Login:
    """Who may log in, and with what: a password, or its hash (crypt(5))."""

    where: str
    name: str
    secret: Secret


@dataclass(frozen=True)
class SenderLogin:
    """The addresses, @domains or "*" that a login may send as."""

    where: str
    login: str
    senders: tuple[str, ...]


@dataclass(frozen=True)
class ClientCertificate:
    """A certificate that counts as a login: its SHA-256 fingerprint, as Postfix writes it."""

    where: str
    fingerprint: str
    name: str


def passwords(source: Source) -> tuple[Login, ...]:
    seen: dict[str, str] = {}

    def parse(line: Line) -> Login:
        # One line is split at commas (Source.separators), which leaves the end of a password that has one.
        split = "" if "\n" in source.text.strip() else _COMMA
        login = _login(line, f"password{split}")
        once(source, line, login.name.lower(), seen)
        return login

    return source.entries(parse)


def hashes(source: Source) -> tuple[Login, ...]:
    seen: dict[str, str] = {}

    def parse(line: Line) -> Login:
        login = _login(line, "hash")
        if fault := crypt.hash_fault(login.secret.reveal()):
            raise ValueError(fault)
        once(source, line, login.name.lower(), seen)
        return login

    return source.entries(parse)


def sender_logins(source: Source) -> tuple[SenderLogin, ...]:
    seen: dict[str, str] = {}

    def parse(line: Line) -> SenderLogin:
        login, *senders = re.split(r"[\s,]+", line.text)
        if not senders or login[:1] in ("", "*", "@"):
            raise ValueError(
                "must be a login and what it may send as, such as: user user@example.com @example.org"
            )
        for sender in senders:
            if sender != "*" and not RECIPIENT.match(sender):
                raise ValueError(f"must list addresses, @domains or *, and {sender!r} is none of them")
        once(source, line, login.lower(), seen)
        return SenderLogin(line.where, login, tuple(sender.lower() for sender in senders))

    return source.some(source.entries(parse), "any login may send as anybody")


def client_certificates(source: Source) -> tuple[ClientCertificate, ...]:
    seen: dict[str, str] = {}

    def parse(line: Line) -> ClientCertificate:
        fingerprint, *name = line.text.split(None, 1)
        digits = fingerprint.upper().replace(":", "")
        if not _SHA256.match(digits):
            raise ValueError(
                "must begin with a SHA-256 fingerprint of 64 hexadecimal digits "
                "(openssl x509 -noout -fingerprint -sha256 -in FILE)"
            )
        once(source, line, digits, seen)
        pairs = ":".join(digits[i : i + 2] for i in range(0, 64, 2))
        return ClientCertificate(line.where, pairs, name[0] if name else pairs[:11])

    return source.entries(parse)


def _login(line: Line, what: str) -> Login:
    name, colon, secret = line.text.partition(":")
    if not colon or not name or not secret:
        raise ValueError(f"must be login:{what}")
    if not name.isprintable() or re.search(r"[\s,;]", name):
        raise ValueError("must have a login without spaces, commas and semicolons")
    return Login(line.where, name, Secret(secret))
