"""MySQL and MariaDB, through PyMySQL: how a connection is made, asked and closed, and its errors in words."""

from __future__ import annotations

import contextlib
import ssl

import pymysql
from pymysql.connections import Connection
from pymysql.constants import CLIENT, CR, ER

from entrypoint.logins import remote

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from entrypoint.logins.backends.sql.database import Server

# RuntimeError is what PyMySQL raises where it would need a library that is not installed.
ERRORS = (pymysql.MySQLError, OSError, RuntimeError)
_CA_SETTING, _LEVEL_SETTING = "SASL_SQL_CA_FILE", "SASL_SQL_TLS_LEVEL"
# Plugins that prove to know the password without sending it; what they would send encrypted, they cannot here, for want of
# a library.
_SECRETIVE = (b"mysql_native_password", b"caching_sha2_password", b"sha256_password", b"client_ed25519")
# The value has characters that the column's character set has not: nobody has it.
_NO_SUCH_VALUE = (ER.CANT_AGGREGATE_2COLLATIONS, ER.CANT_AGGREGATE_3COLLATIONS, ER.CANT_AGGREGATE_NCOLLATIONS)
_CONNECT = 3.0


class _Connection(Connection):  # type: ignore[misc]  # it has no types
    """Like PyMySQL's, but what must be TLS is, no password goes in clear, and each step has what is left of the time."""

    def __init__(self, server: Server, deadline: remote.Deadline) -> None:
        self._must_be_tls = server.verified
        super().__init__(
            host=server.host,
            port=server.port,
            user=server.user,
            # PyMySQL would take only what Latin-1 has.
            password=server.password.encode(),
            database=server.database,
            charset="utf8mb4",
            autocommit=True,
            ssl=_context(server),
            connect_timeout=deadline.left(_CONNECT),
            read_timeout=deadline.left(),
            write_timeout=deadline.left(),
        )

    def hurry(self, deadline: remote.Deadline) -> None:
        """For the next question: PyMySQL waits that long for each read and write."""
        self._read_timeout = self._write_timeout = deadline.left()

    def _request_authentication(self) -> None:
        # Without a word, PyMySQL would go on in clear.
        if self._must_be_tls and not self.server_capabilities & CLIENT.SSL:
            raise pymysql.OperationalError(0, f"offers no TLS, and {_LEVEL_SETTING} is verify")
        super()._request_authentication()

    def _process_auth(self, plugin_name: bytes, auth_packet: Any) -> Any:
        # The server chooses, and whoever answers in its place would choose to be told the password.
        if not self._secure and plugin_name not in _SECRETIVE:
            name = plugin_name.decode(errors="replace")
            raise pymysql.OperationalError(
                0, f"wants the password in clear ({name}), and without TLS it is not sent"
            )
        return super()._process_auth(plugin_name, auth_packet)


def connect(server: Server, deadline: remote.Deadline) -> Any:
    """Raises ERRORS."""
    return _Connection(server, deadline)


def rows(
    connection: Any, query: str, values: Mapping[str, str], deadline: remote.Deadline
) -> list[tuple[Any, ...]]:
    """Raises ERRORS."""
    connection.hurry(deadline)
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return list(cursor.fetchall())


def close(connection: Any) -> None:
    with contextlib.suppress(*ERRORS):
        connection.close()


def in_words(error: Exception) -> str:
    original = getattr(error, "original_exception", None)
    if isinstance(original, OSError):
        error = original
    if isinstance(error, OSError):
        return remote.in_words(error, _CA_SETTING)
    if error.args[:1] == (CR.CR_SERVER_LOST,):
        return "no answer" if "timed out" in str(error) else "closed the connection"
    return str(error.args[-1] if error.args else type(error).__name__)


def is_denial(error: Exception) -> bool:
    """Whether the server answered, and does not want us."""
    return bool(error.args) and isinstance(error.args[0], int) and 1000 <= error.args[0] < CR.CR_ERROR_FIRST


def is_of_the_value(error: Exception) -> bool:
    """Whether it is the value's fault: nobody can have it."""
    return isinstance(error, pymysql.DataError) or (bool(error.args) and error.args[0] in _NO_SUCH_VALUE)


def _context(server: Server) -> ssl.SSLContext:
    context = remote.tls_context(server.ca_file)
    if not server.verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
