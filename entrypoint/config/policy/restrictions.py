"""Who may send what through which kind of listener: Postfix's smtpd_*_restrictions, in the order that it applies them.

Client, sender, relay and recipient restrictions are all asked at RCPT, the data restrictions at DATA.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from entrypoint.config.settings import Settings
from entrypoint.config.values import Address

# The source of the health program's own SMTP sessions. Only a program in the same container or Pod can use it.
# smtpd answers its recipients with PROBE_REPLY, so that a probe proves the relay decision without making a message,
# and the keeper leaves the sessions' lines out of the log.
PROBE_SOURCE = "127.98.67.25"
PROBE_REPLY = "450 4.7.0 readiness probe: no mail is taken from this address"


@dataclass(frozen=True)
class Restrictions:
    """The lists of one profile."""

    sender: list[str]
    relay: list[str]
    recipient: list[str]
    data: list[str]


def of_profiles(
    settings: Settings, distrusted: tuple[Address, ...], hostname: str
) -> dict[str, Restrictions]:
    """By profile; "relay" is main.cf's own."""
    users = _Users.of(settings)
    return {
        "relay": _relay(settings, distrusted, users),
        "submission": _submission(settings, users),
        "inbound": _inbound(settings, users, hostname),
    }


@dataclass(frozen=True)
class _Users:
    """A user's own restrictions come after ours, which they would replace otherwise."""

    sender: list[str]
    recipient: list[str]

    @classmethod
    def of(cls, settings: Settings) -> _Users:
        return cls(
            _given(settings, "smtpd_sender_restrictions"), _given(settings, "smtpd_recipient_restrictions")
        )


def _given(settings: Settings, name: str) -> list[str]:
    return [settings.parameters[name]] if name in settings.parameters else []


REPLACED = ("smtpd_client_restrictions", "smtpd_sender_restrictions", "smtpd_recipient_restrictions")
"""The parameters whose value of the user is part of these lists."""


def client(settings: Settings, drain: str) -> list[str]:
    """Every listener's, and asked before all others: a relay that stops takes no mail from anybody.

    `drain` is the table that says so.
    """
    return [refusal(drain), *_given(settings, "smtpd_client_restrictions")]


def refusal(drain: str) -> str:
    """pipemap: turns whatever is looked up, an address or a part of it, into one key."""
    return f"check_client_access pipemap:{{ static:{{all}}, lmdb:{drain} }}"


def _relay(settings: Settings, distrusted: tuple[Address, ...], users: _Users) -> Restrictions:
    allowed = _allowed_senders(settings.allowed_sender_domains)
    return Restrictions(
        sender=[*allowed, *users.sender],
        relay=[
            "permit_mynetworks",
            # Where loopback is not trusted, the probe's sessions end here; else at the recipient restrictions.
            _answer_probe(),
            *_refuse_gateways(distrusted),
            "reject_unauth_destination",
            # Mail for our domains comes in through an inbound listener, if there is one.
            *(["reject"] if settings.relay_domains else []),
        ],
        # The lookup of the recipient comes first, so that a probe finds out when those fail for everybody.
        recipient=["reject_unlisted_recipient", _answer_probe(), *users.recipient],
        # Postfix takes mail for the bare name "postmaster" from everybody, whatever the other lists say.
        data=[*allowed, "permit_mynetworks", *_refuse_gateways(distrusted), "reject"],
    )


def _submission(settings: Settings, users: _Users) -> Restrictions:
    certified = ["permit_tls_clientcerts"] if settings.client_certificates else []
    owned = bool(settings.sender_logins or settings.sasl_sql_senders_query)
    senders = [
        *_allowed_senders(settings.allowed_sender_domains),
        *(["reject_authenticated_sender_login_mismatch"] if owned else []),
    ]
    # A certificate is no login to Postfix, but must not take a login's address either.
    certificates_senders = ["reject_unauthenticated_sender_login_mismatch"] if owned else []
    return Restrictions(
        sender=[*senders, *users.sender],
        relay=[_answer_probe(), "permit_sasl_authenticated", *certified, "reject"],
        recipient=[
            *_null_sender(settings),
            *certificates_senders,
            "reject_unlisted_recipient",
            *users.recipient,
        ],
        # The bare name "postmaster" has passed all lists before: nobody shall write to it as somebody else.
        data=[
            *senders,
            *_null_sender(settings),
            "permit_sasl_authenticated",
            *(certificates_senders if certified else []),
            *certified,
            "reject",
        ],
    )


