"""Words, numbers, sizes and times, files and secrets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from entrypoint.config import files
from entrypoint.config.secret import Secret
from entrypoint.config.values import Certificates

if TYPE_CHECKING:
    from collections.abc import Callable

ZONEINFO = Path("/usr/share/zoneinfo")

_SIZES = {"": 1, "B": 1, "K": 1024, "KB": 1024, "M": 1024**2, "MB": 1024**2, "G": 1024**3, "GB": 1024**3}
# Postfix keeps sizes in a signed 64-bit integer; half of it leaves room for its own sums.
_LARGEST_SIZE = 2**62
_LARGEST_STATUS = 125  # What is above means something else to shells and engines.
_LEAST_PASSWORD = 8
_LEAST_SALT = 16
_LARGEST_CA_FILE = 2**20
# Less than the headers of many a mail.
_LEAST_MESSAGE = 10 * 1024


def text(value: str) -> str:
    return value


def line(value: str) -> str:
    """Anything but a line break: Postfix's tables hold one entry a line."""
    if any(c in value for c in "\r\n\0"):
        raise ValueError("must not contain a line break or a NUL")
    return value


def user(value: str) -> str:
    """A login name; Postfix splits its table's entry at the first colon."""
    line(value)
    if ":" in value:
        raise ValueError("must not contain ':', which separates user and password in Postfix's table")
    return value


def boolean(value: str) -> bool:
    words = {"yes": True, "true": True, "no": False, "false": False}
    if value.lower() not in words:
        raise ValueError("must be yes or no")
    return words[value.lower()]


def one_of(*choices: str) -> Callable[[str], str]:
    """A parser that takes one of these words."""

    def choice(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return choice


def count(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise ValueError("must be a number; 0 means no limit")
    return int(value)


def positive(value: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", value):
        raise ValueError("must be a number of at least 1")
    return int(value)


def exit_status(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", value) or int(value) > _LARGEST_STATUS:
        raise ValueError(f"must be a number from 0 to {_LARGEST_STATUS}")
    return int(value)


def size(value: str) -> int:
    """Bytes; K, M and G are powers of 1024, the trailing B is optional."""
    match = re.fullmatch(r"([0-9]{1,18}) ?([KMG]?B?)", value.upper())
    if not match:
        raise ValueError("must be a number of bytes, or with a unit: 500KB, 25MB, 1GB (0 means no limit)")
    number = int(match[1]) * _SIZES[match[2]]
    if number > _LARGEST_SIZE:
        raise ValueError("must be a size that Postfix can count; 0 means no limit")
    return number


def message_size(value: str) -> int:
    """As `size`. Who writes 25 means megabytes, and as bytes it would refuse every mail."""
    octets = size(value)
    if 0 < octets < _LEAST_MESSAGE:
        meant = f"; did you mean {octets}MB?" if value.isdigit() else ""
        raise ValueError(f"must be at least 10KB, or 0 for no limit: no mail fits into {octets} bytes{meant}")
    return octets


def duration(value: str) -> str:
    """A time for main.cf; Postfix's units (postconf(5): s, m, h, d, w), always written out."""
    if not re.fullmatch(r"[0-9]{1,9}[smhdw]", value):
        raise ValueError("must be a number and a unit: 30s, 5m, 4h, 3d, 1w")
    return value


def seconds(value: str) -> int:
    """The length in seconds of a time that `duration` accepted."""
    return int(value[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[value[-1]]


def log_level(value: str) -> int:
    if value not in ("0", "1", "2", "3", "4"):
        raise ValueError("must be a number from 0 to 4")
    return int(value)


def salt(value: str) -> Secret:
    """What makes hashes those of nobody else."""
    if len(line(value)) < _LEAST_SALT:
        raise ValueError(
            f"must have at least {_LEAST_SALT} characters, or it could be found by trying: openssl rand -hex 16"
        )
    return Secret(value)


def page_password(value: str) -> Secret:
    """What a browser sends, which strangers may try to guess: one in a second."""
    if len(line(value)) < _LEAST_PASSWORD:
        raise ValueError(
            f"must have at least {_LEAST_PASSWORD} characters: anybody who reaches the port may guess"
        )
    return Secret(value)


def path(value: str) -> str:
    if not value.startswith("/") or not value.isprintable():
        raise ValueError("must be the full path of a file, beginning with /")
    return value


def timezone(value: str) -> str:
    known = re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", value) and (ZONEINFO / value).is_file()
    if not known and ZONEINFO.is_dir():
        raise ValueError("must be a time zone such as UTC or Europe/Berlin")
    return value


def quoted(value: str) -> bool:
    """Whether it stands in quotes, which a shell would take off, and an --env-file or a secret's file does not."""
    return len(value) > 1 and value[0] == value[-1] and value[0] in "'\""


def words(value: str) -> tuple[str, ...]:
    return tuple(re.split(r"[\s,]+", value.strip(" \t\r\n,")))


def certificates(value: str) -> Certificates:
    # Imported here: a start without a CA file saves the 15 ms.
    import ssl

    pem = files.read(value, _LARGEST_CA_FILE).decode(errors="replace")
    try:
        ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise ValueError("must contain CA certificates in PEM form (-----BEGIN CERTIFICATE-----)") from None
    return Certificates(value, pem)
