"""TLS as Postfix's smtp(8) does it, and what a failed handshake means for the settings."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from entrypoint.probe import certificate
from entrypoint.probe.upstream import HandshakeError, ProbeError
from entrypoint.probe.wire import clean

if TYPE_CHECKING:
    from entrypoint.probe.certificate import Certificate
    from entrypoint.probe.upstream import Upstream
    from entrypoint.probe.wire import Wire

_SELF_SIGNED, _UNKNOWN_ROOT = {18}, {2, 19, 20, 21}
_NOT_YET_VALID, _EXPIRED = {9}, {10}  # X509_V_ERR_*, see X509_STORE_CTX_get_error(3)

_WITHOUT_VERIFYING = (
    "RELAYHOST_TLS_LEVEL=encrypt goes without verifying it, so that anybody in between could read"
)


def context(upstream: Upstream, *, verify: bool) -> ssl.SSLContext:
    """Return what Postfix would negotiate with; ProbeError when RELAYHOST_CA_FILE cannot be used.

    Not ssl.create_default_context: from Python 3.13 on that one sets VERIFY_X509_STRICT, which refuses private
    CAs that Postfix accepts, and VERIFY_X509_PARTIAL_CHAIN, which accepts intermediates that Postfix refuses.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False  # `certificate.is_for` does it by Postfix's rules
    made.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    # Postfix lowers OpenSSL's security level in the same way (tls_client.c); Debian's 2 would refuse more.
    made.set_ciphers("HIGH:MEDIUM:!aNULL:@SECLEVEL=1" if verify else "HIGH:MEDIUM:@SECLEVEL=0")
    oldest = ssl.TLSVersion.TLSv1_2 if upstream.tls_is_mandatory else ssl.TLSVersion.MINIMUM_SUPPORTED
    made.minimum_version = oldest
    if verify:
        _load_authorities(made, upstream.ca_file)
    return made


def _load_authorities(made: ssl.SSLContext, ca_file: str | None) -> None:
    if ca_file is None:
        made.load_default_certs()
        return
    try:
        made.load_verify_locations(cafile=ca_file)
    except ssl.SSLError:
        what, advice = (
            f"{ca_file} holds no certificate",
            "RELAYHOST_CA_FILE must be a file of PEM certificates",
        )
    except OSError as error:
        what, advice = f"{ca_file}: {error.strerror}", "mount the file that RELAYHOST_CA_FILE names, readable"
    else:
        return
    raise ProbeError("STARTTLS", what, advice, final=True)


def handshake(wire: Wire, upstream: Upstream, host: str) -> str:
    """Start TLS and return what was agreed, in words.

    HandshakeError when TLS itself fails, ProbeError for a name that does not match `host`, the name connected
    to; an ssl.SSLCertVerificationError is left to the caller, who can have a second look.
    """
    try:
        tls = wire.start_tls(context(upstream, verify=upstream.certificate_is_verified))
    except ssl.SSLCertVerificationError:
        raise
    except OSError as error:
        raise _failed(error, upstream) from None
    seen = certificate.read(tls)
    if upstream.certificate_is_verified:
        _check_name(tls, seen, upstream, host)
    checked = "verified" if upstream.certificate_is_verified else f"not verified (level {upstream.tls_level})"
    return f"{tls.version()}, {seen or 'no readable certificate'}, {checked}"


def _check_name(tls: ssl.SSLSocket, seen: Certificate | None, upstream: Upstream, host: str) -> None:
    fields, by_next_hop = tls.getpeercert(), upstream.tls_level == "secure"
    wanted = upstream.host if by_next_hop else host
    if certificate.is_for(fields, wanted, or_below=by_next_hop):
        return
    named = f"the certificate is for {seen.named if seen else 'no readable name'}"
    what, advice = (
        f"{named}, not for {wanted}",
        f"write in RELAYHOST a name that it has; {_WITHOUT_VERIFYING}",
    )
    if by_next_hop and certificate.is_for(fields, host, or_below=False):
        if upstream.mx and host != wanted:
            what += " or a name below it"
            advice = f"set RELAYHOST=[{host}]:{upstream.port}, or RELAYHOST_TLS_LEVEL=verify to believe the MX record"
        else:
            what = f"{named}, but level secure compares names, never addresses"
            advice = "write a name in RELAYHOST, or set RELAYHOST_TLS_LEVEL=verify"
    raise ProbeError("STARTTLS", what, advice)


def untrusted(
    error: ssl.SSLCertVerificationError, seen: Certificate | None, upstream: Upstream
) -> ProbeError:
    """Return what to say of a certificate that did not verify; `seen` comes from a second, unverified look."""
    code = error.verify_code
    of = f"the certificate for {seen.named}" if seen else "the certificate"
    by = f" (issuer: {seen.issuer})" if seen else ""
    trusted = upstream.ca_file or "the system's list"
    if code in _EXPIRED:
        what = f"{of} or one of its issuers has expired" + (f"; it {seen.expiry}" if seen else "")
        advice = f"the upstream must renew it; if it has, check this machine's clock ({_today()}) and RELAYHOST_CA_FILE"
    elif code in _NOT_YET_VALID:
        what = f"{of} is not valid yet"
        advice = f"check this machine's clock: it says {_today()}"
    elif code in _SELF_SIGNED:
        what = f"{of} is self-signed and not in {trusted}"
        advice = f"save it as PEM and name that file in RELAYHOST_CA_FILE; {_WITHOUT_VERIFYING}"
    elif code in _UNKNOWN_ROOT:
        what = f"{of} comes from a CA{by} that is not in {trusted}, or an intermediate is missing"
        advice = f"name a PEM file with its root CA in RELAYHOST_CA_FILE; {_WITHOUT_VERIFYING}"
    else:
        what = f"{of} was refused: {error.verify_message}"
        advice = f"show this to whoever runs the upstream; {_WITHOUT_VERIFYING}"
    return ProbeError("STARTTLS", what, advice)


def _failed(error: OSError, upstream: Upstream) -> HandshakeError:
    step = "TLS" if upstream.implicit_tls else "STARTTLS"
    reason = (getattr(error, "reason", None) or str(error) or type(error).__name__).replace("_", " ").lower()
    if upstream.implicit_tls and any(
        sign in reason for sign in ("wrong version", "record layer", "timed out")
    ):
        advice = (
            "that port does not begin with TLS: with STARTTLS it is usually 587, so put :587 into RELAYHOST"
        )
    elif upstream.tls_is_mandatory and "protocol" in reason:
        advice = "the upstream is too old for TLS 1.2, which is the least we send mail with: have it upgraded"
    else:
        advice = "the upstream's own log tells more; a firewall that inspects mail can break TLS too"
    return HandshakeError(step, f"the TLS handshake failed: {clean(reason)}", advice)


def _today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
