"""Asking one listener whether it would take a mail, as a client would find out: up to RCPT, never DATA.

Written on a socket, because smtplib costs 6 MB in a program that runs all the time.
"""

from __future__ import annotations

import socket
import time

# What smtpd_*_restrictions answer to the probe's address; main.cf.j2 and this must agree.
MARKER = "readiness probe"
_LONGEST_REPLY = 16384


class Reply:
    """A complete SMTP reply (RFC 5321, 4.2): its code and its text, lines joined by a space."""

    __slots__ = ("code", "text")

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return f"{self.code} {self.text}"[:200]


class Dialogue:
    """One session. Every operation raises OSError once `deadline` (time.monotonic) has passed."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
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


def examine(connection: socket.socket, deadline: float) -> str:
    """Walk through a session; returns what is wrong, or "" if a mail would get as far as the relay decision."""
    dialogue = Dialogue(connection, deadline)
    greeting = dialogue.reply()
    if greeting.code != 220:
        return f'greets with "{greeting}": clients are turned away before they can send'
    hello = dialogue.ask("EHLO localhost")
    if hello.code != 250:
        return f'answers EHLO with "{hello}": clients are turned away before they can send'
    problem = _envelope(dialogue, hello)
    # Leaving properly, or Postfix logs "lost connection".
    dialogue.ask("RSET")
    dialogue.ask("QUIT")
    return problem


def _envelope(dialogue: Dialogue, hello: Reply) -> str:
    hostname, _, offered = hello.text.partition(" ")
    for command in ("MAIL FROM:<>", f"RCPT TO:<readiness-probe@{hostname}>"):
        reply = dialogue.ask(command)
        if decided(reply, offered):
            return ""
        if reply.code != 250:
            return f'answers {command.partition(":")[0]} with "{reply}": mail is not accepted here'
    return ""


def decided(reply: Reply, offered: str) -> bool:
    """Whether a refusal is a decision about this client, which other clients need not share, and not a fault.

    That is the probe's own answer; relay access denied, where the probe's address is not trusted; and "STARTTLS or
    AUTH first" (530) if what EHLO `offered` lets a client obey. Any other refusal may be meant for everybody.
    """
    if reply.code == 530:
        return not {"STARTTLS", "AUTH"}.isdisjoint(offered.split())
    return (reply.code == 450 and MARKER in reply.text) or (
        reply.code == 554 and "Relay access denied" in reply.text
    )


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left
