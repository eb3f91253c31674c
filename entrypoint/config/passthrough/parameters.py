"""Parameters of main.cf: their names, their types, and those that the container cannot spare (postconf(5))."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from entrypoint.config.parsers.addresses import domains
from entrypoint.config.passthrough import restrictions
from entrypoint.config.vocabulary import Vocabulary

# Each would admit strangers past the settings that are checked.
DECIDES_WHO_MAY_SEND = {
    "smtpd_authorized_xclient_hosts": "whoever is named there passes for any client",
    "smtpd_data_restrictions": "it keeps strangers from mailing the bare name postmaster; smtpd_end_of_data_restrictions "
    "is yours",
    "smtpd_upstream_proxy_protocol": "every client could claim any address; LISTEN has :haproxy",
    "smtpd_relay_before_recipient_restrictions": "the lists rely on their order",
    "smtpd_delay_reject": "the lists are asked at RCPT, where all that they need is known",
    "relay_clientcerts": "use CLIENT_CERTIFICATES",
    "smtpd_sasl_auth_enable": "logins are for submission ports; use LISTEN",
    "smtpd_sasl_exceptions_networks": "logins are for everybody or nobody",
    "smtpd_sasl_path": "logins are checked by SMTPD_SASL_USERS, USERS, SASL_LDAP_URL, ...",
    "smtpd_sasl_type": "logins are checked by SMTPD_SASL_USERS, USERS, SASL_LDAP_URL, ...",
    "smtpd_sasl_security_options": "would offer logins that need no password",
    "smtpd_sasl_tls_security_options": "would offer logins that need no password",
    "postscreen_upstream_proxy_protocol": "every client could claim any address; LISTEN has :haproxy",
    "smtpd_tls_auth_only": "a password in clear could be read by everybody on the way",
}
# The container rests on these; another value would take the relay apart without an error.
_FIXED = DECIDES_WHO_MAY_SEND | {
    "alternate_config_directories": "the relay has one configuration",
    "command_directory": "is where the image has its programs",
    "config_directory": "is where the start writes",
    "daemon_directory": "is where the image has its programs",
    "data_directory": "is the data volume, /var/lib/postern",
    "inet_interfaces": "is derived from LISTEN; use LISTEN",
    "local_transport": "nothing is delivered locally, so that nothing can be lost in a container's mailbox",
    "mail_owner": "is a user of the image",
    "maillog_file": "the log goes to the container's output",
    "meta_directory": "is where the image has its files",
    "mydestination": "nothing is delivered locally, so that nothing can be lost in a container's mailbox",
    "mynetworks_style": "has no effect: MYNETWORKS says who is trusted",
    "postlog_service_name": "the log goes to the container's output",
    "queue_directory": "is the spool volume, /var/spool/postfix",
    "setgid_group": "is a group of the image",
    "smtp_sasl_auth_enable": "follows from RELAYHOST_USERNAME",
    "smtp_sasl_password_maps": "use RELAYHOST_USERNAME and RELAYHOST_PASSWORD",
    "smtpd_tls_chain_files": "use SMTPD_TLS_CERT_FILE",
    "smtpd_tls_wrappermode": "follows from LISTEN (submissions)",
    "tls_server_sni_maps": "use /config/certificates",
    "smtp_tls_wrappermode": "follows from the port of RELAYHOST (465)",
    "syslog_name": "the health check knows the log by its name",
}
# Written with a prefix that is the name of a service in master.cf (postconf(5): transport_destination_...).
_PER_TRANSPORT = re.compile(
    r"(.+)_(destination_(concurrency_limit|recipient_limit|rate_delay|concurrency_\w+)|transport_rate_delay"
    r"|initial_destination_concurrency|delivery_slot_\w+|minimum_delivery_slots|recipient_limit|extra_recipient_limit"
    r"|recipient_refill_\w+|time_limit)\Z"
)
_DOMAIN_LISTS = frozenset({"relay_domains", "virtual_alias_domains", "virtual_mailbox_domains"})
_LEVELS = {
    "smtp_tls_security_level": "none may encrypt verify secure dane dane-only fingerprint".split(),
    "smtpd_tls_security_level": "none may encrypt".split(),
    "inet_protocols": "all ipv4 ipv6".split(),
}
# Tables that are a file named as written, and those whose program adds an ending (postmap(1)).
_PLAIN_TABLES = frozenset({"cidr", "pcre", "regexp", "texthash"})
_INDEXED_TABLES = {"btree": ".db", "hash": ".db", "lmdb": ".lmdb"}
_TABLE = re.compile(r"(?<![\w.:])(?:proxy:)?([a-z]+):(/[^\s,{}]+)")


def check(
    name: str, parameters: Mapping[str, str], services: Mapping[str, str], vocabulary: Vocabulary | None
) -> Iterator[str]:
    """The rules that one of the user's parameters breaks."""
    value = parameters[name]
    if name in _FIXED:
        yield f"cannot be changed: {_FIXED[name]}"
        return
    if "\n" in value or "\r" in value:
        yield "must be one line; Postfix takes spaces or commas between the parts of a list"
        return
    if vocabulary and name not in vocabulary.parameters and not _made_by_user(name, parameters, services):
        near = get_close_matches(name, [*vocabulary.parameters], n=1, cutoff=0.6)
        yield "is not a parameter of this Postfix" + (f"; did you mean {near[0]}?" if near else "")
        return
    yield from _value(name, value, vocabulary.parameters.get(name, "") if vocabulary else "")
    if restrictions.LISTS.match(name):
        yield from restrictions.check(name, value, parameters)
    if name in _DOMAIN_LISTS:
        yield from _plain_domains(restrictions.expand(value, parameters))
    if name == "virtual_mailbox_domains" and "virtual_transport" not in parameters:
        yield "must come with POSTFIX_virtual_transport: nothing is delivered locally, and mail for them would wait"
    yield from _tables(value, vocabulary)


