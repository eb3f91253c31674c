"""HTTP on the health port, for every prober that can reach it.

On socketserver instead of http.server: that costs 3.8 MB more for as long as the container lives, and of what it
does only the request line would be used (its header, error pages, 501 and missing time limit are not wanted).
"""

from __future__ import annotations

import signal
import socket
import socketserver
import time

from entrypoint import log, processes, runtime
from entrypoint.health import checks
from entrypoint.health.answers import answer
from entrypoint.health.places import Places

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from typing import Any

    from entrypoint.health.answers import Routes

    _Request = socket.socket | tuple[bytes, socket.socket]

# A request's head must be complete after this time, however slowly it comes, and no longer than this.
_SECONDS = 2.0
_LONGEST = 8192


def serve(runtime_file: str = runtime.RUNTIME, state_file: str = runtime.STATE) -> int:
    """Answer until SIGTERM, SIGINT or SIGQUIT: returns 0; or 1, with one line logged, if the port cannot be had."""
    processes.rename("health")
    facts = runtime.facts(runtime_file)
    port = int(facts["health_port"])
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, _stop)
        with bind(port, routes(facts, state_file)) as server:
            while True:
                server.handle_request()
    except _StopError:
        return 0
    except OSError as error:
        log.write(f"error: cannot listen on port {port} (HEALTH_PORT): {error.strerror}", "postern/health")
        return 1


def routes(facts: dict[str, str], state_file: str) -> Routes:
    """What each path checks."""
    listeners = [checks.Listener.named(name) for name in facts["listeners"].split()]
    shared = checks.Shared(lambda: checks.accepting(listeners, facts["probe_source"]))

    def alive() -> list[checks.Check]:
        return checks.alive(state_file)

    def ready() -> list[checks.Check]:
        before = checks.stopping(state_file) + alive()
        if not all(check.ok for check in before):
            # Without a master each listener would be one more way to say the same.
            return before
        return before + checks.startable(state_file) + shared.checks()

    return {"/livez": alive, "/readyz": ready, "/healthz": ready}


def bind(port: int, table: Routes) -> Server:
    """A server on all addresses: IPv6 and IPv4 in one socket, or IPv4 where there is no IPv6. Raises OSError."""
    if socket.has_dualstack_ipv6():
        try:
            return Server(socket.AF_INET6, port, table)
        except OSError as error:
            # The kernel knows IPv6, but no interface has it (net.ipv6.conf.all.disable_ipv6).
            if error.errno != 99:  # EADDRNOTAVAIL
                raise
    return Server(socket.AF_INET, port, table)


class Server(socketserver.ThreadingTCPServer):
    """One thread for each request, so that a slow client does not hold up a probe."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, family: socket.AddressFamily, port: int, table: Routes) -> None:
        self.address_family = family
        self.table = table
        self._places = Places()
        super().__init__(("", port), Handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def process_request(self, request: _Request, client_address: Any) -> None:
        if not self._places.take(client_address[0]):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except Exception:
            # No thread could be started, which would have given the place back.
            self._places.give_back(client_address[0])
            raise

    def process_request_thread(self, request: _Request, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.give_back(client_address[0])

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away, or comes too slowly, is no news."""


class Handler(socketserver.BaseRequestHandler):
    """Reads a request's head, writes the answer."""

    request: socket.socket
    server: Server

    def handle(self) -> None:
        if head := self._head():
            self.request.settimeout(_SECONDS)
            self.request.sendall(answer(head, self.server.table))

    def _head(self) -> bytes:
        deadline = time.monotonic() + _SECONDS
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _LONGEST:
            self.request.settimeout(max(deadline - time.monotonic(), 0.001))
            data = self.request.recv(_LONGEST - len(head))
            if not data:
                return b""
            head += data
        return head


class _StopError(BaseException):
    """Raised by the signal handler: Python would otherwise go back to waiting (PEP 475).

    Not an Exception: socketserver takes those for a request that failed, and goes on.
    """


def _stop(*_: object) -> None:
    raise _StopError
