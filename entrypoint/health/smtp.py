"""Asking one listener whether it would take a mail, as a client would find out: up to RCPT, never DATA.

Written on a socket, because smtplib costs 6 MB in a program that runs all the time.
"""

from __future__ import annotations

import socket
import time

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from typing import Self

# What smtpd_*_restrictions answer to the probe's address; config/policy and this must agree.
MARKER = "readiness probe"
# Nobody's domain (RFC 6761): neither a relay domain nor one that a name server is asked about. keeper/stream.py
# knows it, too.
_RECIPIENT = "readiness-probe@postern.invalid"
_LONGEST_REPLY = 16384


class Reply:
    """A complete SMTP reply (RFC 5321, 4.2): its code and its text, lines joined by a space."""

    __slots__ = ("code", "text")

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text

    @property
    def offered(self) -> list[str]:
        """Of a reply to EHLO: the words after the server's name, keywords among them."""
        return self.text.split()[1:]

    def __str__(self) -> str:
        return f"{self.code} {self.text}"[:200]


class Demands:
    """What a listener must do beside taking a recipient. `source`: said in a PROXY line; "": no such line is said."""

    __slots__ = ("auth", "source", "tls")

    def __init__(self, *, source: str = "", tls: bool = False, auth: bool = False) -> None:
        self.source = source
        self.tls = tls
        self.auth = auth


class Dialogue:
    """One session; closes its connection. Every operation raises OSError once `deadline` (time.monotonic) has passed."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def announce(self, source: str) -> None:
        """Name the client's address as a load balancer does (PROXY protocol, version 1)."""
        ours, theirs = self._connection.getsockname()[1], self._connection.getpeername()[1]
        self._connection.sendall(f"PROXY TCP4 {source} 127.0.0.1 {ours} {theirs}\r\n".encode("ascii"))

    def encrypt(self) -> None:
        # Only where a listener needs it: it brings the ssl module.
        from entrypoint.health import tls

        self._connection.settimeout(_left(self._deadline))
        try:
            self._connection = tls.wrap(self._connection)
        except TimeoutError:
            raise
        except OSError as error:
            raise OSError(f"no TLS ({error.strerror or error})") from error
        # What came before belongs to nobody (RFC 3207, 4.2).
        self._buffer = b""

    def ask(self, command: str) -> Reply:
        self._connection.settimeout(_left(self._deadline))
        self._connection.sendall(f"{command}\r\n".encode("ascii", "replace"))
        return self.reply()

    def reply(self) -> Reply:
        texts = []
        while True:
            line = self._line()
            texts.append(line[4:])
            if line[3:4] != "-":
                break
        if not line[:3].isdigit():
            raise OSError(f"not an SMTP reply: {line[:80]!r}")
        return Reply(int(line[:3]), " ".join(texts))

    def _line(self) -> str:
        while b"\n" not in self._buffer:
            self._connection.settimeout(_left(self._deadline))
            data = self._connection.recv(4096)
            if not data:
                raise OSError("connection closed without a reply")
            self._buffer += data
            if len(self._buffer) > _LONGEST_REPLY:
                raise OSError("endless reply")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode("utf-8", "replace").rstrip()


def connect(address: str, port: int, source: str, deadline: float) -> socket.socket:
    """Connect from the probe's own address, by which Postfix and the log know it. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET:
            connection.bind((source, 0))
        connection.settimeout(_left(deadline))
        connection.connect((address, port))
    except OSError:
        connection.close()
        raise
    return connection


def examine(dialogue: Dialogue, demands: Demands) -> str:
    """Walk through a session; returns what is wrong, or "" if a mail would get as far as the relay decision."""
    if demands.source:
        dialogue.announce(demands.source)
    if demands.tls:
        dialogue.encrypt()
    greeting = dialogue.reply()
    if greeting.code != 220:
        return f'greets with "{greeting}": clients are turned away before they can send'
    problem = _envelope(dialogue, demands)
    try:
        # Leaving properly, or Postfix logs "lost connection".
        dialogue.ask("RSET")
        dialogue.ask("QUIT")
    except OSError:
        if not problem:
            raise
    return problem


def _envelope(dialogue: Dialogue, demands: Demands) -> str:
    hello, sender = _begin(dialogue)
    if sender.code == 530 and "STARTTLS" in hello.offered:
        # As any client must here. What is broken behind it, a certificate or the logins, would be found by nobody else.
        start = dialogue.ask("STARTTLS")
        if start.code != 220:
            return f'answers STARTTLS with "{start}": nobody can send here, as TLS is demanded'
        dialogue.encrypt()
        hello, sender = _begin(dialogue)
    if hello.code != 250:
        return f'answers EHLO with "{hello}": clients are turned away before they can send'
    if demands.auth and "AUTH" not in hello.offered:
        return "offers no AUTH: nobody can log in here"
    if sender.code != 250:
        return _judge("MAIL FROM", sender, hello)
    return _judge("RCPT TO", dialogue.ask(f"RCPT TO:<{_RECIPIENT}>"), hello)


def _begin(dialogue: Dialogue) -> tuple[Reply, Reply]:
    """The replies to EHLO and MAIL; the same one twice if EHLO was refused."""
    hello = dialogue.ask("EHLO localhost")
    return hello, dialogue.ask("MAIL FROM:<>") if hello.code == 250 else hello


def _judge(command: str, reply: Reply, hello: Reply) -> str:
    if reply.code == 250 or _decided(reply, hello.offered):
        return ""
    return f'answers {command} with "{reply}": mail is not accepted here'


def _decided(reply: Reply, offered: list[str]) -> bool:
    """Whether a refusal is a decision about this client, which other clients need not share, and not a fault.

    That is the probe's own answer; relay access denied, where the probe's address is not trusted; and "STARTTLS or
    AUTH first" (530) if what EHLO `offered` lets a client obey. Any other refusal may be meant for everybody.
    """
    if reply.code == 530:
        return "STARTTLS" in offered or "AUTH" in offered
    return (reply.code == 450 and MARKER in reply.text) or (
        reply.code == 554 and "Relay access denied" in reply.text
    )


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left
