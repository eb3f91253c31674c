"""The sink over HTTP. Everything is JSON but the raw message; errors are {"error": "..."} with 400 or 404.

GET    /health                {"status": "ok", "ports": {...}}
GET    /messages              all, oldest first; filters ?to=ADDRESS ?from=ADDRESS (exact);
                              ?count=N&wait=SECONDS answers as soon as N match, or after SECONDS with fewer
GET    /messages/N            one
GET    /messages/N/raw        its bytes (message/rfc822)
GET    /sessions              all, oldest first, with every command, reply and login
DELETE /messages              forget all messages and finished sessions (204)
GET    /behaviour             what is in force
PUT    /behaviour             change the fields named in the body, leave the others; answers as GET
DELETE /behaviour             back to what the sink was started with; answers as GET
"""

import asyncio
import json
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from .behaviour import Behaviour
from .records import Message, Store

_LONGEST_WAIT = 120.0  # seconds


class Owner(Protocol):
    """What the pages need of the sink they show."""

    store: Store
    behaviour: Behaviour
    ports: dict[str, int]

    def change(self, changes: Mapping[str, Any]) -> Behaviour: ...

    def restore(self) -> Behaviour: ...


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: Owner

    def handle_error(self, request: object, client_address: object) -> None:
        """A reader that hung up early, such as a health probe, is not worth a traceback; anything else is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        owner, url = self.server.owner, urlsplit(self.path)
        match url.path.strip("/").split("/"):
            case ["health"]:
                self._json({"status": "ok", "ports": owner.ports})
            case ["behaviour"]:
                self._json(owner.behaviour.as_json())
            case ["sessions"]:
                self._json(owner.store.sessions_as_json())
            case ["messages"]:
                self._messages(
                    {name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
                )
            case ["messages", number, *rest] if number.isdecimal() and rest in ([], ["raw"]):
                self._message(owner.store.message(int(number)), raw=bool(rest))
            case _:
                self._error(HTTPStatus.NOT_FOUND, f"no page {url.path}")

    def do_PUT(self) -> None:
        if self.path != "/behaviour":
            self._error(HTTPStatus.NOT_FOUND, f"cannot PUT {self.path}")
            return
        try:
            changes = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            if not isinstance(changes, dict):
                raise ValueError("an object is expected")  # noqa: TRY301, TRY004  # answered like all other bad input
            self._json(self.server.owner.change(changes).as_json())
        except ValueError as error:
            self._error(HTTPStatus.BAD_REQUEST, str(error))

    def do_DELETE(self) -> None:
        if self.path == "/behaviour":
            self._json(self.server.owner.restore().as_json())
        elif self.path == "/messages":
            self.server.owner.store.reset()
            self.send_response(HTTPStatus.NO_CONTENT)
            self.end_headers()
        else:
            self._error(HTTPStatus.NOT_FOUND, f"cannot DELETE {self.path}")

    def _messages(self, query: dict[str, str]) -> None:
        unknown = sorted(set(query) - {"to", "from", "count", "wait"})
        if unknown:
            self._error(HTTPStatus.BAD_REQUEST, f"no such filter: {', '.join(unknown)}")
            return
        try:
            count, wait = int(query.get("count", "1")), min(float(query.get("wait", "0")), _LONGEST_WAIT)
        except ValueError as error:
            self._error(HTTPStatus.BAD_REQUEST, str(error))
            return
        store = self.server.owner.store

        def found() -> list[Message]:
            return store.messages(query.get("to"), query.get("from"))

        store.wait_for(lambda: len(found()) >= count, wait)
        self._json([message.as_json() for message in found()])

    def _message(self, message: Message | None, *, raw: bool) -> None:
        if message is None:
            self._error(HTTPStatus.NOT_FOUND, "no such message")
        elif raw:
            self._send(HTTPStatus.OK, "message/rfc822", message.raw)
        else:
            self._json(message.as_json())

    def _json(self, value: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(status, "application/json", json.dumps(value, indent=1).encode() + b"\n")

    def _error(self, status: HTTPStatus, text: str) -> None:
        self._json({"error": text}, status)

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Say nothing: health probes would drown the events."""


def serve(owner: Owner, opened: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
    """Answer on a listening socket for as long as the loop runs; each connection gets a thread, as it may wait."""
    server = _Server(opened.getsockname()[:2], _Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = opened
    server.owner = owner
    opened.setblocking(False)
    loop.add_reader(opened, _accept, server)


def _accept(server: _Server) -> None:
    with suppress(OSError):  # the client may be gone again
        server.process_request(*server.get_request())
