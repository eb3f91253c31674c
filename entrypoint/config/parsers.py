"""One parser a type: text as the user wrote it in, a value out, ValueError("must be ...") when it breaks the rule.

The message becomes the second half of an error line, so each names the rule and, where it helps, an example.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

TLS_LEVELS = ("none", "may", "encrypt", "verify", "secure", "dane")
PROFILES = ("relay",)
ZONEINFO = Path("/usr/share/zoneinfo")

# Underscores are not legal in host names, but container engines' DNS is full of them and Postfix accepts them.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOSTNAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?\Z", re.IGNORECASE)
_SIZES = {"": 1, "B": 1, "K": 1024, "KB": 1024, "M": 1024**2, "MB": 1024**2, "G": 1024**3, "GB": 1024**3}
# Postfix keeps sizes in a signed 64-bit integer; half of it leaves room for its own sums.
_LARGEST_SIZE = 2**62


@dataclass(frozen=True)
class Relayhost:
    """A next hop as Postfix's relayhost understands it: brackets mean "this host", none mean "its MX"."""

    host: str
    port: int
    mx: bool

    @property
    def literal(self) -> bool:
        return _address(self.host) is not None

    def __str__(self) -> str:
        """The next hop for main.cf, always with its port, so that passwords are looked up under one name."""
        name = self.host if self.mx else f"[{self.host}]"
        return f"{name}:{self.port}"


@dataclass(frozen=True)
class Listener:
    """One open door: address "" means every address; the profile says who may come in."""

    address: str
    port: int
    profile: str

    def __str__(self) -> str:
        """The service name for master.cf (master(5): host:port, IPv6 in brackets)."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}" if host else str(self.port)


@dataclass(frozen=True)
class Certificates:
    """The CA certificates of a file, read once, so that a file which changes mode later cannot stop mail."""

    path: str
    pem: str


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


def hostname(value: str) -> str:
    if not _HOSTNAME.match(value):
        raise ValueError("must be a host name such as relay.example.com")
    return value


def port(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", value) or not 1 <= int(value) <= 65535:
        raise ValueError("must be a port from 1 to 65535")
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


def tls_level(value: str) -> str:
    if value not in TLS_LEVELS:
        raise ValueError(f"must be one of {', '.join(TLS_LEVELS)}")
    return value


def timezone(value: str) -> str:
    known = re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", value) and (ZONEINFO / value).is_file()
    if not known and ZONEINFO.is_dir():
        raise ValueError("must be a time zone such as UTC or Europe/Berlin")
    return value


def relayhost(value: str) -> Relayhost:
    """`[host]`, `host`, each with `:port`; an address is never looked up, so it gets its brackets by itself."""
    match = re.fullmatch(r"(?:\[([^\[\]\s]+)\]|([^\[\]\s:]+))(?::([0-9]+))?", value)
    if not match:
        raise ValueError("must be one next hop: [host]:port, host:port, [2001:db8::1]:port or a mail domain")
    bracketed, bare = match[1], match[2]
    host = bracketed or bare
    literal = _address(host.removeprefix("IPv6:").removeprefix("ipv6:"))
    if literal is None and not _HOSTNAME.match(host):
        raise ValueError("must name a host or an address: letters, digits, '-' and '.'")
    return Relayhost(str(literal or host), port(match[3] or "25"), mx=bracketed is None and literal is None)


def certificates(value: str) -> Certificates:
    # Imported here: a start without a CA file saves the 15 ms.
    import ssl

    try:
        pem = Path(value).read_text(encoding="utf-8", errors="replace")
        ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError):  # before OSError, which SSLError is one of
        raise ValueError("must contain CA certificates in PEM form (-----BEGIN CERTIFICATE-----)") from None
    except OSError as error:
        raise ValueError(f"must be a readable file with CA certificates: {error.strerror}") from None
    return Certificates(value, pem)


def words(value: str) -> tuple[str, ...]:
    return tuple(re.split(r"[\s,]+", value.strip(" \t\r\n,")))


def domains(value: str) -> tuple[str, ...]:
    for name in words(value):
        if not _HOSTNAME.match(name.removeprefix(".")):
            raise ValueError(
                f"must be domains such as example.com (.example.com for its subdomains), not {name!r}"
            )
    return tuple(name.lower().rstrip(".") for name in words(value))


def networks(value: str) -> tuple[Network, ...]:
    return tuple(_network(word) for word in words(value))


def listeners(value: str) -> tuple[Listener, ...]:
    return tuple(_listener(word) for word in words(value))


def _network(word: str) -> Network:
    # Postfix writes IPv6 as [2001:db8::]/32; both spellings are taken.
    plain = re.sub(r"^\[(.*)\]", r"\1", word)
    if "%" in plain:
        raise ValueError(f"must be networks without an interface, and {word} names one")
    try:
        return ip_network(plain)
    except ValueError:
        pass
    try:
        meant = ip_network(plain, strict=False)
    except ValueError:
        raise ValueError(f"must be networks such as 10.0.0.0/8 or 2001:db8::/32, not {word!r}") from None
    raise ValueError(f"must be networks without host bits: {word} is inside {meant}")


def _listener(word: str) -> Listener:
    match = re.fullmatch(r"(?:(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):)?([0-9]+):([a-z]+)", word)
    if not match:
        raise ValueError(
            f"must be [address:]port:profile, such as 25:relay or [::1]:2525:relay, not {word!r}"
        )
    if match[4] not in PROFILES:
        raise ValueError(f"must use a profile that exists ({', '.join(PROFILES)}), not {match[4]!r}")
    address = match[1] or match[2] or ""
    literal = _address(address)
    if address and literal is None:
        raise ValueError(f"must listen on an IP address of this container, not {address!r}")
    return Listener(str(literal or ""), port(match[3]), match[4])


def _address(value: str) -> Address | None:
    try:
        return ip_address(value)
    except ValueError:
        return None
