"""What waits in the queue, summed up for the page: by the reason and by where it goes.

Run by the keeper, as root: nobody else may list the queue.
"""

from __future__ import annotations

import json
import os
import signal
import time

from entrypoint import log
from entrypoint.maillog import reasons
from entrypoint.postfix import queue

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Iterable

    from entrypoint.maillog.masking import Mask
    from entrypoint.postfix.queue import Message

UNTRIED, HELD = "untried", "held"
"""Reasons beside those of `reasons`: it has not been tried since it came, or somebody keeps it back."""
SHOWN = 20
"""Destinations that are named; the others are one."""
# A queue may be full of addresses that somebody made up.
_MOST = 10_000
_LONGEST = 300
_PATIENCE = 60


class Sum:
    """Of some messages: how many, since when the oldest waits (seconds since 1970), and why that one does."""

    __slots__ = ("count", "oldest", "text")

    def __init__(self) -> None:
        self.count = 0
        self.oldest = float("inf")
        self.text = ""

    def add(self, arrived: float, text: str) -> None:
        self.count += 1
        if arrived < self.oldest:
            self.oldest = arrived
            self.text = text[:_LONGEST]

    def told(self, name: str, mask: Mask | None) -> dict[str, object]:
        return {
            "name": name,
            "count": self.count,
            "oldest": self.oldest,
            "text": mask(self.text) if mask else self.text,
        }


class Sums:
    """A message counts once for each reason and each destination that it has."""

    def __init__(self) -> None:
        self.all = Sum()
        self._reasons: dict[str, Sum] = {}
        self._domains: dict[str, Sum] = {}
        self._others = Sum()

    def add(self, message: Message) -> None:
        arrived = float(message["arrival_time"])
        self.all.add(arrived, "")
        why: dict[str, str] = {}
        where: dict[str, str] = {}
        for recipient in message["recipients"]:
            text = recipient.get("delay_reason", "")
            reason = (
                HELD if message["queue_name"] == "hold" else reasons.of_deferral(text) if text else UNTRIED
            )
            why.setdefault(reason, text)
            where.setdefault(recipient["address"].rpartition("@")[2].lower(), reason)
        for reason, text in why.items():
            self._reasons.setdefault(reason, Sum()).add(arrived, text)
        for domain, reason in where.items():
            self._of(domain).add(arrived, reason)

    def _of(self, domain: str) -> Sum:
        if domain not in self._domains and len(self._domains) >= _MOST:
            return self._others
        return self._domains.setdefault(domain, Sum())

    def told(self, mask: Mask | None) -> dict[str, object]:
        """For JSON; a destination's `text` is its oldest message's reason."""
        domains = _largest_first(self._domains)
        for _, each in domains[SHOWN:]:
            self._others.count += each.count
            self._others.oldest = min(self._others.oldest, each.oldest)
        others = [self._others.told("", None)] if self._others.count else []
        return {
            "count": self.all.count,
            "reasons": [each.told(name, mask) for name, each in _largest_first(self._reasons)],
            "domains": [each.told(name[:255], None) for name, each in domains[:SHOWN]] + others,
            "more": len(domains[SHOWN:]),
        }


def _largest_first(sums: dict[str, Sum]) -> list[tuple[str, Sum]]:
    return sorted(sums.items(), key=lambda item: (-item[1].count, item[0]))


def sum_up(messages: Iterable[Message], mask: Mask | None = None) -> str:
    sums = Sums()
    for message in messages:
        sums.add(message)
    return json.dumps({"at": int(time.time()), **sums.told(mask)}) + "\n"


def show() -> int:
    """Prints it; 1 if the queue cannot be read."""
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(0, signal.SIGKILL))
    signal.alarm(_PATIENCE)
    # Mail comes first.
    os.nice(10)
    log.use_installed()
    try:
        print(sum_up(queue.messages(), log.asked()[0]), end="")
    except (OSError, RuntimeError):
        return 1
    return 0
