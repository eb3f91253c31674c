"""Where a text may be cut: not within an address, of which the beginning would not be known for one and so not be hidden."""

from __future__ import annotations


def cut(text: str, longest: int) -> str:
    """The beginning, in up to `longest` letters; "..." says that there was more."""
    return f"{whole(text[: longest - 3])}..."


def whole(beginning: str) -> str:
    """Without its last word, which may be the beginning of an address, as may all that stands behind a last < or quote."""
    end = beginning.rfind(" ") + 1
    if beginning.rfind("<") > beginning.rfind(">"):
        end = min(end, beginning.rfind("<"))
    quote = beginning.rfind('"')
    if beginning.count('"') % 2:
        end = min(end, quote)
    elif quote >= end:
        end = min(end, beginning.rfind('"', 0, quote))
    return beginning[:end]
