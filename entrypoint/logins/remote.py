"""What backends that ask a server over TCP share: one deadline for all its steps, verified TLS, and errors in words."""

from __future__ import annotations

import socket
import ssl
import time

# Seconds that a connection may take. A host that drops what it is sent shall not cost a login all its time.
_CONNECT = 3.0


class Deadline:
    """The end of an operation that has several steps, `seconds` from now."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self, at_most: float = float("inf")) -> float:
        """The seconds that the next step has. Raises TimeoutError once there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no answer within {self._seconds:g} s")
        return min(left, at_most)


def connect(host: str, port: int, deadline: Deadline) -> socket.socket:
    """Raises OSError."""
    return socket.create_connection((host, port), deadline.left(_CONNECT))


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """What verifies a server's certificate and its name: by `ca_file`, else by the public CAs. Raises OSError.

    Not ssl.create_default_context: from Python 3.13 on that one refuses private CAs that everybody else accepts.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        context.load_verify_locations(ca_file)
    else:
        context.set_default_verify_paths()
    return context


def in_words(error: OSError, ca_setting: str) -> str:
    """What went wrong on the way, and which setting to look at if it is the certificate."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return untrusted(error.verify_message, ca_setting)
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({(error.reason or str(error)).replace('_', ' ').lower()})"
    if isinstance(error, TimeoutError):
        return str(error) if str(error).startswith("no answer") else "no answer"
    return (error.strerror or str(error) or type(error).__name__).lower()


def untrusted(reason: str, ca_setting: str) -> str:
    """What to say of a certificate that was not accepted; `reason` is OpenSSL's."""
    advice = "" if "match" in reason else f": the PEM file of its CA belongs in {ca_setting}"
    return f"its certificate cannot be trusted ({reason.rstrip('.')}){advice}"
