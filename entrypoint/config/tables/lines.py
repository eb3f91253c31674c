"""Where an entry stands and what is wrong with it; what all tables have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TypeVar

from entrypoint.config.problem import MisconfiguredError, Problem, holds_secrets

# More would bury the first, which explains most of the others.
MOST_PROBLEMS = 20
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Line:
    """`where` is "/config/transport:3", or the variable's name."""

    where: str
    text: str

    def words(self) -> list[str]:
        return self.text.split()


@dataclass
class Source:
    """The text of a table and its name: a file's path, or a variable. Problems with it are collected here."""

    name: str
    text: str
    separators: str = ""
    """What else separates entries where the text has but one line, as variables often have."""
    secret: bool = False
    exact: bool = False
    """Whether space at the end of a line belongs to it, as in a password."""
    problems: list[Problem] = field(default_factory=list)

    @property
    def is_file(self) -> bool:
        return self.name.startswith("/")

    def lines(self) -> Iterator[Line]:
        """Each entry without comments, blank lines and surrounding space."""
        for number, text in self.numbered():
            yield Line(self.where(number), text)

    def numbered(self) -> Iterator[tuple[int, str]]:
        for number, raw in self._broken():
            text = raw.lstrip().removesuffix("\r") if self.exact else raw.strip()
            if text and text[0] != "#":
                yield number, text

    def _broken(self) -> Iterable[tuple[int, str]]:
        text = self.text.removeprefix("\ufeff")
        # A line break at the end, as YAML's blocks and editors write it, does not make two lines of one.
        if self.separators and "\n" not in (only := text.strip("\r\n")):
            return ((1, part) for part in re.split(f"[{self.separators}]", only))
        return enumerate(text.split("\n"), 1)

    def where(self, number: int) -> str:
        return f"{self.name}:{number}" if self.is_file else self.name

    def entries(
        self, parse: Callable[[Line], Entry], shown: Callable[[Line], str | None] = attrgetter("text")
    ) -> tuple[Entry, ...]:
        """Every line through one parser. Raises MisconfiguredError with the problems of all lines, or the first of them.

        `shown` is what a problem with a line may show of it; of a secret table's it is nothing.
        """
        found: list[Entry] = []
        for line in self.lines():
            try:
                self._refuse_invisible(line)
                found.append(parse(line))
            except ValueError as error:
                self.problems.append(Problem(line.where, None if self.secret else shown(line), str(error)))
        self.close()
        return tuple(found)

    def some(self, entries: tuple[Entry, ...], otherwise: str) -> tuple[Entry, ...]:
        """A table that must not be empty, as one that is being written may be for a moment. Raises MisconfiguredError.

        `otherwise` is what its absence means, which nobody means by an empty one.
        """
        if not entries:
            self.problems.append(
                Problem(self.name, None, f"must have an entry, or not be there: then {otherwise}")
            )
        self.close()
        return entries

    def _refuse_invisible(self, line: Line) -> None:
        """What nobody sees in an editor makes another name of a name; a password may hold anything that is typed."""
        if self.exact and not _CONTROL.search(line.text):
            return
        if self.exact or not line.text.replace("\t", " ").isprintable():
            raise ValueError("must not contain invisible characters: copied from a page, or not UTF-8?")

    def close(self) -> None:
        """Raises MisconfiguredError if anything was refused."""
        if left := self.problems[MOST_PROBLEMS:]:
            rest = Problem(self.name, None, f"has {len(left)} more lines that are wrong")
            self.problems = [*self.problems[:MOST_PROBLEMS], rest]
        if self.problems:
            # A file of secrets in a table's place: one line of a key, for one, does not look like what it is.
            hide = self.is_file and holds_secrets(self.text)
            raise MisconfiguredError([each.hidden() for each in self.problems] if hide else self.problems)


def once(source: Source, line: Line, key: str, seen: dict[str, str]) -> None:
    """Refuses a second entry for a key: only one of the two could count. `seen` has each key's first place."""
    if key in seen:
        first = f" (first at {seen[key]})" if source.is_file else ""
        raise ValueError(f"must be the only entry for {key}, and there is another{first}")
    seen[key] = line.where
