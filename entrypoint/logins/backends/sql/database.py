"""A database that is asked now and then: connections are kept for the next question, and a lost one is replaced."""

from __future__ import annotations

import contextlib
import threading
import time
from importlib import import_module

from entrypoint.logins.backends import UnavailableError
from entrypoint.logins.backends.sql.query import placed

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from entrypoint.logins.remote import Deadline

    Rows = list[tuple[Any, ...]]

# Seconds that a connection is kept for. What lies between may forget one that is idle, and then swallow what it sends.
_KEPT = 60.0


class Server:
    """Where the database is and who we are there, as SASL_SQL_URL says: kind://user@host:port/database."""

    def __init__(self, url: str, password: str | None, ca_file: str | None, *, verified: bool) -> None:
        self.kind, _, rest = url.partition("://")
        self.user, _, rest = rest.partition("@")
        address, _, self.database = rest.partition("/")
        host, _, port = address.rpartition(":")
        self.host = host.strip("[]")
        self.port = int(port)
        self.password = password or ""
        self.ca_file = ca_file
        self.verified = verified
        """Else TLS is used where it is offered, and by whom does not matter."""

    def __str__(self) -> str:
        return f"{self.kind} server {self.host}:{self.port}"


class Database:
    """At most `connections` at a time, as database servers count them."""

    def __init__(self, server: Server, connections: int) -> None:
        self._server = server
        # Only the library of the one server that is asked is loaded.
        self._driver: Any = import_module(f"{__package__}.{server.kind}")
        self._free = threading.BoundedSemaphore(connections)
        self._idle: list[tuple[float, Any]] = []

    def ask(self, setting: str, text: str, values: Mapping[str, str], deadline: Deadline) -> Rows:
        """The rows that a query gives; none, if the database says that there can be no such value.

        `setting` is the one that the query comes from. Raises UnavailableError.
        """
        try:
            query = placed(text, values)
        except ValueError as error:
            raise UnavailableError(f"{setting} {error}") from None
        try:
            waited = self._free.acquire(timeout=deadline.left())
        except TimeoutError:
            waited = False
        if not waited:
            raise UnavailableError(f"{self._server}: all connections wait for an answer")
        try:
            return self._ask(setting, query, values, deadline)
        finally:
            self._free.release()

    def _ask(self, setting: str, query: str, values: Mapping[str, str], deadline: Deadline) -> Rows:
        if connection := self._kept():
            # Whatever goes wrong, the connection may be to blame, as after a restart of the server.
            with contextlib.suppress(*self._driver.ERRORS):
                return self._answer(connection, query, values, deadline)
        connection = self._connected(deadline)
        try:
            return self._answer(connection, query, values, deadline)
        except self._driver.ERRORS as error:
            if self._driver.is_of_the_value(error):
                return []
            raise UnavailableError(f"{self._server}, {setting}: {self._driver.in_words(error)}") from None

    def _kept(self) -> Any:
        """A connection that was used a moment ago, or None."""
        # Another thread may take the last one at any time.
        with contextlib.suppress(IndexError):
            while True:
                used, connection = self._idle.pop()
                if time.monotonic() - used < _KEPT:
                    return connection
                self._driver.close(connection)
        return None

    def _connected(self, deadline: Deadline) -> Any:
        try:
            return self._driver.connect(self._server, deadline)
        except self._driver.ERRORS as error:
            reason = self._driver.in_words(error)
            if self._driver.is_denial(error):
                reason += ": look at SASL_SQL_URL and SASL_SQL_PASSWORD"
            raise UnavailableError(f"{self._server}: {reason}") from None

    def _answer(self, connection: Any, query: str, values: Mapping[str, str], deadline: Deadline) -> Rows:
        """Keeps the connection if it is good for another question."""
        try:
            rows: Rows = self._driver.rows(connection, query, values, deadline)
        except BaseException:
            self._driver.close(connection)
            raise
        self._idle.append((time.monotonic(), connection))
        return rows
