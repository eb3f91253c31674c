"""Postfix's socketmap protocol (socketmap_table(5)): what other programs may ask the logins server."""

from __future__ import annotations

from entrypoint.logins.availability import fault
from entrypoint.logins.backends import UnavailableError

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import BinaryIO

    from entrypoint.logins.availability import Availability

    Senders = Callable[[str], list[str] | None]

# Postfix's own limit for what it is told (dict_sockmap.c), and more than it ever asks.
_LONGEST = 100_000


class Maps:
    """`status`, whatever the key: OK up, or TEMP and why not. `senders`: whose an address is."""

    def __init__(self, availability: Availability, senders: Senders) -> None:
        self._availability = availability
        self._senders = senders

    def converse(self, connection: socket.socket) -> None:
        """Until the other side hangs up, or says what is no question."""
        with connection.makefile("rb") as questions:
            while (question := _received(questions)) is not None:
                name, _, key = question.partition(" ")
                answer = self._answer(name, key).encode("utf-8", "replace")[:_LONGEST]
                connection.sendall(b"%d:%b," % (len(answer), answer))

    def _answer(self, name: str, key: str) -> str:
        if name == "status":
            problem = self._availability.problem()
            return f"TEMP {problem}" if problem else "OK up"
        if name == "senders":
            return self._owners(key)
        return f"PERM there is no map {name}"

    def _owners(self, address: str) -> str:
        try:
            logins = self._senders(address)
        except UnavailableError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001  # neither a yes nor a no
            problem = fault(error)
        else:
            if logins is None:
                return "PERM this backend has no senders"
            self._availability.checked()
            return f"OK {', '.join(logins)}" if logins else "NOTFOUND "
        self._availability.checked(problem)
        return f"TEMP {problem}"


def _received(stream: BinaryIO) -> str | None:
    """One netstring (https://cr.yp.to/proto/netstrings.txt); None for the end, or what is none."""
    digits = b""
    while (byte := stream.read(1)).isdigit() and len(digits) < 6:
        digits += byte
    if byte != b":" or not digits or int(digits) > _LONGEST:
        return None
    text = stream.read(int(digits))
    return text.decode("utf-8", "replace") if stream.read(1) == b"," else None
