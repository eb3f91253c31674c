"""The only caller of openssl(1). Keys go to it through memory, never through a file or an argument."""

from __future__ import annotations

import ipaddress
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

_COMMON_NAME = re.compile(r"(?:^|[,/] ?)CN ?= ?([^,/]+)")
_FIELDS = {
    "Issuer": "issuer",
    "Subject": "subject",
    "Not Before": "not_before",
    "Not After ": "not_after",
}
_EXTENSIONS = {
    "X509v3 Subject Alternative Name": "names",
    "X509v3 Subject Key Identifier": "key_id",
    "X509v3 Authority Key Identifier": "issuer_key_id",
}


@dataclass(frozen=True)
class Certificate:
    """What a certificate says of itself. `names` are DNS names and addresses, or the common name where there are none."""

    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    names: tuple[str, ...]
    key_id: str
    issuer_key_id: str


@contextmanager
def in_memory(text: str) -> Iterator[str]:
    """A path to the text, for as long as the context lasts: for this process and, at the same path, its children."""
    descriptor = os.memfd_create("pem")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(text.encode())
        yield f"/dev/fd/{descriptor}"
    finally:
        os.close(descriptor)


def describe(certificates: str) -> list[Certificate]:
    """Each certificate of a PEM text, in its order. Raises ValueError("must ...") when one of them is broken."""
    wanted = certificates.count("-----BEGIN CERTIFICATE-----")
    with in_memory(certificates) as path:
        try:
            text = _openssl("storeutl", "-noout", "-text", "-certs", path)
        except ValueError:
            text = ""
    found = [_parsed(part) for part in re.split(r"^\d+: Certificate$", text, flags=re.MULTILINE)[1:]]
    if len(found) != wanted:
        raise ValueError("must be whole, and OpenSSL cannot read a certificate")
    return found


def make_key() -> str:
    """A new private key on the curve P-256: the one that every client with TLS 1.2 knows."""
    return _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")


def make_certificate(config: str, days: int, key: str, signer: str | None = None) -> str:
    """A certificate for the key, as a configuration says (openssl-req(1), x509v3_config(5)).

    Signed by `signer`, the PEM text of a CA's certificate and key; by itself without.
    """
    with in_memory(config) as request, in_memory(key) as own, in_memory(signer or "") as ca:
        by = ["-CA", ca, "-CAkey", ca] if signer else []
        days_left = ["-days", str(days)]
        return _openssl("req", "-x509", "-sha256", "-config", request, "-key", own, *days_left, *by)


def _openssl(*command: str) -> str:
    """What it prints. Raises ValueError with the first of its complaints."""
    open_files = [int(word.rpartition("/")[2]) for word in command if word.startswith("/dev/fd/")]
    done = subprocess.run(
        ["openssl", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        pass_fds=open_files,
        env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
        check=False,
    )
    if done.returncode:
        complaint = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
        raise ValueError(f"openssl {command[0]} failed: {complaint}")
    return done.stdout.decode("utf-8", "replace")


def _parsed(text: str) -> Certificate:
    """From the text form; a line of its is a field at one depth, or the value of the extension named above it."""
    told: dict[str, str] = {}
    extension = None
    for line in text.splitlines():
        name, _, value = line.strip().partition(":")
        if extension:
            told.setdefault(extension, line.strip())
        elif name in _FIELDS:
            told.setdefault(_FIELDS[name], value.strip())
        extension = _EXTENSIONS.get(name)
    alternatives = (entry.partition(":") for entry in told.get("names", "").split(", "))
    names = [_name(kind, value) for kind, _, value in alternatives if kind in ("DNS", "IP Address")]
    common = _COMMON_NAME.findall(told["subject"])[-1:]
    return Certificate(
        subject=told["subject"],
        issuer=told["issuer"],
        not_before=_moment(told["not_before"]),
        not_after=_moment(told["not_after"]),
        names=tuple(names or [name.strip().lower() for name in common]),
        key_id=told.get("key_id", ""),
        issuer_key_id=told.get("issuer_key_id", "").removeprefix("keyid:"),
    )


def _name(kind: str, value: str) -> str:
    # OpenSSL writes IPv6 in a form of its own.
    return value.lower() if kind == "DNS" else str(ipaddress.ip_address(value))


def _moment(text: str) -> datetime:
    import ssl  # Here, as most starts have no certificate: 15 ms.

    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)
