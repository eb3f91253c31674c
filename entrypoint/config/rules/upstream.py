"""The ways out: logins that are whole, passwords that stay in TLS, and no way that leads back here."""

from __future__ import annotations

from collections.abc import Iterator

from entrypoint.config import passthrough
from entrypoint.config.host import Host
from entrypoint.config.passthrough import services
from entrypoint.config.policy import upstreams
from entrypoint.config.policy.doors import opened
from entrypoint.config.policy.upstreams import TLS_FROM_FIRST_BYTE, VERIFIED, tls_level
from entrypoint.config.problem import Problem
from entrypoint.config.rules.registry import rule
from entrypoint.config.settings import Settings
from entrypoint.config.values import Relayhost

_VERIFIED_OR_ENCRYPTED = ("encrypt", *VERIFIED)


@rule("RELAYHOST_USERNAME", "RELAYHOST_PASSWORD")
def _login_is_whole(settings: Settings, _: Host) -> Iterator[Problem]:
    if settings.relayhost_username and not settings.relayhost_password:
        yield Problem("RELAYHOST_USERNAME", settings.relayhost_username, "must come with RELAYHOST_PASSWORD")
    if settings.relayhost_password and not settings.relayhost_username:
        yield Problem("RELAYHOST_PASSWORD", None, "must come with RELAYHOST_USERNAME")


@rule("RELAYHOST", "RELAYHOST_USERNAME")
def _login_has_a_host(settings: Settings, _: Host) -> Iterator[Problem]:
    if settings.relayhost_username and not settings.relayhost:
        yield Problem(
            "RELAYHOST_USERNAME", settings.relayhost_username, "must come with RELAYHOST: the login's server"
        )


@rule("RELAYHOST", "RELAYHOST_TLS_LEVEL", "RELAYHOST_USERNAME")
def _password_travels_in_tls(settings: Settings, _: Host) -> Iterator[Problem]:
    if (
        settings.relayhost
        and settings.relayhost_username
        and tls_level(settings) not in _VERIFIED_OR_ENCRYPTED
    ):
        yield Problem(
            "RELAYHOST_TLS_LEVEL",
            tls_level(settings),
            "must be encrypt, verify or secure while a login is set: a password is never sent in clear",
        )


# With these a password could travel in clear, reach a server that nobody verified, or be written to the log.
_WEAKENING = frozenset(
    """
    debug_peer_list smtp_cname_overrides_servername smtp_enforce_tls smtp_sasl_security_options smtp_sasl_tls_security_options
    smtp_sasl_tls_verified_security_options smtp_tls_enforce_peername smtp_tls_per_site smtp_tls_policy_maps
    smtp_tls_secure_cert_match smtp_tls_verify_cert_match smtp_use_tls
    """.split()
)


@rule("RELAYHOST_USERNAME", "UPSTREAMS")
def _nothing_gives_the_password_away(settings: Settings, _: Host) -> Iterator[Problem]:
    if not settings.relayhost_username and not any(u.username for u in settings.upstreams):
        return
    reason = "must not be set together with a login: the password could travel in clear or end in the log"
    for name in sorted(_WEAKENING & set(settings.parameters)):
        yield Problem(passthrough.variable(name), settings.parameters[name], reason)
    for service, entry in settings.services.items():
        weakened = [
            n
            for n, _ in services.options(entry)
            if n in _WEAKENING or n.startswith(("smtp_tls", "smtp_sasl"))
        ]
        if services.program(entry) in ("smtp", "lmtp") and (weakened or services.verbose(entry)):
            yield Problem(passthrough.variable(service), entry, reason)


@rule("RELAYHOST", "RELAYHOST_USERNAME", "RELAYHOST_TLS_LEVEL", "RELAYHOST_CA_FILE", "UPSTREAMS")
def _verification_has_a_name(settings: Settings, _: Host) -> Iterator[Problem]:
    if settings.relayhost_username or upstreams.everybodys(settings).upstreams:
        return
    if tls_level(settings) in VERIFIED:
        setting = "RELAYHOST_TLS_LEVEL" if settings.relayhost_tls_level else "RELAYHOST_CA_FILE"
        reason = "must come with RELAYHOST: few of the world's mail servers could be verified, and mail to others waits"
        yield Problem(setting, None, reason)


@rule("RELAYHOST", "RELAYHOST_TLS_LEVEL")
def _implicit_tls_is_tls(settings: Settings, _: Host) -> Iterator[Problem]:
    implicit = settings.relayhost and settings.relayhost.port == TLS_FROM_FIRST_BYTE
    if implicit and tls_level(settings) in ("none", "may", "dane"):
        yield Problem(
            "RELAYHOST_TLS_LEVEL",
            tls_level(settings),
            "must be encrypt, verify or secure: port 465 speaks TLS only",
        )


