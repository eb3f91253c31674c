"""PLAIN (RFC 4616) and LOGIN: the exchange that ends in a login and a password, whoever they belong to."""

import binascii
from base64 import b64decode

from aiosmtpd.smtp import MISSING, SMTP

Credentials = tuple[str, str]


async def exchange(server: SMTP, mechanism: str, initial: str) -> Credentials | None:
    """Ask for what the initial response lacks. None when the client gave up or sent what cannot be read."""
    if mechanism == "PLAIN":
        return plain(_decoded(initial) if initial else await _ask(server, ""))
    login = _decoded(initial) if initial else await _ask(server, "Username:")
    password = await _ask(server, "Password:") if login is not None else None
    return None if login is None or password is None else (_text(login), _text(password))


def leaked(mechanism: str, initial: str) -> Credentials | None:
    """What a client gave away in the AUTH line itself, although the command is refused."""
    return plain(_decoded(initial)) if mechanism == "PLAIN" else None


def plain(blob: bytes | None) -> Credentials | None:
    """Authorization identity, NUL, login, NUL, password."""
    parts = [] if blob is None else blob.split(b"\0")
    return (_text(parts[1]), _text(parts[2])) if len(parts) == 3 else None


async def _ask(server: SMTP, challenge: str) -> bytes | None:
    answer = await server.challenge_auth(challenge)
    return answer if answer is not MISSING and isinstance(answer, bytes) else None


def _decoded(base64: str) -> bytes | None:
    if base64 == "=":  # RFC 4954, section 4: an initial response that is empty
        return b""
    try:
        return b64decode(base64, validate=True)
    except binascii.Error:
        return None


def _text(octets: bytes) -> str:
    """Bytes that are not UTF-8 survive as surrogates, so that a comparison stays exact."""
    return octets.decode("utf-8", "surrogateescape")
