"""The settings: one field declares one, and everything else about it is derived from that field.

The variable's name is the field's name in capitals. From the same row come the `_FILE` twin, the error texts,
the other spelling `POSTFIX_<parameter>`, the README's reference, and the check that compose files use only names
that exist. A new setting is one field here, its use in policy.py or a template, and a golden case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

from . import parsers
from .parsers import Certificates, Listener, Network, Relayhost

SECTIONS = ("Identity", "Upstream", "Listeners", "Access", "Limits", "Operation")


class Secret(str):
    """Text that is never shown: its repr and its str in any message are stars. `reveal` is the one way in."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "********"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def reveal(self) -> str:
        return "".join(self)


@dataclass(frozen=True)
class Row:
    """What is declared of a setting. `default` is text, as a user would write it; "" means not set."""

    section: str
    doc: str
    parse: Callable[[str], Any]
    default: str = ""
    secret: bool = False
    parameter: str = ""
    """The parameter of postconf(5) that this setting is, if it is one; POSTFIX_<parameter> is its other spelling."""
    shown_default: str = ""
    """What the reference prints where the default depends on the machine or on another setting."""
    unset: Any = None
    """The value when there is no default and nothing is given."""


def _row(section: str, parse: Callable[[str], Any], doc: str, **rest: Any) -> Any:
    return field(metadata={"row": Row(section, doc, parse, **rest)})


