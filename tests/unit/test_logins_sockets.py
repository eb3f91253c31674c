"""Listening for the logins server: what fails for one connection, or for a while, must not end it for all."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from entrypoint.logins import sockets

WORD = b"here"


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_PAUSE", 0.01)


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with sockets.listen(str(tmp_path / "auth")) as listener:
        yield listener


def serve(listener: socket.socket) -> None:
    def run() -> None:
        with suppress(OSError):  # the listener is closed at the test's end
            sockets.serve(listener, lambda connection: connection.sendall(WORD))

    threading.Thread(target=run, daemon=True).start()


def heard(listener: socket.socket) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(listener.getsockname())
        return connection.recv(100)


def test_a_lack_of_threads_costs_a_connection_and_not_the_server(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    begin, failures = threading.Thread.start, ["can't start new thread"]

    def start(thread: threading.Thread) -> None:
        if failures and thread._target is sockets._run:  # type: ignore[attr-defined]
            raise RuntimeError(failures.pop())
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    serve(listener)
    assert heard(listener) == b""
    assert heard(listener) == WORD
    assert "warning: a login cannot be heard: can't start new thread" in capfd.readouterr().out


def test_a_lack_of_descriptors_passes(listener: socket.socket, capfd: pytest.CaptureFixture[str]) -> None:
    class Lacking:
        failures = 2

        def accept(self) -> tuple[socket.socket, object]:
            if self.failures:
                self.failures -= 1
                raise OSError(24, os.strerror(24))
            return listener.accept()

    serve(Lacking())  # type: ignore[arg-type]
    assert heard(listener) == WORD
    assert capfd.readouterr().out.count("Too many open files") == 2