@rule("RELAYHOST", "RELAYHOST_TLS_LEVEL")
def _an_address_is_verified_as_one(settings: Settings, _: Host) -> Iterator[Problem]:
    if settings.relayhost and settings.relayhost.literal and settings.relayhost_tls_level == "secure":
        yield Problem(
            "RELAYHOST_TLS_LEVEL", "secure", "must be verify while RELAYHOST is an address and not a name"
        )


@rule("RELAYHOST_CA_FILE", "RELAYHOST_TLS_LEVEL", "UPSTREAMS")
def _ca_file_is_used(settings: Settings, _: Host) -> Iterator[Problem]:
    levels = {upstreams.level(upstream, settings) for upstream in settings.upstreams}
    if settings.relayhost_ca_file and not {tls_level(settings), *levels} & set(VERIFIED):
        given = "these levels in UPSTREAMS" if levels else f"RELAYHOST_TLS_LEVEL={tls_level(settings)}"
        reason = f"has no effect with {given}; use verify or secure"
        yield Problem("RELAYHOST_CA_FILE", settings.relayhost_ca_file.path, reason)


@rule("UPSTREAMS", "RELAYHOST", "RELAYHOST_USERNAME", "RELAYHOST_PASSWORD")
def _one_list_of_upstreams(settings: Settings, _: Host) -> Iterator[Problem]:
    everybodys = any(u.sender == "*" for u in settings.upstreams)
    if everybodys and settings.relayhost:
        yield Problem(
            "RELAYHOST",
            str(settings.relayhost),
            "must not be set together with UPSTREAMS for *: which one is meant?",
        )


@rule("UPSTREAMS", "RELAYHOST_TLS_LEVEL")
def _upstreams_are_safe(settings: Settings, _: Host) -> Iterator[Problem]:
    for upstream in settings.upstreams:
        level, shown = upstreams.level(upstream, settings), str(upstream.relayhost)
        implicit = upstream.relayhost.port == TLS_FROM_FIRST_BYTE
        if upstream.username and level not in _VERIFIED_OR_ENCRYPTED:
            reason = "must have tls=encrypt, verify or secure: a password is never sent in clear"
            yield Problem(upstream.where, shown, reason)
        elif implicit and level not in _VERIFIED_OR_ENCRYPTED:
            yield Problem(
                upstream.where, shown, "must have tls=encrypt, verify or secure: port 465 speaks TLS only"
            )
        elif upstream.relayhost.literal and level == "secure":
            yield Problem(upstream.where, shown, "must have tls=verify: it is an address and not a name")
        elif level == "dane" and tls_level(settings) != "dane":
            reason = "must not have tls=dane unless mail of everybody goes by it: only then are all names looked up in DNS alone"
            yield Problem(upstream.where, shown, reason)


@rule("UPSTREAMS")
def _one_kind_of_tls(settings: Settings, _: Host) -> Iterator[Problem]:
    way = upstreams.everybodys(settings)
    if len({u.relayhost.port == TLS_FROM_FIRST_BYTE for u in way.upstreams}) > 1:
        reason = "must all be on port 465, or none: Postfix tries them in one go, with TLS from the first byte or without"
        yield Problem(way.upstreams[-1].where, way.nexthop, reason)


@rule("RELAYHOST", "UPSTREAMS", "MYHOSTNAME", "LISTEN")
def _no_way_leads_back(settings: Settings, host: Host) -> Iterator[Problem]:
    for upstream in (u for way in upstreams.all_ways(settings) for u in way.upstreams):
        if leads_back(upstream.relayhost, settings, host):
            yield Problem(
                upstream.where,
                str(upstream.relayhost),
                "must not be this relay itself: mail would go in circles",
            )


def leads_back(hop: Relayhost, settings: Settings, host: Host) -> bool:
    """Whether a next hop is one of this relay's doors, by one of its names or addresses.

    On another port there may be a server beside it, in the same Pod.
    """
    names = {(settings.myhostname or "").lower(), host.name.lower(), "localhost"}
    literal = hop.address
    if literal:
        here = literal.is_loopback or literal.is_unspecified or literal in host.own
    else:
        here = hop.host.lower().rstrip(".") in names
    return here and hop.port in {listener.port for listener in opened(settings)}


@rule("SMTP_BIND_ADDRESS")
def _source_is_our_own(settings: Settings, host: Host) -> Iterator[Problem]:
    source = settings.smtp_bind_address
    if source and host.own and not source.is_loopback and source not in host.own:
        own = " ".join(str(address) for address in host.own if not address.is_loopback)
        yield Problem("SMTP_BIND_ADDRESS", str(source), f"must be an address of this container: {own}")
