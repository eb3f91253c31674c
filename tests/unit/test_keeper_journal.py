"""What the keeper does with each line, and whom it tells what it knows."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from entrypoint.keeper import answers
from entrypoint.keeper.answers import Answers
from entrypoint.keeper.journal import Journal
from entrypoint.maillog.lines import Line, parse


class Reader:
    """Of the lines that are no event."""

    kinds = ("",)

    def __init__(self, read: Callable[[Line], Line | None]) -> None:
        self.read = read


ADDED = "Nov 21 16:23:09 relay postern/keeper[1]: left the queue\n"


def test_lines_go_out_as_they_came_when_nobody_asks_for_more() -> None:
    text = b"Nov 21 16:23:09 relay postfix/qmgr[1]: \xff\n\nno line of the log\n"
    assert Journal().take(text) == text


def test_each_line_is_read_once_by_each_and_what_they_add_follows_it() -> None:
    seen: list[str] = []

    def read(line: Line) -> Line | None:
        seen.append(line.text)
        return parse(ADDED) if line.text == "one" else None

    head = "Nov 21 16:23:09 relay postfix/qmgr[1]: "
    taken = Journal([Reader(read)]).take(f"{head}one\n{head}two\n".encode())
    assert seen == ["one", "two"]
    assert taken.decode() == f"{head}one\n{ADDED}{head}two\n"
    assert (
        Journal([Reader(read)], lambda line: f"<{line.text}>").take(f"{head}one\n".encode())
        == b"<one><left the queue>"
    )


def test_a_reader_that_fails_misses_a_line_and_says_so_once_a_minute() -> None:
    """Postfix ends with the keeper: a mistake in a count must not be one in the mail."""
    seen: list[str] = []

    def read(line: Line) -> None:
        if line.text == "one":
            raise KeyError(line.text)

    head = "Nov 21 16:23:09 relay postfix/qmgr[1]: "
    taken = Journal([Reader(read), Reader(lambda line: seen.append(line.text))]).take(
        f"{head}one\n{head}one\n{head}two\n".encode()
    )
    assert seen == ["one", "one", "two"]
    first, told, *rest = taken.decode().splitlines()
    assert [first, *rest] == [f"{head}one", f"{head}one", f"{head}two"]
    assert "error: a mistake in Postern: KeyError: 'one'; told once a minute" in told


@pytest.mark.parametrize("letter", ["\u2028", "\x0b", "\x85", "\r"])
def test_no_letter_of_a_strangers_begins_another_line(letter: str) -> None:
    seen: list[Line] = []
    text = f"Nov 21 16:23:09 relay postfix/smtpd[1]: <{letter}{ADDED.strip()}>\n"
    assert Journal([Reader(seen.append)]).take(text.encode()).decode() == text
    assert len(seen) == 1


def ask(path: Path, question: str) -> str:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(5)
        asking.connect(str(path))
        asking.sendall(question.encode())
        return b"".join(iter(lambda: asking.recv(65536), b"")).decode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keeper"


Open = Callable[[dict[str, Callable[[str], str]]], Answers]


@pytest.fixture
def answering(path: Path) -> Iterator[Open]:
    with ExitStack() as stack:

        def begin(table: dict[str, Callable[[str], str]]) -> Answers:
            return stack.enter_context(closing(Answers(str(path), table)))

        yield begin


def turn(served: Answers) -> None:
    """As the keeper's loop: it has something else to do until there is something to serve."""
    assert select.select([served], [], [], 5)[0]
    served.serve()


def serve(served: Answers, times: int) -> None:
    def run() -> None:
        for _ in range(times):
            turn(served)
            # On a busy machine the question comes a moment after its connection.
            while served._silent:
                turn(served)

    threading.Thread(target=run, daemon=True).start()


def test_a_question_gets_its_answer_and_another_the_list_of_those_there_are(
    path: Path, answering: Open
) -> None:
    serve(answering({"story": lambda queue_id: f"of {queue_id}\n", "counts": lambda _: "1"}), 3)
    assert ask(path, "story 4jWyDY0YgDz5nFW\n") == "of 4jWyDY0YgDz5nFW\n"
    assert ask(path, "counts\n") == "1"
    assert ask(path, "secrets\n") == "no such question: there are story counts\n"


