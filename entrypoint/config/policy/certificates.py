"""Which certificate the relay shows to clients, and where it offers TLS at all."""

from __future__ import annotations

from collections.abc import Iterator

from entrypoint.config.policy.doors import SUBMISSION
from entrypoint.config.secret import Secret
from entrypoint.config.settings import Settings
from entrypoint.config.values import Listener
from entrypoint.tls.chain import Chain
from entrypoint.tls.directory import sni_value


def given(settings: Settings, hostname: str) -> Chain | None:
    """The user's certificate for clients that do not say which name they want."""
    if settings.certificate:
        return settings.certificate
    return settings.certificates.get(hostname) or next(iter(settings.certificates.values()), None)


def needed(settings: Settings, listeners: tuple[Listener, ...]) -> bool:
    """Whether any listener speaks TLS."""
    return level(settings) != "none" or any(
        listener.profile in SUBMISSION
        or (listener.profile == "inbound" and settings.smtpd_tls_security_level != "none")
        for listener in listeners
    )


def level(settings: Settings) -> str:
    """Towards programs on relay listeners.

    STARTTLS is not offered with a certificate of our own making unless asked for: most client libraries use what is
    offered, and refuse a certificate that they do not know.
    """
    own = settings.certificate or settings.certificates
    return settings.smtpd_tls_security_level or ("may" if own else "none")


def sni(settings: Settings, hostname: str) -> dict[str, str]:
    """For tls_server_sni_maps.

    The names of the certificate that is shown anyway are in it, too: smtpd logs each session that asks for a name which
    is not.
    """
    chain = given(settings, hostname)
    own = {name.removeprefix("*"): chain for name in chain.names} if chain else {}
    return {name: Secret(sni_value(each)) for name, each in (own | dict(settings.certificates)).items()}


def warnings(settings: Settings, hostname: str) -> Iterator[str]:
    """What is odd about the user's certificates, and would keep some clients away."""
    chain = given(settings, hostname)
    if chain and hostname not in settings.certificates and not chain.covers(hostname):
        names = ", ".join(chain.names) or "no name at all"
        yield (
            f"{chain.sources[0]}: the certificate is not for {hostname} but for {names}: "
            "clients that connect by another name and verify it will refuse it"
        )
    for each in dict.fromkeys(filter(None, (chain, *settings.certificates.values()))):
        yield from (f"{each.sources[0]}: {warning}" for warning in each.warnings)
