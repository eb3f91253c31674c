"""What settings and tables hold, where that is more than a text or a number."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

PROXY_PROTOCOL = "haproxy"
TLS_IN_WORDS = {
    "none": "without TLS",
    "may": "over TLS where offered, unverified",
    "encrypt": "over TLS only, certificate not verified",
    "verify": "over TLS only, certificate verified",
    "secure": "over TLS only, certificate verified",
    "dane": "over TLS by DANE, else where offered",
}
TLS_LEVELS = (*TLS_IN_WORDS,)
"""Towards upstreams, the weakest first (postconf(5), smtp_tls_security_level)."""
SQL_TLS_LEVELS = ("may", "verify")


@dataclass(frozen=True)
class Relayhost:
    """A next hop as Postfix's relayhost understands it: brackets mean "this host", none mean "its MX"."""

    host: str
    port: int
    mx: bool

    @property
    def literal(self) -> bool:
        return self.address is not None

    @property
    def address(self) -> Address | None:
        """That of the host, if it is written as one; an IPv4 address inside an IPv6 one is itself."""
        found = ip_literal(self.host)
        return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found

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
    proxied: bool = False
    """Whether a load balancer in front tells the client's address (smtpd_upstream_proxy_protocol)."""

    @property
    def spec(self) -> str:
        """As in LISTEN."""
        return f"{self}:{self.profile}" + (f":{PROXY_PROTOCOL}" if self.proxied else "")

    def __str__(self) -> str:
        """The service name for master.cf (master(5): host:port, IPv6 in brackets)."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}" if host else str(self.port)


@dataclass(frozen=True)
class SqlServer:
    """A database and who we are there; `kind` is "postgresql" or "mysql"."""

    kind: str
    user: str
    host: str
    port: int
    database: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.kind}://{self.user}@{host}:{self.port}/{self.database}"

    @property
    def is_here(self) -> bool:
        """Whether it is in the same container or Pod, so that no network lies between."""
        return loopback(self.host)


@dataclass(frozen=True)
class Certificates:
    """The CA certificates of a file, read once, so that a file which changes mode later cannot stop mail."""

    path: str
    pem: str


def loopback(host: str) -> bool:
    """Whether a name or an address is that of this container or Pod."""
    literal = ip_literal(host)
    return literal.is_loopback if literal else host.lower().rstrip(".") == "localhost"


def ip_literal(value: str) -> Address | None:
    """The address that a text is, if it is one."""
    try:
        return ip_address(value)
    except ValueError:
        return None
