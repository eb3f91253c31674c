"""What the keeper knows, for the health program and for the verbs: a socket, one question a connection.

A question is one line, a word and perhaps an argument; the answer is a text, and the end of the connection is its end.
Only root and the health program's user may ask: an answer may hold addresses of mail. Nobody who asks is waited for: the
keeper reads Postfix's log, and mail stalls while it does not.
"""

from __future__ import annotations

import os
import pwd
import select
import socket
import struct
import time

from entrypoint import log

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    # None: not yet; `tell` brings it.
    Answer = Callable[[str], str | None]

# pathlib would add 0.9 MB.
# ruff: noqa: PTH101, PTH108

USER = "postern"
_BACKLOG = 64
_LONGEST_QUESTION = 4096
# The most that the kernel may hold of an answer (net.core.wmem_max allows less): who asks need not read for the keeper to
# go on, and who does not read gets the beginning.
_LARGEST = 1024 * 1024
# Seconds for the question to come, which a client sends together with its connection; and how many are waited for.
_PATIENCE = 1.0
_MOST = 64
# Seconds between two lines of the log about mistakes.
_QUIET = 60.0
# What a health program that somebody has taken over shall not do as often as he likes.
_OF_ROOT = frozenset({"reload"})


class Answers:
    """`answers` by their word; each gets the argument, or ""."""

    def __init__(self, path: str, answers: Mapping[str, Answer]) -> None:
        """Raises OSError."""
        self._answers = answers
        self._waiting: dict[str, list[socket.socket]] = {}
        self._root = {0, os.getuid()}
        self._allowed = self._root | {*_uid(USER)}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        if os.path.lexists(path):
            os.unlink(path)
        self._listener.bind(path)
        os.chmod(path, 0o666)  # noqa: S103  # who may ask is looked at for each connection
        self._listener.listen(_BACKLOG)
        # Those that have not asked yet, in the order in which they came: who it is, and since when (time.monotonic).
        self._silent: dict[int, tuple[socket.socket, int, float]] = {}
        self._quiet_until = float("-inf")
        self._events = select.epoll()
        self._events.register(self._listener, select.EPOLLIN)

    def fileno(self) -> int:
        """Readable when there is something to serve."""
        return self._events.fileno()

    def close(self) -> None:
        for fd in list(self._silent):
            self._take(fd)[0].close()
        for waiting in self._waiting.values():
            for connection in waiting:
                connection.close()
        self._events.close()
        self._listener.close()

    def serve(self) -> None:
        """One connection that is new, or whose question has come; without waiting."""
        for fd, _ in self._events.poll(0, 1):
            if fd == self._listener.fileno():
                self._accept()
            else:
                self._hear(fd)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        uid = _peer(connection)
        if uid not in self._allowed:
            connection.close()
            return
        now = time.monotonic()
        for fd, (_, _, since) in list(self._silent.items()):
            if len(self._silent) < _MOST and now - since < _PATIENCE:
                break
            self._take(fd)[0].close()
        connection.setblocking(False)
        self._silent[connection.fileno()] = (connection, uid, now)
        self._events.register(connection, select.EPOLLIN)
        self._hear(connection.fileno())

    def _hear(self, fd: int) -> None:
        connection, uid, _ = self._silent[fd]
        try:
            question = connection.recv(_LONGEST_QUESTION)
        except BlockingIOError:
            return
        except OSError:
            question = b""
        self._take(fd)
        with connection:
            try:
                self._answer(connection, uid, question.decode("utf-8", "replace").strip())
            except OSError:
                # Gone, or does not read: nobody waits for this answer.
                return

    def _take(self, fd: int) -> tuple[socket.socket, int, float]:
        self._events.unregister(fd)
        return self._silent.pop(fd)

    def tell(self, word: str, text: str) -> None:
        """All who wait for the answer to this question."""
        for connection in self._waiting.pop(word, ()):
            with connection:
                try:
                    _send(connection, text)
                except OSError:
                    continue

    def _answer(self, connection: socket.socket, uid: int, question: str) -> None:
        word, _, argument = question.partition(" ")
        answer = self._answers.get(word)
        if not answer:
            text: str | None = f"no such question: there are {' '.join(self._answers)}\n"
        elif word in _OF_ROOT and uid not in self._root:
            text = "only root may ask this\n"
        else:
            text = self._made(answer, argument)
        if text is not None:
            _send(connection, text)
        elif len(waiting := self._waiting.setdefault(word, [])) < _BACKLOG:
            waiting.append(connection.dup())

    def _made(self, answer: Answer, argument: str) -> str | None:
        """Its text; none if it fails, as Postfix, which ends with the keeper, must not stop for a number on a page."""
        try:
            return answer(argument)
        except Exception as error:  # noqa: BLE001
            if time.monotonic() >= self._quiet_until:
                self._quiet_until = time.monotonic() + _QUIET
                told = f"error: a mistake in Postern: {type(error).__name__}: {error}; told once a minute"
                log.write(told, "postern/keeper")
            return ""


def _send(connection: socket.socket, text: str) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LARGEST)
    connection.send(text.encode("utf-8", "backslashreplace"))


def _uid(user: str) -> list[int]:
    try:
        return [pwd.getpwnam(user).pw_uid]
    except KeyError:
        return []


def _peer(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid
