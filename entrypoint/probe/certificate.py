"""What a certificate says: its names, its end, and whether it is for the host that Postfix would ask for."""

from __future__ import annotations

import ipaddress
import ssl
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from entrypoint.probe.wire import clean

_SHOWN_NAMES = 8


@dataclass(frozen=True)
class Certificate:
    """The parts that a reader needs; `names` holds DNS names and addresses, or the common name where it has neither."""

    names: tuple[str, ...]
    expires: datetime | None
    issuer: str

    @property
    def named(self) -> str:
        rest = len(self.names) - _SHOWN_NAMES
        shown = ", ".join(self.names[:_SHOWN_NAMES]) or "no name at all"
        return shown + (f" and {rest} more" if rest > 0 else "")

    @property
    def expiry(self) -> str:
        if self.expires is None:
            return "expiry unreadable"
        days = (self.expires - datetime.now(UTC)).days
        return (
            f"expires {self.expires:%Y-%m-%d} (in {days} days)"
            if days >= 0
            else f"expired {self.expires:%Y-%m-%d}"
        )

    def __str__(self) -> str:
        return f"certificate for {self.named}, {self.expiry}"


def read(tls: ssl.SSLSocket) -> Certificate | None:
    """Return the far side's certificate, or None where it sent none (anonymous ciphers) or it cannot be read.

    Python decodes only a certificate that it has verified; the others go through openssl(1).
    """
    verified = tls.getpeercert()
    if verified:
        return _from_python(verified)
    der = tls.getpeercert(binary_form=True)
    return _from_openssl(der) if der else None


def _from_python(fields: Any) -> Certificate:
    subject = dict(pair for rdn in fields.get("subject", ()) for pair in rdn)
    issuer = dict(pair for rdn in fields.get("issuer", ()) for pair in rdn)
    names = [name for kind, name in fields.get("subjectAltName", ()) if kind in {"DNS", "IP Address"}]
    return Certificate(
        tuple(map(clean, names or filter(None, [subject.get("commonName")]))),
        _moment(fields["notAfter"]),
        clean(issuer.get("commonName") or issuer.get("organizationName") or "nobody"),
    )


def _from_openssl(der: bytes) -> Certificate | None:
    command = ["openssl", "x509", "-inform", "DER", "-noout", "-subject", "-issuer", "-enddate"]
    options = ["-ext", "subjectAltName", "-nameopt", "multiline,utf8,-esc_msb,-align"]
    try:
        # The answer to a certificate without alternative names is an error code with everything else printed.
        done = subprocess.run([*command, *options], input=der, capture_output=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return _from_text(done.stdout.decode("utf-8", "replace"))


def _from_text(text: str) -> Certificate | None:
    who: dict[str, dict[str, str]] = {"subject": {}, "issuer": {}}
    names: list[str] = []
    expires, section = None, "subject"
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        if line.startswith(("subject=", "issuer=")):
            section = key
        elif line.startswith("notAfter="):
            expires = _moment(value)
        elif key.startswith(("DNS:", "IP Address:")):
            entries = (entry.strip().partition(":") for entry in line.split(", "))
            names = [clean(name) for kind, _, name in entries if kind in {"DNS", "IP Address"}]
        elif value:
            who[section].setdefault(key, clean(value))
    if not expires:
        return None
    subject, issuer = who["subject"], who["issuer"]
    return Certificate(
        tuple(names or filter(None, [subject.get("commonName")])),
        expires,
        issuer.get("commonName") or issuer.get("organizationName") or "nobody",
    )


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def is_for(fields: Any, name: str, *, or_below: bool) -> bool:
    """Say whether a verified certificate (getpeercert's dict) is for `name`, by the rules of Postfix 3.10's OpenSSL.

    `or_below` also takes a name below it, as smtp_tls_secure_cert_match's dot-nexthop does, and then refuses
    every address: OpenSSL wants the dotted form to match too, which an address cannot (see X509_check_host(3)).
    """
    alternatives = fields.get("subjectAltName", ())
    if _is_address(name):
        addresses = [entry for kind, entry in alternatives if kind == "IP Address"]
        return not or_below and any(_same_address(entry, name) for entry in addresses)
    presented = [entry for kind, entry in alternatives if kind == "DNS"]
    if not presented:
        presented = [value for rdn in fields.get("subject", ()) for key, value in rdn if key == "commonName"]
    wanted = _ascii(name)
    return any(_matches(entry.lower(), wanted, or_below=or_below) for entry in presented)


def _matches(presented: str, wanted: str, *, or_below: bool) -> bool:
    if presented == wanted or (or_below and presented.endswith("." + wanted)):
        return True
    # The star stands for one whole label, and never for all of a top-level domain.
    star, _, parent = presented.partition(".")
    return (
        star == "*"
        and "." in parent
        and bool(wanted.partition(".")[0])
        and wanted.partition(".")[2] == parent
    )


def _ascii(name: str) -> str:
    try:
        return name.encode("idna").decode().lower()
    except UnicodeError:
        return name.lower()


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _same_address(presented: str, wanted: str) -> bool:
    # OpenSSL prints IPv6 in a form of its own, with a line break behind it in some versions.
    try:
        return ipaddress.ip_address(presented.strip()) == ipaddress.ip_address(wanted)
    except ValueError:
        return False
