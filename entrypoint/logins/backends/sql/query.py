"""The user's queries, in which a client's words are values and never text."""

from __future__ import annotations

from itertools import pairwise

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_QUOTES = "'\"`"
# Databases differ in what these do to the end of a quoted text, or of the query.
_UNCLEAR = ("\\", "--", "/*", "#", "$")


def placed(query: str, names: Collection[str]) -> str:
    """The query as a driver wants it: `%u` becomes `%(u)s`, also where it comes in quotes of its own, `'%u'`.

    A driver puts quotes around a value. Inside a longer quoted text, they would end it, and what a client sent would
    be taken for SQL. Raises ValueError("must ...") there, and where that cannot be told.
    """
    for mark in _UNCLEAR:
        if mark in query:
            raise ValueError(f"must not hold {mark}: databases differ in what it means for quoted text")
    made = "".join(_replaced(query, names))
    if not any(f"%({name})s" in made for name in names):
        raise ValueError(f"must hold {' or '.join(f'%{name}' for name in names)}")
    for name in names:
        for before, after in pairwise(made.split(f"%({name})s")):
            if _joins(before[-1:]) or _joins(after[:1]):
                raise ValueError(f"must not hold %{name} beside a quote, a letter or a digit")
    return made


def _replaced(query: str, names: Collection[str]) -> Iterator[str]:
    for quote, text in _parts(query):
        if quote == "'" and text[:1] == "%" and text[1:] in names:
            yield f"%({text[1:]})s"
        elif quote and any(f"%{name}" in text for name in names):
            raise ValueError(f"must not hold a placeholder inside a longer quoted text: {quote}{text}{quote}")
        else:
            # The driver takes any other percent sign for the beginning of a placeholder.
            escaped = text.replace("%", "%%")
            for name in () if quote else names:
                escaped = escaped.replace(f"%%{name}", f"%({name})s")
            yield quote + escaped + quote


def _parts(query: str) -> Iterator[tuple[str, str]]:
    """Quoted text and what is between, in turn: the quote, or "", and the text without it."""
    while query:
        quote = query[0] if query[0] in _QUOTES else ""
        if quote:
            text, end, query = query[1:].partition(quote)
            if not end:
                raise ValueError(f"must end what it begins with {quote}")
        else:
            length = min((at for mark in _QUOTES if (at := query.find(mark)) >= 0), default=len(query))
            text, query = query[:length], query[length:]
        yield quote, text


def _joins(letter: str) -> bool:
    """Whether what is beside a quoted value may change what it is: E'...', or the quote that both texts share."""
    return letter.isalnum() or letter == "_" or (letter != "" and letter in _QUOTES)
