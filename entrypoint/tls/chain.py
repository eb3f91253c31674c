"""A certificate with its key and chain: read from files, judged before anybody connects, put into Postfix's form."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from entrypoint.tls import openssl, pem

# The last one is a key of another kind: RSA for a certificate with EC.
_MISMATCH = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
_WEAK = {
    "EE_KEY_TOO_SMALL": "must have a larger key, as clients refuse one this small",
    "CA_KEY_TOO_SMALL": "must be signed with a larger key, as clients refuse one this small",
    "CA_MD_TOO_WEAK": "must be signed with SHA-256 or better, as clients refuse anything weaker",
}


@dataclass(frozen=True)
class Chain:
    """What smtpd_tls_chain_files wants: `pem` has the private key, the certificate, and what leads from it to a CA."""

    pem: str = field(repr=False)
    names: tuple[str, ...]
    """DNS names (perhaps with a star) and addresses that the certificate is for, in lower case."""
    not_before: datetime
    not_after: datetime
    fingerprint: str
    """SHA-256 of the certificate, as AB:CD:..."""
    issuer_key_id: str
    """Of the key that signed it, where the certificate says so."""
    sources: tuple[Path, ...]
    """The files that it was read from."""
    warnings: tuple[str, ...] = ()
    """What is odd and stops nobody: an expired intermediate, a certificate that was left out."""

    def covers(self, name: str) -> bool:
        """Whether a client that connects to `name` finds it in the certificate (RFC 6125: a star is one label)."""
        name = name.lower().rstrip(".")
        return name in self.names or f"*.{name.partition('.')[2]}" in self.names


def load(
    certificate: Path, key: Path | None = None, chain: Path | None = None, now: datetime | None = None
) -> Chain:
    """From one file that has all of it, or from up to three; `chain` has the certificates of the CAs in between.

    Certificates in a wrong order are put in the right one. Raises ValueError("must ...") naming the file.
    """
    files = _read([path for path in (certificate, key, chain) if path])
    own, key_file = files[0], files[1] if key else files[0]
    if not own.certificates:
        raise ValueError(
            f"must hold a certificate (-----BEGIN CERTIFICATE-----), and {certificate} holds none"
        )
    private = _private_key(key_file, given=key is not None)
    extra = files[-1].certificates if chain else ()
    if chain and not extra:
        raise ValueError(f"must hold a certificate (-----BEGIN CERTIFICATE-----), and {chain} holds none")
    texts = tuple(dict.fromkeys(own.certificates + extra))
    leaf = _belonging(private, own, key_file)
    try:
        described = dict(zip(texts, openssl.describe("".join(texts)), strict=True))
    except ValueError as error:
        raise ValueError(f"{error} ({certificate})") from None
    _judge(described[leaf], certificate, now or datetime.now(UTC))
    ordered, warnings = _order(leaf, described, now or datetime.now(UTC))
    return Chain(
        pem=private + "".join(ordered),
        names=described[leaf].names,
        not_before=described[leaf].not_before,
        not_after=described[leaf].not_after,
        fingerprint=pem.fingerprint(leaf),
        issuer_key_id=described[leaf].issuer_key_id,
        sources=tuple(file.path for file in files),
        warnings=warnings,
    )


def _read(paths: list[Path]) -> list[pem.File]:
    found, faults = [], []
    for path in paths:
        try:
            found.append(pem.read(path))
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise ValueError("; ".join(faults))
    return found


def _private_key(file: pem.File, *, given: bool) -> str:
    if file.encrypted:
        raise ValueError(
            "must have a key without a passphrase, as nobody is there to type it: "
            f"openssl pkey -in {file.path} -out {file.path.with_suffix('.decrypted.key')}"
        )
    if file.key is None:
        where = f"{file.path} holds none" + ("" if given else ", and no other file is given")
        raise ValueError(f"must come with its private key (-----BEGIN PRIVATE KEY-----): {where}")
    return file.key


def _belonging(key: str, file: pem.File, key_file: pem.File) -> str:
    """The certificate of the file that is the key's; nearly always its first."""
    reason = ""
    for candidate in file.certificates:
        reason = _refusal(key + candidate)
        if reason not in _MISMATCH:
            break
    if not reason:
        return candidate
    if reason in _MISMATCH:
        raise ValueError(
            f"must belong together: the key in {key_file.path} is not that of the certificate in {file.path}"
        )
    raise ValueError(
        f"{_WEAK.get(reason, 'must be whole, and OpenSSL cannot read it')} ({file.path}: {reason})"
    )


def _refusal(text: str) -> str:
    """OpenSSL's reason not to serve a key and certificate at its ordinary security level; "" if it would."""
    import ssl  # Here, as all of the settings know a Chain, and most starts have none: 15 ms.

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with openssl.in_memory(text) as path:
        try:
            context.load_cert_chain(path)
        except ssl.SSLError as error:
            return error.reason or "broken"
    return ""


def _judge(found: openssl.Certificate, path: Path, now: datetime) -> None:
    if now > found.not_after:
        raise ValueError(
            f"must not have expired: the certificate in {path} ended on {found.not_after:%Y-%m-%d %H:%M} UTC"
        )
    if now < found.not_before:
        begins = f"{found.not_before:%Y-%m-%d %H:%M}"
        raise ValueError(f"must be valid already: the certificate in {path} begins on {begins} UTC")


def _order(
    leaf: str, described: dict[str, openssl.Certificate], now: datetime
) -> tuple[list[str], tuple[str, ...]]:
    """Each certificate after one that it signed: clients may insist (RFC 5246, 7.4.2). Some CAs have two of a name."""
    ordered, rest = [leaf], [text for text in described if text != leaf]
    while step := next((t for t in rest if _signed_one_of(described, t, ordered)), None):
        ordered.append(step)
        rest.remove(step)
    if rest and len(ordered) == 1 and described[leaf].subject != described[leaf].issuer:
        got = ", ".join(sorted({described[text].subject for text in rest}))
        raise ValueError(
            f"must bring the certificate of its issuer ({described[leaf].issuer}), not of others ({got})"
        )
    left_out = [f"{described[text].subject} is no part of the chain and is left out" for text in rest]
    ended = [
        f"{described[text].subject}, in the chain, ended on {described[text].not_after:%Y-%m-%d}"
        for text in ordered[1:]
        if described[text].not_after < now
    ]
    return ordered, (*left_out, *ended)


def _signed_one_of(described: dict[str, openssl.Certificate], text: str, ordered: list[str]) -> bool:
    return any(described[text].subject == described[below].issuer for below in ordered)