def _made_by_user(name: str, parameters: Mapping[str, str], services: Mapping[str, str]) -> bool:
    """Postfix lets users name parameters of their own, and derives some from the names of services."""
    used = re.compile(rf"\$[({{]?{re.escape(name)}\b")
    if any(used.search(text) for text in (*parameters.values(), *services.values())):
        return True
    match = _PER_TRANSPORT.match(name)
    return bool(match and any(service.split("/")[0] == match[1] for service in services))


def _value(name: str, value: str, default: str) -> Iterator[str]:
    """The type is that of the default: Postfix prints times with a unit, yes or no for switches, bare numbers."""
    if "$" in value:
        return
    if name in _LEVELS and value not in _LEVELS[name]:
        yield f"must be one of {', '.join(_LEVELS[name])}"
    elif default in ("yes", "no") and value.lower() not in ("yes", "no"):
        yield "must be yes or no"
    elif re.fullmatch(r"([0-9]+|\$\{.*\})[smhdw]", default) and not re.fullmatch(
        r"[0-9]{1,9}[smhdw]?", value
    ):
        yield "must be a time: a number and s, m, h, d or w"
    elif re.fullmatch(r"[0-9]+", default) and not re.fullmatch(r"[0-9]{1,18}", value):
        yield "must be a number"


def _plain_domains(value: str) -> Iterator[str]:
    """A table or a pattern there can mean every domain, and then strangers may send to all of them."""
    try:
        domains(value)
    except ValueError as error:
        yield str(error)


def _tables(value: str, vocabulary: Vocabulary | None) -> Iterator[str]:
    for kind, path in _TABLE.findall(value):
        if vocabulary and kind not in vocabulary.tables:
            yield f"must use types of tables that this Postfix has, not {kind}: {' '.join(sorted(vocabulary.tables))}"
        elif kind in _PLAIN_TABLES and not Path(path).is_file():
            yield f"must name tables that exist, and {path} does not; mount it"
        elif kind in _INDEXED_TABLES and not Path(path + _INDEXED_TABLES[kind]).is_file():
            yield (
                f"must name tables that exist, and {path}{_INDEXED_TABLES[kind]} does not; "
                f"mount it, or mount the text and use texthash:{path}"
            )
