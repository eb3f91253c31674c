"""The log stands still when its socket is full and nobody is there to read it, and for so long that nobody comes."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from entrypoint import processes
from entrypoint.keeper.standstill import PATIENCE, READER, Standstill
from tests.unit.conftest import Clock

MASTER = 12


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> list[processes.Process]:
    found: list[processes.Process] = []
    monkeypatch.setattr(processes, "in_group", lambda master: found if master == MASTER else [])
    return found


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Clock:
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


@pytest.fixture
def full(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(tmp_path / "postlog"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as writer:
            writer.connect(str(tmp_path / "postlog"))
            with suppress(BlockingIOError):
                while True:
                    writer.send(b"a line")
        yield bound


@pytest.mark.usefixtures("full", "readers")
def test_a_full_socket_without_a_reader_is_a_standstill_after_a_while(tmp_path: Path, passing: Clock) -> None:
    log = Standstill(str(tmp_path / "postlog"))
    assert not log.look(MASTER)
    passing.now += PATIENCE - 1
    assert not log.look(MASTER)
    passing.now += PATIENCE
    assert log.look(MASTER)


@pytest.mark.usefixtures("full", "readers")
def test_it_is_none_while_lines_come(tmp_path: Path, passing: Clock) -> None:
    log = Standstill(str(tmp_path / "postlog"))
    for _ in range(5):
        assert not log.look(MASTER)
        passing.now += PATIENCE
        log.heard()


@pytest.mark.usefixtures("full")
def test_it_is_none_while_the_reader_lives_however_slow(
    tmp_path: Path, passing: Clock, readers: list[processes.Process]
) -> None:
    readers.append(processes.Process(13, READER, "T", MASTER, MASTER))
    log = Standstill(str(tmp_path / "postlog"))
    for _ in range(5):
        assert not log.look(MASTER)
        passing.now += PATIENCE


@pytest.mark.usefixtures("readers")
def test_it_is_none_when_somebody_has_read(tmp_path: Path, passing: Clock, full: socket.socket) -> None:
    log = Standstill(str(tmp_path / "postlog"))
    assert not log.look(MASTER)
    full.recv(100)
    passing.now += 2 * PATIENCE
    assert not log.look(MASTER)


@pytest.mark.usefixtures("readers")
def test_without_a_socket_there_is_none(tmp_path: Path, passing: Clock) -> None:
    log = Standstill(str(tmp_path / "none"))
    assert not log.look(MASTER)
    passing.now += 2 * PATIENCE
    assert not log.look(MASTER)