def _inbound(settings: Settings, users: _Users, hostname: str) -> Restrictions:
    return Restrictions(
        sender=[*users.sender],
        relay=[_own_addresses(hostname), "reject_unauth_destination"],
        recipient=[
            "reject_unlisted_recipient",
            *(f"reject_rbl_client {_listed(site)}" for site in settings.dnsbl_sites),
            *(["reject_unverified_recipient"] if settings.verify_recipients else []),
            *users.recipient,
        ],
        data=[],
    )


def postmaster_pattern(hostname: str) -> str:
    """The addresses of postmaster and abuse at this relay itself: by its name, and by any address (RFC 5321, 4.5.1)."""
    return rf"/^(postmaster|abuse)@({re.escape(hostname)}|\[[^]]+\])$$/"


def domains_pattern(names: Iterable[str]) -> str:
    """A regular expression for domains; one that begins with a dot stands for its subdomains."""
    return "|".join((r"[^@]+" if name[0] == "." else "") + re.escape(name) for name in names)


def _own_addresses(hostname: str) -> str:
    """Postmaster ends at one of our addresses whatever its domain (virtual_alias_maps), so nothing can be relayed by it.

    Anybody else at one of the relay's addresses would pass for a local user, whose mail a line for "*" in the transport
    table sends out.
    """
    return (
        f"check_recipient_access regexp:{{ {{ {postmaster_pattern(hostname)} OK }}, "
        r"{ /@\[[^]]*\]$$/ 554 5.7.1 Relay access denied } }"
    )


def _listed(site: str) -> str:
    """Blocklists answer from 127.0.0.0/8 (RFC 5782). 127.255.255.x is an error, such as too many questions of too large a
    resolver, and any other address comes from whoever bought an abandoned list's domain: neither says anything of a client.
    """
    return site if "=" in site else f"{site}=127.[0..254].[0..255].[0..255]"


def _refuse_gateways(distrusted: tuple[Address, ...]) -> list[str]:
    """The refusal tells the first-time user what to do."""
    if not distrusted:
        return []
    reply = (
        "554 5.7.1 Relay access denied: this address is the gateway of the relay's network or its own, and strangers may "
        "stand behind it. If the port is published on 127.0.0.1 only, set TRUST_GATEWAY=yes"
    )
    return [f"check_client_access inline:{{ {entries({str(g): reply for g in distrusted})} }}"]


def _allowed_senders(allowed: tuple[str, ...]) -> list[str]:
    """Refuses other senders, and decides nothing about those that are allowed: more restrictions may follow."""
    if not allowed:
        return []
    reply = "554 5.7.1 Sender domain is not in ALLOWED_SENDER_DOMAINS of this relay"
    # $$ is Postfix's way to write the $ of a pattern in main.cf.
    return [f"check_sender_access regexp:{{ {{ !/^<>$$|@({domains_pattern(allowed)})$$/ {reply} }} }}"]


def _null_sender(settings: Settings) -> list[str]:
    if settings.allow_null_sender:
        return []
    reply = "553 5.7.1 a login must name a sender; the relay takes bounces with ALLOW_NULL_SENDER=yes only"
    return [f"check_sender_access inline:{{ {entries({'<>': reply})} }}"]


def _answer_probe() -> str:
    return f"check_client_access inline:{{ {entries({PROBE_SOURCE: PROBE_REPLY})} }}"


def entries(table: Mapping[str, str]) -> str:
    """The inside of an inline: table (DATABASE_README)."""
    return ", ".join(f"{{ {key} = {value} }}" for key, value in table.items())


def shown(profiles: Mapping[str, Restrictions]) -> Iterator[tuple[str, list[str]]]:
    """Each list but main.cf's own, by the name of its parameter."""
    for profile, lists in profiles.items():
        if profile != "relay":
            for name in ("sender", "relay", "recipient", "data"):
                yield f"{profile}_{name}_restrictions", getattr(lists, name)
