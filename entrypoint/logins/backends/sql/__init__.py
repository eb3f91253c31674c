"""Logins and sender rules in a database: PostgreSQL, MySQL, MariaDB.

The password query gives the hash (crypt(5)) of the login %u; `{CRYPT}` or the like before it, as Dovecot has it, is
left out. Anything but one row is no such login. The senders query gives, one a row, the logins that may send as the
address %s, whose domain with its @ is %d, both in small letters.
"""

from __future__ import annotations

from entrypoint import log
from entrypoint.logins.availability import PROGRAM
from entrypoint.logins.backends import PATIENCE, PING_PATIENCE, RefusedError
from entrypoint.logins.backends.sql.database import Database, Server
from entrypoint.logins.comparison import Comparison
from entrypoint.logins.remote import Deadline

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from entrypoint.logins.backends import Options
    from entrypoint.logins.backends.sql.database import Rows

DEFAULT_PASSWORD_QUERY = "SELECT password FROM users WHERE login = %u"  # noqa: S105  # no password
_PASSWORD, _SENDERS = "SASL_SQL_PASSWORD_QUERY", "SASL_SQL_SENDERS_QUERY"
# Seconds for what follows the last answer.
_MARGIN = 0.3
_HASHING = 1.0
# What libcrypt knows under another name; other schemes it does not.
_SCHEMES = ("{CRYPT}", "{SHA512-CRYPT}", "{SHA256-CRYPT}", "{BLF-CRYPT}")
_LONGEST_SHOWN = 100


class Backend:
    concurrency = 4

    def __init__(self, options: Options) -> None:
        server = Server(options["url"], options["password"], options["ca_file"], verified=options["verified"])
        self._database = Database(server, self.concurrency)
        self._password_query: str = options["password_query"] or DEFAULT_PASSWORD_QUERY
        self._senders_query: str | None = options["senders_query"]
        self._comparison = Comparison()

    def check(self, login: str, password: str) -> None:
        """As PasswordBackend.check."""
        if not password:
            raise RefusedError
        deadline = Deadline(PATIENCE - _MARGIN - _HASHING)
        rows = self._database.ask(_PASSWORD, self._password_query, {"u": login}, deadline)
        self._comparison.check(login, password, _hash(login, rows))

    def ping(self) -> None:
        """As PasswordBackend.ping: asks for what nobody has."""
        self._comparison.ping()
        deadline = Deadline(PING_PATIENCE - _MARGIN)
        self._database.ask(_PASSWORD, self._password_query, {"u": ""}, deadline)
        if self._senders_query:
            self._database.ask(_SENDERS, self._senders_query, {"s": "", "d": ""}, deadline)

    def senders(self, address: str) -> list[str]:
        """As SenderBackend.senders; nobody's, where there is no query."""
        if not self._senders_query:
            return []
        address = address.lower()
        _, at, domain = address.rpartition("@")
        values = {"s": address, "d": at + domain}
        rows = self._database.ask(_SENDERS, self._senders_query, values, Deadline(PATIENCE - _MARGIN))
        return list(dict.fromkeys(str(row[0]) for row in rows if row[0]))


def _hash(login: str, rows: Rows) -> bytes | None:
    """What libcrypt shall compare with; None if there is no such login, or two."""
    if len(rows) != 1 or not rows[0][0]:
        return None
    found = rows[0][0]
    text = found.decode("ascii", "replace") if isinstance(found, bytes) else str(found)
    for scheme in _SCHEMES:
        text = text.removeprefix(scheme)
    if not text.startswith("$"):
        # One login's fault is no reason to call the database ill, which would take the relay away from all others.
        shown = login[:_LONGEST_SHOWN]
        log.write(f"warning: {_PASSWORD} gives no crypt(5) hash for {shown}, who is refused", PROGRAM)
        return None
    return text.encode()
