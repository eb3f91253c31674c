"""What the probe is told, and how it says that something went wrong."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Upstream:
    """The next hop, in the words of Postfix's smtp(8) client; the caller has already decided every default.

    `host` is a name or an IP literal without brackets. `mx` looks up MX first, as Postfix does for a name
    without brackets. `implicit_tls` is smtp_tls_wrappermode (port 465), `tls_level` is smtp_tls_security_level:
    none, may, encrypt, verify, secure or dane. `ca_file` is a PEM bundle used instead of the system's.
    """

    host: str
    port: int
    mx: bool
    implicit_tls: bool
    tls_level: str
    ca_file: str | None
    username: str | None
    password: str | None = field(repr=False)
    helo_name: str

    @property
    def tls_is_mandatory(self) -> bool:
        return self.implicit_tls or self.tls_level in {"encrypt", "verify", "secure"}

    @property
    def certificate_is_verified(self) -> bool:
        return self.tls_level in {"verify", "secure"}


class ProbeError(Exception):
    """A step that failed: what happened, and what its reader does next.

    `final` says that another address of the upstream would not help: the same password or recipient would be
    refused there too, and repeating a wrong password locks accounts.
    """

    def __init__(self, step: str, what: str, advice: str, *, final: bool = False) -> None:
        super().__init__(what)
        self.step = step
        self.what = what
        self.advice = advice
        self.final = final


class HandshakeError(ProbeError):
    """TLS itself failed, without a word about the certificate: level may goes on in plain text after this."""
