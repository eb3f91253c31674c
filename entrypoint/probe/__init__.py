"""The `probe` verb: does the upstream take our mail, and if not, why not and what to do about it.

Connects as Postfix's smtp(8) would and stops before DATA. It reads no configuration and no environment: what it
is told is an `Upstream`, what it finds it says line by line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from entrypoint.probe import tls
from entrypoint.probe.resolve import resolve
from entrypoint.probe.session import Session
from entrypoint.probe.upstream import HandshakeError, ProbeError, Upstream
from entrypoint.probe.wire import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.probe.resolve import Target

__all__ = ["Upstream", "probe"]

# How far an attempt came: of several addresses, the one that came furthest tells most about what is wrong.
_STEPS = ("resolve", "connect", "TLS", "greeting", "EHLO", "STARTTLS", "AUTH", "MAIL FROM", "RCPT TO")


def probe(
    upstream: Upstream,
    sender: str,
    recipient: str,
    say: Callable[[str], None],
    *,
    timeouts: tuple[float, float] = (10.0, 30.0),
) -> bool:
    """Try to send from `sender` to `recipient` up to RCPT TO; return whether the upstream would take the mail.

    `say` gets one line for each step as it happens, and at the end one line that begins with `OK` or `FAILED`.
    Addresses are tried in turn as Postfix does; a refused login, sender or recipient ends it at once. The
    timeouts are in seconds: for one connection (and the MX lookup), and for one reply. The password is never said.
    """
    try:
        # Before the first packet: a CA file that cannot be read is wrong whatever the far side says.
        tls.context(upstream, verify=upstream.certificate_is_verified)
        if upstream.tls_level == "dane":
            say(
                "dane       TLSA and DNSSEC are not checked here: Postfix does that itself; TLS goes unverified"
            )
        targets = resolve(upstream, say, timeouts[0])
        worked = _first_that_works(upstream, targets, (sender, recipient), say, timeouts)
    except ProbeError as error:
        say(f"FAILED     {error.step}: {error.what}: {error.advice}")
        return False
    say(f"OK         {worked} would take mail from <{clean(sender)}> for <{clean(recipient)}>")
    return True


def _first_that_works(
    upstream: Upstream,
    targets: list[Target],
    envelope: tuple[str, str],
    say: Callable[[str], None],
    timeouts: tuple[float, float],
) -> Target:
    failures: list[ProbeError] = []
    for target in targets:
        try:
            _attempt(upstream, target, envelope, say, timeouts)
        except ProbeError as error:
            if error.final or len(targets) == 1:
                raise
            say(f"{error.step:<10} {error.what}")
            failures.append(error)
        else:
            return target
    raise max(failures, key=lambda error: _STEPS.index(error.step))


def _attempt(
    upstream: Upstream,
    target: Target,
    envelope: tuple[str, str],
    say: Callable[[str], None],
    timeouts: tuple[float, float],
) -> None:
    try:
        Session(upstream, target, say, timeouts).run(*envelope)
    except HandshakeError as error:
        # smtp.h, PLAINTEXT_FALLBACK_OK_AFTER_STARTTLS_FAILURE: never at a level that demands TLS or with a login.
        if upstream.tls_is_mandatory or upstream.username is not None:
            raise
        say(f"STARTTLS   {error.what}; Postfix sends in clear once a mail has waited minimal_backoff_time")
        Session(upstream, target, say, timeouts, plain=True).run(*envelope)
