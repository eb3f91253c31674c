"""Logins that cannot be checked are no secret: /readyz says why, and what clients are told meanwhile."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from entrypoint.health import logins

Answer = Callable[[socket.socket], None]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[[Answer], str]]:
    """A logins server: gives what is asked to the function."""
    path = str(tmp_path / "maps")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    threads: list[threading.Thread] = []

    def serve(answer: Answer) -> str:
        def run() -> None:
            connection, _ = listening.accept()
            with connection:
                assert connection.recv(100) == b"8:status x,"
                answer(connection)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return path

    yield serve
    for thread in threads:
        thread.join()
    listening.close()


def said(*pieces: bytes) -> Answer:
    def answer(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return answer


def test_a_backend_that_answers_is_well(server: Callable[[Answer], str]) -> None:
    assert str(logins.check(5, server(said(b"5:OK up,")))) == "ok logins"
    assert str(logins.check(5, server(said(b"5", b":OK ", b"up,")))) == "ok logins"


def test_a_backend_that_is_down_is_named_with_what_clients_are_told(
    server: Callable[[Answer], str],
) -> None:
    reason = b"TEMP ldap.example.com, port 636: timed out"
    netstring = b"%d:%s," % (len(reason), reason)
    expected = (
        "failed logins: ldap.example.com, port 636: timed out: logins are answered 454 until that is over"
    )
    assert str(logins.check(5, server(said(netstring)))) == expected
    # A comma of the reason's own is not its end.
    half = netstring.index(b",") + 1
    assert str(logins.check(5, server(said(netstring[:half], netstring[half:])))) == expected


@pytest.mark.parametrize("answer", [b"", b"5:OK", b"x:OK up,", b"OK up,", b"9999999999:", b"\xff" * 100])
def test_what_is_no_answer_is_a_failure(server: Callable[[Answer], str], answer: bytes) -> None:
    check = logins.check(5, server(said(answer)))
    assert not check.ok
    assert check.detail.startswith("the logins server does not answer (")


def test_a_server_that_is_gone_is_a_failure(tmp_path: Path) -> None:
    check = logins.check(5, str(tmp_path / "none"))
    assert check.detail == (
        "the logins server does not answer (No such file or directory): logins are answered 454 until that is over"
    )


def test_a_server_that_hangs_is_a_failure_after_the_time_limit(server: Callable[[Answer], str]) -> None:
    done = threading.Event()

    def silent(_: socket.socket) -> None:
        done.wait(5)

    begun = time.monotonic()
    check = logins.check(0.1, server(silent))
    done.set()
    assert check.detail.startswith("the logins server does not answer (timed out)")
    assert time.monotonic() - begun < 2


def test_a_reason_cannot_forge_a_line(server: Callable[[Answer], str]) -> None:
    assert "\n" not in str(logins.check(5, server(said(b"10:TEMP a\nok,"))))
