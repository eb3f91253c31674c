"""smtpd_*_restrictions: a mistyped name answers every client 451, and a wrong order opens the relay to all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

LISTS = re.compile(r"smtpd_(client|helo|sender|relay|recipient|data|end_of_data|etrn)_restrictions\Z")
_KNOWN = frozenset(
    """
    check_ccert_access check_client_a_access check_client_access check_client_mx_access
    check_client_ns_access check_etrn_access check_helo_a_access check_helo_access check_helo_mx_access
    check_helo_ns_access check_policy_service check_recipient_a_access check_recipient_access
    check_recipient_mx_access check_recipient_ns_access check_reverse_client_hostname_a_access
    check_reverse_client_hostname_access check_reverse_client_hostname_mx_access
    check_reverse_client_hostname_ns_access check_sasl_access check_sender_a_access check_sender_access
    check_sender_mx_access check_sender_ns_access defer defer_if_permit defer_if_reject
    defer_unauth_destination permit permit_auth_destination permit_dnswl_client permit_inet_interfaces
    permit_mx_backup permit_mynetworks permit_rhswl_client permit_sasl_authenticated
    permit_tls_all_clientcerts permit_tls_clientcerts reject reject_authenticated_sender_login_mismatch
    reject_invalid_helo_hostname reject_known_sender_login_mismatch reject_multi_recipient_bounce
    reject_non_fqdn_helo_hostname reject_non_fqdn_recipient reject_non_fqdn_sender reject_plaintext_session
    reject_rbl_client reject_rhsbl_client reject_rhsbl_helo reject_rhsbl_recipient
    reject_rhsbl_reverse_client reject_rhsbl_sender reject_sender_login_mismatch reject_unauth_destination
    reject_unauth_pipelining reject_unauthenticated_sender_login_mismatch reject_unknown_client_hostname
    reject_unknown_helo_hostname reject_unknown_recipient_domain reject_unknown_reverse_client_hostname
    reject_unknown_sender_domain reject_unlisted_recipient reject_unlisted_sender
    reject_unverified_recipient reject_unverified_sender sleep warn_if_reject
    """.split()
)
_REFUSING = frozenset({"reject", "defer", "reject_unauth_destination", "defer_unauth_destination"})
# Before the refusal only what says who the client is, or that the recipient is ours. A table or a policy server
# there could let anybody send, and nobody would see it in the settings.
_MAY_PERMIT = frozenset(
    {"permit_mynetworks", "permit_sasl_authenticated", "permit_tls_clientcerts", "permit_auth_destination"}
)
_GROUP = re.compile(r"\{[^{}]*\}")


def check(name: str, value: str, parameters: Mapping[str, str]) -> Iterator[str]:
    """The rules that a list breaks; `parameters` are the user's own, which `$name` may mean."""
    words = _words(expand(value, parameters))
    classes = re.split(r"[\s,]+", parameters.get("smtpd_restriction_classes", ""))
    for word in words:
        if not _is_argument(word) and word not in _KNOWN and word not in classes:
            near = get_close_matches(word, [*_KNOWN], n=1, cutoff=0.6)
            yield f"must be restrictions of postconf(5), and {word!r} is none" + (
                f"; did you mean {near[0]}?" if near else ""
            )
        if word.endswith("_client_hostname") and parameters.get("smtpd_peername_lookup") != "yes":
            yield f"refuses every client ({word}) unless POSTFIX_smtpd_peername_lookup=yes is set too"
    if name == "smtpd_relay_restrictions":
        yield from _closed(words)


def expand(value: str, parameters: Mapping[str, str]) -> str:
    """`value` with the user's own parameters in place of their `$name`."""
    for _ in range(10):
        before = value
        value = re.sub(
            r"\$(?:\{(\w+)\}|\((\w+)\)|(\w+))",
            lambda m: parameters.get(m[1] or m[2] or m[3], m[0]),
            value,
        )
        if value == before:
            break
    return value


def _words(value: str) -> list[str]:
    """The words of a list; a group in braces is one word, or the end of one."""
    while (shorter := _GROUP.sub("\0", value)) != value:
        value = shorter
    words = [word for word in re.split(r"[\s,]+", value) if word]
    taking = ("check_", "sleep", "reject_rbl", "reject_rhsbl", "permit_dnswl", "permit_rhswl")
    # What follows a restriction that takes an argument is one, whatever it looks like.
    pairs = zip(["", *words], words, strict=False)
    return ["\0" if before.startswith(taking) else word for before, word in pairs]


def _is_argument(word: str) -> bool:
    return "\0" in word or ":" in word or "$" in word


def _closed(words: list[str]) -> Iterator[str]:
    """Whether strangers are refused before anything could admit them."""
    end = next(
        (i for i, w in enumerate(words) if w in _REFUSING and words[i - 1 : i] != ["warn_if_reject"]),
        len(words),
    )
    for word in words[:end]:
        if word == "permit":
            yield "must not permit everyone: that is an open relay, which spammers find within hours"
        elif word.startswith(("permit", "check_")) and word not in _MAY_PERMIT:
            yield f"must not use {word} before reject_unauth_destination, where it could let anybody send"
        elif "$" in word:
            yield f"must not use {word}: who may send has to be seen here"
    if end == len(words):
        yield "must end with reject_unauth_destination: Postfix refuses to work as an open relay"
