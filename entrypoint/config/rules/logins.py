"""Logins: one place that checks them, and senders that belong to somebody."""

from __future__ import annotations

from collections.abc import Iterator

from entrypoint.config import passthrough
from entrypoint.config.host import Host
from entrypoint.config.passthrough import services
from entrypoint.config.policy.doors import BACKENDS, backends
from entrypoint.config.policy.routes import ANYTHING
from entrypoint.config.problem import Problem
from entrypoint.config.rules.registry import rule
from entrypoint.config.settings import Settings


@rule(*BACKENDS)
def _one_backend(settings: Settings, _: Host) -> Iterator[Problem]:
    first, *others = [*backends(settings).values()] or [""]
    for other in others:
        yield Problem(other, None, f"must not be set together with {first}: logins are checked in one place")


@rule("SASL_MECHANISMS", *BACKENDS)
def _mechanisms_exist(settings: Settings, _: Host) -> Iterator[Problem]:
    scram = [name for name in settings.sasl_mechanisms if name.startswith("SCRAM")]
    backend = next(iter(backends(settings)), "")
    if scram and backend not in ("sasldb", "dovecot"):
        reason = "must come with SMTPD_SASL_USERS or SASL_DOVECOT_PATH: other checks need the password itself"
        yield Problem("SASL_MECHANISMS", " ".join(scram), reason)


_COMPANIONS = {
    "SASL_LDAP_URL": (
        "SASL_LDAP_SEARCH_BASE",
        "SASL_LDAP_BIND_DN",
        "SASL_LDAP_BIND_PASSWORD",
        "SASL_LDAP_CA_FILE",
    ),
    "SASL_IMAP_HOST": ("SASL_IMAP_CA_FILE",),
    "SASL_SQL_URL": (
        "SASL_SQL_PASSWORD",
        "SASL_SQL_PASSWORD_QUERY",
        "SASL_SQL_SENDERS_QUERY",
        "SASL_SQL_CA_FILE",
        "SASL_SQL_TLS_LEVEL",
    ),
}


@rule(*_COMPANIONS)
def _details_have_a_server(settings: Settings, _: Host) -> Iterator[Problem]:
    for server, companions in _COMPANIONS.items():
        if getattr(settings, server.lower()) is None:
            for name in companions:
                if getattr(settings, name.lower()):
                    yield Problem(name, None, f"must come with {server}")


@rule("SASL_LDAP_URL", "SASL_LDAP_SEARCH_BASE", "SASL_LDAP_BIND_DN", "SASL_LDAP_BIND_PASSWORD")
def _ldap_is_whole(settings: Settings, _: Host) -> Iterator[Problem]:
    if settings.sasl_ldap_url and not settings.sasl_ldap_search_base:
        yield Problem("SASL_LDAP_URL", settings.sasl_ldap_url, "must come with SASL_LDAP_SEARCH_BASE")
    if bool(settings.sasl_ldap_bind_dn) != bool(settings.sasl_ldap_bind_password):
        yield Problem(
            "SASL_LDAP_BIND_DN",
            settings.sasl_ldap_bind_dn,
            "must come with SASL_LDAP_BIND_PASSWORD, and it with this",
        )


@rule("SASL_SQL_CA_FILE", "SASL_SQL_TLS_LEVEL")
def _ca_file_is_used(settings: Settings, _: Host) -> Iterator[Problem]:
    if settings.sasl_sql_ca_file and settings.sasl_sql_tls_level == "may":
        reason = "has no effect with SASL_SQL_TLS_LEVEL=may; use verify"
        yield Problem("SASL_SQL_CA_FILE", settings.sasl_sql_ca_file.path, reason)


@rule(*BACKENDS)
def _no_password_is_logged(settings: Settings, _: Host) -> Iterator[Problem]:
    if not backends(settings):
        return
    reason = "must not be set while clients log in: their passwords would end in the log"
    if peers := settings.parameters.get("debug_peer_list"):
        yield Problem(passthrough.variable("debug_peer_list"), peers, reason)
    for service, entry in settings.services.items():
        told = services.verbose(entry) or any(n == "debug_peer_list" for n, _ in services.options(entry))
        if services.program(entry) == "smtpd" and told:
            yield Problem(passthrough.variable(service), entry, reason)


@rule("SENDER_LOGINS", "SASL_SQL_SENDERS_QUERY", *BACKENDS)
def _senders_have_logins(settings: Settings, _: Host) -> Iterator[Problem]:
    if not settings.sender_logins:
        return
    if settings.sasl_sql_senders_query:
        yield Problem(
            "SASL_SQL_SENDERS_QUERY", None, "must not be set together with SENDER_LOGINS: which one is meant?"
        )
    if not backends(settings):
        yield Problem("SENDER_LOGINS", None, f"must come with logins: {', '.join(BACKENDS)}")
    known = {login.name.lower() for login in (*settings.smtpd_sasl_users, *settings.users)}
    for line in settings.sender_logins:
        if known and line.login.lower() not in known:
            yield Problem(
                line.where, line.login, "must be a login that exists, and there is none of this name"
            )


@rule("SENDER_LOGINS", "CLIENT_CERTIFICATES")
def _certificates_have_senders(settings: Settings, _: Host) -> Iterator[Problem]:
    if not settings.client_certificates:
        return
    for line in settings.sender_logins:
        if ANYTHING in line.senders:
            reason = (
                "must not list * together with CLIENT_CERTIFICATES: every address would belong to this login, "
                "and clients with a certificate could send as nobody"
            )
            yield Problem(line.where, line.login, reason)
