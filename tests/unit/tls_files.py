"""Keys and certificates for tests of what reads them, and a handshake that says what a client makes of them."""

from __future__ import annotations

import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from tests.image import tls
from tests.image.tls import Pieces

NAME = "relay.example.com"
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def issue(
    *names: str, by: trustme.CA | None = None, begins: datetime | None = None, ends: datetime | None = None
) -> Pieces:
    return tls.issue(*(names or (NAME,)), by=by or trustme.CA(), begins=begins, ends=ends)


def below_two_authorities() -> Pieces:
    root = trustme.CA(organization_name="Root")
    first = trustme.CA(root, organization_name="First")
    return issue(by=trustme.CA(first, organization_name="Second"))


def of_its_own(*algorithm: str) -> Pieces:
    """A self-signed certificate for the name, with a key that openssl-genpkey(1) makes."""
    key = openssl("genpkey", "-algorithm", *algorithm)
    subject = ("-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}")
    return Pieces(key, openssl("req", "-x509", "-key", "/dev/stdin", *subject, given=key))


def openssl(*command: str, given: str = "") -> str:
    return subprocess.run(
        ["openssl", *command], input=given, capture_output=True, text=True, check=True
    ).stdout


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def shake_hands(chain: Path, authorities: str, name: str = NAME) -> None:
    """As strictly as Python 3.13's clients verify. Raises ssl.SSLError."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain)
    client = tls.strict(authorities)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ends[0].version()
