"""The messages that an operator means, and the words to say so at the command line."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass

from entrypoint.asking import printable
from entrypoint.postfix.queue import Message


@dataclass(frozen=True)
class Wanted:
    """The messages that an operator means: those that meet all that was given."""

    queues: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    sender: re.Pattern[str] | None = None
    recipient: re.Pattern[str] | None = None
    domain: re.Pattern[str] | None = None
    reason: str = ""

    @classmethod
    def of(cls, options: argparse.Namespace, queues: frozenset[str] = frozenset()) -> Wanted:
        return cls(
            queues,
            frozenset(getattr(options, "ids", ())),
            options.sender and _pattern(options.sender),
            options.recipient and _pattern(options.recipient),
            options.domain and _pattern(options.domain.removeprefix("@")),
            options.reason or "",
        )

    @property
    def all(self) -> bool:
        """Whether nothing was named: every message is meant."""
        return not (self.ids or self.sender or self.recipient or self.domain or self.reason)

    def __contains__(self, message: Message) -> bool:
        return (
            (not self.queues or message["queue_name"] in self.queues)
            and (not self.ids or message["queue_id"] in self.ids)
            and _fits(self.sender, message["sender"])
            and (not self._asks_of_recipients or any(map(self._is_for, message["recipients"])))
        )

    @property
    def _asks_of_recipients(self) -> bool:
        # A message may be left without any for a moment (qmgr(8), after a reload).
        return bool(self.recipient or self.domain or self.reason)

    def _is_for(self, recipient: dict[str, str]) -> bool:
        """One recipient must meet all that was asked of recipients."""
        address = recipient["address"]
        return (
            _fits(self.recipient, address)
            and _fits(self.domain, address.rpartition("@")[2])
            and self.reason.casefold() in recipient.get("delay_reason", "").casefold()
        )


def _pattern(text: str) -> re.Pattern[str]:
    """An address, @domain, or either with * and ?; <> is the empty sender. An address may have [ ]: no sets here."""
    wanted = "" if text == "<>" else f"*{text}" if text.startswith("@") else text
    each = (".*" if letter == "*" else "." if letter == "?" else re.escape(letter) for letter in wanted)
    return re.compile("".join(each), re.IGNORECASE | re.DOTALL)


def _fits(pattern: re.Pattern[str] | None, text: str) -> bool:
    return pattern is None or pattern.fullmatch(text) is not None


def parser(name: str, description: str, *, filters: bool = True, ids: bool = True) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        f"postern queue {name}".rstrip(),
        description=description,
        epilog="status 0: done; 1: failed; 2: called wrongly; 3: nothing matched",
    )
    if ids:
        made.add_argument("ids", metavar="ID", nargs="*", type=queue_id, help="a queue id")
    if filters:
        made.add_argument("--sender", metavar="X", type=_named, help="an address, @domain, or *; <> is none")
        made.add_argument("--recipient", metavar="X", type=_named, help="the same of one of its recipients")
        made.add_argument("--domain", metavar="D", type=_named, help="the domain of one of its recipients")
        made.add_argument("--reason", metavar="TEXT", type=_named, help="a part of why it waits")
    return made


def _named(text: str) -> str:
    """A script's variable that is empty must not mean "all"."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty; the empty sender is written <>")
    return text


def queue_id(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z]+", text):
        raise argparse.ArgumentTypeError(f"{printable(text)!r} is no queue id")
    return text
