"""PostgreSQL, through psycopg2: how a connection is made, asked and closed, and its errors in words."""

from __future__ import annotations

import contextlib
import select
import threading

import psycopg2
import psycopg2.extensions

from entrypoint.logins import remote

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from entrypoint.logins.backends.sql.database import Server

ERRORS = (psycopg2.Error, OSError)
_DENIED = ("password", "authentication", "pg_hba.conf", "database", "role")
_EVENTS = {
    psycopg2.extensions.POLL_READ: select.POLLIN,
    psycopg2.extensions.POLL_WRITE: select.POLLOUT,
}
_this_thread = threading.local()


def connect(server: Server, deadline: remote.Deadline) -> Any:
    """Raises ERRORS."""
    _this_thread.deadline = deadline
    connection = psycopg2.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        dbname=server.database,
        **_tls(server),
        ssl_min_protocol_version="TLSv1.2",
        gssencmode="disable",
        client_encoding="UTF8",
        application_name="postern",
    )
    connection.autocommit = True
    return connection


def rows(
    connection: Any, query: str, values: Mapping[str, str], deadline: remote.Deadline
) -> list[tuple[Any, ...]]:
    """Raises ERRORS."""
    _this_thread.deadline = deadline
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def close(connection: Any) -> None:
    with contextlib.suppress(*ERRORS):
        connection.close()


def in_words(error: Exception) -> str:
    if isinstance(error, OSError):
        return remote.in_words(error, "SASL_SQL_CA_FILE")
    text = getattr(getattr(error, "diag", None), "message_primary", None) or str(error)
    # Of several attempts, such as with and without TLS, the first; of an attempt, what came of it.
    first = next(iter(text.splitlines()), type(error).__name__)
    reason = first.rpartition(" failed: ")[2].removeprefix("FATAL:").strip()
    if "certificate verify failed" in reason:
        return remote.untrusted(reason.removeprefix("SSL error: "), "SASL_SQL_CA_FILE")
    return reason


def is_denial(error: Exception) -> bool:
    """Whether the server answered, and does not want us."""
    return "FATAL:" in str(error) and any(word in str(error) for word in _DENIED)


def is_of_the_value(error: Exception) -> bool:
    """Whether it is the value's fault, which the column's type or encoding does not have: nobody can have it."""
    return isinstance(error, psycopg2.DataError)


def _tls(server: Server) -> dict[str, str]:
    if server.verified:
        return {"sslmode": "verify-full", "sslrootcert": server.ca_file or "system"}
    # The server chooses how a password is proved, and whoever answers in its place would choose to be told it.
    return {"sslmode": "prefer", "sslrootcert": "", "require_auth": "!password"}


def _wait(connection: Any) -> None:
    """Without it, libpq waits without an end for a server that was frozen, or cut off."""
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        poll = select.poll()
        poll.register(connection.fileno(), _EVENTS[state])
        poll.poll(_this_thread.deadline.left() * 1000)


psycopg2.extensions.set_wait_callback(_wait)
