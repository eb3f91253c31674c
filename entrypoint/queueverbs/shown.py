"""What waits, counted, and in words: for people without control characters, for programs as JSON."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from entrypoint.asking import printable
from entrypoint.postfix import queue as postfix
from entrypoint.postfix.queue import Message

from .wanted import Wanted

AS_JSON = "for programs: how many matched, and how many were changed"
_REASONS_SHOWN = 20
# Reasons that are told apart: a server may give each message one of its own.
_REASONS = 1000
_OTHER = "other reasons"
# What differs between messages that wait for the same reason: addresses, hosts' numbers, queue ids and the like.
_PARTICULAR = re.compile(r"<[^>]*>|\[[0-9a-fA-F.:]+\]|\S+@\S+|\b(?=\w*\d)\w{10,}\b")


class Counted:
    """How many there were, known when all were seen."""

    def __init__(self) -> None:
        self.waiting = self.matching = 0

    def those(self, wanted: Wanted, reasons: Counter[str]) -> Iterator[Message]:
        for message in postfix.messages():
            self.waiting += 1
            if message in wanted:
                self.matching += 1
                for reason in _reasons(message):
                    reasons[reason if reason in reasons or len(reasons) < _REASONS else _OTHER] += 1
                yield message


def _reasons(message: Message) -> set[str]:
    """Why it waits, without what is particular to it."""
    told = (recipient.get("delay_reason") for recipient in message["recipients"])
    found = {_PARTICULAR.sub("...", reason) for reason in told if reason}
    return found or {"on hold" if message["queue_name"] == "hold" else "not tried yet, or just being tried"}


def print_json(messages: Sequence[str], counted: Counted, reasons: Counter[str]) -> None:
    """One object; its messages one a line."""
    print('{"messages": [')
    for number, message in enumerate(messages, 1):
        print(message, end=",\n" if number < len(messages) else "\n")
    print("],")
    told = [{"reason": reason, "messages": count} for reason, count in reasons.most_common()]
    print(f'"matching": {counted.matching}, "waiting": {counted.waiting}, "reasons": {json.dumps(told)}}}')


def print_list(messages: Sequence[str], counted: Counted, reasons: Counter[str], *, everything: bool) -> None:
    for message in messages:
        print("\n".join(map(printable, told(json.loads(message)))))
    if younger := counted.matching - len(messages):
        print(f"... and {younger} younger; --limit 0 shows all")
    if everything:
        print(f"{amount(counted.waiting)} waiting")
    else:
        print(f"{counted.matching} of {amount(counted.waiting)} waiting")
    if counted.matching > 1:
        for reason, count in reasons.most_common(_REASONS_SHOWN):
            print(f"{count:7}  {printable(reason)}")


@dataclass(frozen=True)
class Done:
    """What became of those that were named: `count` of them are what `how` says. Only those in `queues` could be."""

    how: str
    queues: frozenset[str]
    count: int
    named: int

    def __str__(self) -> str:
        if not self.count:
            where = "" if "active" in self.queues else f" that is {' or '.join(sorted(self.queues))}"
            return f"no message{where} matches".replace("is hold", "is on hold")
        # Postfix may be moving one from queue to queue in that moment.
        left = self.named - self.count
        missed = f"; {left} left meanwhile, or were on the move: ask again" if left else ""
        return f"{amount(self.count)} {self.how}{missed}"

    @property
    def as_json(self) -> str:
        return json.dumps({"matching": self.named, "changed": self.count})


def amount(messages: int, what: str = "message") -> str:
    return f"{messages} {what}{'' if messages == 1 else 's'}"


def told(message: Message) -> Iterator[str]:
    arrived = _moment(message["arrival_time"])
    age = _age(time.time() - message["arrival_time"])
    yield f"{message['queue_id']}  {message['queue_name']}  {message['message_size']} bytes  since {arrived} ({age})"
    yield f"  from {message['sender'] or '<>'}"
    for recipient in message["recipients"]:
        reason = recipient.get("delay_reason", "")
        yield f"  to {recipient['address']}" + (f": {reason}" if reason else "")


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def story_lines(story: dict[str, Any]) -> Iterator[str]:
    """What the log said of it: where it came from, and the last try for each recipient."""
    for name, value in story.items():
        if name in ("arrived", "left"):
            yield f"{name}: {_moment(value)}"
        elif not isinstance(value, list | dict):
            yield f"{name}: {value}"
    for attempt in story.get("recipients", ()):
        yield ", ".join(f"{name}: {value}" for name, value in attempt.items())
