"""The one form of every line this image writes: the form postlogd(8) gives to Postfix's own.

    Nov 20 11:44:00 HOST postern[1]: text

A log collector then needs one parser, and the lines of the entrypoint, supervisor, the keeper and Postfix sort
together. As in Postfix, a severity is a prefix of the text ("warning: ", "error: "), never a field.
"""

from __future__ import annotations

import os
import select
import time

STDOUT = 1
_BREAKS = "\t\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"
_PRINTABLE: dict[int, str] = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), "?")
_PRINTABLE |= dict.fromkeys(map(ord, _BREAKS), " ")


def stamp(when: float | None = None) -> str:
    """Local time and host name, as they begin each line; the host's domain is left out, as postlogd does."""
    local = time.localtime(when)
    return f"{time.strftime('%b %d %H:%M:%S', local)} {os.uname().nodename.partition('.')[0]}"


def line(text: str, program: str = "postern", pid: int | None = None, when: float | None = None) -> bytes:
    """One complete log line, with its line break.

    Text may come from outside (a peer's reply, a file's name): line breaks become spaces and other control
    characters "?", so that nobody can forge a line or drive a terminal.
    """
    return form(f"{program}[{pid or os.getpid()}]: {text}", when)


def form(text: str, when: float | None = None) -> bytes:
    """The same for a text that brings its own `program[pid]: `."""
    return f"{stamp(when)} {text.translate(_PRINTABLE).rstrip()}\n".encode("utf-8", "backslashreplace")


def write(text: str, program: str = "postern", fd: int = STDOUT, pid: int | None = None) -> None:
    """Log one line."""
    copy(line(text, program, pid), fd)


def copy(data: bytes, fd: int = STDOUT) -> None:
    """Write complete lines that already have their form, all of them, waiting for a reader that is slow.

    A reader that is gone (EPIPE, EIO) costs the lines, never the relay.
    """
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            # Somebody who shares the container's stdout made it non-blocking; turning round would burn a core.
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
        except OSError:
            return
