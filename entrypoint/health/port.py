"""The health port: one thread for each connection, so that a slow client does not hold up a probe.

On sockets instead of http.server: that costs 4.2 MB more for as long as the container lives, and of what it does only the
request line would be used (its header, error pages, 501 and missing time limit are not wanted).
"""

from __future__ import annotations

import socket
import time
from _thread import start_new_thread  # threading costs 0.3 MB

from entrypoint.health import mistakes
from entrypoint.health.answers import answer, response
from entrypoint.health.places import Places

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from typing import Self

    from entrypoint.health.answers import Routes, Viewer
    from entrypoint.health.places import Place

# A request's head must be complete after this time, however slowly it comes, and no longer than this.
_SECONDS = 2.0
_LONGEST = 8192
_BACKLOG = 64


class Port:
    """On all addresses: IPv6 and IPv4 in one socket, or IPv4 where there is no IPv6."""

    def __init__(self, number: int, table: Routes, view: Viewer | None = None) -> None:
        """Raises OSError."""
        self._table = table
        self._view = view
        self._places = Places()
        self._listener = _listener(number)
        self.number: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def serve_one(self) -> None:
        """Wait for a connection, and have it answered."""
        try:
            connection, (client, *_) = self._listener.accept()
        except OSError:
            # It has gone again.
            return
        place = self._places.take(connection, client)
        if not place:
            connection.close()
            return
        try:
            start_new_thread(self._serve, (place, client))
        except RuntimeError:
            # No thread could be started, which would have given the place back.
            self._places.give_back(place)
            connection.close()

    def _serve(self, place: Place, client: str) -> None:
        connection = place.connection
        try:
            head = _head(connection)
            if head and self._places.answer(place, begins=True):
                whole = self._answer(head, client)
                self._places.answer(place, begins=False)
                connection.settimeout(_SECONDS)
                connection.sendall(whole)
            # Else what was not read of the request would make the kernel take the answer back.
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            # A client that goes away, or comes too slowly, is no news.
            return
        finally:
            self._places.give_back(place)
            connection.close()

    def _answer(self, head: bytes, client: str) -> bytes:
        try:
            return answer(head, self._table, self._view, client)
        except Exception as error:  # noqa: BLE001  # a prober must not take it for a container that is gone
            return response(500, f"{mistakes.tell(error)}\n")


def _head(connection: socket.socket) -> bytes:
    """A request up to its empty line; as much as there is of one that is too long, nothing of one that has no end."""
    deadline = time.monotonic() + _SECONDS
    head = b""
    # A line may end without CR (RFC 9112, 2.2).
    while b"\n\r\n" not in head and b"\n\n" not in head and len(head) < _LONGEST:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        data = connection.recv(_LONGEST - len(head))
        if not data:
            return b""
        head += data
    return head


def _listener(number: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(
                ("", number), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True
            )
        except OSError as error:
            # The kernel knows IPv6, but no interface has it (net.ipv6.conf.all.disable_ipv6).
            if error.errno != 99:  # EADDRNOTAVAIL
                raise
    return socket.create_server(("", number), backlog=_BACKLOG)
