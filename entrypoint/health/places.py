"""How many requests are served at the same time, and for whom: no client may take the places of all others."""

from __future__ import annotations

import threading

# Each is a thread. Of one address so many, because behind a published port or a proxy all probers have the same.
FOR_ONE = 16
FOR_ALL = 32
_LOOPBACK = "loopback"


class Places:
    """Counted by address. Loopback is one client, and has places of its own: no neighbour can keep the engine's
    health check out, after which a container that is well would be restarted.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: dict[str, int] = {}

    def take(self, address: str) -> bool:
        """A place for a client with this address; False if there is none."""
        who = _who(address)
        with self._lock:
            taken = self._taken.get(who, 0)
            others = sum(self._taken.values()) - self._taken.get(_LOOPBACK, 0)
            if taken >= FOR_ONE or (who != _LOOPBACK and others >= FOR_ALL):
                return False
            self._taken[who] = taken + 1
            return True

    def give_back(self, address: str) -> None:
        """One place of this address, which must have been taken."""
        who = _who(address)
        with self._lock:
            self._taken[who] -= 1
            if not self._taken[who]:
                del self._taken[who]


def _who(address: str) -> str:
    """IPv4 looks like this on a socket that serves IPv6 as well: ::ffff:192.0.2.1."""
    address = address.removeprefix("::ffff:")
    return _LOOPBACK if address == "::1" or address.startswith("127.") else address