@dataclass(frozen=True)
class Settings:
    """Every setting, typed. None or () means not set."""

    myhostname: str | None = _row(
        "Identity",
        parsers.hostname,
        "The name by which the relay greets other servers (HELO). Make it fully qualified, and best one that "
        "resolves to the address you send from: many servers refuse mail from any other name.",
        parameter="myhostname",
        shown_default="the container's host name",
    )
    tz: str | None = _row(
        "Identity",
        parsers.timezone,
        "The time zone of the log, such as `Europe/Berlin`.",
        shown_default="UTC",
    )
    relayhost: Relayhost | None = _row(
        "Upstream",
        parsers.relayhost,
        "Where all mail goes: `[host]:port`, or a mail domain without brackets, whose MX is looked up. The port "
        "is 25 unless given; 465 means TLS from the first byte. Not set: each recipient's own server (its MX).",
        parameter="relayhost",
        shown_default="direct delivery",
    )
    relayhost_username: str | None = _row(
        "Upstream",
        parsers.user,
        "The login at `RELAYHOST`. It is sent over TLS only.",
        shown_default="no login",
    )
    relayhost_password: Secret | None = _row(
        "Upstream",
        lambda value: Secret(parsers.line(value)),
        "The password at `RELAYHOST`. Any characters but line breaks.",
        secret=True,
        shown_default="no login",
    )
    relayhost_tls_level: str | None = _row(
        "Upstream",
        parsers.tls_level,
        "`none`: no TLS. `may`: TLS when offered, unverified. `encrypt`: TLS or the mail waits, unverified. `verify`, "
        "`secure`: TLS with a certificate that a known CA signed for the host (`verify`) or for the name in "
        "`RELAYHOST` (`secure`). `dane`: by the receiver's TLSA records, else as `may`. With a password it must be "
        "`encrypt` (which lowers security: whoever answers gets the password), `verify` or `secure`.",
        parameter="smtp_tls_security_level",
        shown_default="`secure` (`verify` for an address) with a login or `RELAYHOST_CA_FILE`, `encrypt` on port 465, else "
        "`may`",
    )
    relayhost_ca_file: Certificates | None = _row(
        "Upstream",
        parsers.certificates,
        "A file with the CA certificates (PEM) that may sign the upstream's certificate, instead of the public ones. "
        "Mount it.",
        parameter="smtp_tls_CAfile",
        shown_default="the public CAs",
    )
    listen: tuple[Listener, ...] = _row(
        "Listeners",
        parsers.listeners,
        "The open doors, each `[address:]port:profile`. Profile `relay`: trusted networks may send anywhere, "
        "nobody else may. IPv6 addresses in brackets: `[::1]:25:relay`.",
        default="25:relay 587:relay",
    )
    mynetworks: tuple[Network, ...] = _row(
        "Access",
        parsers.networks,
        "Who may send without a login: networks such as `10.0.0.0/8 2001:db8::/32`. Replaces the default. "
        "`127.0.0.0/8` alone admits only programs in the same container or Pod.",
        parameter="mynetworks",
        shown_default="loopback and the private networks the container is connected to, without their gateways",
        unset=(),
    )
    trust_gateway: bool = _row(
        "Access",
        parsers.boolean,
        "Also trust the gateway of the container's networks. **Lowers security**: behind a published port, strangers "
        "can appear as the gateway. Safe when the port is published on 127.0.0.1 only (`-p 127.0.0.1:2525:25`).",
        default="no",
    )
    allow_public_networks: bool = _row(
        "Access",
        parsers.boolean,
        "Accept public addresses in `MYNETWORKS`. **Lowers security**: every address in them may send anywhere in "
        "your name.",
        default="no",
    )
    allowed_sender_domains: tuple[str, ...] = _row(
        "Access",
        parsers.domains,
        "Accept only these domains (`.example.com`: its subdomains) in the envelope sender; bounces (`<>`) always pass.",
        shown_default="any",
        unset=(),
    )
    masqueraded_domains: tuple[str, ...] = _row(
        "Access",
        parsers.domains,
        "Cut host names off sender addresses below these domains: `user@web1.example.com` becomes `user@example.com`.",
        parameter="masquerade_domains",
        shown_default="none",
        unset=(),
    )
    message_size_limit: int = _row(
        "Limits",
        parsers.size,
        "The largest message, encoded (attachments grow by a third): `500KB`, `25MB`; K, M and G are powers of 1024. "
        "`0`: no limit.",
        default="25MB",
        parameter="message_size_limit",
    )
    maximal_queue_lifetime: str = _row(
        "Limits",
        parsers.duration,
        "How long undeliverable mail is tried before it goes back to its sender.",
        default="5d",
        parameter="maximal_queue_lifetime",
    )
    bounce_queue_lifetime: str = _row(
        "Limits",
        parsers.duration,
        "The same for mail that reports such a failure.",
        default="5d",
        parameter="bounce_queue_lifetime",
    )
    queue_run_delay: str = _row(
        "Limits",
        parsers.duration,
        "How often the queue is searched for mail whose next try is due.",
        default="300s",
        parameter="queue_run_delay",
    )
    minimal_backoff_time: str = _row(
        "Limits",
        parsers.duration,
        "The shortest wait before the next try; it doubles with each.",
        default="300s",
        parameter="minimal_backoff_time",
    )
    maximal_backoff_time: str = _row(
        "Limits",
        parsers.duration,
        "The longest wait before the next try.",
        default="4000s",
        parameter="maximal_backoff_time",
    )
    smtp_tls_loglevel: int = _row(
        "Operation",
        parsers.log_level,
        "How much the log says of TLS with upstreams: `0` a line a connection, `1` the same and more of its cause, `2` "
        "to `4` for debugging.",
        default="0",
        parameter="smtp_tls_loglevel",
    )
    health_port: int = _row(
        "Operation",
        parsers.port,
        "The port of `/livez`, `/readyz` and `/healthz` (HTTP).",
        default="9154",
    )
    parameters: Mapping[str, str] = field(default_factory=dict)
    """From POSTFIX_<parameter>: parameters of main.cf by name."""
    services: Mapping[str, str] = field(default_factory=dict)
    """From POSTFIXMASTER_<service>__<type>: lines of master.cf by "service/type"."""


@dataclass(frozen=True)
class Family:
    """Settings that share a prefix, whose names are Postfix's own and not ours."""

    name: str
    doc: str


FAMILIES = (
    Family(
        "POSTFIX_<parameter>",
        "Any parameter of postconf(5), in Postfix's own spelling: `POSTFIX_smtp_helo_timeout=30s`. It replaces the "
        "relay's own value. Unknown names are refused, as are those that would break the container.",
    ),
    Family(
        "POSTFIXMASTER_<service>__<type>",
        "A line of master(5), whole: `POSTFIXMASTER_2525__inet='2525 inet n - n - - smtpd'`. It replaces the service "
        "of that name and type, or adds it.",
    ),
)


def row(declared: Field[Any]) -> Row:
    found: Row = declared.metadata["row"]
    return found


def variables() -> dict[str, Field[Any]]:
    """Every variable's name and its field, in the order of their declaration."""
    return {f.name.upper(): f for f in fields(Settings) if "row" in f.metadata}
