"""SMTP AUTH (RFC 4954) with the bytes that the user gave: smtplib's own can send only ASCII."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from typing import TYPE_CHECKING

from entrypoint.probe.wire import NotSmtpError, to_bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from entrypoint.probe.wire import Reply, Wire

# The order in which Cyrus SASL, and so Postfix, picks: a server may offer CRAM-MD5 and yet know the password only
# as a hash, and then mail waits although PLAIN would work.
MECHANISMS = ("CRAM-MD5", "PLAIN", "LOGIN")

# RFC 5321 section 4.5.3.1.4: a command line, its CRLF included. Postfix too sends a longer response by itself.
_COMMAND_LIMIT = 512


def choose(offered: Collection[str]) -> str | None:
    """Return the mechanism to use, or None when the server offers none that we speak."""
    return next((mechanism for mechanism in MECHANISMS if mechanism in offered), None)


def unspoken(offered: Collection[str]) -> str | None:
    """Return the mechanism that Postfix would pick although we do not speak it: Cyrus SASL takes the strongest."""
    stronger = [name for name in offered if name == "DIGEST-MD5" or re.fullmatch(r"SCRAM-SHA-\d+", name)]
    return max(stronger, default=None)


def authenticate(wire: Wire, mechanism: str, username: str, password: str) -> Reply:
    """Log in and return the server's last reply; raises what `Wire` raises."""
    if mechanism != "CRAM-MD5":  # which never sends the password itself
        encoded = (_base64(to_bytes(password)), _base64(_plain(username, password)))
        wire.hide(password, *(form.decode() for form in encoded))
    if mechanism == "PLAIN":
        return _log_in_plain(wire, _base64(_plain(username, password)))
    reply = wire.command(b"AUTH " + mechanism.encode())
    for response in _responses(mechanism, username, password, reply):
        if reply.code != 334:
            return reply
        reply = wire.command(_base64(response))
    return reply


def _log_in_plain(wire: Wire, response: bytes) -> Reply:
    command = b"AUTH PLAIN " + response
    if len(command) + 2 <= _COMMAND_LIMIT:
        return wire.command(command)
    reply = wire.command(b"AUTH PLAIN")
    return wire.command(response) if reply.code == 334 else reply


def _responses(mechanism: str, username: str, password: str, first: Reply) -> Iterator[bytes]:
    if mechanism == "LOGIN":
        yield to_bytes(username)
        yield to_bytes(password)
    elif first.code == 334:
        try:
            challenge = base64.b64decode("".join(first.lines), validate=True)
        except (binascii.Error, ValueError):
            raise NotSmtpError("the far side's CRAM-MD5 challenge is not base64") from None
        digest = hmac.new(to_bytes(password), challenge, "md5").hexdigest()
        yield to_bytes(username) + b" " + digest.encode()


def _plain(username: str, password: str) -> bytes:
    return b"\0" + to_bytes(username) + b"\0" + to_bytes(password)


def _base64(raw: bytes) -> bytes:
    return base64.b64encode(raw)
