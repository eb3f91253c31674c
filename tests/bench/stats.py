"""The arithmetic of the bench: paired turns, medians and quartiles. Pure."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

Item = TypeVar("Item")


@dataclass(frozen=True)
class Spread:
    """A median and the quartiles around it."""

    low: float
    median: float
    high: float

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


def spread(values: Sequence[float]) -> Spread:
    if len(values) < 2:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(low, median, high)


def ratios(of: Sequence[float], to: Sequence[float]) -> list[float]:
    """Turn by turn. What slows the machine in one turn slows both sides of it, and drops out of their ratio."""
    return [a / b for a, b in zip(of, to, strict=True) if b]


def rotated(items: Sequence[Item], turn: int) -> list[Item]:
    """Order the items for a turn: each item is first, last and in the middle equally often, so none always runs after the same."""
    at = turn % len(items)
    return [*items[at:], *items[:at]]


def noise(controls: Sequence[Spread]) -> tuple[float, float] | None:
    """Return the lowest and highest median among the ratios of the yardstick to itself."""
    medians = [control.median for control in controls]
    return (min(medians), max(medians)) if medians else None
