"""What the logins server is told (entrypoint/logins): who checks passwords, and how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from entrypoint.config.policy.doors import backends
from entrypoint.config.secret import Secret
from entrypoint.config.settings import Settings
from entrypoint.config.values import loopback

CA = "ca.pem"
DIRECTORY = "logins"
"""Below the place that the configuration is written to: the server's sockets and password files."""


def backend(settings: Settings) -> str:
    """The one that checks passwords, or ""; `rules` refuses two."""
    return next(iter(backends(settings)), "")


def configuration(settings: Settings, hostname: str, root: str) -> Mapping[str, Any]:
    """Its configuration; secrets are still Secret."""
    name = backend(settings)
    ca = {"ca_file": f"{root}/{DIRECTORY}/{CA}"} if ca_pem(settings) else {}
    return {
        "backend": name,
        "mechanisms": list(settings.sasl_mechanisms),
        "hostname": hostname,
        "failures": settings.auth_failure_limit,
        name: {**_DETAILS[name](settings, f"{root}/{DIRECTORY}"), **ca},
    }


def sql_tls_level(settings: Settings) -> str:
    """How the database is asked: it says who may log in, so that it must be the right one."""
    if settings.sasl_sql_tls_level:
        return settings.sasl_sql_tls_level
    here = settings.sasl_sql_url and settings.sasl_sql_url.is_here
    return "may" if here and not settings.sasl_sql_ca_file else "verify"


def warnings(settings: Settings) -> Iterator[str]:
    """What of this trusts a network, for the log of the start."""
    if settings.sasl_sql_url and not settings.sasl_sql_url.is_here and sql_tls_level(settings) == "may":
        yield "SASL_SQL_TLS_LEVEL=may: whoever answers as the database says who may log in"
    path = settings.sasl_dovecot_path or ""
    kind, _, place = path.partition(":")
    if kind == "inet" and not loopback(place.rpartition(":")[0].strip("[]")):
        yield f"SASL_DOVECOT_PATH={path}: every client's password goes there in clear, and whoever answers gets it"


def password_lines(settings: Settings) -> Secret:
    """The users file of the backend "users"."""
    return Secret("".join(f"{login.name}:{login.secret.reveal()}\n" for login in settings.users))


def ca_pem(settings: Settings) -> str | None:
    """The CA certificates of the backend's server, which the server cannot always read where they are mounted."""
    files = {
        "ldap": settings.sasl_ldap_ca_file,
        "imap": settings.sasl_imap_ca_file,
        "sql": settings.sasl_sql_ca_file,
    }
    chosen = files.get(backend(settings))
    return chosen.pem if chosen else None


def _ldap(settings: Settings, _: str) -> Mapping[str, Any]:
    return {
        "url": settings.sasl_ldap_url,
        "base": settings.sasl_ldap_search_base,
        "filter": settings.sasl_ldap_filter,
        "bind_dn": settings.sasl_ldap_bind_dn,
        "bind_password": settings.sasl_ldap_bind_password,
        "ca_file": None,
    }


def _imap(settings: Settings, _: str) -> Mapping[str, Any]:
    host = settings.sasl_imap_host
    return {
        "host": host.host if host else None,
        "port": host.port if host else None,
        "ca_file": None,
    }


def _sql(settings: Settings, _: str) -> Mapping[str, Any]:
    return {
        "url": str(settings.sasl_sql_url),
        "password": settings.sasl_sql_password,
        "password_query": settings.sasl_sql_password_query,
        "senders_query": settings.sasl_sql_senders_query,
        "verified": sql_tls_level(settings) == "verify",
        "ca_file": None,
    }


_DETAILS: Mapping[str, Any] = {
    "sasldb": lambda _, directory: {"path": f"{directory}/sasldb2"},
    "users": lambda _, directory: {"path": f"{directory}/users"},
    "ldap": _ldap,
    "imap": _imap,
    "pam": lambda settings, _: {"service": settings.sasl_pam_service},
    "sql": _sql,
    "dovecot": lambda settings, _: {"path": settings.sasl_dovecot_path},
}
