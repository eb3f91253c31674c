"""What goes on between a client and whoever knows its password, without a word about the wire."""

from __future__ import annotations

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from typing import Protocol

    class Exchange(Protocol):
        """One attempt to log in with one mechanism (RFC 4422). Its methods block."""

        login: str
        """Who it is, as far as that is known: for the log before success, for the sender rules after it."""

        def answer(self, response: bytes | None) -> bytes | None:
            """What the client is told next, or None if it is who it says.

            `response` is None if the client has said nothing yet. Raises RefusedError and UnavailableError
            (backends/__init__.py).
            """

        def close(self) -> None:
            """Also in the middle."""

    class Exchanges(Protocol):
        """Where attempts begin."""

        def begin(self, request: Request) -> Exchange:
            """Raises RefusedError and UnavailableError."""

        def ping(self) -> None:
            """As backends.PasswordBackend.ping."""


def named(mechanism: str, response: bytes) -> bytes:
    """Whom a client's first response names (RFC 4616, RFC 5802); nothing if that cannot be told. It proves nothing."""
    if mechanism == "LOGIN":
        return response
    if mechanism == "PLAIN":
        return response.split(b"\0")[1] if b"\0" in response else b""
    fields = response.split(b",")
    name = fields[2].removeprefix(b"n=") if len(fields) > 2 else b""
    return name.replace(b"=2C", b",").replace(b"=3D", b"=")


class Request:
    """What Postfix says about an attempt: the mechanism, and where the client and the relay are."""

    __slots__ = ("client", "mechanism", "secured", "server", "service")

    def __init__(
        self,
        mechanism: str,
        *,
        client: str = "",
        server: str = "",
        secured: bool = False,
        service: str = "smtp",
    ) -> None:
        self.mechanism = mechanism
        self.client = client
        self.server = server
        self.secured = secured
        self.service = service
