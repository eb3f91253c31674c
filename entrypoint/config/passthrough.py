"""POSTFIX_<parameter> and POSTFIXMASTER_<service>__<type>: Postfix's own names, checked where Postfix does not.

Postfix reads a mistyped restriction, a missing table or a number with a unit only when mail needs it, and then
defers or drops the session (the table in postconf(5) is not enforced at start). So what can be known before is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from .problem import Problem

_PARAMETER = re.compile(r"POSTFIX_([a-z0-9][A-Za-z0-9_.-]*)\Z")
_SERVICE = re.compile(r"POSTFIXMASTER_(.+)__(inet|unix|unix-dgram|fifo|pass)\Z")

# The container rests on these; another value would take the relay apart without an error.
_FIXED = {
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
    "smtp_tls_wrappermode": "follows from the port of RELAYHOST (465)",
    "syslog_name": "the health check knows the log by its name",
}
# Written with a prefix that is the name of a service in master.cf (postconf(5): transport_destination_...).
_PER_TRANSPORT = re.compile(
    r"(.+)_(destination_(concurrency_limit|recipient_limit|rate_delay|concurrency_\w+)|transport_rate_delay"
    r"|initial_destination_concurrency|delivery_slot_\w+|minimum_delivery_slots|recipient_limit|extra_recipient_limit"
    r"|recipient_refill_\w+|time_limit)\Z"
)
_RESTRICTIONS = re.compile(r"smtpd_(client|helo|sender|relay|recipient|data|end_of_data|etrn)_restrictions\Z")
_RESTRICTION = frozenset(
    [
        "check_ccert_access",
        "check_client_a_access",
        "check_client_access",
        "check_client_mx_access",
        "check_client_ns_access",
        "check_etrn_access",
        "check_helo_a_access",
        "check_helo_access",
        "check_helo_mx_access",
        "check_helo_ns_access",
        "check_policy_service",
        "check_recipient_a_access",
        "check_recipient_access",
        "check_recipient_mx_access",
        "check_recipient_ns_access",
        "check_reverse_client_hostname_a_access",
        "check_reverse_client_hostname_access",
        "check_reverse_client_hostname_mx_access",
        "check_reverse_client_hostname_ns_access",
        "check_sasl_access",
        "check_sender_a_access",
        "check_sender_access",
        "check_sender_mx_access",
        "check_sender_ns_access",
        "defer",
        "defer_if_permit",
        "defer_if_reject",
        "defer_unauth_destination",
        "permit",
        "permit_auth_destination",
        "permit_dnswl_client",
        "permit_inet_interfaces",
        "permit_mx_backup",
        "permit_mynetworks",
        "permit_naked_ip_address",
        "permit_rhswl_client",
        "permit_sasl_authenticated",
        "permit_tls_all_clientcerts",
        "permit_tls_clientcerts",
        "reject",
        "reject_authenticated_sender_login_mismatch",
        "reject_invalid_helo_hostname",
        "reject_known_sender_login_mismatch",
        "reject_multi_recipient_bounce",
        "reject_non_fqdn_helo_hostname",
        "reject_non_fqdn_recipient",
        "reject_non_fqdn_sender",
        "reject_plaintext_session",
        "reject_rbl_client",
        "reject_rhsbl_client",
        "reject_rhsbl_helo",
        "reject_rhsbl_recipient",
        "reject_rhsbl_reverse_client",
        "reject_rhsbl_sender",
        "reject_sender_login_mismatch",
        "reject_unauth_destination",
        "reject_unauth_pipelining",
        "reject_unauthenticated_sender_login_mismatch",
        "reject_unknown_client_hostname",
        "reject_unknown_helo_hostname",
        "reject_unknown_recipient_domain",
        "reject_unknown_reverse_client_hostname",
        "reject_unknown_sender_domain",
        "reject_unlisted_recipient",
        "reject_unlisted_sender",
        "reject_unverified_recipient",
        "reject_unverified_sender",
        "sleep",
        "warn_if_reject",
    ]
)
_REFUSING = frozenset(
    {"reject", "defer", "defer_if_permit", "reject_unauth_destination", "defer_unauth_destination"}
)
_LEVELS = {
    "smtp_tls_security_level": [
        "none",
        "may",
        "encrypt",
        "verify",
        "secure",
        "dane",
        "dane-only",
        "fingerprint",
    ],
    "smtpd_tls_security_level": ["none", "may", "encrypt"],
    "inet_protocols": ["all", "ipv4", "ipv6"],
}
# Tables that are a file named as written, and those whose program adds an ending (postmap(1)).
_PLAIN_TABLES = frozenset({"cidr", "pcre", "regexp", "texthash"})
_INDEXED_TABLES = {"btree": ".db", "hash": ".db", "lmdb": ".lmdb"}
_TABLE = re.compile(r"\b(?:proxy:)?([a-z]+):(/[^\s,{}]+)")


def read(
    environ: dict[str, str], known: Mapping[str, str] | None, problems: list[Problem]
) -> tuple[dict[str, str], dict[str, str]]:
    """Takes both families out of `environ`: parameters by name, master.cf lines by "service/type".

    `known` maps every parameter of this Postfix to its default; None leaves names and types unchecked.
    """
    parameters: dict[str, str] = {}
    services: dict[str, str] = {}
    for name in sorted(environ):
        value = environ[name]
        if match := _PARAMETER.match(name):
            parameters[match[1]] = value
        elif match := _SERVICE.match(name):
            services[f"{match[1]}/{match[2]}"] = value
        elif name.startswith("POSTFIX"):
            problems.append(
                Problem(name, None, "must be POSTFIX_<parameter> or POSTFIXMASTER_<service>__<type>")
            )
        else:
            continue
        del environ[name]
    for parameter, value in parameters.items():
        variable = f"POSTFIX_{parameter}"
        problems += [
            Problem(variable, value, rule) for rule in _parameter(parameter, parameters, services, known)
        ]
    for service, entry in services.items():
        variable = f"POSTFIXMASTER_{service.replace('/', '__')}"
        problems += [Problem(variable, entry, rule) for rule in _service(service, entry)]
    return parameters, services


def _parameter(
    name: str, parameters: Mapping[str, str], services: Mapping[str, str], known: Mapping[str, str] | None
) -> Iterator[str]:
    value = parameters[name]
    if name in _FIXED:
        yield f"cannot be changed: {_FIXED[name]}"
        return
    if "\n" in value or "\r" in value:
        yield "must be one line; Postfix takes spaces or commas between the parts of a list"
        return
    if known is not None and name not in known and not _made_by_user(name, parameters, services):
        near = get_close_matches(name, [*known], n=1, cutoff=0.6)
        yield "is not a parameter of this Postfix" + (f"; did you mean {near[0]}?" if near else "")
        return
    yield from _value(name, value, (known or {}).get(name, ""))
    if _RESTRICTIONS.match(name):
        yield from _restrictions(name, value, parameters.get("smtpd_restriction_classes", ""))
    yield from _tables(value)


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


def _restrictions(name: str, value: str, classes: str) -> Iterator[str]:
    """Restriction names: a typo answers every client "451 Server configuration error", a bare permit opens the relay."""
    words = re.split(r"[\s,]+", re.sub(r"\{[^{}]*(\{[^{}]*\}[^{}]*)*\}", "", value).strip(" ,"))
    takes_argument = False
    for word in filter(None, words):
        argument, takes_argument = (
            takes_argument,
            word.startswith(("check_", "sleep")) or "_rhs" in word or "_rbl" in word,
        )
        if argument or ":" in word or "$" in word:
            takes_argument = False
        elif word not in _RESTRICTION and word not in re.split(r"[\s,]+", classes):
            near = get_close_matches(word, [*_RESTRICTION], n=1, cutoff=0.6)
            yield f"must be restrictions of postconf(5), and {word!r} is none" + (
                f"; did you mean {near[0]}?" if near else ""
            )
    if name != "smtpd_relay_restrictions":
        return
    before_refusal = words[: next((i for i, word in enumerate(words) if word in _REFUSING), len(words))]
    if "permit" in before_refusal:
        yield "must not permit everyone: that is an open relay, which spammers find within hours"
    elif len(before_refusal) == len(words) and "$" not in value:
        yield "must end with reject_unauth_destination: Postfix refuses to work as an open relay"


def _tables(value: str) -> Iterator[str]:
    for kind, path in _TABLE.findall(value):
        if kind in _PLAIN_TABLES and not Path(path).is_file():
            yield f"must name tables that exist, and {path} does not; mount it"
        elif kind in _INDEXED_TABLES and not Path(path + _INDEXED_TABLES[kind]).is_file():
            yield (
                f"must name tables that exist, and {path}{_INDEXED_TABLES[kind]} does not; "
                f"mount it, or mount the text and use texthash:{path}"
            )


def _service(service: str, entry: str) -> Iterator[str]:
    """master(5): service type private unpriv chroot wakeup maxproc command [argument ...]."""
    fields = entry.split()
    if "\n" in entry or len(fields) < 8:
        yield "must be a whole line of master.cf: service type private unpriv chroot wakeup maxproc command"
        return
    if "/".join(fields[:2]) != service:
        yield f"must begin with the service and type of its name: {service.replace('/', ' ')}"
    if any(flag not in ("y", "n", "-") for flag in fields[2:5]):
        yield "must have y, n or - as its third to fifth word (private, unpriv, chroot)"
    if not re.fullmatch(r"-|[0-9]+\??", fields[5]) or not re.fullmatch(r"-|[0-9]+", fields[6]):
        yield "must have a number or - as its sixth and seventh word (wakeup, maxproc)"
    if fields[4] == "y":
        yield "must not use a chroot (fifth word n): the image has none prepared"
    for name, value in re.findall(r"-o\s+\{?\s*(\w+)\s*=\s*([^{}\s]*)", entry):
        if name == "mynetworks":
            yield "must not change who is trusted: that is MYNETWORKS, which is checked"
        elif _RESTRICTIONS.match(name):
            yield from _restrictions(name, value, "")
