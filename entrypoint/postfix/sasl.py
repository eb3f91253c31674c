"""The only caller of Cyrus SASL: its password file (sasldb), made at the start and asked by the logins server.

Its library is called instead of its programs. saslpasswd2 takes 9 ms for each user, and saslauthd, Postfix's usual way
to it, answers "no" when it means "I cannot tell".
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from typing import Any, Self

    from entrypoint.config.render import Sasldb

# The logins server, which lives long, imports this: pathlib would add 0.9 MB.
# ruff: noqa: PTH101, PTH105, PTH118

_LIBRARY = "libsasl2.so.2"
# Every user has a realm in a sasldb: what follows the first @, or else this. No login can have it, as there are no
# spaces in logins: "ann" is nobody else, whatever the host is called.
_REALM = b"no domain"
NOBODY = "nobody at all"
"""In every sasldb there is one more, who cannot log in, as his password was thrown away."""

# sasl.h
OK, CONTINUE, FAIL = 0, 1, -1
NO_USER = -20
_NO_MEMORY, _TRY_AGAIN, _NOT_INITIALISED, _UNAVAILABLE = -2, -8, -12, -24
BROKEN = frozenset({FAIL, _NO_MEMORY, _TRY_AGAIN, _NOT_INITIALISED, _UNAVAILABLE})
"""Results that say nothing about login and password."""
_CB_LIST_END, _CB_GETOPT, _CB_LOG = 0, 1, 2
_LOG_ERROR = 1
_USERNAME = 0
_SET_CREATE = 1

_GetOption = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.POINTER(ctypes.c_uint),
)
_Log = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)


class SaslError(Exception):
    """What Cyrus SASL cannot do, in its own words."""


class _Callback(ctypes.Structure):
    _fields_ = (("id", ctypes.c_ulong), ("procedure", ctypes.c_void_p), ("context", ctypes.c_void_p))


def compile_sasldb(path: Path, sasldb: Sasldb) -> None:
    """Writes the file anew, readable by its group. Raises OSError."""
    import secrets
    import tempfile

    from entrypoint.config.install import as_group

    users = [(user.name, user.secret.reveal()) for user in sasldb.users]
    users.append((NOBODY, secrets.token_urlsafe()))
    # Berkeley DB makes the file itself, with a mode that umask(2) would decide.
    with tempfile.TemporaryDirectory(dir=path.parent) as private:
        new = os.path.join(private, "sasldb2")
        try:
            with as_group(sasldb.group), Cyrus(new) as cyrus:
                cyrus.set_passwords(users)
        except SaslError as error:
            raise OSError(f"Cyrus SASL cannot write {path}: {error}") from error
        os.chmod(new, 0o640)
        os.replace(new, path)


class Cyrus:
    """The library, which can be set up for one sasldb at a time in a process. Its functions are not thread-safe.

    Raises OSError where it is not installed, and SaslError.
    """

    def __init__(self, path: str, mechanisms: Iterable[str] = ()) -> None:
        self._c = _library()
        self.last_error = ""
        """What it last had to say about a failure that was not the client's."""
        options = {
            "auxprop_plugin": "sasldb",
            "mech_list": " ".join(mechanisms),
            "pwcheck_method": "auxprop",
            "sasldb_path": path,
        }
        # All that C keeps pointers to must live as long as this object.
        self._options = {
            name.encode(): ctypes.create_string_buffer(os.fsencode(value)) for name, value in options.items()
        }
        self._functions = (_GetOption(self._option), _Log(self._log))
        self._callbacks = (_Callback * 3)(
            _Callback(_CB_GETOPT, ctypes.cast(self._functions[0], ctypes.c_void_p)),
            _Callback(_CB_LOG, ctypes.cast(self._functions[1], ctypes.c_void_p)),
            _Callback(_CB_LIST_END),
        )
        self._check(self._c.sasl_server_init(self._callbacks, b"postern"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._c.sasl_done()

    def set_passwords(self, users: Iterable[tuple[str, str]]) -> None:
        """Adds or replaces each login's password. Raises SaslError."""
        with self.session() as session:
            for login, password in users:
                session.set_password(_bytes(login), _bytes(password))

    def session(self) -> Session:
        """One client's attempt to log in. Raises SaslError."""
        connection = ctypes.c_void_p()
        arguments = (b"smtp", _REALM, None, None, None, None, 0, ctypes.byref(connection))
        self._check(self._c.sasl_server_new(*arguments))
        return Session(self._c, connection, self._check)

    def _check(self, result: int) -> None:
        if result != OK:
            words = self._c.sasl_errstring(result, None, None).decode("ascii", "replace")
            raise SaslError(self.last_error or words)

    def _option(self, _: object, _plugin: object, name: bytes, result: Any, length: Any) -> int:
        if not (value := self._options.get(name)):
            return FAIL
        result[0] = ctypes.addressof(value)
        if length:
            length[0] = len(value.value)
        return OK

    def _log(self, _: object, level: int, message: bytes | None) -> int:
        if level == _LOG_ERROR and message:
            self.last_error = message.decode("utf-8", "replace")
        return OK


class Session:
    """One exchange of one mechanism. Results are those of sasl.h: OK, CONTINUE or an error, in numbers."""

    def __init__(self, c: ctypes.CDLL, connection: ctypes.c_void_p, check: Callable[[int], None]) -> None:
        self._c = c
        self._connection = connection
        self._check = check

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, mechanism: str, initial: bytes | None) -> tuple[int, bytes]:
        """The result, and what the client shall be told. `initial` is None if the client has said nothing yet."""
        return self._answer(self._c.sasl_server_start, mechanism.encode(), initial)

    def step(self, response: bytes) -> tuple[int, bytes]:
        return self._answer(self._c.sasl_server_step, response)

    def login(self) -> str:
        """Whose password it was, after OK. Raises SaslError."""
        name = ctypes.c_char_p()
        self._check(self._c.sasl_getprop(self._connection, _USERNAME, ctypes.byref(name)))
        return (name.value or b"").decode("utf-8", "replace").removesuffix(f"@{_REALM.decode()}")

    def set_password(self, login: bytes, password: bytes) -> None:
        """Raises SaslError."""
        arguments = (self._connection, login, password, len(password), None, 0, _SET_CREATE)
        self._check(self._c.sasl_setpass(*arguments))

    def close(self) -> None:
        """Forgets what it knows, the password among it."""
        self._c.sasl_dispose(ctypes.byref(self._connection))

    def _answer(self, function: Callable[..., int], *arguments: bytes | None) -> tuple[int, bytes]:
        out, length = ctypes.c_void_p(), ctypes.c_uint()
        said = arguments[-1]
        result = function(
            self._connection,
            *arguments,
            ctypes.c_uint(len(said or b"")),
            ctypes.byref(out),
            ctypes.byref(length),
        )
        return result, ctypes.string_at(out.value, length.value) if out.value else b""


def _library() -> ctypes.CDLL:
    c = ctypes.CDLL(_LIBRARY)
    c.sasl_errstring.restype = ctypes.c_char_p
    return c


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
