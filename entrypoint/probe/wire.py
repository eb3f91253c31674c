"""One SMTP conversation, reply by reply (RFC 5321). What the far side says is bounded, cleaned and never trusted."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import socket
    import ssl

# The longest honest reply is an EHLO of some thirty lines. Without a bound, a far side that never stops
# talking would keep the probe busy for ever, since each line arrives in time.
REPLY_LIMIT = 64 * 1024

_REPLY_LINE = re.compile(rb"([2-5]\d\d)(?:([ -])(.*))?", re.DOTALL)


class NotSmtpError(Exception):
    """The far side sent something that is not an SMTP reply."""


class Reply(NamedTuple):
    """A complete reply, its lines cleaned of everything that could act on a terminal or a log."""

    code: int
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.code} {' / '.join(self.lines)}".rstrip()

    @property
    def good(self) -> bool:
        return 200 <= self.code < 300

    @property
    def permanent(self) -> bool:
        return self.code >= 500


def clean(text: str) -> str:
    """Return `text` without control characters, line breaks, direction marks and undecodable bytes."""
    return "".join(c if c.isprintable() else "?" for c in text).strip()


def to_bytes(text: str) -> bytes:
    """Return the bytes that the environment held: Python shows those that are not UTF-8 as surrogates."""
    return text.encode("utf-8", "surrogateescape")


class Wire:
    """The connection. Raises OSError (TimeoutError, ConnectionError, ssl.SSLError) and NotSmtpError.

    `timeout` is in seconds, for a whole reply and for the TLS handshake.
    """

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        self.sock = sock
        self._timeout = timeout
        self._secrets: list[str] = []
        self._pending = b""

    def hide(self, *secrets: str) -> None:
        """Cut `secrets` out of all replies from now on: some servers quote the line that they refuse.

        Not before a secret is sent: a word cut out of an innocent greeting would tell what the secret is.
        """
        self._secrets += sorted(filter(None, secrets), key=len, reverse=True)

    def command(self, line: bytes) -> Reply:
        """Send one command and return its reply; ValueError for a line break, which would smuggle in a second."""
        if b"\r" in line or b"\n" in line:
            raise ValueError("contains a line break")
        self.sock.settimeout(self._timeout)
        self.sock.sendall(line + b"\r\n")
        return self.reply()

    def reply(self) -> Reply:
        deadline = time.monotonic() + self._timeout
        lines: list[str] = []
        budget = REPLY_LIMIT
        while True:
            raw = self._line(deadline, budget)
            budget -= len(raw) + 1
            match = _REPLY_LINE.fullmatch(raw)
            if not match:
                sent = self._readable(raw)[:200] or "an empty line"
                raise NotSmtpError(f"the far side does not speak SMTP, it sent: {sent}")
            lines.append(self._readable(match[3] or b""))
            if match[2] != b"-":
                return Reply(int(match[1]), tuple(lines))

    def start_tls(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        """Do the TLS handshake, without SNI: Postfix sends none unless smtp_tls_servername is set."""
        # Bytes that came before the handshake are in clear and anybody's: kept, they would pass for the
        # server's first words under TLS.
        self._pending = b""
        self.sock.settimeout(self._timeout)
        tls = context.wrap_socket(self.sock)
        self.sock = tls
        return tls

    def close(self) -> None:
        self.sock.close()

    def _line(self, deadline: float, budget: int) -> bytes:
        while b"\n" not in self._pending:
            if len(self._pending) > budget:
                raise NotSmtpError(f"the far side's reply is longer than {REPLY_LIMIT} bytes")
            # A zero would mean "do not block" rather than "too late".
            self.sock.settimeout(max(deadline - time.monotonic(), 0.001))
            data = self.sock.recv(4096)
            if not data:
                raise ConnectionError("the far side closed the connection")
            self._pending += data
        line, self._pending = self._pending.split(b"\n", 1)
        if len(line) > budget:
            raise NotSmtpError(f"the far side's reply is longer than {REPLY_LIMIT} bytes")
        return line.rstrip(b"\r")

    def _readable(self, raw: bytes) -> str:
        text = raw.decode("utf-8", "surrogateescape")
        for secret in self._secrets:
            text = text.replace(secret, "[secret]")
        return clean(text)
