"""What a backend is: something that knows whose password is whose.

A module here has the name of its backend, and a class `Backend` that is made from its part of logins.json. Making it
neither connects nor fails: a server that is down now may be up at the first login.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    Options = Mapping[str, Any]
    """The backend's own part of logins.json; a value that is not set is None."""

    class PasswordBackend(Protocol):
        """Checks a password that the client has sent as it is (PLAIN, LOGIN).

        Its methods block; each call is made in one of `concurrency` threads, several at a time, on one object. What
        goes wrong in any other way than the errors below is taken for UnavailableError, and logged.
        """

        concurrency: int
        """How many checks may run at the same time."""

        def check(self, login: str, password: str) -> None:
            """Returns if the password is this login's, within PATIENCE.

            Raises RefusedError if there is no such login or the password is another, and UnavailableError if that
            could not be found out: then it is neither a yes nor a no. Both texts come from outside: of any length,
            with any characters but NUL, and not empty.
            """

        def ping(self) -> None:
            """Returns within PING_PATIENCE if a login could be checked now; raises UnavailableError."""

    class SenderBackend(PasswordBackend, Protocol):
        """Also knows which addresses belong to which login."""

        def senders(self, address: str) -> list[str]:
            """The logins that may send as `address`: none if it belongs to nobody. Raises UnavailableError.

            `address` is what Postfix looks up: user@example.com, then user (own domain), then @example.com.
            """


# Seconds. Postfix gives up after 10 (xsasl_dovecot_server.c), and a client has its own limit.
PATIENCE = 7.0
# Whoever asks for the status waits 2.5 s.
PING_PATIENCE = 2.0


class RefusedError(Exception):
    """Login and password do not belong together. Which of them is wrong is said to nobody."""


class MalformedError(RefusedError):
    """Refused without asking anybody: what the client sent is no login, whatever the password."""


class UnavailableError(Exception):
    """The backend could not be asked; the text says why in words, without the password. It is logged and shown in
    /readyz, never sent to a client.
    """


class BusyError(UnavailableError):
    """Others were asking it for too long. Guessers can bring that about: it is no fault while those get answers."""
