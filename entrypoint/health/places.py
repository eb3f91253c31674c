"""How many connections are held at the same time, and for whom: no client may take the places of all others."""

from __future__ import annotations

import socket
import time
from _thread import allocate_lock  # threading costs 0.3 MB

from entrypoint import log

# Each is a thread. Of one address so many, because behind a published port or a proxy all probers have the same.
FOR_ONE = 16
FOR_ALL = 32
_LOOPBACK = "loopback"
# Seconds between two warnings.
_QUIET = 60.0


class Place:
    """A connection, and whether it is we who make its client `wait`; else it is the client who makes us."""

    __slots__ = ("connection", "wait", "who")

    def __init__(self, connection: socket.socket, who: str) -> None:
        self.connection = connection
        self.who = who
        self.wait = False


class Places:
    """Counted by address. Where all are taken, a newcomer gets that of a client who keeps us waiting for the rest of its
    request, or does not read its answer: a probe says all at once.

    Loopback is one client, and has places of its own: no neighbour can keep the engine's health check out, after which a
    container that is well would be restarted.
    """

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._taken: list[Place] = []
        self._closed = 0
        self._quiet_until = float("-inf")

    def take(self, connection: socket.socket, address: str) -> Place | None:
        """A place for a client with this address; None if there is none."""
        place = Place(connection, _who(address))
        with self._lock:
            crowd = self._crowd(place.who)
            loser = _loser(crowd)
            if loser:
                self._taken.remove(loser)
                _end(loser.connection)
            if loser or not crowd:
                self._taken.append(place)
        if not crowd:
            return place
        self._warn((loser or place).who, crowd)
        return place if loser else None

    def answer(self, place: Place, *, begins: bool) -> bool:
        """From its beginning to its end a connection is not closed for others; False if it was before."""
        with self._lock:
            place.wait = begins
            return place in self._taken

    def give_back(self, place: Place) -> None:
        """Before the connection is closed, whose number might else be somebody else's by the time it is ended."""
        with self._lock:
            if place in self._taken:
                self._taken.remove(place)

    def _crowd(self, who: str) -> list[Place]:
        """Those of whom one must go before somebody else can come, in the order in which they came."""
        same = [place for place in self._taken if place.who == who]
        if len(same) >= FOR_ONE:
            return same
        others = [place for place in self._taken if place.who != _LOOPBACK]
        return others if who != _LOOPBACK and len(others) >= FOR_ALL else []

    def _warn(self, who: str, crowd: list[Place]) -> None:
        self._closed += 1
        if time.monotonic() < self._quiet_until:
            return
        self._quiet_until = time.monotonic() + _QUIET
        held = sum(place.who == who for place in crowd)
        log.write(
            f"warning: too many connections to the health port (HEALTH_PORT): closing those of {who}, which holds {held} "
            f"({self._closed} closed so far; told once a minute)",
            "postern/health",
        )


def _loser(crowd: list[Place]) -> Place | None:
    """The oldest that we wait for, of the address that holds most."""
    held = {place.who: 0 for place in crowd}
    for place in crowd:
        held[place.who] += 1
    return max((place for place in crowd if not place.wait), key=lambda place: held[place.who], default=None)


def _end(connection: socket.socket) -> None:
    """The thread that waits for it sees the end."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        # The client was faster.
        return


def _who(address: str) -> str:
    """IPv4 looks like this on a socket that serves IPv6 as well: ::ffff:192.0.2.1."""
    address = address.removeprefix("::ffff:")
    return _LOOPBACK if address == "::1" or address.startswith("127.") else address
