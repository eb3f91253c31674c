"""Who answers in a database's place, in clear, and asks for the password at once."""

from __future__ import annotations

import socket
import struct
import threading
from types import TracebackType
from typing import Self

_SSL_REQUEST = struct.pack("!II", 8, 80877103)
_SALT = b"saltsaltsaltsaltsalt"
# CONNECT_WITH_DB, PROTOCOL_41, SECURE_CONNECTION and PLUGIN_AUTH, and no SSL.
_LOWER, _UPPER = 0x8208, 0x0008


class Impostor:
    """`kind` is "postgresql", or the plugin by which a MySQL server would have the password. All that it heard is `heard`."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._listener = socket.create_server(("", 0))
        self._thread = threading.Thread(target=self._serve)
        self.port: int = self._listener.getsockname()[1]
        self.heard = b""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.settimeout(5)
            try:
                (self._postgresql if self._kind == "postgresql" else self._mysql)(client)
                while self._hear(client):
                    pass
            except OSError:
                pass
            finally:
                client.close()

    def _hear(self, client: socket.socket) -> bytes:
        said = client.recv(4096)
        self.heard += said
        return said

    def _postgresql(self, client: socket.socket) -> None:
        if self._hear(client) == _SSL_REQUEST:
            client.sendall(b"N")
            self._hear(client)
        client.sendall(b"R" + struct.pack("!II", 8, 3))  # AuthenticationCleartextPassword

    def _mysql(self, client: socket.socket) -> None:
        greeting = b"\x0a8.0.0\0" + bytes(4) + _SALT[:8] + b"\0" + struct.pack("<HBHH", _LOWER, 8, 2, _UPPER)
        greeting += bytes([len(_SALT) + 1]) + bytes(10) + _SALT[8:] + b"\0mysql_native_password\0"
        client.sendall(_packet(0, greeting))
        self._hear(client)
        # An AuthSwitchRequest; what is behind the name is dialog's first question, and that it is the last.
        client.sendall(_packet(2, b"\xfe" + self._kind.encode() + b"\0\5Password: "))


def _packet(number: int, data: bytes) -> bytes:
    return struct.pack("<I", len(data))[:3] + bytes([number]) + data
