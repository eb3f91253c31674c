"""A private CA and the relay's certificate by it, for relays that were given none.

Clients trust the CA, so it is made once and kept on the data volume; the certificate may change below it.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from entrypoint.tls import chain, openssl, pem
from entrypoint.tls.chain import Chain

_CA_DAYS = 3650
# Apple's devices refuse a certificate for longer, also one by a CA that its owner trusts.
_DAYS = 825
# Key identifiers and keyUsage are what Python 3.13 (VERIFY_X509_STRICT) and Go insist on.
_CA = """\
[req]
prompt = no
distinguished_name = subject
x509_extensions = extensions
utf8 = yes
[subject]
O = Postern
CN = {name}
[extensions]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
"""
_RELAY = """\
[req]
prompt = no
distinguished_name = subject
x509_extensions = extensions
utf8 = yes
[subject]
CN = {name}
[extensions]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
subjectAltName = {names}
"""
_LONGEST_COMMON_NAME = 64  # RFC 5280, ub-common-name


@dataclass(frozen=True)
class Authority:
    """The relay's certificate, and what its clients need to trust it."""

    chain: Chain
    ca: Path
    """The CA's certificate, the only file here that others may read."""
    ca_fingerprint: str
    """SHA-256, as AB:CD:..."""
    ca_not_after: datetime
    made: tuple[str, ...]
    """What this start had to make: "CA", "certificate"."""


def ensure(
    directory: Path, hostname: str, aliases: Iterable[str] = (), now: datetime | None = None
) -> Authority:
    """What the directory holds, made or renewed where it must be. Raises OSError, or ValueError("must ...").

    The certificate is for the hostname and the aliases (names or addresses), and is made anew when one of them is not
    in it or a third of its life is left at `now`. So leave names out that change with each start, such as a container's id.
    """
    now = now or datetime.now(UTC)
    names = tuple(dict.fromkeys(name.lower().rstrip(".") for name in (hostname, *aliases)))
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    with _locked(directory):
        ca_text, ca, ca_made = _authority(directory, hostname, now)
        own, made = _certificate(directory, names, ca_text, ca, now)
    return Authority(
        chain=own,
        ca=directory / "ca.pem",
        ca_fingerprint=pem.fingerprint(_certificate_of(ca_text)),
        ca_not_after=ca.not_after,
        made=(*(["CA"] if ca_made else []), *(["certificate"] if made else [])),
    )


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Two relays that start on one volume would each make a CA, and one's clients would trust the other's."""
    descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _authority(directory: Path, hostname: str, now: datetime) -> tuple[str, openssl.Certificate, bool]:
    """The CA's key and certificate in one text, so that one rename replaces both."""
    file = directory / "authority.pem"
    text, made = "", not file.exists()
    if not made:
        text, ca = _found(file)
        made = now > ca.not_after
    if made:
        key = openssl.make_key()
        name = f"Postern CA of {hostname}"[:_LONGEST_COMMON_NAME]
        text = key + openssl.make_certificate(_CA.format(name=name), _CA_DAYS, key)
        [ca] = openssl.describe(_certificate_of(text))
        _write(file, text, 0o600)
    _publish(directory / "ca.pem", _certificate_of(text))
    return text, ca, made


def _found(file: Path) -> tuple[str, openssl.Certificate]:
    """A CA that is there but cannot be used is not replaced: its clients would be locked out, and nobody told."""
    found = pem.read(file)
    with suppress(ValueError):
        [certificate] = found.certificates
        [ca] = openssl.describe(certificate)
        if found.key:
            return found.key + certificate, ca
    raise ValueError(f"must be whole: {file} has the relay's own CA; restore it, or remove it for a new one")


def _certificate(
    directory: Path, names: tuple[str, ...], ca_text: str, ca: openssl.Certificate, now: datetime
) -> tuple[Chain, bool]:
    file = directory / "relay.pem"
    with suppress(ValueError):
        found = chain.load(file, now=now)
        if found.issuer_key_id == ca.key_id and _serves(found, names, now):
            return found, False
    key = openssl.make_key()
    alternatives = ", ".join(f"{_kind(name)}:{name}" for name in names)
    config = _RELAY.format(name=names[0][:_LONGEST_COMMON_NAME], names=alternatives)
    days = max(1, min(_DAYS, (ca.not_after - now).days))
    _write(file, key + openssl.make_certificate(config, days, key, signer=ca_text), 0o600)
    return chain.load(file), True


def _serves(found: Chain, names: tuple[str, ...], now: datetime) -> bool:
    life = found.not_after - found.not_before
    return set(names) <= set(found.names) and now < found.not_after - life / 3


def _kind(name: str) -> str:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "DNS"
    return "IP"


def _certificate_of(text: str) -> str:
    return text[text.index("-----BEGIN CERTIFICATE-----") :]


def _publish(path: Path, text: str) -> None:
    with suppress(OSError):
        if path.read_text(encoding="ascii") == text:
            return
    _write(path, text, 0o644)


def _write(path: Path, text: str, mode: int) -> None:
    """Whole or not at all, also when the machine goes down: what clients trust must outlive it."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as out:
        os.fchmod(out.fileno(), mode)
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    new.rename(path)
