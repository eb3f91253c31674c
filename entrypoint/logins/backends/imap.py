"""Logins are checked by logging in to an IMAP server (RFC 9051), as a mail program would. The mailbox is not opened.

Without TLS and a certificate that was verified nothing is sent. To the server all logins come from the relay: one that
answers an address more slowly after each failure, as Dovecot does, shall be told to trust the relay's
(login_trusted_networks), or one guesser slows everybody's logins until they end in "try again later".

Not imaplib: it does not tell "wrong" from "not understood", cannot send any password to a server that has LOGIN only,
and knows no deadline but each read's.
"""

from __future__ import annotations

import binascii
import contextlib

from entrypoint.logins import remote
from entrypoint.logins.backends import PATIENCE, PING_PATIENCE, RefusedError, UnavailableError

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Iterator

    from entrypoint.logins.backends import Options

_IMPLICIT_TLS = 993
_CA_SETTING = "SASL_IMAP_CA_FILE"
# Response codes of a server that cannot say now (RFC 9051, 7.1); any other "NO" is one.
_TEMPORARY = {"UNAVAILABLE", "SERVERBUG", "LIMIT", "INUSE", "PRIVACYREQUIRED"}
_LONGEST_LINE = 65536
# Servers end a session whose lines are longer than they like. A stranger shall not make the server look ill.
_LONGEST_TEXT = 1024
# Seconds for what follows the last answer.
_MARGIN = 0.3


class Backend:
    concurrency = 16

    def __init__(self, options: Options) -> None:
        self._host: str = options["host"]
        self._port: int = options["port"]
        self._ca_file: str | None = options["ca_file"]
        self._server = f"IMAP server {self._host}:{self._port}"

    def check(self, login: str, password: str) -> None:
        """As PasswordBackend.check. What is too long to be a login, or holds what cannot be sent, is nobody's."""
        texts = login.encode(), password.encode()
        if not password or "\0" in login + password or max(map(len, texts)) > _LONGEST_TEXT:
            raise RefusedError
        with self._session(PATIENCE - _MARGIN) as session:
            session.log_in(*texts)

    def ping(self) -> None:
        """As PasswordBackend.ping: up to where a password would be sent."""
        with self._session(PING_PATIENCE - _MARGIN):
            pass

    @contextlib.contextmanager
    def _session(self, patience: float) -> Iterator[_Session]:
        deadline = remote.Deadline(patience)
        try:
            context = remote.tls_context(self._ca_file)
            session = _Session(remote.connect(self._host, self._port, deadline), deadline)
            try:
                session.begin(context, self._host, implicit_tls=self._port == _IMPLICIT_TLS)
                yield session
            finally:
                session.leave()
        except _ProtocolError as error:
            raise UnavailableError(f"{self._server} {error}") from None
        except OSError as error:
            raise UnavailableError(f"{self._server}: {remote.in_words(error, _CA_SETTING)}") from None


class _ProtocolError(Exception):
    """The server does what the text says. Never in its own words: they may repeat what it was sent."""


class _Session:
    """Every method raises OSError and _ProtocolError."""

    def __init__(self, connection: socket.socket, deadline: remote.Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self._buffer = b""
        self._tag = 0
        self._can: list[str] = []

    def begin(self, context: ssl.SSLContext, host: str, *, implicit_tls: bool) -> None:
        """Up to a session in TLS whose capabilities are known."""
        if implicit_tls:
            self._start_tls(context, host)
        greeting = self._line().upper()
        if not greeting.startswith(b"* OK"):
            # "PREAUTH" is somebody's session: it would take every password for right.
            raise _ProtocolError("does not greet a client that has to log in")
        if not implicit_tls:
            if self._command(b"STARTTLS")[0] != "OK":
                raise _ProtocolError("refuses STARTTLS: in clear no password is sent")
            self._start_tls(context, host)
        self._can = []
        self._command(b"CAPABILITY")

    def log_in(self, login: bytes, password: bytes) -> None:
        """Raises RefusedError, too."""
        if "AUTH=PLAIN" in self._can:
            plain = binascii.b2a_base64(b"\0".join((b"", login, password)), newline=False)
            status, code = self._command(b"AUTHENTICATE PLAIN", plain)
        elif "LOGINDISABLED" not in self._can:
            # As literals, which hold any character.
            status, code = self._command(
                b"LOGIN {%d}" % len(login), login + b" {%d}" % len(password), password
            )
        else:
            raise _ProtocolError("offers neither AUTH=PLAIN nor LOGIN")
        if status == "OK":
            return
        # "BAD": what was sent before was understood, so that it must be this login that is none.
        if status in ("NO", "BAD") and code not in _TEMPORARY:
            raise RefusedError
        raise _ProtocolError(f"answers a login with {status}{code and f' [{code}]'}")

    def leave(self) -> None:
        """Whatever comes of this, what was found out holds."""
        with contextlib.suppress(OSError):
            self._connection.settimeout(_MARGIN)
            self._connection.sendall(b"z LOGOUT\r\n")
        self._connection.close()

    def _start_tls(self, context: ssl.SSLContext, host: str) -> None:
        # What came before is in clear and anybody's: it must not pass for the server's first words under TLS.
        self._buffer = b""
        self._connection.settimeout(self._deadline.left())
        self._connection = context.wrap_socket(self._connection, server_hostname=host)

    def _command(self, *lines: bytes) -> tuple[str, str]:
        """Send a command whose further lines each wait to be asked for; returns status and response code."""
        self._tag += 1
        tag = b"a%d" % self._tag
        waiting = list(lines)
        self._send(tag + b" " + waiting.pop(0))
        while True:
            line = self._line()
            if line.startswith(b"+") and waiting:
                self._send(waiting.pop(0))
            elif line.startswith(tag + b" "):
                return _status(line)
            elif line.upper().startswith(b"* BYE"):
                raise _ProtocolError("ends the session")
            elif line.upper().startswith(b"* CAPABILITY "):
                self._can = line.decode("ascii", "replace").upper().split()

    def _send(self, line: bytes) -> None:
        self._connection.settimeout(self._deadline.left())
        self._connection.sendall(line + b"\r\n")

    def _line(self) -> bytes:
        while b"\n" not in self._buffer:
            self._connection.settimeout(self._deadline.left())
            data = self._connection.recv(4096)
            if not data:
                raise _ProtocolError("closed the connection")
            self._buffer += data
            if len(self._buffer) > _LONGEST_LINE:
                raise _ProtocolError("sends an endless line")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r")


def _status(line: bytes) -> tuple[str, str]:
    """Of `tag NO [CODE ...] text`: NO and CODE, which is "" where there is none."""
    words = line.decode("ascii", "replace").upper().split(" ")
    code = words[2].strip("[]") if len(words) > 2 and words[2].startswith("[") else ""
    return words[1], code
