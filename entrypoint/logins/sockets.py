"""Listening on unix sockets: one thread for each connection, of which Postfix has one for each of its processes."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time

from entrypoint import log
from entrypoint.logins.availability import PROGRAM, fault

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable

    Converse = Callable[[socket.socket], None]

# pathlib would add 0.9 MB.
# ruff: noqa: PTH101, PTH108

_STDIN = 0
_BACKLOG = 128
# Too many open files, too little memory. The same of threads is a RuntimeError.
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE = 1.0


def inherited() -> socket.socket | None:
    """The listening socket that whoever started this process holds for it, as its standard input.

    It outlives this process: Postfix can connect and wait while a successor is started. Without that, each of its
    processes that has no connection yet dies of it, and Postfix then waits a minute before it starts another.
    """
    # The descriptor may be anything, or closed.
    try:
        found = socket.socket(fileno=os.dup(_STDIN))
    except OSError:
        return None
    if found.family == socket.AF_UNIX and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return found
    found.close()
    return None


def listen(path: str) -> socket.socket:
    """A new one, which every user may connect to. Raises OSError."""
    if os.path.lexists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    os.chmod(path, 0o666)  # noqa: S103, smtpd is neither root nor of our group
    listener.listen(_BACKLOG)
    return listener


def serve(listener: socket.socket, converse: Converse) -> None:
    """For ever."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            _wait(str(error.strerror))
            continue
        try:
            threading.Thread(target=_run, args=(connection, converse), daemon=True).start()
        except RuntimeError as error:
            connection.close()
            _wait(str(error))


def _wait(reason: str) -> None:
    """Whoever asks meanwhile waits, or is told to try again."""
    log.write(f"warning: a login cannot be heard: {reason}", PROGRAM)
    time.sleep(_PAUSE)


def _run(connection: socket.socket, converse: Converse) -> None:
    with connection:
        try:
            converse(connection)
        except OSError:
            return  # the other side is gone
        except Exception as error:  # noqa: BLE001  # one conversation must not end the others
            log.write(f"error: {fault(error)}", PROGRAM)
