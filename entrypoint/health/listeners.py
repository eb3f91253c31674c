"""The ports on which Postfix takes mail, and what it takes to call one ready."""

from __future__ import annotations

import time

from entrypoint.health import smtp
from entrypoint.health.checks import Check

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable

# For all of one listener's session. Kubernetes waits 1 s by default, Docker 30 s.
PATIENCE = 3.0
# The same while others are served. All places may be theirs, and the probe's turn comes after theirs.
_BUSY_PATIENCE = 0.7
_SUBMISSION = ("submission", "submissions")


class Listener:
    """Address "" means all addresses. `proxied`: the client's address comes in a PROXY line (LISTEN's :haproxy)."""

    __slots__ = ("address", "port", "profile", "proxied")

    def __init__(self, address: str, port: int, profile: str = "relay", *, proxied: bool = False) -> None:
        self.address = address
        self.port = port
        self.profile = profile
        self.proxied = proxied

    @classmethod
    def of(cls, spec: str) -> Listener:
        """From its entry in LISTEN: 25:relay, 127.0.0.1:25:inbound or [::1]:465:submissions:haproxy."""
        address, _, rest = spec.rpartition("]")
        fields = rest.removeprefix(":").split(":")
        if not address and "." in fields[0]:
            address = fields.pop(0)
        port, profile, *more = fields
        return cls(address.removeprefix("["), int(port), profile, proxied=bool(more))

    def __str__(self) -> str:
        where = f"[{self.address}]:" if ":" in self.address else f"{self.address}:" if self.address else ""
        return f"listener {where}{self.port}"

    def targets(self) -> list[str]:
        # "" is IPv6 only where the container has no IPv4; there, nothing answers on the first.
        return [self.address] if self.address else ["127.0.0.1", "::1"]


def probe(
    listener: Listener,
    source: str,
    patience: float = PATIENCE,
    *,
    logins: bool = False,
    busy: Callable[[], bool] = lambda: False,
) -> Check:
    """Ask one listener, waiting `patience` seconds at most. With `logins`, a listener for them must offer them.

    While the relay is `busy`, a listener that does not answer soon is only slow.
    """
    slow = busy()
    deadline = time.monotonic() + (min(patience, _BUSY_PATIENCE) if slow else patience)
    demands = smtp.Demands(
        source=source if listener.proxied else "",
        tls=listener.profile == "submissions",
        auth=logins and listener.profile in _SUBMISSION,
    )
    problem = "no address"
    for address in listener.targets():
        try:
            with smtp.Dialogue(smtp.connect(address, listener.port, source, deadline), deadline) as dialogue:
                return Check(str(listener), smtp.examine(dialogue, demands))
        except ConnectionRefusedError:
            problem = "connection refused: no program can hand in mail here"
        except TimeoutError:
            if slow:
                return Check(
                    str(listener), "busy: a client waits until others have been served", warning=True
                )
            return Check(str(listener), "timed out: mail handed in here waits or fails")
        except OSError as error:
            if error.errno == 99 and address == "::1" and not listener.address:  # EADDRNOTAVAIL
                # A container without IPv6 has no second address to try.
                break
            return Check(str(listener), f"{error.strerror or error}: mail handed in here waits or fails")
    return Check(str(listener), problem)
