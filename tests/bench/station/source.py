"""Sends mail to a relay: many at once with Postfix's smtp-source, or one after the other with the clock running."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from dataclasses import dataclass

SENDER = "source@bench.test"
RECIPIENT = "sink@bench.test"


class LoadError(Exception):
    """The relay did not take what was sent to it; the text goes after the relay's name."""


@dataclass(frozen=True)
class Burst:
    started: float
    ended: float
    accepted: int


def burst(host: str, sessions: int, count: int, size: int, seconds: float) -> Burst:
    """Send `count` messages of `size` bytes over `sessions` parallel sessions, a new connection for each message.

    Every message counted as accepted got its 250. Raises LoadError when the relay refused one or took longer than `seconds`.
    """
    command = ["smtp-source", "-c", "-s", str(sessions), "-m", str(count), "-l", str(size)]
    command += ["-f", SENDER, "-t", RECIPIENT, f"{host}:25"]
    started = time.time()
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise LoadError(f"did not take {count} messages in {seconds:.0f} s") from None
    ended = time.time()
    counts = re.findall(rb"\d+", done.stdout)
    accepted = int(counts[-1]) if counts else 0
    if done.returncode or accepted != count:
        reason = done.stderr.decode(errors="replace").strip()
        raise LoadError(f"took {accepted} of {count} messages: {reason or 'no reason given'}")
    return Burst(started, ended, accepted)


def single(host: str, size: int, seconds: float) -> tuple[float, float]:
    """Send one message as a program would. Returns when it began to connect and when it had its 250, Unix seconds."""
    line = b"X" * 78 + b"\r\n"
    body = b"From: <source@bench.test>\r\nSubject: bench\r\n\r\n" + line * max(1, size // len(line))
    started = time.time()
    with socket.create_connection((host, 25), seconds) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = connection.makefile("rb")
        dialogue = [
            (b"", b"220"),
            (b"EHLO station.bench.test\r\n", b"250"),
            (f"MAIL FROM:<{SENDER}>\r\n".encode(), b"250"),
            (f"RCPT TO:<{RECIPIENT}>\r\n".encode(), b"250"),
            (b"DATA\r\n", b"354"),
            (body + b".\r\n", b"250"),
        ]
        for text, expected in dialogue:
            connection.sendall(text)
            while (reply := lines.readline())[3:4] == b"-":
                pass
            if not reply.startswith(expected):
                raise LoadError(f"answered {reply.decode(errors='replace').strip()!r} to {text[:40]!r}")
        accepted = time.time()
        connection.sendall(b"QUIT\r\n")
        lines.readline()
    return started, accepted
