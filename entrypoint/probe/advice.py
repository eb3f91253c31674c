"""What each failure means for the person who set the relay up, and which setting to turn."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from entrypoint.probe.upstream import ProbeError
from entrypoint.probe.wire import NotSmtpError, clean

if TYPE_CHECKING:
    from collections.abc import Collection

    from entrypoint.probe.resolve import Target
    from entrypoint.probe.upstream import Upstream
    from entrypoint.probe.wire import Reply

_LOGIN = "RELAYHOST_USERNAME and RELAYHOST_PASSWORD"
_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


def unreachable(target: Target, error: OSError, timeout: float) -> ProbeError:
    if error.errno == errno.ECONNREFUSED:
        reason, do = (
            "connection refused",
            f"nothing listens on port {target.port} there: check the port in RELAYHOST",
        )
    elif isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        blocked = "many networks block port 25 to the outside: use the upstream's port 587 in RELAYHOST"
        reason = f"no answer in {timeout:g} s"
        do = blocked if target.port == 25 else "a firewall drops it: check the host and the port in RELAYHOST"
    elif error.errno in _NO_ROUTE:
        version = "IPv6" if ":" in target.address else "IPv4"
        reason = f"no route ({_reason(error)})"
        do = f"this container has no {version} way there: check its network, or RELAYHOST"
    else:
        reason, do = _reason(error), "check the host and the port in RELAYHOST"
    return ProbeError("connect", f"{target}: {reason}", do)


def broken(step: str, error: Exception, upstream: Upstream, timeout: float) -> ProbeError:
    """Return what to say when the conversation ended without a reply, or with something that is none."""
    # A port that expects TLS first says nothing, or answers the first line with an alert.
    tls_first = step == "greeting" and not upstream.implicit_tls
    hint = "if that port begins with TLS, use port 465 in RELAYHOST; else " if tls_first else ""
    if isinstance(error, TimeoutError):
        what, do = (
            f"no reply in {timeout:g} s",
            f"{hint}the upstream is overloaded or delays strangers: ask its owner",
        )
    elif isinstance(error, NotSmtpError):
        what, do = str(error), f"{hint}check the port in RELAYHOST"
    else:
        what = _reason(error)
        do = f"{hint}the upstream hangs up on this host: ask its owner whether it lets this address in"
    return ProbeError(step, what, do)


def no_starttls(upstream: Upstream) -> ProbeError:
    what = f"the upstream does not offer STARTTLS, and RELAYHOST_TLS_LEVEL={upstream.tls_level} demands it"
    login = " (then without a login, which is never sent in clear)" if upstream.username else ""
    return ProbeError(
        "STARTTLS",
        what,
        "check the port in RELAYHOST (587 STARTTLS, 465 TLS) and that no firewall strips STARTTLS; "
        f"only inside a network of your own set RELAYHOST_TLS_LEVEL=none{login}",
    )


def login_in_clear(upstream: Upstream) -> ProbeError:
    return ProbeError(
        "AUTH",
        f"the connection has no TLS (RELAYHOST_TLS_LEVEL={upstream.tls_level}), and a password is never sent in clear",
        "use a port of the upstream with TLS and RELAYHOST_TLS_LEVEL=secure, verify or encrypt; "
        "or unset RELAYHOST_USERNAME if it needs no login",
    )


def no_mechanism(offered: Collection[str], unspoken: str | None) -> ProbeError:
    what = f"the upstream offers only these mechanisms: {clean(' '.join(offered)) or 'none at all'}"
    if unspoken:
        do = f"Postfix speaks {clean(unspoken)} and the probe does not: send a mail and read the log"
    else:
        do = "have PLAIN or LOGIN allowed at the upstream for the account in RELAYHOST_USERNAME"
    return ProbeError("AUTH", what, do, final=True)


def refused(step: str, reply: Reply, upstream: Upstream) -> ProbeError:
    """Return what to say of a 4xx or 5xx reply. After the login, no other address is worth a try."""
    final = step in {"AUTH", "MAIL FROM", "RCPT TO"}
    wants_tls = "starttls" in str(reply).lower() and not upstream.tls_is_mandatory
    wants_login = reply.code == 530 and upstream.username is None
    if wants_tls:
        do = "set RELAYHOST_TLS_LEVEL=secure (or encrypt, which does not verify)"
    elif wants_login:
        do = f"the upstream wants a login: set {_LOGIN}"
    elif not reply.permanent:
        do = f"a temporary refusal, which Postfix retries; if it stays, {_PERMANENT[step](upstream)}"
    else:
        do = _PERMANENT[step](upstream)
    return ProbeError(step, f"the upstream said: {reply}", do, final=final)


def _bad_login(_upstream: Upstream) -> str:
    return f"check {_LOGIN}; many providers want an app password, or SMTP AUTH switched on for the account"


def _bad_sender(upstream: Upstream) -> str:
    who = "the account in RELAYHOST_USERNAME" if upstream.username else "this host's address"
    return f"the upstream must allow {who} to send as that sender: try another, or ask its owner"


def _bad_recipient(upstream: Upstream) -> str:
    if upstream.username:
        return f"check the recipient's address, and that {_LOGIN} are for an account that may relay"
    return f"check the recipient's address; if it says relaying is denied, set {_LOGIN} or have this host allowed"


def _bad_name(_upstream: Upstream) -> str:
    return "set MYHOSTNAME to a full host name that exists in the DNS"


def _bad_host(_upstream: Upstream) -> str:
    return "the upstream does not talk to this host's address: ask its owner to allow it, or check RELAYHOST"


def _bad_tls(_upstream: Upstream) -> str:
    return "the upstream's TLS is out of order: ask its owner"


_PERMANENT = {
    "greeting": _bad_host,
    "EHLO": _bad_name,
    "STARTTLS": _bad_tls,
    "AUTH": _bad_login,
    "MAIL FROM": _bad_sender,
    "RCPT TO": _bad_recipient,
}


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    return clean(
        os.strerror(number) if isinstance(number, int) and number > 0 else str(error) or type(error).__name__
    )
