"""Files of keys and certificates in PEM form (RFC 7468): what stands in them, and why they cannot be used."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import stat
from dataclasses import dataclass
from pathlib import Path

_LARGEST_FILE = 1024 * 1024
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----[ \t]*\r?\n(.*?)-----END \1-----", re.DOTALL)
_CERTIFICATE = frozenset({"CERTIFICATE", "X509 CERTIFICATE"})
# An engine that is told to mount a file which does not exist makes a directory of that name, and mounts it.
_DIRECTORY = "a mount whose file does not exist becomes one"


@dataclass(frozen=True)
class File:
    """The certificates of a file in its own order, and its private key if it has one (None too where it is encrypted)."""

    path: Path
    certificates: tuple[str, ...]
    key: str | None
    encrypted: bool


def read(path: Path) -> File:
    """Raises ValueError("must ...")."""
    content = _content(path)
    if content[:1] == b"0":
        raise ValueError(
            f"must be PEM text (-----BEGIN ...), and {path} is not: {_conversion(path, content)}"
        )
    blocks = _BLOCK.findall(content.decode("utf-8", "replace").replace("\r\n", "\n"))
    keys = {_block(kind, body) for kind, body in blocks if kind.endswith("PRIVATE KEY")}
    if len(keys) > 1:
        raise ValueError(f"must have one private key, and {path} holds {len(keys)}")
    key = keys.pop() if keys else None
    encrypted = key is not None and ("BEGIN ENCRYPTED" in key or "Proc-Type: 4,ENCRYPTED" in key)
    found = [_block("CERTIFICATE", body) for kind, body in blocks if kind in _CERTIFICATE]
    return File(path, tuple(dict.fromkeys(found)), None if encrypted else key, encrypted)


def fingerprint(certificate: str) -> str:
    """SHA-256 in the form of openssl(1) and of Postfix's log: AB:CD:... Raises ValueError("must ...")."""
    try:
        der = base64.b64decode("".join(certificate.splitlines()[1:-1]), validate=True)
    except binascii.Error:
        raise ValueError("must be whole, and a certificate is not base64 text") from None
    return hashlib.sha256(der).digest().hex(":").upper()


def _content(path: Path) -> bytes:
    try:
        # To open a pipe would wait for ever, and nobody would know for what.
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ValueError(f"must be a file, and {path} is a directory ({_DIRECTORY})")
        if not stat.S_ISREG(mode):
            raise ValueError(f"must be a file, and {path} is a pipe, a socket or a device")
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise ValueError(f"must be a readable file, and {path} is not: {error.strerror}") from None
    if len(content) > _LARGEST_FILE:
        raise ValueError(f"must be a file of at most 1 MB, and {path} is larger")
    return content


def _conversion(path: Path, content: bytes) -> str:
    """What makes PEM of it. DER begins with a sequence; that of PKCS #12 with the version 3 (RFC 7292)."""
    if b"\x02\x01\x03" in content[:8]:
        return f"openssl pkcs12 -in {path} -nodes -out {path.with_suffix('.pem')}"
    return f"openssl x509 -inform DER -in {path} -out {path.with_suffix('.pem')}"


def _block(kind: str, body: str) -> str:
    lines = "".join(f"{line.strip()}\n" for line in body.strip().splitlines())
    return f"-----BEGIN {kind}-----\n{lines}-----END {kind}-----\n"
