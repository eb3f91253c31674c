"""Giving the test's mail to the relay as a program in this container would."""

from __future__ import annotations

import email.policy
import secrets
import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from ipaddress import ip_address
from typing import TYPE_CHECKING

from entrypoint.postfix import submitting

if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.config.policy import Policy
    from entrypoint.config.values import Listener

# Seconds for each reply. Behind live verification of recipients a RCPT may take some.
_PATIENCE = 30.0
# Addresses may be in any script (RFC 6532).
_INTERNATIONAL = email.policy.default.clone(utf8=True)
_EVERY_ADDRESS = ("", "0.0.0.0")  # as LISTEN may have it


class RefusedError(Exception):
    """This relay itself did not take it; the text says why, and what to do."""


@dataclass(frozen=True)
class Handed:
    """`name` is what the keeper finds the story by: a queue id, or the end of a message id."""

    sender: str
    recipient: str
    name: str


def hand_over(policy: Policy, sender: str, recipient: str, say: Callable[[str, str], None]) -> Handed:
    """Raises RefusedError."""
    # The domain is what tells it from others: where addresses are masked in the log, the rest is not to be found.
    mark = f"@{secrets.token_hex(8)}.{policy.hostname}>"
    message = _message(sender, recipient, f"<postern-test{mark}", policy.hostname).as_bytes()
    envelope = f"from <{sender}> to <{recipient}>"
    if listener := _trusting(policy):
        say("hand over", f"{envelope}, to port {listener.port} of this relay")
        return Handed(sender, recipient, _by_smtp(listener, policy, sender, recipient, message))
    say("hand over", f"{envelope}, by sendmail: no relay port here takes mail from the container itself")
    try:
        submitting.sendmail(message, sender, recipient)
    except RuntimeError as error:
        raise RefusedError(f"sendmail did not take it: {error}") from None
    return Handed(sender, recipient, mark)


def _message(sender: str, recipient: str, identity: str, hostname: str) -> EmailMessage:
    message = EmailMessage(_INTERNATIONAL)
    try:
        # What came as no UTF-8 is no address either.
        f"{sender}{recipient}".encode()
        message["From"], message["To"] = sender or f"postmaster@{hostname}", recipient
    except (ValueError, IndexError):
        raise RefusedError("the sender or the recipient is no mail address") from None
    message["Subject"] = f"Test mail from {hostname}"
    message["Date"], message["Message-ID"] = formatdate(localtime=True), identity
    # Nobody's holiday notice is to answer (RFC 3834).
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(
        f"Somebody who looks after the mail relay {hostname} sent this with `postern test`.\n"
        "It has arrived, so the way to you works. There is nothing to do.\n"
    )
    return message


def _trusting(policy: Policy) -> Listener | None:
    """The first that takes mail from loopback without a login."""
    loopback = ip_address("127.0.0.1")
    if not any(loopback in network for network in policy.trusted if network.version == loopback.version):
        return None
    return next(
        (
            listener
            for listener in policy.listeners
            if listener.profile == "relay" and _is_local(listener.address)
        ),
        None,
    )


def _is_local(address: str) -> bool:
    return address in _EVERY_ADDRESS or address.startswith("127.")


def _by_smtp(listener: Listener, policy: Policy, sender: str, recipient: str, message: bytes) -> str:
    """The queue id."""
    international = [] if f"{sender}{recipient}".isascii() else ["SMTPUTF8"]
    host = "127.0.0.1" if listener.address in _EVERY_ADDRESS else listener.address
    try:
        with smtplib.SMTP(host, listener.port, policy.hostname, timeout=_PATIENCE) as session:
            session.ehlo_or_helo_if_needed()
            if policy.settings.smtpd_tls_security_level == "encrypt":
                # To ourselves: there is nobody in between whose certificate could tell anything.
                session.starttls(context=ssl._create_unverified_context())  # noqa: S323, SLF001
                session.ehlo()
            # Whoever looks on needs no notice about it.
            quiet = ["NOTIFY=NEVER"] if session.has_extn("dsn") else []
            _demand_good("the sender", *session.mail(sender, international))
            _demand_good("the recipient", *session.rcpt(recipient, quiet))
            code, said = session.data(message)
            _demand_good("the mail", code, said)
    except (OSError, smtplib.SMTPException) as error:
        raise RefusedError(
            f"port {listener.port} of this relay does not take mail ({error}): /readyz and the log say why"
        ) from None
    # It ends with "queued as", and the id.
    return said.decode("ascii", "replace").rpartition(" ")[2]


def _demand_good(step: str, code: int, text: bytes) -> None:
    if code >= 400:
        said = " / ".join(text.decode("utf-8", "replace").splitlines())
        advice = (
            "--from gives another sender" if step == "the sender" else "the log's line `reject` says it too"
        )
        raise RefusedError(f"this relay itself refuses {step}: {code} {said}: {advice}")
