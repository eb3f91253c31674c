"""Whoever asks for a reload is answered when one is done that began after the question."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from entrypoint.keeper import reload
from entrypoint.keeper.answers import Answers
from entrypoint.keeper.journal import Journal
from entrypoint.keeper.reload import Reloads
from entrypoint.keeper.stream import ProbeFilter, Stream
from tests.image.waiting import until


class Asked:
    """Reloads of a relay that watches nothing, and what stands in for `postern apply`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._log = os.open(os.devnull, os.O_WRONLY)
        self.reloads = Reloads(
            Stream(self._log, ProbeFilter("127.98.67.25"), Journal()),
            self._log,
            str(directory / "none"),
            str(directory / "refused"),
            str(directory / "applied"),
        )

    def apply(self, script: str) -> None:
        program = self.directory / "apply"
        program.write_text(f"#!/bin/sh\ncd {self.directory}\n{script}\n")
        program.chmod(0o755)

    def ended(self) -> None:
        """An apply that runs has ended, and the keeper has heard of it."""
        until("the apply has ended", lambda: self.reloads.reap() is not None)

    def answer(self) -> Any:
        return json.loads(self.reloads.result() or "null")

    def close(self) -> None:
        self.reloads.end()
        os.close(self._log)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    monkeypatch.setattr(reload, "PROGRAM", str(tmp_path / "apply"))
    made = Asked(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("exit 0", {"result": "nothing", "lines": []}),
        (
            "echo 'users \"x\" changed' >applied; exit 10",
            {"result": "changed", "lines": ['users "x" changed']},
        ),
        ("echo transport >applied; exit 11", {"result": "changed", "lines": ["transport"]}),
        ("printf 'one\\ntwo\\n' >refused; exit 78", {"result": "refused", "lines": ["one", "two"]}),
        ("echo partly >refused; exit 12", {"result": "partly", "lines": ["partly"]}),
        ("echo no space >refused; exit 1", {"result": "failed", "lines": ["no space"]}),
        ("exit 1", {"result": "failed", "lines": ["the log says what"]}),
    ],
)
def test_the_answer_says_what_changed_or_was_refused(
    script: str, answer: dict[str, object], asked: Asked
) -> None:
    asked.apply(script)
    assert asked.reloads.wait() is None
    asked.reloads.ask("")
    assert asked.reloads.wait() == 0.0
    asked.reloads.turn()
    assert asked.answer() is None
    asked.ended()
    assert asked.answer() == answer
    assert asked.answer() is None
    assert asked.reloads.wait() is None


def test_who_asks_while_an_apply_runs_is_answered_by_the_next(asked: Asked) -> None:
    """The first may have read the files before they were changed."""
    asked.apply("[ ! -e applied ] || { echo second >applied; exit 10; }; echo first >applied; exit 10")
    asked.reloads.ask("")
    asked.reloads.turn()
    asked.reloads.ask("")
    asked.ended()
    assert asked.answer() is None
    asked.reloads.turn()
    asked.ended()
    assert asked.answer() == {"result": "changed", "lines": ["second"]}


def test_an_apply_that_cannot_be_started_is_answered_for(asked: Asked) -> None:
    asked.reloads.ask("")
    asked.reloads.turn()
    answer = asked.answer()
    assert answer["result"] == "failed"
    assert "cannot be started (No such file" in answer["lines"][0]


@pytest.fixture
def answers(tmp_path: Path) -> Iterator[tuple[Answers, Callable[[str], socket.socket]]]:
    path = str(tmp_path / "keeper")
    made = Answers(path, {"later": lambda _: None, "now": lambda _: "now\n"})
    opened: list[socket.socket] = []

    def ask(question: str) -> socket.socket:
        opened.append(connection := socket.socket(socket.AF_UNIX))
        connection.settimeout(5)
        connection.connect(path)
        connection.sendall(question.encode())
        made.serve()
        return connection

    yield made, ask
    made.close()
    for connection in opened:
        connection.close()


def text(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(4096), b""))


def test_an_answer_that_takes_its_time_keeps_nobody_else_waiting(
    answers: tuple[Answers, Callable[[str], socket.socket]],
) -> None:
    made, ask = answers
    first, gone, second = ask("later\n"), ask("later\n"), ask("later\n")
    assert text(ask("now\n")) == b"now\n"
    gone.close()
    made.tell("later", "done\n")
    assert (text(first), text(second)) == (b"done\n", b"done\n")
    made.tell("later", "to nobody\n")


def test_no_more_may_wait_than_there_is_room_for(
    answers: tuple[Answers, Callable[[str], socket.socket]],
) -> None:
    _, ask = answers
    for _number in range(64):
        ask("later\n")
    assert text(ask("later\n")) == b""
