"""Doors: which may be open, and who is let in by address."""

from __future__ import annotations

from collections.abc import Iterator

from entrypoint.config.host import Host
from entrypoint.config.policy.doors import BACKENDS, SUBMISSION, backends, logins, opened
from entrypoint.config.policy.trust import public
from entrypoint.config.problem import Problem
from entrypoint.config.rules.registry import rule
from entrypoint.config.settings import Settings


@rule("LISTEN")
def _ports_are_free(settings: Settings, _: Host) -> Iterator[Problem]:
    for index, one in enumerate(opened(settings)):
        for other in opened(settings)[:index]:
            if one.port == other.port and (
                one.address == other.address or not one.address or not other.address
            ):
                yield Problem("LISTEN", one.spec, f"must not open port {one.port} twice ({other})")


@rule("LISTEN", "HEALTH_PORT")
def _health_has_its_port(settings: Settings, _: Host) -> Iterator[Problem]:
    for one in opened(settings):
        if one.port == settings.health_port:
            yield Problem("LISTEN", one.spec, "must leave HEALTH_PORT to the health checks")


@rule("LISTEN", "RELAY_DOMAINS", "CLIENT_CERTIFICATES", *BACKENDS)
def _doors_have_somebody_behind_them(settings: Settings, _: Host) -> Iterator[Problem]:
    if not settings.listen:
        return
    for one in settings.listen:
        if one.profile in SUBMISSION and not logins(settings):
            rule_ = (
                "must come with logins: SMTPD_SASL_USERS, USERS, SASL_LDAP_URL, ... or CLIENT_CERTIFICATES"
            )
            yield Problem("LISTEN", one.spec, rule_)
        if one.profile == "inbound" and not settings.relay_domains:
            yield Problem(
                "LISTEN", one.spec, "must come with RELAY_DOMAINS: for which domains is mail taken?"
            )
    profiles = {one.profile for one in settings.listen}
    if settings.relay_domains and "inbound" not in profiles:
        yield Problem(
            "LISTEN", _shown(settings), "must have an inbound port: RELAY_DOMAINS would get no mail"
        )
    if logins(settings) and not profiles & set(SUBMISSION):
        asked = next(iter(backends(settings).values()), "CLIENT_CERTIFICATES")
        yield Problem("LISTEN", _shown(settings), f"must have a submission port: {asked} is for nothing else")


def _shown(settings: Settings) -> str:
    return " ".join(one.spec for one in settings.listen)


@rule("LISTEN", "SMTPD_TLS_CERT_FILE", "SMTPD_TLS_SECURITY_LEVEL")
def _certificate_is_shown(settings: Settings, _: Host) -> Iterator[Problem]:
    profiles = {one.profile for one in opened(settings)}
    if (
        settings.certificate
        and settings.smtpd_tls_security_level == "none"
        and not profiles & set(SUBMISSION)
    ):
        rule_ = "has no effect with SMTPD_TLS_SECURITY_LEVEL=none"
        yield Problem("SMTPD_TLS_CERT_FILE", settings.smtpd_tls_cert_file, rule_)


@rule("MYNETWORKS", "ALLOW_PUBLIC_NETWORKS")
def _no_open_relay(settings: Settings, _: Host) -> Iterator[Problem]:
    strangers = [str(network) for network in settings.mynetworks if public(network)]
    if strangers and not settings.allow_public_networks:
        yield Problem(
            "MYNETWORKS",
            " ".join(strangers),
            "holds public addresses, and each of them could send anything in your name; if they are yours, "
            "set ALLOW_PUBLIC_NETWORKS=yes",
        )


@rule("MYNETWORKS", "TRUST_GATEWAY")
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
