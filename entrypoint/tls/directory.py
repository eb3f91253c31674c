"""A directory of certificates, each for the name that its file or directory bears (server name indication, RFC 6066)."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from entrypoint.tls import chain
from entrypoint.tls.chain import Chain

# The pairs of file names that a directory may hold: Kubernetes' and certbot's.
_PAIRS = (("tls.crt", "tls.key"), ("fullchain.pem", "privkey.pem"))
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?:[*_]\.)?({_LABEL}(?:\.{_LABEL})*)\Z")
_FORMS = (
    "NAME.pem, NAME.crt with NAME.key, or NAME/ with tls.crt and tls.key or fullchain.pem and privkey.pem"
)


class FaultsError(ValueError):
    """Raised with every fault found: the file or directory, and the rule that it breaks ("must ...")."""

    def __init__(self, faults: list[tuple[Path, str]]) -> None:
        super().__init__("; ".join(f"{path}: {rule}" for path, rule in faults))
        self.faults = faults


def load(directory: Path, now: datetime | None = None) -> dict[str, Chain]:
    """The certificates by the name that tls_server_sni_maps is asked for: "mx.example.com", ".example.com" for a star.

    A star's file is called `*.example.com` or `_.example.com`. Hidden entries, such as Kubernetes' links, are passed
    over. Raises FaultsError with the faults of all files.
    """
    found: dict[str, Chain] = {}
    seen: dict[str, Path] = {}
    faults: list[tuple[Path, str]] = []
    for entry in _entries(directory):
        try:
            name, files = _meaning(entry)
            if name in seen:
                raise ValueError(f"must be the only certificate for {name}, and there is {seen[name]}")  # noqa: TRY301
            seen[name] = entry
            found[name] = _warned(name, chain.load(*files, now=now))
        except ValueError as error:
            faults.append((entry, str(error)))
    if faults:
        raise FaultsError(faults)
    return found


def sni_value(given: Chain) -> str:
    """What a table for tls_server_sni_maps holds, as `postmap -F` would write it: the PEM text in base64."""
    return base64.b64encode(given.pem.encode()).decode()


def _entries(directory: Path) -> list[Path]:
    try:
        entries = sorted(directory.iterdir())
    except OSError as error:
        raise FaultsError([(directory, f"must be a readable directory: {error.strerror}")]) from None
    visible = [entry for entry in entries if entry.name[0] != "." and not entry.name.startswith("README")]
    # A key beside its certificate is read with it.
    beside = {entry.with_suffix(".key") for entry in visible if entry.suffix in (".crt", ".pem")}
    return [entry for entry in visible if entry not in beside]


def _meaning(entry: Path) -> tuple[str, tuple[Path, Path | None]]:
    """The name that an entry is for, and its certificate's and key's file."""
    if entry.name in {name for pair in _PAIRS for name in pair}:
        raise ValueError("must lie in a directory that is named after the host: NAME/" + entry.name)
    if entry.is_dir() and entry.suffix not in (".pem", ".crt"):
        return _key(entry.name), _pair(entry)
    if entry.suffix == ".key":
        raise ValueError(f"must have a certificate beside it: {entry.with_suffix('.crt').name}")
    if entry.suffix not in (".pem", ".crt"):
        raise ValueError(f"must be {_FORMS}")
    key = entry.with_suffix(".key")
    return _key(entry.stem), (entry, key if key.exists() else None)


def _pair(entry: Path) -> tuple[Path, Path]:
    there = [(entry / c, entry / k) for c, k in _PAIRS if (entry / c).exists() or (entry / k).exists()]
    if len(there) != 1:
        raise ValueError("must hold either tls.crt and tls.key or fullchain.pem and privkey.pem")
    return there[0]


def _key(name: str) -> str:
    match = _NAME.match(name.lower())
    if not match:
        raise ValueError(f"must be named after a host, such as mx.example.com or _.example.com ({_FORMS})")
    starred = len(match[1]) < len(name)
    return f".{match[1]}" if starred else match[1]


def _warned(name: str, given: Chain) -> Chain:
    asked = f"any{name}" if name.startswith(".") else name
    if given.covers(asked):
        return given
    shown = f"*{name}" if name.startswith(".") else name
    warning = f"the certificate is not for {shown} but for {', '.join(given.names) or 'no name at all'}"
    return replace(given, warnings=(*given.warnings, warning))
