"""Why mail waits or is refused, as one of a few words. Both texts hold what strangers wrote: only the words of Postfix
that stand where it puts them are looked at.
"""

from __future__ import annotations

import re

OTHER = "other"
_SUSPENDED = "delivery temporarily suspended: "
_match_host = re.compile(r"host \S+ (said|refused to talk to me): (\d{3})").match
_find_command = re.compile(r" \(in reply to ([\w ]+?)(?: command)?\)\Z").search
# RFC 4954, section 6: log in first.
_NO_LOGIN = "530"
_find_greylisting = re.compile(r"gr[ea]y-?list", re.IGNORECASE).search
_AFTER = {
    "EHLO": "reply_to_hello",
    "HELO": "reply_to_hello",
    "MAIL FROM": "reply_to_sender",
    "RCPT TO": "reply_to_recipient",
    "DATA": "reply_to_data",
    "end of DATA": "reply_to_message",
}
# How a text of Postfix's own begins, and what that means; the narrower ones first.
_DEFERRALS = (
    ("Host or domain name not found", "dns"),
    ("unable to look up host", "dns"),
    ("Host not found", "dns"),
    ("TLS is required", "tls"),
    ("Cannot start TLS", "tls"),
    ("Server certificate not ", "tls"),
    ("Peer certificate", "tls"),
    ("TLSA lookup error", "tls"),
    ("SASL authentication failed", "authentication"),
    ("lost connection with ", "connection_lost"),
    ("conversation with ", "timeout"),
    ("mail transport unavailable", "relay_itself"),
    ("unknown mail transport error", "relay_itself"),
    ("mail system configuration error", "relay_itself"),
    ("queue file write error", "relay_itself"),
)
_CONNECT = (
    ("Connection refused", "connection_refused"),
    ("Connection timed out", "timeout"),
    ("No route to host", "unreachable"),
    ("Network is unreachable", "unreachable"),
    ("Connection reset by peer", "connection_lost"),
)
_REJECTS = (
    ("Relay access denied", "relay_denied"),
    ("Recipient address rejected: User unknown", "unknown_recipient"),
    ("Recipient address rejected: undeliverable address", "unknown_recipient"),
    ("Recipient address rejected", "recipient"),
    ("Sender address rejected: not owned by user", "sender_not_owned"),
    ("Sender address rejected: not logged in", "sender_not_owned"),
    ("Sender address rejected", "sender"),
    ("Client host rejected: this relay is stopping", "stopping"),
    ("Client host rejected", "client"),
    ("Service unavailable; ", "blocklist"),
    ("Helo command rejected", "hello"),
    ("Must issue a STARTTLS command first", "tls_required"),
    ("Authentication required", "login_required"),
    ("Temporary lookup failure", "lookup"),
    ("Message size exceeds", "size"),
    ("Message too large", "size"),
    ("Insufficient system storage", "disk_full"),
    ("Error: too m", "limit"),
    ("Error: insufficient system storage", "disk_full"),
    ("Data command rejected", "protocol"),
    ("Improper use of SMTP command pipelining", "protocol"),
    ("Protocol error", "protocol"),
)


def of_deferral(reason: str) -> str:
    """From what stands in brackets behind status=deferred."""
    # The queue manager repeats it for what else goes there.
    text = reason.removeprefix(_SUSPENDED)
    if text.startswith("connect to "):
        return next((word for end, word in _CONNECT if text.endswith(end)), OTHER)
    if host := _match_host(text):
        return _of_reply(host[1], host[2], text)
    return next((word for beginning, word in _DEFERRALS if text.startswith(beginning)), OTHER)


def _of_reply(verb: str, code: str, text: str) -> str:
    if code == _NO_LOGIN:
        return "authentication"
    if _find_greylisting(text):
        return "greylisted"
    if verb != "said":
        return "reply_to_connection"
    command = _find_command(text)
    return _AFTER.get(command[1], OTHER) if command else OTHER


def of_reject(reason: str) -> str:
    """From what stands behind the codes of a refusal: "<what was refused>: why"."""
    why = reason.rpartition(">: ")[2]
    return next((word for beginning, word in _REJECTS if why.startswith(beginning)), OTHER)
