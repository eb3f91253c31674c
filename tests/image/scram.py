"""The client's side of SCRAM (RFC 5802, RFC 7677), which neither smtplib nor swaks has."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import smtplib
from base64 import b64decode, b64encode


def log_in(session: smtplib.SMTP, mechanism: str, login: str, password: str) -> tuple[int, str]:
    """The last reply, once the server has proved that it knows the password, too; or the first that is a no."""
    digest = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}[mechanism]
    bare, code, text = _begin(session, mechanism, login)
    if code != 334:
        return code, text.decode()
    first = b64decode(text).decode()
    fields = _fields(first)
    assert fields["r"].startswith(_fields(bare)["r"])
    salted = hashlib.pbkdf2_hmac(digest, password.encode(), b64decode(fields["s"]), int(fields["i"]))
    client, server = (hmac.digest(salted, name, digest) for name in (b"Client Key", b"Server Key"))
    final = f"c=biws,r={fields['r']}"
    signed = f"{bare},{first},{final}".encode()
    signature = hmac.digest(hashlib.new(digest, client).digest(), signed, digest)
    proof = bytes(a ^ b for a, b in zip(client, signature, strict=True))
    code, text = session.docmd(_encoded(f"{final},p={b64encode(proof).decode()}"))
    if code == 334:
        assert b64decode(text) == b"v=" + b64encode(hmac.digest(server, signed, digest))
        code, text = session.docmd("")
    return code, text.decode()


def first_answer(session: smtplib.SMTP, mechanism: str, login: str) -> dict[str, str]:
    """What the server asks: r, s and i. The client then gives up."""
    _, code, text = _begin(session, mechanism, login)
    assert code == 334, text
    assert session.docmd("*")[0] == 501
    return _fields(b64decode(text).decode())


def _begin(session: smtplib.SMTP, mechanism: str, login: str) -> tuple[str, int, bytes]:
    bare = f"n={login.replace('=', '=3D').replace(',', '=2C')},r={secrets.token_urlsafe()}"
    return bare, *session.docmd("AUTH", f"{mechanism} {_encoded('n,,' + bare)}")


def _fields(message: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in message.split(","))


def _encoded(text: str) -> str:
    return b64encode(text.encode()).decode()
