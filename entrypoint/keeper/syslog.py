"""/dev/log, for what Postfix cannot say through postlogd(8): master's fatal errors before postlogd runs (a port in
use, no right to bind it), saslauthd and Cyrus SASL. Without a reader there they are lost without a trace.
"""

from __future__ import annotations

import os
import socket

from entrypoint import log
from entrypoint.maillog import lines as maillog

# pathlib would add 0.9 MB.
# ruff: noqa: PTH101, PTH108

_LARGEST = 16384
# Before the name of who says that a mail arrived, was delivered, ...: Postfix says so through postlogd(8) alone, and anybody
# may write here. It is logged, and nobody's fact.
_HEARSAY = "syslog/"


def listen(path: str) -> socket.socket:
    """A datagram socket that every user may write to. Raises OSError (read-only /dev, a mounted /dev/log)."""
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        # What a killed predecessor left.
        if os.path.lexists(path):
            os.unlink(path)
        receiver.bind(path)
        os.chmod(path, 0o666)  # noqa: S103, as everywhere: any program may log
    except OSError:
        receiver.close()
        raise
    return receiver


def received(receiver: socket.socket) -> list[bytes]:
    """All waiting messages as log lines."""
    lines: list[bytes] = []
    # Bounded, so that a program that logs without end cannot keep the keeper from anything else.
    while len(lines) < 1000:
        try:
            message = receiver.recv(_LARGEST)
        except OSError:
            break
        if message:
            lines.append(line(message))
    return lines


def line(message: bytes, when: float | None = None) -> bytes:
    """`<22>Nov 20 11:44:00 tag[pid]: text`, as syslog(3) sends it, in the form of all other lines.

    The sender's own time, if there is one, is replaced: its form and zone vary, and it is now anyway.
    """
    text = message.decode("utf-8", "replace")
    if text.startswith("<"):
        priority, end, rest = text[1:].partition(">")
        if end and priority.isdigit():
            text = rest
    if text[3:4] == text[6:7] == text[15:16] == " " and text[9:10] == text[12:13] == ":":
        text = text[16:]
    made = log.form(text, when)
    return log.form(f"{_HEARSAY}{text}", when) if maillog.parse(made.decode()).kind else made
