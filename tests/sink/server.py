"""One sink: its listeners, its event loop in a thread of its own, and the behaviour in force."""

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from .behaviour import Behaviour
from .records import Store
from .smtp import Upstream
from .web import serve

_START_DEADLINE = 10.0  # seconds


@dataclass(frozen=True)
class Listen:
    """Where to listen. Port 0 takes a free one, None opens none; `host` empty means all addresses, IPv6 too."""

    host: str = ""
    smtp: int | None = 1025
    smtps: int | None = None
    http: int | None = None


class Sink:
    """A context manager for tests, `run_forever` for the program. Raises OSError when a port is taken.

    aiosmtpd's Controller is not used: it cannot take port 0, and it serves one listener.
    """

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        listen: Listen | None = None,
        certificate: tuple[Path, Path] | None = None,
        hostname: str = "sink.example",
        store: Store | None = None,
    ) -> None:
        self.store = store or Store()
        self.hostname = hostname
        self.initial = self.behaviour = behaviour or Behaviour()
        self.ports: dict[str, int] = {}
        """Listener (smtp, smtps, http) to the port that is really open."""
        self._listen = listen or Listen()
        self._tls = None if certificate is None else _context(*certificate)
        self._loop = asyncio.new_event_loop()
        self._wake = asyncio.Event()
        self._changing = threading.Lock()
        self._sockets: list[tuple[str, socket.socket]] = []
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._run, name="sink", daemon=True)
        self._started = threading.Event()

    def __enter__(self) -> Self:
        # aiosmtpd warns about each client that misbehaves, which is what the tests make it do.
        logging.getLogger("mail.log").setLevel(logging.CRITICAL)
        for listener in ("smtp", "smtps", "http"):
            port = getattr(self._listen, listener)
            if port is not None:
                opened = _open(self._listen.host, port)
                self._sockets.append((listener, opened))
                self.ports[listener] = opened.getsockname()[1]
        self._thread.start()
        if not self._started.wait(_START_DEADLINE):
            raise RuntimeError("the sink's event loop did not start")
        self.store.event("listening", ports=self.ports, behaviour=self.behaviour.for_the_log())
        return self

    def __exit__(self, *_exception: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_DEADLINE)
        for _, opened in self._sockets:
            opened.close()

    def change(self, changes: Mapping[str, Any]) -> Behaviour:
        """Replace some fields of the behaviour at once, also for lines already open. Raises ValueError."""
        with self._changing:
            self.behaviour = self.behaviour.changed(changes)
        return self._announce()

    def restore(self) -> Behaviour:
        """Back to the behaviour the sink was started with; whatever hangs goes on."""
        with self._changing:
            self.behaviour = self.initial
        return self._announce()

    async def behaviour_changed(self) -> None:
        await self._wake.wait()

    def _announce(self) -> Behaviour:
        self.store.event("behaviour", **self.behaviour.for_the_log())
        self._loop.call_soon_threadsafe(self._wake_all)
        return self.behaviour

    def _wake_all(self) -> None:
        waiting, self._wake = self._wake, asyncio.Event()
        waiting.set()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(self._note_error)
        self._loop.run_until_complete(self._open_all())
        self._loop.call_soon(self._started.set)
        self._loop.run_forever()
        for server in self._servers:
            server.close()
        self._loop.run_until_complete(_cancel_all())
        self._loop.close()

    async def _open_all(self) -> None:
        for listener, opened in self._sockets:
            if listener == "http":
                serve(self, opened, self._loop)
            else:
                starttls, implicit = (None, self._tls) if listener == "smtps" else (self._tls, None)
                factory = partial(Upstream, self, listener, starttls)
                self._servers.append(await self._loop.create_server(factory, sock=opened, ssl=implicit))

    def _note_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A client that breaks off a TLS handshake lands here: an event, not a traceback."""
        self.store.event("error", error=repr(context.get("exception", context["message"])))


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


def _open(host: str, port: int) -> socket.socket:
    if host:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        opened = socket.create_server((host, port), family=family, backlog=128)
    elif socket.has_dualstack_ipv6():
        opened = socket.create_server(("", port), family=socket.AF_INET6, backlog=128, dualstack_ipv6=True)
    else:
        opened = socket.create_server(("", port), backlog=128)
    # Inherited by each connection. asyncio leaves it out for sockets made like this one, and every answer of
    # more than one line then waits 40 ms for an ACK.
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened
