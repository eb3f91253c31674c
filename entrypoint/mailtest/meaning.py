"""What the reason in Postfix's log means for the person who set the relay up: the probe's advice, where it fits."""

from __future__ import annotations

import errno
import os
import re
import shlex
from typing import TYPE_CHECKING, Any

from entrypoint import trying
from entrypoint.config.policy import routes
from entrypoint.probe import advice as probes
from entrypoint.probe.resolve import Target
from entrypoint.probe.wire import Reply

if TYPE_CHECKING:
    from entrypoint.config.policy import Policy
    from entrypoint.config.tables.upstreams import Upstream as Configured
    from entrypoint.mailtest.handing import Handed
    from entrypoint.probe import Upstream

_said = re.compile(
    r"(?:said|to me): (\d{3})[ -](.*?)(?: \(in reply to (.*?)(?: command)?\))?\Z", re.DOTALL
).search
_connect = re.compile(r"connect to ([^\[]+)\[([^]]+)\]:(\d+): (.*)").search
_ERRORS = {os.strerror(number): number for number in errno.errorcode}
_STEPS = {
    "HELO": "EHLO",
    "EHLO": "EHLO",
    "STARTTLS": "STARTTLS",
    "MAIL FROM": "MAIL FROM",
    "RCPT TO": "RCPT TO",
}
# As Postfix waits for a connection (smtp_connect_timeout).
_CONNECT_TIMEOUT = 30.0
_NAMES = ("look up host", "name not found")
_LOOPS = {
    "loops back to myself": "the next server is this relay itself, by its name or its address: mail would go in circles"
}
_PLAIN = _LOOPS | {
    "SMTPUTF8 is required": "the upstream takes only addresses in ASCII: use one, or ask its owner for SMTPUTF8",
    "ertificate": "the upstream's certificate is not what RELAYHOST_TLS_LEVEL demands: name it in RELAYHOST as its "
    "certificate does, or give its CA in RELAYHOST_CA_FILE",
    **dict.fromkeys(_NAMES, "check the spelling of RELAYHOST, and that this container can ask a DNS server"),
}
# Without an upstream, of the recipient's own server.
_DIRECT = _LOOPS | {
    "timed out": "many networks block port 25 to the outside: then mail must go by a server that takes it on port 587 "
    "(RELAYHOST)",
    **dict.fromkeys(
        _NAMES, "check the spelling of the recipient's domain, and that this container can ask a DNS server"
    ),
    " said: ": "the recipient's own server says it: check the address; many take no mail from hosts that they do not know, "
    "or whose name (MYHOSTNAME) is not in the DNS both ways: a smarthost in RELAYHOST is known to them",
}


def advice(attempt: dict[str, Any], handed: Handed, policy: Policy) -> str:
    """Of a delivery that failed: what to do about it."""
    reason = str(attempt.get("reason", ""))
    way = policy.way_of(handed.sender)
    if where := routes.elsewhere(policy.settings, _recipient(attempt, handed)):
        found: str | None = f"{where} sends it there: check that line, or ask that server's owner"
    elif way.upstreams:
        upstream = _named(f"{attempt.get('relay', '')} {reason}", way.upstreams)
        found = _in_words_of(upstream, _of_upstream(reason, trying.probed(upstream, policy)))
    else:
        found = next((text for word, text in _DIRECT.items() if word in reason), None)
    return f"{found or 'the reason is above'}; {probing(handed)}"


def probing(handed: Handed) -> str:
    envelope = f"--from {shlex.quote(handed.sender or '<>')} --to {shlex.quote(handed.recipient)}"
    return f"`postern probe {envelope}` goes the way step by step"


def _recipient(attempt: dict[str, Any], handed: Handed) -> str:
    """Whom it went to in the end, as far as LOG_ADDRESSES lets the log say it."""
    told, given = str(attempt.get("to", "")).lower(), handed.recipient.lower()
    same_domain = told.rpartition("@")[2] in ("", given.rpartition("@")[2])
    return given if same_domain else told


def _named(text: str, upstreams: tuple[Configured, ...]) -> Configured:
    """The one that the log speaks of: mail may have gone on to the next."""

    def are_named(ending: str) -> list[Configured]:
        return [
            upstream
            for upstream in upstreams
            if re.search(
                rf"(?<![\w.-]){re.escape(upstream.relayhost.host)}{ending.format(upstream.relayhost.port)}",
                text,
            )
        ]

    return (are_named(r"\[[^]]*\]:{}\b") or are_named(r"(?![\w-])") or upstreams)[0]


def _in_words_of(upstream: Configured, found: str | None) -> str | None:
    """With the line that it is about, of several."""
    if not found:
        return None
    said = trying.in_words_of(upstream, found)
    return said if said == found or upstream.where in said else f"{said} ({upstream.where})"


def _of_upstream(reason: str, upstream: Upstream) -> str | None:
    if said := _said(reason):
        return _of_reply(reason, Reply(int(said[1]), (said[2],)), said[3] or "", upstream)
    if connect := _connect(reason):
        target = Target(connect[1], 0, connect[2], int(connect[3]))
        number = _ERRORS.get(connect[4].strip())
        error = OSError(number, connect[4]) if number else OSError(connect[4])
        return probes.unreachable(target, error, _CONNECT_TIMEOUT).advice
    if "TLS is required, but was not offered" in reason:
        return probes.no_starttls(upstream).advice
    if reason.startswith(("lost connection", "conversation with")):
        step = "greeting" if "greeting" in reason else "DATA"
        error = TimeoutError() if "timed out" in reason else ConnectionError(reason)
        return probes.broken(step, error, upstream, _CONNECT_TIMEOUT).advice
    return next((text for word, text in _PLAIN.items() if word in reason), None)


def _of_reply(reason: str, reply: Reply, command: str, upstream: Upstream) -> str:
    if "refused to talk to me" in reason:
        step = "greeting"
    elif "SASL" in reason:
        step = "AUTH"
    else:
        step = _STEPS.get(command, "")
    if step:
        return probes.refused(step, reply, upstream).advice
    if reply.permanent:
        return "the upstream has read the mail and does not want it: its own words above say why, its owner knows more"
    return "a temporary refusal, which Postfix retries: the upstream's own words above say why"
