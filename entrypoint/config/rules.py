"""Rules between settings. Each names the settings that it needs, and is left out when one of them is already wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from . import parsers, passthrough
from .host import Host
from .passthrough import services
from .policy import TLS_FROM_FIRST_BYTE, public, tls_level
from .problem import Problem
from .settings import Settings

Check = Callable[[Settings, Host], Iterator[Problem]]


class _Rule(NamedTuple):
    needs: frozenset[str]
    check: Check


_RULES: list[_Rule] = []


def _rule(*needs: str) -> Callable[[Check], Check]:
    def declare(check: Check) -> Check:
        _RULES.append(_Rule(frozenset(needs), check))
        return check

    return declare


def check(settings: Settings, host: Host, already_wrong: frozenset[str] = frozenset()) -> list[Problem]:
    """Every contradiction. `already_wrong` are the settings that could not be read and have their defaults."""
    return [p for rule in _RULES if not rule.needs & already_wrong for p in rule.check(settings, host)]


@_rule("RELAYHOST_USERNAME", "RELAYHOST_PASSWORD")
def _login_is_whole(settings: Settings, _: Host) -> Iterator[Problem]:
    if settings.relayhost_username and not settings.relayhost_password:
        yield Problem("RELAYHOST_USERNAME", settings.relayhost_username, "must come with RELAYHOST_PASSWORD")
    if settings.relayhost_password and not settings.relayhost_username:
        yield Problem("RELAYHOST_PASSWORD", None, "must come with RELAYHOST_USERNAME")


@_rule("RELAYHOST", "RELAYHOST_USERNAME")
def _login_has_a_host(settings: Settings, _: Host) -> Iterator[Problem]:
    if settings.relayhost_username and not settings.relayhost:
        yield Problem(
            "RELAYHOST_USERNAME", settings.relayhost_username, "must come with RELAYHOST: the login's server"
        )


@_rule("RELAYHOST_TLS_LEVEL", "RELAYHOST_USERNAME")
def _password_travels_in_tls(settings: Settings, _: Host) -> Iterator[Problem]:
    if settings.relayhost_username and tls_level(settings) not in ("encrypt", "verify", "secure"):
        yield Problem(
            "RELAYHOST_TLS_LEVEL",
            tls_level(settings),
            "must be encrypt, verify or secure while a login is set: a password is never sent in clear",
        )


# With these a password could travel in clear, reach a server that nobody verified, or be written to the log.
_WEAKENING = frozenset(
    """
    debug_peer_list smtp_enforce_tls smtp_sasl_security_options smtp_sasl_tls_security_options
    smtp_sasl_tls_verified_security_options smtp_tls_enforce_peername smtp_tls_per_site smtp_tls_policy_maps
    smtp_tls_secure_cert_match smtp_tls_verify_cert_match smtp_use_tls
    """.split()
)


@_rule("RELAYHOST_USERNAME")
def _nothing_gives_the_password_away(settings: Settings, _: Host) -> Iterator[Problem]:
    if not settings.relayhost_username:
        return
    rule = "must not be set together with a login: the password could travel in clear or end in the log"
    for name in sorted(_WEAKENING & set(settings.parameters)):
        yield Problem(passthrough.variable(name), settings.parameters[name], rule)
    for service, entry in settings.services.items():
        program, *arguments = entry.split()[7:] or [""]
        weakened = [
            n
            for n, _ in services.options(entry)
            if n in _WEAKENING or n.startswith(("smtp_tls", "smtp_sasl"))
        ]
        if program in ("smtp", "lmtp") and (weakened or any(re.match("-v+$", word) for word in arguments)):
            yield Problem(passthrough.variable(service), entry, rule)


@_rule("RELAYHOST", "RELAYHOST_USERNAME", "RELAYHOST_TLS_LEVEL", "RELAYHOST_CA_FILE")
def _verification_has_a_name(settings: Settings, _: Host) -> Iterator[Problem]:
    if settings.relayhost or settings.relayhost_username:
        return
    if tls_level(settings) in ("verify", "secure"):
        setting = "RELAYHOST_TLS_LEVEL" if settings.relayhost_tls_level else "RELAYHOST_CA_FILE"
        rule = "must come with RELAYHOST: few of the world's mail servers could be verified, and mail to others waits"
        yield Problem(setting, None, rule)


@_rule("RELAYHOST", "RELAYHOST_TLS_LEVEL")
def _implicit_tls_is_tls(settings: Settings, _: Host) -> Iterator[Problem]:
    implicit = settings.relayhost and settings.relayhost.port == TLS_FROM_FIRST_BYTE
    if implicit and tls_level(settings) in ("none", "may", "dane"):
        yield Problem(
            "RELAYHOST_TLS_LEVEL",
            tls_level(settings),
            "must be encrypt, verify or secure: port 465 speaks TLS only",
        )


@_rule("RELAYHOST", "RELAYHOST_TLS_LEVEL")
def _an_address_is_verified_as_one(settings: Settings, _: Host) -> Iterator[Problem]:
    if settings.relayhost and settings.relayhost.literal and settings.relayhost_tls_level == "secure":
        yield Problem(
            "RELAYHOST_TLS_LEVEL", "secure", "must be verify while RELAYHOST is an address and not a name"
        )


@_rule("RELAYHOST_CA_FILE", "RELAYHOST_TLS_LEVEL")
def _ca_file_is_used(settings: Settings, _: Host) -> Iterator[Problem]:
    if settings.relayhost_ca_file and tls_level(settings) not in ("verify", "secure"):
        yield Problem(
            "RELAYHOST_CA_FILE",
            settings.relayhost_ca_file.path,
            f"has no effect with RELAYHOST_TLS_LEVEL={tls_level(settings)}; use verify or secure",
        )


@_rule("LISTEN")
def _ports_are_free(settings: Settings, _: Host) -> Iterator[Problem]:
    for index, one in enumerate(settings.listen):
        for other in settings.listen[:index]:
            if one.port == other.port and (
                one.address == other.address or not one.address or not other.address
            ):
                yield Problem(
                    "LISTEN", f"{one}:{one.profile}", f"must not open port {one.port} twice ({other})"
                )


@_rule("LISTEN", "HEALTH_PORT")
def _health_has_its_port(settings: Settings, _: Host) -> Iterator[Problem]:
    for one in settings.listen:
        if one.port == settings.health_port:
            yield Problem("LISTEN", f"{one}:{one.profile}", "must leave HEALTH_PORT to the health checks")


@_rule("MYNETWORKS", "ALLOW_PUBLIC_NETWORKS")
def _no_open_relay(settings: Settings, _: Host) -> Iterator[Problem]:
    strangers = [str(network) for network in settings.mynetworks if public(network)]
    if strangers and not settings.allow_public_networks:
        yield Problem(
            "MYNETWORKS",
            " ".join(strangers),
            "holds public addresses, and each of them could send anything in your name; if they are yours, "
            "set ALLOW_PUBLIC_NETWORKS=yes",
        )


@_rule("MYNETWORKS", "TRUST_GATEWAY")
def _gateway_is_meant(settings: Settings, host: Host) -> Iterator[Problem]:
    for network in settings.mynetworks:
        if (
            network.num_addresses == 1
            and network.network_address in host.gateways
            and not settings.trust_gateway
        ):
            yield Problem(
                "MYNETWORKS",
                str(network.network_address),
                "is the gateway, and strangers can appear as it behind a published port; if the port is published "
                "on 127.0.0.1 only, set TRUST_GATEWAY=yes",
            )


@_rule("MINIMAL_BACKOFF_TIME", "MAXIMAL_BACKOFF_TIME")
def _backoff_grows(settings: Settings, _: Host) -> Iterator[Problem]:
    least, most = settings.minimal_backoff_time, settings.maximal_backoff_time
    if parsers.seconds(least) > parsers.seconds(most):
        yield Problem("MINIMAL_BACKOFF_TIME", least, f"must not exceed MAXIMAL_BACKOFF_TIME={most}")
