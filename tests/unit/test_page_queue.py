"""What waits, summed up by a program that the keeper starts, one at a time."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from entrypoint.keeper import queue_sums as keeper
from entrypoint.keeper.queue_sums import NOTHING, QueueSums
from entrypoint.maillog import masking
from entrypoint.page import queue_sums

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REFUSED = "connect to b.example[192.0.2.1]:25: Connection refused"
LATER = "host a.example[192.0.2.2] said: 450 4.2.1 <ann@example.org>: later (in reply to RCPT TO command)"


def message(arrived: int, *recipients: tuple[str, str], queue: str = "deferred") -> dict[str, Any]:
    return {
        "queue_name": queue,
        "queue_id": "4jWyDY0YgDz5nFW",
        "arrival_time": arrived,
        "message_size": 300,
        "sender": "app@example.com",
        "recipients": [{"address": to, **({"delay_reason": why} if why else {})} for to, why in recipients],
    }


def told(*messages: dict[str, Any], mask: Any = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(queue_sums.sum_up(messages, mask))
    return found


def test_a_message_counts_once_for_each_reason_and_each_destination_that_it_has() -> None:
    found = told(
        message(100, ("ann@example.org", LATER), ("bob@Example.ORG", LATER), ("c@example.net", REFUSED)),
        message(50, ("d@example.net", REFUSED)),
        message(300, ("e@example.net", ""), queue="active"),
        message(10, ("f@example.com", LATER), queue="hold"),
    )
    assert found["count"] == 4
    assert [(row["name"], row["count"], row["oldest"], row["text"]) for row in found["reasons"]] == [
        ("connection_refused", 2, 50, REFUSED),
        ("held", 1, 10, LATER),
        ("reply_to_recipient", 1, 100, LATER),
        ("untried", 1, 300, ""),
    ]
    assert [(row["name"], row["count"], row["oldest"], row["text"]) for row in found["domains"]] == [
        ("example.net", 3, 50, "connection_refused"),
        ("example.com", 1, 10, "held"),
        ("example.org", 1, 100, "reply_to_recipient"),
    ]


def test_an_empty_queue_has_nothing_to_show() -> None:
    found = told()
    assert (found["count"], found["reasons"], found["domains"]) == (0, [], [])


def test_the_largest_destinations_are_named_and_the_others_are_one() -> None:
    messages = [message(n, (f"a@{n}.example", REFUSED)) for n in range(30)]
    found = told(*messages, message(0, ("a@29.example", REFUSED)))
    assert (len(found["domains"]), found["more"]) == (21, 10)
    assert (found["domains"][0]["name"], found["domains"][0]["count"]) == ("29.example", 2)
    assert (found["domains"][-1]["name"], found["domains"][-1]["count"]) == ("", 10)
    assert sum(row["count"] for row in found["domains"]) == 31


def test_made_up_destinations_cost_no_memory_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_sums, "_MOST", 25)
    found = told(*(message(n, (f"a@{n}.example", "")) for n in range(100)))
    assert sum(row["count"] for row in found["domains"]) == 100
    assert found["more"] == 25 - queue_sums.SHOWN


def test_whom_a_server_names_is_hidden_as_in_the_log() -> None:
    found = told(message(1, ("ann@example.org", LATER)), mask=masking.mask("partial"))
    assert "<a***@example.org>: later" in found["reasons"][0]["text"]


def test_the_longest_answer_fits_into_a_pipe() -> None:
    reason = "host x said: 450 " + "\u2028" * 2000 + " (in reply to {} command)"
    commands = ("MAIL FROM", "RCPT TO", "DATA", "end of DATA", "EHLO", "AUTH")
    messages = [
        message(n, (f"a@{'x' * 300}{n}.example", reason.format(command)))
        for command in commands
        for n in range(50)
    ]
    assert len(queue_sums.sum_up(messages)) < keeper._LARGEST / 2


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], QueueSums]]:
    """A keeper's side of it, whose program is a script; each start is a line of `started`."""
    made: list[QueueSums] = []

    def make(script: str) -> QueueSums:
        program = tmp_path / "count"
        program.write_text(f"#!/bin/sh\necho >> {tmp_path}/started\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(keeper, "PROGRAM", str(program))
        made.append(QueueSums())
        return made[-1]

    yield make
    for each in made:
        each.end()


def reaped(sums: QueueSums) -> str:
    deadline = time.monotonic() + 10
    while not (text := sums.reap()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return text


def test_who_asks_while_it_counts_waits_for_the_same_count(
    counting: Callable[[str], QueueSums], tmp_path: Path
) -> None:
    sums = counting("echo '{\"count\": 3}'")
    assert (sums.ask("last"), sums.ask(""), sums.ask("")) == (NOTHING, None, None)
    assert reaped(sums) == '{"count": 3}\n'
    assert len((tmp_path / "started").read_text()) == 1


def test_a_count_that_is_fresh_is_told_at_once(counting: Callable[[str], QueueSums], tmp_path: Path) -> None:
    sums = counting("echo '{\"count\": 3}'")
    sums.ask("")
    reaped(sums)
    assert sums.ask("") == sums.ask("last") == '{"count": 3}\n'
    assert len((tmp_path / "started").read_text()) == 1


def test_it_counts_anew_when_time_has_passed_and_later_if_the_count_took_long(
    counting: Callable[[str], QueueSums], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("entrypoint.keeper.queue_sums.time.monotonic", lambda: clock[0])
    sums = counting("echo '{\"count\": 3}'")

    def count(seconds: float) -> None:
        assert sums.ask("") is None
        clock[0] += seconds
        os.waitid(os.P_PID, sums._child, os.WEXITED | os.WNOWAIT)
        assert sums.reap()

    count(0.1)
    clock[0] += 9.9
    assert sums.ask("") is not None
    clock[0] += 0.2
    count(3)
    clock[0] += 59
    assert sums.ask("") is not None
    clock[0] += 2
    assert sums.ask("") is None


@pytest.mark.parametrize("script", ["exit 1", "echo half; exit 1", "kill -9 $$", "true"])
def test_a_count_that_failed_is_no_count(counting: Callable[[str], QueueSums], script: str) -> None:
    sums = counting(script)
    sums.ask("")
    assert reaped(sums) == NOTHING


def test_a_program_that_cannot_be_started_is_no_count(
    counting: Callable[[str], QueueSums], monkeypatch: pytest.MonkeyPatch
) -> None:
    sums = counting("")
    monkeypatch.setattr(keeper, "PROGRAM", "/nonexistent")
    assert sums.ask("") == NOTHING
    assert sums.reap() == ""


def test_the_end_of_the_keeper_is_that_of_the_count_and_of_what_it_started(
    counting: Callable[[str], QueueSums], tmp_path: Path
) -> None:
    sums = counting(
        f"sleep 60 & echo $! > {tmp_path}/child.new; mv {tmp_path}/child.new {tmp_path}/child; wait"
    )
    sums.ask("")
    deadline = time.monotonic() + 10
    while not (tmp_path / "child").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    sums.end()
    child = int((tmp_path / "child").read_text())
    while _lives(child):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_the_signals_that_end_it_are_not_ignored_in_it(
    counting: Callable[[str], QueueSums], tmp_path: Path
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        sums = counting("grep SigIgn /proc/self/status")
        sums.ask("")
        ignored = int(reaped(sums).split()[1], 16)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not ignored >> (signal.SIGHUP - 1) & 1
    assert not ignored >> (signal.SIGPIPE - 1) & 1
