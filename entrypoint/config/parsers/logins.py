"""Where logins are checked, and how."""

from __future__ import annotations

import re

from entrypoint.config.parsers import addresses, simple
from entrypoint.config.values import Relayhost, SqlServer, ip_literal

MECHANISMS = ("PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-1")


def mechanisms(value: str) -> tuple[str, ...]:
    names = tuple(word.upper() for word in simple.words(value))
    for name in names:
        if name not in MECHANISMS:
            raise ValueError(f"must be of {', '.join(MECHANISMS)}, and {name!r} is none of them")
    return tuple(dict.fromkeys(names))


def ldap_url(value: str) -> str:
    if not re.fullmatch(r"ldapi://[!-~]*|ldaps?://[A-Za-z0-9.:\[\]_-]+/?", value):
        raise ValueError(
            "must be ldaps://host[:port], ldap://host[:port] or ldapi:///path, and nothing after it"
        )
    return value


def ldap_filter(value: str) -> str:
    if "%u" not in value or not re.fullmatch(r"\(.*\)", value) or value.count("(") != value.count(")"):
        raise ValueError("must be a filter in parentheses that holds %u, such as (uid=%u)")
    return value


def imap_host(value: str) -> Relayhost:
    given = addresses.relayhost(
        value if re.search(r":[0-9]+\Z", value) or ip_literal(value) else f"{value}:993"
    )
    return Relayhost(given.host, 993 if ip_literal(value) else given.port, mx=False)


def pam_service(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", value) or value.startswith("."):
        raise ValueError("must be the name of a file in /etc/pam.d")
    return value


def dovecot_path(value: str) -> str:
    if value.startswith("unix:/") and value.isprintable():
        return value
    if match := re.fullmatch(r"inet:(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]]+)):([0-9]+)", value):
        addresses.hostname(match[2]) if match[2] else addresses.address(match[1])
        addresses.port(match[3])
        return value
    raise ValueError("must be inet:host:port or unix:/path")


def sql_url(value: str) -> SqlServer:
    """Without a password: a URL is printed in many places."""
    url = re.fullmatch(
        r"(postgresql|postgres|mysql|mariadb)://([^\s:@/]+)@(?:\[([0-9A-Fa-f:.]+)\]|([^\s:@/\[\]]+))(?::([0-9]+))?/([^\s/?]+)",
        value,
    )
    if not url:
        raise ValueError(
            "must be postgresql://user@host:port/database or mysql://..., without a password (SASL_SQL_PASSWORD)"
        )
    kind = "postgresql" if url[1].startswith("postgres") else "mysql"
    host = str(addresses.address(url[3])) if url[3] else addresses.hostname(url[4])
    return SqlServer(
        kind, url[2], host, addresses.port(url[5] or ("5432" if kind == "postgresql" else "3306")), url[6]
    )
