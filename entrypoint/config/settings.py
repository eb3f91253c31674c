"""The settings: one field declares one, and everything else about it is derived from that field.

The variable's name is the field's name in capitals. From the same row come the `_FILE` twin, the error texts,
the other spelling `POSTFIX_<parameter>`, the README's reference, and the check that compose files use only names
that exist. A new setting is one field here, its use in policy.py or a template, and a golden case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

from entrypoint.tls.chain import Chain

from .parsers import addresses, logins, simple
from .secret import Secret
from .tables import access, routing, upstreams
from .tables.access import ClientCertificate, Login, SenderLogin
from .tables.lines import Source
from .tables.routing import Alias, Recipients, RelayDomain, Route
from .tables.upstreams import Upstream
from .values import SQL_TLS_LEVELS, TLS_LEVELS, Address, Certificates, Listener, Network, Relayhost, SqlServer

SECTIONS = ("Identity", "Upstream", "Listeners", "TLS", "Access", "Logins", "Inbound", "Limits", "Operation")


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
    table: Callable[[Source], Any] | None = None
    """For a table: what reads its entries, from /config/<name> or from the variable. `parse` is not used then."""
    mounted: bool = True
    """Whether a table has a file of its own below /config."""
    separators: str = ";"
    """What separates a table's entries in a variable of one line."""
    exact: bool = False
    """Whether space at the end of a table's line belongs to it."""
    largest: int = 16 * 1024 * 1024
    """The most bytes that a table's file may have. More is a mistake, and would not fit into a small container."""


def _row(section: str, parse: Callable[[str], Any], doc: str, **rest: Any) -> Any:
    return field(metadata={"row": Row(section, doc, parse, **rest)})


def _table(section: str, table: Callable[[Source], Any], doc: str, **rest: Any) -> Any:
    return _row(section, simple.text, doc, table=table, **({"shown_default": "none", "unset": ()} | rest))


