"""The keeper's state in a file, for the health program: who must live, and what nobody else can see."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Mapping

# pathlib would add 0.9 MB.
# ruff: noqa: PTH105, PTH108, PTH123


def text(facts: Mapping[str, int | str]) -> str:
    """As runtime.facts reads it: JSON, flat, and without escapes, which the values need not have."""
    pairs = (
        f'"{name}": ' + (str(value) if isinstance(value, int) else f'"{value}"')
        for name, value in facts.items()
    )
    return f"{{{', '.join(pairs)}}}\n"


def note(path: str, facts: Mapping[str, int | str]) -> None:
    """A reader never sees half of it. Raises OSError."""
    with open(f"{path}.new", "w", encoding="ascii") as file:
        file.write(text(facts))
        os.fchmod(file.fileno(), 0o644)
    os.replace(f"{path}.new", path)


def forget(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
