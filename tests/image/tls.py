"""Certificates for one run: the sink's, by an authority that the relay is told of, and those that the relay itself shows."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

SINK_NAMES = ("sink", "sink.example", "mx.example.com")
"""The names that the sink answers to and its certificate is for."""
OTHER_NAME = "elsewhere.example"
"""A name that the sink answers to, too, but that is not in its certificate."""


@dataclass(frozen=True)
class Certificates:
    """Files of the test host; below `INSIDE` in every relay that mounts the directory."""

    directory: Path

    @classmethod
    def make(cls, directory: Path, names: tuple[str, ...] = SINK_NAMES) -> Certificates:
        """`names` are those of the sink's certificate."""
        right, wrong = trustme.CA(), trustme.CA()
        right.cert_pem.write_to_path(directory / "ca.pem")
        wrong.cert_pem.write_to_path(directory / "other-ca.pem")
        issued = right.issue_cert(*names)
        for number, part in enumerate(issued.cert_chain_pems):
            part.write_to_path(directory / "sink.pem", append=number > 0)
        issued.private_key_pem.write_to_path(directory / "sink.key")
        # Containers read them as whoever they run as.
        directory.chmod(0o755)
        for file in directory.iterdir():
            file.chmod(0o644)
        return cls(directory)

    @property
    def mount(self) -> dict[str, dict[str, str]]:
        return {str(self.directory): {"bind": INSIDE, "mode": "ro"}}


INSIDE = "/certificates"
CA = f"{INSIDE}/ca.pem"
OTHER_CA = f"{INSIDE}/other-ca.pem"


@dataclass(frozen=True)
class Pieces:
    """PEM texts of one certificate."""

    key: str
    leaf: str
    intermediates: tuple[str, ...] = ()

    @property
    def chain(self) -> str:
        return "".join(self.intermediates)

    @property
    def all(self) -> str:
        return self.key + self.leaf + self.chain

    @property
    def fingerprint(self) -> str:
        return fingerprint(ssl.PEM_cert_to_DER_cert(self.leaf))


def issue(
    *names: str,
    by: trustme.CA,
    begins: datetime | None = None,
    ends: datetime | None = None,
    key_type: trustme.KeyType = trustme.KeyType.ECDSA,
) -> Pieces:
    """For three months unless told otherwise, as from a public CA."""
    now = datetime.now(UTC)
    begins, ends = begins or now - timedelta(hours=1), ends or now + timedelta(days=90)
    made = by.issue_cert(*names, not_before=begins, not_after=ends, key_type=key_type)
    leaf, *intermediates = (blob.bytes().decode() for blob in made.cert_chain_pems)
    return Pieces(made.private_key_pem.bytes().decode(), leaf, tuple(intermediates))


def text(authority: trustme.CA) -> str:
    """What its clients trust."""
    return authority.cert_pem.bytes().decode()


def fingerprint(certificate: bytes) -> str:
    """Of a certificate in DER form, as Postfix and openssl(1) write it: AB:CD:..."""
    return hashlib.sha256(certificate).digest().hex(":").upper()


def strict(authority: str) -> ssl.SSLContext:
    """A client that trusts one CA, and is as strict as Python 3.13 is by default."""
    context = ssl.create_default_context(cadata=authority)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context