@dataclass(frozen=True)
class Settings:
    """Every setting, typed. None or () means not set."""

    myhostname: str | None = _row(
        "Identity",
        addresses.hostname,
        "The name by which the relay greets other servers (HELO). Make it fully qualified, and best one that "
        "resolves to the address you send from: many servers refuse mail from any other name.",
        parameter="myhostname",
        shown_default="the container's host name",
    )
    tz: str | None = _row(
        "Identity",
        simple.timezone,
        "The time zone of the log, such as `Europe/Berlin`.",
        shown_default="UTC",
    )
    relayhost: Relayhost | None = _row(
        "Upstream",
        addresses.relayhost,
        "Where all mail goes: `[host]:port`, or a mail domain without brackets, whose MX is looked up. The port "
        "is 25 unless given; 465 means TLS from the first byte. Not set: each recipient's own server (its MX).",
        parameter="relayhost",
        shown_default="direct delivery",
    )
    relayhost_username: str | None = _row(
        "Upstream",
        simple.user,
        "The login at `RELAYHOST`. It is sent over TLS only.",
        shown_default="no login",
    )
    relayhost_password: Secret | None = _row(
        "Upstream",
        lambda value: Secret(simple.line(value)),
        "The password at `RELAYHOST`. Any characters but line breaks.",
        secret=True,
        shown_default="no login",
    )
    relayhost_tls_level: str | None = _row(
        "Upstream",
        simple.one_of(*TLS_LEVELS),
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
        simple.certificates,
        "A file with the CA certificates (PEM) that may sign the upstream's certificate, instead of the public ones. "
        "Mount it.",
        parameter="smtp_tls_CAfile",
        shown_default="the public CAs",
    )
    upstreams: tuple[Upstream, ...] = _table(
        "Upstream",
        upstreams.upstreams,
        "Several upstreams, each line `WHO [host]:port user=NAME password_file=/path tls=LEVEL` (options as needed). "
        "`*` is everybody: several such lines are tried in their order. A sender's address or `@domain` sends its mail "
        "that way only. Instead of `RELAYHOST` and its login.",
    )
    smtp_bind_address: Address | None = _row(
        "Upstream",
        addresses.address,
        "The container's own address that mail leaves from, where it has several.",
        parameter="smtp_bind_address",
        shown_default="as the routes say",
    )
    listen: tuple[Listener, ...] = _row(
        "Listeners",
        addresses.listeners,
        "The open doors, each `[address:]port:profile`. `relay`: trusted networks may send anywhere, nobody else may. "
        "`submission`: STARTTLS and a login are mandatory, then anywhere. `submissions`: the same with TLS from the first "
        "byte. `inbound`: everybody, to `RELAY_DOMAINS` only. `:haproxy` after `submission`, `submissions` or `inbound`: a "
        "load balancer in front tells the client's address (PROXY protocol); nobody else may reach such a port. IPv6 "
        "addresses in brackets: `[::1]:25:relay`.",
        shown_default="`25:relay 587:relay`; with logins `25:relay 587:submission 465:submissions`; with `RELAY_DOMAINS` 25 is "
        "`inbound`",
        unset=(),
    )
    smtpd_tls_cert_file: str | None = _row(
        "TLS",
        simple.path,
        "The relay's certificate (PEM), alone or with its key and chain in one file. Renewed files are used within "
        "seconds. Further ones, for other names (SNI), belong into `/config/certificates`.",
        parameter="smtpd_tls_cert_file",
        shown_default="if TLS is needed, one that a CA of the relay's own signs; both are kept in the data volume",
    )
    smtpd_tls_key_file: str | None = _row(
        "TLS",
        simple.path,
        "The certificate's private key, unencrypted, if it is not in `SMTPD_TLS_CERT_FILE`.",
        parameter="smtpd_tls_key_file",
        shown_default="in `SMTPD_TLS_CERT_FILE`",
    )
    smtpd_tls_chain_file: str | None = _row(
        "TLS",
        simple.path,
        "The intermediate certificates, if they are not in `SMTPD_TLS_CERT_FILE`.",
        shown_default="in `SMTPD_TLS_CERT_FILE`",
    )
    smtpd_tls_security_level: str | None = _row(
        "TLS",
        simple.one_of("none", "may", "encrypt"),
        "TLS on `relay` and `inbound` ports: `none`, `may` (STARTTLS is offered) or `encrypt` (mandatory). Programs that "
        "find STARTTLS use it, and most of them refuse a certificate that they do not know.",
        parameter="smtpd_tls_security_level",
        shown_default="`may` with a certificate of yours, and on `inbound` ports; else `none`",
    )
    client_certificates: tuple[ClientCertificate, ...] = _table(
        "Logins",
        access.client_certificates,
        "Client certificates that count as a login, each line `SHA256-FINGERPRINT name`. `SENDER_LOGINS` do not apply to "
        "them, but addresses that belong to a login are refused.",
    )
    mynetworks: tuple[Network, ...] = _row(
        "Access",
        addresses.networks,
        "Who may send without a login: networks such as `10.0.0.0/8 2001:db8::/32`. Replaces the default. "
        "`127.0.0.0/8` alone admits only programs in the same container or Pod.",
        parameter="mynetworks",
        shown_default="loopback and the private networks the container is connected to, without their gateways",
        unset=(),
    )
    trust_gateway: bool = _row(
        "Access",
        simple.boolean,
        "Also trust the gateway of the container's networks. **Lowers security**: behind a published port, strangers "
        "can appear as the gateway. Safe when the port is published on 127.0.0.1 only (`-p 127.0.0.1:2525:25`).",
        default="no",
    )
    allow_public_networks: bool = _row(
        "Access",
        simple.boolean,
        "Accept public addresses in `MYNETWORKS`. **Lowers security**: every address in them may send anywhere in "
        "your name.",
        default="no",
    )
    allowed_sender_domains: tuple[str, ...] = _row(
        "Access",
        addresses.domains,
        "Accept only these domains (`.example.com`: its subdomains) in the envelope sender; bounces (`<>`) always pass.",
        shown_default="any",
        unset=(),
    )
    smtpd_sasl_users: tuple[Login, ...] = _table(
        "Logins",
        access.passwords,
        "Who may log in: `user:password`, separated by commas, or one a line (then passwords may hold commas). Kept in "
        "Cyrus SASL's sasldb.",
        secret=True,
        mounted=False,
        separators=",",
        exact=True,
    )
    users: tuple[Login, ...] = _table(
        "Logins",
        access.hashes,
        "Who may log in: `user:hash` with hashes of crypt(5) (yescrypt, SHA-512, bcrypt). `postern hash USER` makes a line.",
        secret=True,
    )
    sasl_mechanisms: tuple[str, ...] = _row(
        "Logins",
        logins.mechanisms,
        "How clients may log in: `PLAIN`, `LOGIN`, and with `SMTPD_SASL_USERS` also `SCRAM-SHA-256` and `SCRAM-SHA-1`.",
        default="PLAIN LOGIN",
    )
    sasl_ldap_url: str | None = _row(
        "Logins",
        logins.ldap_url,
        "Logins are checked by this LDAP server: `ldaps://host[:port]`, `ldap://host[:port]` (always with STARTTLS) or "
        "`ldapi://`.",
        shown_default="no LDAP",
    )
    sasl_ldap_search_base: str | None = _row(
        "Logins",
        simple.line,
        "Where the users are, such as `ou=people,dc=example,dc=com`.",
        shown_default="none",
    )
    sasl_ldap_filter: str = _row(
        "Logins",
        logins.ldap_filter,
        "How a user is found; `%u` is the login.",
        default="(|(uid=%u)(mail=%u))",
    )
    sasl_ldap_bind_dn: str | None = _row(
        "Logins", simple.line, "As whom the relay searches.", shown_default="anonymous"
    )
    sasl_ldap_bind_password: Secret | None = _row(
        "Logins",
        lambda value: Secret(simple.line(value)),
        "The password of `SASL_LDAP_BIND_DN`.",
        secret=True,
        shown_default="none",
    )
    sasl_ldap_ca_file: Certificates | None = _row(
        "Logins",
        simple.certificates,
        "The CA certificates (PEM) of the LDAP server.",
        shown_default="the public CAs",
    )
    sasl_imap_host: Relayhost | None = _row(
        "Logins",
        logins.imap_host,
        "Logins are checked by logging in to this IMAP server: `host[:port]`. 993 is TLS from the first byte, any other "
        "port STARTTLS.",
        shown_default="no IMAP",
    )
    sasl_imap_ca_file: Certificates | None = _row(
        "Logins",
        simple.certificates,
        "The CA certificates (PEM) of the IMAP server.",
        shown_default="the public CAs",
    )
    sasl_pam_service: str | None = _row(
        "Logins",
        logins.pam_service,
        "Logins are checked by PAM under this service name; mount `/etc/pam.d/NAME`. Its modules run without root's "
        "rights.",
        shown_default="no PAM",
    )
    sasl_sql_url: SqlServer | None = _row(
        "Logins",
        logins.sql_url,
        "Logins are looked up in this database: `postgresql://user@host:port/database` or `mysql://...`.",
        shown_default="no database",
    )
    sasl_sql_password: Secret | None = _row(
        "Logins",
        lambda value: Secret(simple.line(value)),
        "The password of the user in `SASL_SQL_URL`.",
        secret=True,
        shown_default="none",
    )
    sasl_sql_password_query: str | None = _row(
        "Logins",
        simple.line,
        "Gives the hash (crypt(5)) of the login `%u`.",
        shown_default="`SELECT password FROM users WHERE login = %u`",
    )
    sasl_sql_senders_query: str | None = _row(
        "Logins",
        simple.line,
        "Gives the logins that may send as the address `%s`, whose domain with its `@` is `%d`; like `SENDER_LOGINS`.",
        shown_default="any login may send as anybody",
    )
    sasl_sql_ca_file: Certificates | None = _row(
        "Logins",
        simple.certificates,
        "The CA certificates (PEM) of the database server.",
        shown_default="the public CAs",
    )
    sasl_sql_tls_level: str | None = _row(
        "Logins",
        simple.one_of(*SQL_TLS_LEVELS),
        "`verify`: TLS with a certificate for the host in `SASL_SQL_URL`. `may`: TLS where offered, unverified. **Lowers "
        "security**: whoever answers as the database says who may log in. Neither sends `SASL_SQL_PASSWORD` in clear.",
        shown_default="`verify`; for `localhost` without a CA file `may`",
    )
    sasl_dovecot_path: str | None = _row(
        "Logins",
        logins.dovecot_path,
        "Logins are checked by an existing Dovecot: `inet:host:port` or `unix:/path` of its auth service. That protocol knows no "
        "TLS: `inet:` to another host **lowers security**, as it is told every client's password in clear.",
        shown_default="no Dovecot",
    )
    sender_logins: tuple[SenderLogin, ...] = _table(
        "Logins",
        access.sender_logins,
        "What each login may send as, each line `login address @domain ...`, or `*` for anything. A login that is an "
        "address may also send as itself if it has a line, or is in `SMTPD_SASL_USERS` or `USERS`. A login without a line "
        "may send as nothing else.",
        shown_default="any login may send as anybody",
    )
    allow_null_sender: bool = _row(
        "Logins",
        simple.boolean,
        "Let logins send with an empty sender (`<>`), as bounces do. **Lowers security**: such mail has no owner.",
        default="no",
    )
    masqueraded_domains: tuple[str, ...] = _row(
        "Access",
        addresses.domains,
        "Cut host names off sender addresses below these domains: `user@web1.example.com` becomes `user@example.com`.",
        parameter="masquerade_domains",
        shown_default="none",
        unset=(),
    )
    relay_domains: tuple[RelayDomain, ...] = _table(
        "Inbound",
        routing.relay_domains,
        "The domains that mail is taken for from everybody, each with the server that gets it: `example.com "
        "[mail.example.net]:25`. `.example.com` is its subdomains, which `example.com` is not. Several servers are tried in "
        "their order.",
        parameter="relay_domains",
    )
    relay_transport: Route | None = _row(
        "Inbound",
        routing.nexthop,
        "Where mail for those `RELAY_DOMAINS` goes that name no server: `[mail.example.net]:25`.",
        parameter="relay_transport",
        shown_default="none",
    )
    relay_tls_level: str = _row(
        "Inbound",
        simple.one_of(*TLS_LEVELS),
        "TLS towards these servers, as in `RELAYHOST_TLS_LEVEL`.",
        default="may",
    )
    relay_recipients: Recipients = _table(
        "Inbound",
        routing.relay_recipients,
        "The recipients that exist, one a line: `user@example.com`, or `@example.com` for all of a domain. Others are "
        "refused at once. A million are fine.",
        shown_default="all of `RELAY_DOMAINS`",
        unset=Recipients(),
        separators=";,",
        largest=256 * 1024 * 1024,
    )
    verify_recipients: bool = _row(
        "Inbound",
        simple.boolean,
        "Ask the server inside whether a recipient exists, before mail for it is taken; answers are kept in the data "
        "volume.",
        default="no",
    )
    postmaster: str | None = _row(
        "Inbound",
        addresses.mail_address,
        "Who gets mail for `postmaster` and `abuse`, at `RELAY_DOMAINS`, at this relay, and without a domain.",
        shown_default="each domain's own; without a domain the first of `RELAY_DOMAINS`",
    )
    transport: tuple[Route, ...] = _table(
        "Inbound",
        routing.transport,
        "Ways for some recipients, each line `example.com smtp:[host]:port` as in transport(5). Also `user@example.com`, "
        "`.example.com` (subdomains) and `*`; transports `smtp`, `smtps` (TLS from the first byte), `relay` (with "
        "`RELAY_TLS_LEVEL`), `error:reason`, `discard:`.",
    )
    virtual: tuple[Alias, ...] = _table(
        "Inbound",
        routing.virtual,
        "Recipients that others stand for, each line `address address ...` as in virtual(5); `@domain` for all of one.",
    )
    dnsbl_sites: tuple[str, ...] = _row(
        "Inbound",
        addresses.blocklists,
        "DNS blocklists, such as `zen.spamhaus.org`: who is on one of them is refused on `inbound` ports. With "
        "`=127.0.0.[2..11]` only those answers count (postconf(5), `reject_rbl_client`).",
        shown_default="none",
        unset=(),
    )
    postscreen: bool = _row(
        "Inbound",
        simple.boolean,
        "Let new clients wait some seconds for the greeting on `inbound` ports (postscreen(8)): programs that speak first "
        "are refused.",
        default="no",
    )
    message_size_limit: int = _row(
        "Limits",
        simple.message_size,
        "The largest message, encoded (attachments grow by a third): `500KB`, `25MB`; K, M and G are powers of 1024. "
        "At least `10KB`; `0`: no limit.",
        default="25MB",
        parameter="message_size_limit",
    )
    smtpd_client_connection_count_limit: int = _row(
        "Limits",
        simple.count,
        "How many connections one client may have at the same time; a port serves 100. `0`: no limit.",
        default="90",
        parameter="smtpd_client_connection_count_limit",
    )
    smtpd_client_connection_rate_limit: int = _row(
        "Limits",
        simple.count,
        "How many connections one client may make in a minute, trusted or not. `0`: no limit.",
        default="10000",
        parameter="smtpd_client_connection_rate_limit",
    )
    smtpd_client_message_rate_limit: int = _row(
        "Limits",
        simple.count,
        "How many messages one client may send in a minute. `0`: no limit.",
        default="100000",
        parameter="smtpd_client_message_rate_limit",
    )
    smtpd_client_recipient_rate_limit: int = _row(
        "Limits",
        simple.count,
        "How many recipients one client may name in a minute. `0`: no limit.",
        default="200000",
        parameter="smtpd_client_recipient_rate_limit",
    )
    auth_failure_limit: int = _row(
        "Limits",
        simple.positive,
        "How many failed logins an address may have in a minute; after that nine wrong ones a minute are looked at, at the "
        "most, and others are told to come back (454).",
        default="10",
    )
    maximal_queue_lifetime: str = _row(
        "Limits",
        simple.duration,
        "How long undeliverable mail is tried before it goes back to its sender.",
        default="5d",
        parameter="maximal_queue_lifetime",
    )
    bounce_queue_lifetime: str = _row(
        "Limits",
        simple.duration,
        "The same for mail that reports such a failure.",
        default="5d",
        parameter="bounce_queue_lifetime",
    )
    queue_run_delay: str = _row(
        "Limits",
        simple.duration,
        "How often the queue is searched for mail whose next try is due.",
        default="300s",
        parameter="queue_run_delay",
    )
    minimal_backoff_time: str = _row(
        "Limits",
        simple.duration,
        "The shortest wait before the next try; it doubles with each.",
        default="300s",
        parameter="minimal_backoff_time",
    )
    maximal_backoff_time: str = _row(
        "Limits",
        simple.duration,
        "The longest wait before the next try.",
        default="4000s",
        parameter="maximal_backoff_time",
    )
    smtp_tls_loglevel: int = _row(
        "Operation",
        simple.log_level,
        "How much the log says of TLS with upstreams: `0` a line a connection, `1` the same and more of its cause, `2` "
        "to `4` for debugging.",
        default="0",
        parameter="smtp_tls_loglevel",
    )
    log_format: str = _row(
        "Operation",
        simple.one_of("plain", "json"),
        "`plain`: lines in the form of Postfix's own. `json`: one object a line, from every program of the container, with "
        "what Postfix says taken apart.",
        default="plain",
    )
    log_addresses: str = _row(
        "Operation",
        simple.one_of("full", "partial", "hashed"),
        "Addresses of mail in the log, logins among them: `full`; `partial` (`a***@example.com`); `hashed`, by which lines "
        "about one address can still be found (`6f0c2ad1b3e4@example.com`). Message ids look like them and are hidden, too.",
        default="full",
    )
    log_addresses_salt: Secret | None = _row(
        "Operation",
        simple.salt,
        "For `LOG_ADDRESSES=hashed`: at least 16 characters that nobody else knows, or addresses could be found by trying. "
        "The same salt makes the same hashes.",
        secret=True,
        shown_default="none",
    )
    health_port: int = _row(
        "Operation",
        addresses.port,
        "The port of the page on `/`, `/livez`, `/readyz`, `/healthz` and `/metrics` (HTTP).",
        default="9154",
    )
    health_page_password: Secret | None = _row(
        "Operation",
        simple.page_password,
        "Who wants to see the page on `/` must know it, with any user name (HTTP basic authentication); the other paths stay "
        "open. Without it the page is open, too, and shows addresses as `LOG_ADDRESSES=partial` does.",
        secret=True,
        shown_default="none",
    )
    upstream_check: str = _row(
        "Operation",
        simple.one_of("warn", "fail", "off"),
        "What `/readyz` says while an upstream cannot be reached, or refuses the login or TLS: `warn` (mail is taken, and "
        "waits), `fail` (503), or `off`: nothing, and it is not asked.",
        default="warn",
    )
    drain_timeout: str = _row(
        "Operation",
        simple.duration,
        "How long a stop may take to deliver what is queued. What kills the container must wait 3 s longer: "
        "`docker stop` waits for 10 s unless told otherwise.",
        default="7s",
    )
    drain_leftovers_exit_status: int = _row(
        "Operation",
        simple.exit_status,
        "The exit status of a stop after which mail is left in the spool.",
        default="0",
    )
    parameters: Mapping[str, str] = field(default_factory=dict)
    """From POSTFIX_<parameter>: parameters of main.cf by name."""
    services: Mapping[str, str] = field(default_factory=dict)
    """From POSTFIXMASTER_<service>__<type>: lines of master.cf by "service/type"."""
    certificate: Chain | None = None
    """From SMTPD_TLS_CERT_FILE and its two companions."""
    certificates: Mapping[str, Chain] = field(default_factory=dict)
    """From /config/certificates: by the name that clients ask for (SNI)."""
    sources: tuple[str, ...] = ()
    """The files that the settings came from: what changes there takes effect while the relay runs."""


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
