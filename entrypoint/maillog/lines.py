"""One line of the log, taken apart: who wrote it, about which message, with which facts.

The keeper takes every line of a busy relay through this: a microsecond here is a percent of a core at a thousand
messages a second. Lines hold words of strangers, such as addresses and replies of servers: each pattern says where
they end, so that nobody can write a fact into the log that Postfix did not state.
"""

from __future__ import annotations

import re
from functools import lru_cache

# An address as Postfix shows it (info_log_addr_form = external): only in quotes may there be a ">".
_INSIDE = r'[^<>"]*+(?:"(?:[^"\\]|\\.)*"[^<>"]*+)*'
_ADDRESS = f"<({_INSIDE})>"
_SECONDS = r"(\d+(?:\.\d+)?)"
# What stands before a line's first "]: ": when, on which host, who.
_match_origin = re.compile(r"(.{15}) \S+ ([^\s\[]+)\[(\d+)\Z", re.DOTALL).match
# No host's name is so long that it ends later.
_ORIGIN = 400
_match_head = re.compile(
    r"(?:(warning|error|fatal|panic): )?"
    # enable_long_queue_ids: no vowels, so that no word looks like one; else hexadecimal. A "z" may be in the time, too.
    r"(?:([0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,}z[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-y]+|[0-9A-F]{6,}|NOQUEUE): )?"
    # What the rest begins with.
    r"([a-z-]*)",
    re.DOTALL,
).match
_ATTEMPT = (
    rf"to={_ADDRESS}, (?:orig_to={_ADDRESS}, )?relay=([^,]+), (?:conn_use=\d+, )?delay={_SECONDS}, "
    rf"delays={_SECONDS}/{_SECONDS}/{_SECONDS}/{_SECONDS}, dsn=([\d.]+), status=([\w-]+)"
)
_match_delivery = re.compile(rf"{_ATTEMPT}(?: \((.*)\))?\Z", re.DOTALL).match
# Postfix cuts a line at 2,000 characters, which a server's words may fill.
_match_cut_delivery = re.compile(rf"{_ATTEMPT} \((.*)\Z", re.DOTALL).match
_DELIVERY = (
    "to",
    "orig_to",
    "relay",
    "delay",
    "delay_before_queue_manager",
    "delay_queue_manager",
    "delay_connection_setup",
    "delay_transmission",
    "dsn",
    "status",
    "reason",
)
_match_client = re.compile(
    r"client=([^\s\[]+)\[([^]]+)\](?:, sasl_method=([^,]+))?(?:, sasl_username=(.*?))?(?:, sasl_sender=.*)?"
    r"(?:, orig_\w+=.*)?\Z",
    re.DOTALL,
).match
_CLIENT = ("client_name", "client", "sasl_method", "sasl_username")
_match_activation = re.compile(rf"from={_ADDRESS}, size=(\d+), nrcpt=(\d+) \(queue active\)\Z").match
_ACTIVATION = ("from", "size", "nrcpt")
_match_expiry = re.compile(rf"from={_ADDRESS}, status=([\w-]+), (returned to sender)\Z").match
_EXPIRY = ("from", "status", "reason")
_match_reject = re.compile(
    r"(reject|milter-reject|reject_warning|discard|hold): ([\w-]+) from ([^\s\[]*)\[([^]]+)\](?::\d+)?: "
    rf"(?:(\d{{3}}) (?:(\d\.\d{{1,3}}\.\d{{1,3}}) )?)?(.*?)(?:; (?:from={_ADDRESS},? )?(?:to={_ADDRESS},? )?proto=(\w+)"
    r"(?:,? helo=<(.*)>)?)?\Z",
    re.DOTALL,
).match
_REJECT = (
    "action",
    "command",
    "client_name",
    "client",
    "code",
    "dsn",
    "reason",
    "from",
    "to",
    "protocol",
    "helo",
)
# What header_checks and the like found in a mail; its words are a stranger's to the end of the line.
_match_content = re.compile(r"(reject|discard|hold): (header|body) (.*)\Z", re.DOTALL).match
_CONTENT = ("action", "command", "reason")
_match_login_failure = re.compile(
    r"([^\s\[]+)\[([^]]+)\](?::\d+)?: SASL ([\w-]+) authentication failed: (.*?)(?:, sasl_username=(.*))?\Z",
    re.DOTALL,
).match
_LOGIN_FAILURE = ("client_name", "client", "sasl_method", "reason", "sasl_username")
_match_notification = re.compile(r"(sender|postmaster) ([\w -]+) notification: (\w+)\Z").match
_NOTIFICATION = ("to_whom", "about", "notification")
_match_session = re.compile(r"(?:dis)?connect from ([^\s\[]+)\[([^]]+)\]").match
_SESSION = ("client_name", "client")
# Kind, pattern, and the names of what that finds.
_REFUSED = (("reject", _match_content, _CONTENT), ("reject", _match_reject, _REJECT))
_NOTIFIED = (("notification", _match_notification, _NOTIFICATION),)
# A client may have any name.
_OTHERWISE = (("login_failure", _match_login_failure, _LOGIN_FAILURE),)
# What a text may be that begins with this word. Of a warning too.
_KINDS = {
    word: (*kinds, *_OTHERWISE)
    for word, kinds in {
        "to": (("delivery", _match_delivery, _DELIVERY), ("delivery", _match_cut_delivery, _DELIVERY)),
        "client": (("client", _match_client, _CLIENT),),
        "from": (("queued", _match_activation, _ACTIVATION), ("expired", _match_expiry, _EXPIRY)),
        "message-id": (("message_id", re.compile(r"message-id=(.*)", re.DOTALL).match, ("message_id",)),),
        "removed": (("removed", re.compile(r"removed(?: \((.*)\))?\Z").match, ("reason",)),),
        "connect": (("connect", _match_session, _SESSION),),
        "disconnect": (("disconnect", _match_session, _SESSION),),
        "uid": (("pickup", re.compile(r"uid=(\d+)").match, ("uid",)),),
        "reject": _REFUSED,
        "milter-reject": _REFUSED,
        "discard": _REFUSED,
        "hold": _REFUSED,
        "sender": _NOTIFIED,
        "postmaster": _NOTIFIED,
    }.items()
}

