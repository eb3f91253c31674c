"""How the keeper reads Postfix's log: at once when there is little, and in large pieces when there is much."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from entrypoint.keeper import log_pipe
from entrypoint.keeper.log_pipe import LogPipe

LINE = b"x" * 99 + b"\n"


class Reader:
    """A pipe, what is written to it, and the loop around it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pieces: list[bytes] = []
        self.selector = selectors.DefaultSelector()
        self.pipe = LogPipe(self.selector, self.pieces.append)
        self.writers = self.pipe.open()
        self._now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self._now)

    def write(self, data: bytes) -> None:
        os.write(self.writers, data)

    def end(self) -> None:
        os.close(self.writers)

    def turn(self) -> float | None:
        """As the keeper does it, but for the waiting: that is how long it would have taken."""
        waited = self.waits(None)
        self._now += self.pipe.wait(None) or 0.0
        for key, _ in self.selector.select(0):
            key.data()
        self.pipe.turn()
        return waited

    def waits(self, seconds: float | None) -> float | None:
        found = self.pipe.wait(seconds)
        return None if found is None else round(found, 6)

    def close(self) -> None:
        self.selector.close()


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    with closing(Reader(monkeypatch)) as made:
        yield made


def rush(reader: Reader, turns: int) -> list[float]:
    """As many bytes a second as it takes; how long the reader waited for each of its pieces."""
    rests = []
    for _ in range(turns):
        reader.write(LINE * (1 + int((reader.waits(None) or 0.0) * log_pipe.RUSH / len(LINE))))
        rests.append(reader.turn() or 0.0)
    return rests


def rush_in(reader: Reader, line: bytes) -> None:
    while True:
        reader.write(line)


def test_a_line_is_read_when_it_comes_and_then_nobody_wakes_up_any_more(reader: Reader) -> None:
    reader.write(LINE)
    assert reader.turn() is None
    assert reader.pieces == [LINE]
    # One look more, whether others follow.
    assert reader.turn() == log_pipe.SHORTEST
    assert reader.turn() is None
    reader.write(LINE)
    assert reader.turn() is None
    assert reader.pieces == [LINE] * 2


def test_in_a_rush_lines_gather_ever_longer_up_to_a_tenth_of_a_second(reader: Reader) -> None:
    rests = rush(reader, 10)
    assert rests[:4] == [0.0, 0.001, 0.002, 0.004]
    assert rests[-2:] == [log_pipe.LONGEST] * 2
    assert [len(piece) // len(LINE) for piece in reader.pieces[-2:]] == [31, 31]


def test_after_a_rush_a_line_is_soon_read_when_it_comes_again(reader: Reader) -> None:
    rush(reader, 10)
    rests = [*iter(reader.turn, None)]
    assert rests[:3] == [0.1, 0.05, 0.025]
    assert sum(rest or 0.0 for rest in rests) < 0.25
    reader.write(LINE)
    assert reader.turn() is None
    assert reader.pieces[-1] == LINE


def test_a_full_pipe_is_read_on_without_a_rest(reader: Reader) -> None:
    rush(reader, 10)
    os.set_blocking(reader.writers, False)
    with pytest.raises(BlockingIOError):
        rush_in(reader, b"x" * 1999 + b"\n")
    reader.turn()
    assert len(reader.pieces[-1]) > log_pipe.PIECE * 0.9
    assert reader.waits(None) == 0.0


def test_others_are_waited_for_no_longer_than_they_asked(reader: Reader) -> None:
    reader.write(LINE)
    reader.turn()
    assert reader.waits(0.0) == 0.0
    assert reader.waits(60.0) == log_pipe.SHORTEST


@pytest.mark.parametrize("resting", [False, True], ids=["listening", "resting"])
def test_all_that_was_written_is_read_up_to_the_end(reader: Reader, resting: bool) -> None:
    if resting:
        reader.write(LINE)
        reader.turn()
    reader.write(LINE * 600)
    reader.end()
    reader.pipe.read_rest()
    assert b"".join(reader.pieces) == LINE * (600 + resting)
    assert reader.waits(None) is None
    assert not reader.selector.get_map()
    reader.turn()
