"""Settings and the machine become decisions: ordered lists that answer an auditor's questions.

Who may send, through which door, to where, as whom, over which TLS. Contradictions between settings and open
relays are refused here. Everything is a pure function; templates print what stands in Policy and decide nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from .host import Host
from .parsers import Address, Listener, Network, Relayhost
from .settings import Secret, Settings

# The source of the health program's own SMTP sessions. Only a program in the same container or Pod can use it.
# smtpd answers its recipients with PROBE_REPLY, so that a probe proves the relay decision without making a message,
# and the keeper leaves the sessions' lines out of the log.
PROBE_SOURCE = "127.98.67.25"
PROBE_REPLY = "450 4.7.0 readiness probe: no mail is taken from this address"

TLS_FROM_FIRST_BYTE = 465

_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
# RFC 1918, RFC 4193
_PRIVATE = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
_NOT_PUBLIC = (
    *_LOOPBACK,
    *_PRIVATE,
    *map(ip_network, ("169.254.0.0/16", "fe80::/10")),  # link-local
    ip_network("100.64.0.0/10"),  # shared behind a carrier's NAT, RFC 6598
    *map(ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")),  # documentation
    ip_network("198.18.0.0/15"),  # benchmarks
)


@dataclass(frozen=True)
class Credentials:
    username: str
    password: Secret


@dataclass(frozen=True)
class Policy:
    """The decisions. Lists are in the order in which Postfix applies them."""

    hostname: str
    inet_protocols: str
    listeners: tuple[Listener, ...]
    trusted: tuple[Network, ...]
    distrusted: tuple[Address, ...]
    relay_restrictions: list[str]
    sender_restrictions: list[str]
    recipient_restrictions: list[str]
    data_restrictions: list[str]
    relayhost: Relayhost | None
    credentials: Credentials | None
    tls_level: str
    implicit_tls: bool
    host_lookup: str
    ca_pem: str | None
    settings: Settings
    parameters: Mapping[str, str]
    services: Mapping[str, str]

    @property
    def mynetworks(self) -> list[str]:
        """For main.cf; an exclusion counts only before the network that it is taken from."""
        return [f"!{_pattern(address)}" for address in self.distrusted] + [_pattern(n) for n in self.trusted]

    @property
    def tables(self) -> dict[str, dict[str, Secret]]:
        """Lookup tables by name, each with its entries."""
        if not self.credentials:
            return {}
        entry = Secret(f"{self.credentials.username}:{self.credentials.password.reveal()}")
        return {"sasl_passwd": {str(self.relayhost).lower(): entry}}

    @property
    def probe_source(self) -> str:
        return PROBE_SOURCE


def decide(settings: Settings, host: Host) -> Policy:
    """The one answer to every question; the settings have passed `rules.check`."""
    relayhost, level = settings.relayhost, tls_level(settings)
    trusted = settings.mynetworks or trusted_by_default(host)
    distrusted = () if settings.trust_gateway else tuple(g for g in host.gateways if _holds(trusted, g))
    parameters = dict(settings.parameters)
    senders = _sender_restrictions(settings.allowed_sender_domains)
    # A user's own restrictions come after ours, which they would replace otherwise.
    more_of_senders = parameters.pop("smtpd_sender_restrictions", None)
    more_of_recipients = parameters.pop("smtpd_recipient_restrictions", None)
    return Policy(
        hostname=settings.myhostname or host.name,
        inet_protocols="all" if host.ipv6 else "ipv4",
        listeners=settings.listen,
        trusted=trusted,
        distrusted=distrusted,
        relay_restrictions=_relay_restrictions(distrusted),
        sender_restrictions=[*senders, *filter(None, [more_of_senders])],
        # The lookup of the recipient comes first, so that a probe finds out when those fail for everybody.
        recipient_restrictions=[
            "reject_unlisted_recipient",
            _answer_probe(),
            *filter(None, [more_of_recipients]),
        ],
        # Postfix takes mail for the bare name "postmaster" from everybody, whatever the other lists say.
        data_restrictions=[*senders, "permit_mynetworks", *_refuse_gateways(distrusted), "reject"],
        relayhost=relayhost,
        credentials=_credentials(settings),
        tls_level=level,
        implicit_tls=relayhost is not None and relayhost.port == TLS_FROM_FIRST_BYTE,
        # DANE needs answers that DNS itself has signed; else /etc/hosts and search lists count too, as everywhere else.
        host_lookup="dns" if level == "dane" else "dns, native",
        ca_pem=settings.relayhost_ca_file.pem if settings.relayhost_ca_file else None,
        settings=settings,
        parameters=parameters,
        services=settings.services,
    )


def trusted_by_default(host: Host) -> tuple[Network, ...]:
    """Loopback and the connected private networks. Others hold strangers, whoever's network it is."""
    loopback = _LOOPBACK if host.ipv6 else _LOOPBACK[:1]
    return (*loopback, *(network for network in host.networks if _inside(network, _PRIVATE)))