SUMMARY = "postern/message"
"""The program of the one line that says how a message left the queue."""


class Origin:
    """Who wrote a line, and when: `program` is Postfix's name of it ("postfix/submission/smtpd") or ours, `service` that
    without what names its listener: smtpd, qmgr, smtp, ...
    """

    __slots__ = ("pid", "program", "service", "stamp")

    def __init__(self, stamp: str = "", program: str = "", pid: str = "") -> None:
        self.stamp = stamp
        self.program = program
        self.pid = pid
        self.service = program.rpartition("/")[2]


_NOBODY = Origin()


class Line:
    """`text` is what follows `program[pid]: `.

    `kind` says which of the events below it is, or is "": delivery, client, queued, expired, removed, reject,
    login_failure, connect, disconnect, message_id, pickup, notification, summary. `fields` are the facts of that kind, all
    as text; a summary's `to` are the first few recipients, with ", " between them. `whole` is the line without its break.
    """

    __slots__ = ("fields", "kind", "level", "origin", "queue_id", "text", "whole")

    def __init__(
        self, whole: str, text: str, origin: Origin = _NOBODY, level: str = "info", queue_id: str = ""
    ) -> None:
        self.whole = whole
        self.text = text
        self.origin = origin
        self.level = level
        """As Postfix writes it before the text: warning, error, fatal, panic; anything else is "info"."""
        self.queue_id = queue_id
        self.kind = ""
        self.fields: dict[str, str] = {}


def parse(line: str) -> Line:
    """A complete line, with or without its line break. What is not in the log's form becomes the text of an empty program."""
    line = line.rstrip("\n")
    end = line.find("]: ", 0, _ORIGIN)
    begin = end + len("]: ")
    found = _origin(line[:end]) if end > 0 else None
    head = _match_head(line, begin)
    if not found or not head:
        return Line(line, line)
    level, queue_id, word = head.groups("")
    if queue_id == "NOQUEUE":
        queue_id = ""
    parsed = Line(line, line[begin:], found, level or "info", queue_id)
    if found.program.startswith("postfix/"):
        begin = head.start(3)
        for kind, match, names in _KINDS.get(word, _OTHERWISE):
            if matched := match(line, begin):
                parsed.kind = kind
                parsed.fields = _named(names, matched)
                break
    return parsed


@lru_cache(maxsize=64)
def _origin(beginning: str) -> Origin | None:
    """Remembered, as under load the same few programs write many lines in each second."""
    found = _match_origin(beginning)
    return Origin(*found.groups()) if found else None


def delivery(text: str) -> dict[str, str]:
    """The facts of the text of a line of that kind; of any other, none. To keep the text takes a third of the memory."""
    facts = text.partition(": ")[2]
    matched = _match_delivery(facts) or _match_cut_delivery(facts)
    return _named(_DELIVERY, matched) if matched else {}


def _named(names: tuple[str, ...], matched: re.Match[str]) -> dict[str, str]:
    found = matched.groups()
    if None not in found:
        return dict(zip(names, found, strict=True))
    return {name: value for name, value in zip(names, found, strict=True) if value is not None}
