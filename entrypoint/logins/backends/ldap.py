"""Logins in an LDAP directory: the service account finds the entry, and the entry's own password is tried (RFC 4513).

`ldap://` always means STARTTLS; the certificate is always verified. Referrals are not followed: they would take the
password to a server that nobody named.
"""

from __future__ import annotations

import contextlib

import ldap
import ldap.filter

from entrypoint.logins import remote
from entrypoint.logins.backends import PATIENCE, PING_PATIENCE, RefusedError, UnavailableError

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from entrypoint.logins.backends import Options

_PUBLIC_CAS = "/etc/ssl/certs/ca-certificates.crt"
_CA_SETTING = "SASL_LDAP_CA_FILE"
# Seconds: for connecting, and for what follows the last answer.
_CONNECT = 3.0
_MARGIN = 0.3
# What a server says to a bind with a wrong password, or of an entry that has none, is locked or was removed meanwhile.
_REFUSALS = (
    ldap.INVALID_CREDENTIALS,
    ldap.INAPPROPRIATE_AUTH,
    ldap.INSUFFICIENT_ACCESS,
    ldap.UNWILLING_TO_PERFORM,
    ldap.CONSTRAINT_VIOLATION,
    ldap.NO_SUCH_OBJECT,
)
_NO_SUCH_BASE = (ldap.NO_SUCH_OBJECT, ldap.INVALID_DN_SYNTAX)
_NO_ATTRIBUTES = ["1.1"]  # RFC 4511, 4.5.1.8


class Backend:
    concurrency = 16

    def __init__(self, options: Options) -> None:
        self._url: str = options["url"]
        self._base: str = options["base"] or ""
        self._filter: str = options["filter"]
        self._bind_dn: str = options["bind_dn"] or ""
        self._bind_password: str = options["bind_password"] or ""
        self._ca_file: str = options["ca_file"] or _PUBLIC_CAS

    def check(self, login: str, password: str) -> None:
        """As PasswordBackend.check."""
        # A bind with a name and without a password is an anonymous one, to which some servers say yes.
        if not password:
            raise RefusedError
        with self._opened(PATIENCE - _MARGIN) as directory:
            name = self._find(directory, login)
            with contextlib.suppress(*_REFUSALS):
                directory.bind(name, password)
                return
        raise RefusedError

    def ping(self) -> None:
        """As PasswordBackend.ping: up to where an entry would be searched."""
        with self._opened(PING_PATIENCE - _MARGIN) as directory:
            self._search(directory, "nobody", ldap.SCOPE_BASE)

    def _find(self, directory: _Directory, login: str) -> str:
        """The one entry's name. Raises RefusedError if there is none, or whose password is meant cannot be said."""
        try:
            names = self._search(directory, login, ldap.SCOPE_SUBTREE)
        except ldap.SIZELIMIT_EXCEEDED:
            raise RefusedError from None
        if len(names) != 1:
            raise RefusedError
        return names[0]

    def _search(self, directory: _Directory, login: str, scope: int) -> list[str]:
        wanted = self._filter.replace("%u", ldap.filter.escape_filter_chars(login))
        try:
            return directory.search(self._base, scope, wanted)
        except ldap.FILTER_ERROR:
            raise UnavailableError(
                "SASL_LDAP_FILTER is not a filter that an LDAP server understands"
            ) from None
        except _NO_SUCH_BASE:
            reader = self._bind_dn or "somebody without SASL_LDAP_BIND_DN"
            raise UnavailableError(
                f"{self._url} has no SASL_LDAP_SEARCH_BASE {self._base}, or {reader} may not see it"
            ) from None

    @contextlib.contextmanager
    def _opened(self, patience: float) -> Iterator[_Directory]:
        """A connection on which the service account has logged in. All that is not foreseen is an UnavailableError."""
        directory = None
        try:
            directory = _Directory(self._url, self._ca_file, remote.Deadline(patience))
            directory.secure()
            self._bind_service(directory)
            yield directory
        except ldap.LDAPError as error:
            raise UnavailableError(f"{self._url}: {_in_words(error)}") from None
        except TimeoutError as error:
            raise UnavailableError(f"{self._url}: {error}") from None
        finally:
            if directory:
                directory.close()

    def _bind_service(self, directory: _Directory) -> None:
        if not self._bind_dn:
            return
        try:
            directory.bind(self._bind_dn, self._bind_password)
        except (ldap.INVALID_CREDENTIALS, ldap.INVALID_DN_SYNTAX):
            raise UnavailableError(
                f"{self._url} refuses SASL_LDAP_BIND_DN with SASL_LDAP_BIND_PASSWORD"
            ) from None


class _Directory:
    """A connection. Every method raises ldap.LDAPError and TimeoutError."""

    def __init__(self, url: str, ca_file: str, deadline: remote.Deadline) -> None:
        self._starts_in_clear = url.lower().startswith("ldap:")
        self._deadline = deadline
        # libldap connects at the first operation, and then looks at these.
        self._connection: Any = ldap.initialize(url)
        self._connection.set_option(ldap.OPT_REFERRALS, 0)
        self._connection.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)
        self._connection.set_option(ldap.OPT_X_TLS_CACERTFILE, ca_file)
        self._connection.set_option(ldap.OPT_X_TLS_PROTOCOL_MIN, ldap.OPT_X_TLS_PROTOCOL_TLS1_2)
        self._connection.set_option(ldap.OPT_X_TLS_NEWCTX, 0)

    def secure(self) -> None:
        """In TLS from here on, where it was not from the first byte; a local socket needs none."""
        if self._starts_in_clear:
            self._hurry().start_tls_s()

    def bind(self, name: str, password: str) -> None:
        self._hurry().simple_bind_s(name, password)

    def search(self, base: str, scope: int, wanted: str) -> list[str]:
        """The names of what was found; of more than two raises ldap.SIZELIMIT_EXCEEDED."""
        found = self._hurry().search_ext_s(base, scope, wanted, _NO_ATTRIBUTES, sizelimit=2)
        # A referral has no name.
        return [name for name, _ in found if name]

    def close(self) -> None:
        with contextlib.suppress(ldap.LDAPError):
            self._connection.unbind_s()

    def _hurry(self) -> Any:
        self._connection.set_option(ldap.OPT_NETWORK_TIMEOUT, self._deadline.left(_CONNECT))
        self._connection.set_option(ldap.OPT_TIMEOUT, self._deadline.left())
        return self._connection


def _in_words(error: ldap.LDAPError) -> str:
    told = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    info = str(told.get("info", ""))
    if "certificate verify failed" in info:
        return remote.untrusted(info.rpartition("(")[2].rstrip(")"), _CA_SETTING)
    if "peer certificate" in info:
        return remote.untrusted("it does not match the name of the server", _CA_SETTING)
    # What libldap was doing when it gave up: "Transport endpoint is not connected" says nothing of the server.
    detail = f" ({info})" if info and "errno" not in told else ""
    what = str(told.get("desc", "") or type(error).__name__.replace("_", " "))
    return f"{what}{detail}"