def test_an_answer_that_fails_is_none_and_said_once_a_minute(
    path: Path, answering: Open, capfd: pytest.CaptureFixture[str]
) -> None:
    """Postfix ends with the keeper: what is wrong with a page must not be the mail's end."""

    def wrong(_: str) -> str:
        return str(float("1.2.3"))

    serve(answering({"stories": wrong, "counts": lambda _: "1"}), 3)
    assert ask(path, "stories\n") == ""
    assert ask(path, "stories\n") == ""
    assert ask(path, "counts\n") == "1"
    [told] = capfd.readouterr().out.splitlines()
    assert "postern/keeper[" in told
    assert told.endswith(
        "error: a mistake in Postern: ValueError: could not convert string to float: '1.2.3'; told once a minute"
    )


def test_nobody_else_is_told_anything(path: Path, answering: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of Postfix's that a stranger has taken over runs as another user."""
    served = answering({"counts": lambda _: "1"})
    monkeypatch.setattr(answers, "_peer", lambda _: 100 if os.getuid() != 100 else 101)
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(path))
        asking.sendall(b"counts\n")
        served.serve()
        asking.settimeout(5)
        # The question was not even read, which the kernel tells by a reset.
        with pytest.raises(ConnectionResetError):
            asking.recv(100)


def test_who_asks_and_does_not_read_does_not_hold_up_the_log(path: Path, answering: Open) -> None:
    served = answering({"stories": lambda _: "x" * 10_000_000})
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(path))
        asking.sendall(b"stories\n")
        served.serve()


def test_who_connects_and_asks_nothing_is_not_waited_for(path: Path, answering: Open) -> None:
    """The keeper reads Postfix's log meanwhile, else mail would stall."""
    served = answering({"counts": lambda _: "1"})
    silent = [connected(path) for _ in range(60)]
    began = time.monotonic()
    for _ in silent:
        turn(served)
    assert time.monotonic() - began < 1
    assert not select.select([served], [], [], 0)[0], "nothing to do until somebody says something"
    silent[-1].sendall(b"counts\n")
    turn(served)
    assert silent[-1].recv(100) == b"1"
    for each in silent:
        each.close()


def connected(path: Path) -> socket.socket:
    asking = socket.socket(socket.AF_UNIX)
    asking.settimeout(5)
    asking.connect(str(path))
    return asking


def test_of_those_who_ask_nothing_few_are_kept_and_not_for_long(
    path: Path, answering: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = answering({"counts": lambda _: "1"})
    silent = []
    for _ in range(answers._MOST + 1):
        silent.append(connected(path))
        turn(served)
    assert silent[0].recv(1) == b"", "the oldest goes first"
    silent[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        silent[1].recv(1)
    monkeypatch.setattr(answers, "_PATIENCE", 0.0)
    silent.append(connected(path))
    turn(served)
    silent[-2].settimeout(5)
    assert silent[-2].recv(1) == b"", "all before have had their time"
    for each in silent:
        each.close()


def test_only_root_may_have_the_configuration_read_again(
    path: Path, answering: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A health program that somebody has taken over could keep the relay busy with it."""
    asked: list[str] = []

    def reload(_: str) -> str:
        asked.append("reload")
        return "yes\n"

    served = answering({"reload": reload, "counts": lambda _: "1"})
    serve(served, 1)
    assert ask(path, "reload\n") == "yes\n"
    monkeypatch.setattr(served, "_allowed", {12345})
    monkeypatch.setattr(answers, "_peer", lambda _: 12345)
    serve(served, 2)
    assert ask(path, "counts\n") == "1"
    assert ask(path, "reload\n") == "only root may ask this\n"
    assert asked == ["reload"]


def test_the_socket_of_a_predecessor_that_was_killed_is_replaced(path: Path, answering: Open) -> None:
    answering({})
    serve(answering({"counts": lambda _: "1"}), 1)
    assert ask(path, "counts\n") == "1"
