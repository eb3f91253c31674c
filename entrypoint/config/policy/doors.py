"""The listeners, and what smtpd(8) is told at each: master.cf's options."""

from __future__ import annotations

from dataclasses import dataclass

from entrypoint.config.parsers.addresses import listeners
from entrypoint.config.settings import Settings
from entrypoint.config.values import PROXY_PROTOCOL, Listener

SUBMISSION = ("submission", "submissions")
BACKENDS = {
    "SMTPD_SASL_USERS": "sasldb",
    "USERS": "users",
    "SASL_LDAP_URL": "ldap",
    "SASL_IMAP_HOST": "imap",
    "SASL_PAM_SERVICE": "pam",
    "SASL_SQL_URL": "sql",
    "SASL_DOVECOT_PATH": "dovecot",
}
"""The settings that name what checks passwords, and what each is called."""
_LISTS = ("sender", "relay", "recipient", "data")


@dataclass(frozen=True)
class Door:
    """A service of master.cf (master(5)): its name, type, most processes ("": Policy.processes), program, options."""

    name: str
    kind: str
    processes: str
    program: str
    options: dict[str, str]


def opened(settings: Settings) -> tuple[Listener, ...]:
    """LISTEN, or what follows from the other settings."""
    if settings.listen:
        return settings.listen
    first = "25:inbound" if settings.relay_domains else "25:relay"
    return listeners(f"{first} 587:submission 465:submissions" if logins(settings) else f"{first} 587:relay")


def logins(settings: Settings) -> bool:
    """Whether anybody can log in."""
    return bool(backends(settings) or settings.client_certificates)


def backends(settings: Settings) -> dict[str, str]:
    """What checks passwords: the name of each that is configured, and the setting that did it."""
    return {name: setting for setting, name in BACKENDS.items() if getattr(settings, setting.lower())}


def doors(settings: Settings) -> list[Door]:
    """In the order of LISTEN."""
    found = [_door(listener, settings) for listener in opened(settings)]
    if any(door.program == "postscreen" for door in found):
        # What postscreen lets in goes on here.
        found.append(Door("smtpd", "pass", "", "smtpd", _options(Listener("", 0, "inbound"), settings)))
    return found


def _door(listener: Listener, settings: Settings) -> Door:
    options = _options(listener, settings)
    if listener.profile == "inbound" and settings.postscreen:
        proxied = {"postscreen_upstream_proxy_protocol": PROXY_PROTOCOL} if listener.proxied else {}
        return Door(
            str(listener), "inet", "1", "postscreen", {"syslog_name": options["syslog_name"], **proxied}
        )
    if listener.proxied:
        options["smtpd_upstream_proxy_protocol"] = PROXY_PROTOCOL
    return Door(str(listener), "inet", "", "smtpd", options)


def _options(listener: Listener, settings: Settings) -> dict[str, str]:
    if listener.profile == "relay":
        return {}
    lists = "submission" if listener.profile in SUBMISSION else listener.profile
    options = {
        "syslog_name": f"postfix/{listener.profile}",
        **{f"smtpd_{name}_restrictions": f"${lists}_{name}_restrictions" for name in _LISTS},
    }
    if listener.profile in SUBMISSION:
        options |= {
            "smtpd_tls_security_level": "encrypt",
            "smtpd_tls_wrappermode": "yes" if listener.profile == "submissions" else "no",
            "smtpd_sasl_auth_enable": "yes" if backends(settings) else "no",
            "smtpd_tls_ask_ccert": "yes" if settings.client_certificates else "no",
        }
    else:
        options["smtpd_tls_security_level"] = settings.smtpd_tls_security_level or "may"
        # With DSN, whoever forges a sender could have him told of each delivery.
        withheld = settings.parameters.get("smtpd_discard_ehlo_keywords", "silent-discard, etrn")
        options["smtpd_discard_ehlo_keywords"] = f"{withheld}, dsn"
    return options