def public(network: Network) -> bool:
    """Whether some address of the network may belong to a stranger."""
    return not _inside(network, _NOT_PUBLIC)


def _inside(network: Network, ranges: Iterable[Network]) -> bool:
    return any(network.version == r.version and network.subnet_of(r) for r in ranges)  # type: ignore[arg-type]


def tls_level(settings: Settings) -> str:
    """A password, or a CA to check with, asks for a verified certificate; else TLS is used where it is offered."""
    if settings.relayhost_tls_level:
        return settings.relayhost_tls_level
    if settings.relayhost_username or settings.relayhost_ca_file:
        # "secure" also wants the names below the next hop, and an address has none: Postfix would verify nothing.
        return "verify" if settings.relayhost and settings.relayhost.literal else "secure"
    implicit = settings.relayhost is not None and settings.relayhost.port == TLS_FROM_FIRST_BYTE
    return "encrypt" if implicit else "may"


def _credentials(settings: Settings) -> Credentials | None:
    if settings.relayhost_username is None or settings.relayhost_password is None:
        return None
    return Credentials(settings.relayhost_username, settings.relayhost_password)


def _relay_restrictions(distrusted: tuple[Address, ...]) -> list[str]:
    """Who may send to anywhere."""
    return [
        "permit_mynetworks",
        # Where loopback is not trusted, the probe's sessions end here; else at the recipient restrictions.
        _answer_probe(),
        *_refuse_gateways(distrusted),
        "reject_unauth_destination",
    ]


def _refuse_gateways(distrusted: tuple[Address, ...]) -> list[str]:
    """The refusal tells the first-time user what to do."""
    if not distrusted:
        return []
    reply = (
        "554 5.7.1 Relay access denied: this address is the gateway of the relay's network or its own, and strangers may "
        "stand behind it. If the port is published on 127.0.0.1 only, set TRUST_GATEWAY=yes"
    )
    return [f"check_client_access inline:{{ {_entries({str(g): reply for g in distrusted})} }}"]


def _sender_restrictions(allowed: tuple[str, ...]) -> list[str]:
    """Refuses other senders, and decides nothing about those that are allowed: more restrictions may follow."""
    if not allowed:
        return []
    domains = "|".join((r"[^@]+" if name[0] == "." else "") + re.escape(name) for name in allowed)
    reply = "554 5.7.1 Sender domain is not in ALLOWED_SENDER_DOMAINS of this relay"
    # $$ is Postfix's way to write the $ of a pattern in main.cf.
    return [f"check_sender_access regexp:{{ {{ !/^<>$$|@({domains})$$/ {reply} }} }}"]


def _answer_probe() -> str:
    return f"check_client_access inline:{{ {_entries({PROBE_SOURCE: PROBE_REPLY})} }}"


def _entries(table: Mapping[str, str]) -> str:
    """The inside of an inline: table (DATABASE_README)."""
    return ", ".join(f"{{ {key} = {value} }}" for key, value in table.items())


def _pattern(what: Network | Address) -> str:
    """As mynetworks wants it (postconf(5)): IPv6 addresses in brackets, before the slash."""
    address, slash, length = str(what).partition("/")
    return (f"[{address}]" if ":" in address else address) + slash + length


def _holds(networks: tuple[Network, ...], address: Address) -> bool:
    return any(address in network for network in networks)
