"""Passwords known to a Dovecot that runs elsewhere: each exchange is passed on to its authentication server.

The protocol is the one that conversation.py speaks with Postfix. Each exchange has a connection of its own: so none
waits for another, and a Dovecot that was restarted is met anew.
"""

from __future__ import annotations

import binascii
import os
import socket

from entrypoint.logins.backends import PATIENCE, PING_PATIENCE, MalformedError, RefusedError, UnavailableError

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from typing import BinaryIO

    from entrypoint.logins.backends import Options
    from entrypoint.logins.exchange import Exchange, Request

_LONGEST = 65536
# There may be only one connection of each client, and the clients of all relays are told apart by a number.
_NUMBERS = 0x7FFFFFFF


class Backend:
    """`path` is inet:HOST:PORT or unix:/PATH."""

    def __init__(self, options: Options) -> None:
        self._path = str(options["path"])
        self._mechanisms = list(options["mechanisms"])

    def begin(self, request: Request) -> Exchange:
        line = _Line(self._path, PATIENCE)
        try:
            line.demand(request.mechanism)
        except UnavailableError:
            line.close()
            raise
        return _Exchange(line, request)

    def ping(self) -> None:
        line = _Line(self._path, PING_PATIENCE)
        try:
            line.demand(*self._mechanisms)
        finally:
            line.close()


class _Line:
    """A connection after the handshake. All that fails raises UnavailableError."""

    def __init__(self, path: str, patience: float) -> None:
        self._path = path
        try:
            self._socket = _connect(path, patience)
        except OSError as error:
            raise self._problem(error) from None
        self._lines: BinaryIO = self._socket.makefile("rb")
        try:
            self._offered = self._shake_hands()
        except UnavailableError:
            self.close()
            raise

    def demand(self, *mechanisms: str) -> None:
        # Dovecot would call it a failed login.
        if missing := [name for name in mechanisms if name not in self._offered]:
            raise UnavailableError(f"Dovecot does not offer {' '.join(missing)} (its auth_mechanisms)")

    def send(self, *words: str) -> None:
        try:
            self._socket.sendall(("\t".join(words) + "\n").encode())
        except OSError as error:
            raise self._problem(error) from None

    def receive(self) -> list[str]:
        try:
            line = self._lines.readline(_LONGEST)
        except OSError as error:
            raise self._problem(error) from None
        if not line.endswith(b"\n"):
            raise UnavailableError(f"Dovecot ({self._path}) closed the connection")
        return line.decode("utf-8", "replace").rstrip("\n").split("\t")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def _shake_hands(self) -> set[str]:
        """The mechanisms on offer."""
        self.send("VERSION", "1", "2")
        self.send("CPID", str(int.from_bytes(os.urandom(4), "big") & _NUMBERS))
        offered = set()
        while (words := self.receive())[0] != "DONE":
            if words[0] == "VERSION" and words[1:2] != ["1"]:
                raise UnavailableError(f"Dovecot ({self._path}) speaks another protocol: {' '.join(words)}")
            if words[0] == "MECH":
                offered.update(words[1:2])
            # auth-master and auth-userdb say who they are, and then nothing more.
            if words[0] == "SPID" and not offered:
                raise UnavailableError(
                    f"Dovecot ({self._path}) has no mechanism: it must be an auth-client socket"
                )
        return offered

    def _problem(self, error: OSError) -> UnavailableError:
        return UnavailableError(f"cannot reach Dovecot ({self._path}): {error.strerror or error}")


class _Exchange:
    def __init__(self, line: _Line, request: Request) -> None:
        self._line = line
        self._request = request
        self._begun = False
        self.login = ""

    def answer(self, response: bytes | None) -> bytes | None:
        encoded = None if response is None else binascii.b2a_base64(response, newline=False).decode()
        if self._begun:
            self._line.send("CONT", "1", encoded or "")
        else:
            self._begun = True
            self._line.send(*self._first(encoded))
        return self._result(*self._line.receive())

    def close(self) -> None:
        self._line.close()

    def _first(self, response: str | None) -> list[str]:
        """As Postfix writes it, and that its own delays are not wanted: an honest client may have a guesser's address
        (NAT), the answer would come too late for Postfix, and guesses are slowed here (throttle.py).
        """
        request = self._request
        words = ["AUTH", "1", request.mechanism, f"service={request.service}", "nologin", "no-penalty"]
        words += [f"lip={request.server}"] * bool(request.server) + [f"rip={request.client}"] * bool(
            request.client
        )
        words += ["secured"] * request.secured
        return words if response is None else [*words, f"resp={response}"]

    def _result(self, command: str, _: str = "", *words: str) -> bytes | None:
        given = dict(word.partition("=")[::2] for word in words)
        self.login = given.get("user", self.login)
        if command == "OK" and self.login:
            if not self.login.isprintable():
                raise MalformedError
            return None
        if command == "CONT":
            return binascii.a2b_base64(words[0] if words else "")
        if command == "FAIL" and "temp" not in given and given.get("code") != "temp_fail":
            raise RefusedError
        raise UnavailableError("Dovecot could not check a login: its own log says why")


def _connect(path: str, patience: float) -> socket.socket:
    """Raises OSError."""
    kind, _, place = path.partition(":")
    if kind == "inet":
        host, _, port = place.rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), patience)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(patience)
        connection.connect(place)
    except OSError:
        connection.close()
        raise
    return connection
