"""The last hour as sums and as drawings: numbers in, coordinates out. y grows downwards, as in SVG; 100 is the bottom."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import log
from typing import Any

from entrypoint.maillog.minutes import BOUNCED, DEFERRED, DELAYS, HOUR, RECEIVED, SENT
from entrypoint.page import words

# What a drawing of delays has lines for, all as far apart: seconds.
_LINES = (0.1, 1, 10, 60, 600, 3600, 86400)
_LEAST_LINES = 3
_RECENT = 15
STEP = 4
"""The width of a minute."""
_BAR = 3


@dataclass
class Minute:
    """`x` is where it begins; heights are of the whole drawing's, delays are in seconds and None if nothing was sent."""

    x: int
    begin: float
    received: int
    sent: int
    deferred: int
    bounced: int
    median: float | None
    most: float | None


class Hour:
    """Of the keeper's answer to "minutes", at `now`."""

    def __init__(self, told: dict[str, Any], now: float) -> None:
        self._bounds: list[float] = told["bounds"]
        rows: list[list[int]] = told["minutes"]
        self.known = len(rows)
        begin = now - told["into"]
        self.minutes = [
            self._minute(row, HOUR - len(rows) + at, begin - 60 * (len(rows) - 1 - at))
            for at, row in enumerate(rows)
        ]
        self.labels = [words.minute(begin - 60 * (HOUR - 1 - at)) for at in (0, 15, 30, 45)]
        whole = [sum(column) for column in zip(*rows, strict=True)]
        self.received, self.sent = whole[RECEIVED], whole[SENT]
        self.deferred, self.bounced = whole[DEFERRED], whole[BOUNCED]
        self.median, self.most = (self._part(whole[DELAYS:], part) for part in (0.5, 0.95))
        recent = [sum(column) for column in zip(*rows[-_RECENT:], strict=True)]
        self.recent = {"sent": recent[SENT], "deferred": recent[DEFERRED], "bounced": recent[BOUNCED]}

    def _minute(self, row: list[int], place: int, begin: float) -> Minute:
        median, most = (self._part(row[DELAYS:], part) for part in (0.5, 0.95))
        return Minute(
            place * STEP, begin, row[RECEIVED], row[SENT], row[DEFERRED], row[BOUNCED], median, most
        )

    def _part(self, buckets: list[int], part: float) -> float | None:
        """The bound that so large a part of all is not above; of what is above all of them, the last."""
        wanted = part * sum(buckets)
        if not wanted:
            return None
        passed = 0
        for bound, count in zip((*self._bounds, self._bounds[-1]), buckets, strict=True):
            passed += count
            if passed >= wanted:
                return bound
        return self._bounds[-1]


@dataclass
class Bar:
    kind: str
    x: int
    y: float
    height: float
    width: int = _BAR


@dataclass
class Drawing:
    """`bars` of each minute that has any; `scale` names the lines, the uppermost first."""

    minutes: list[tuple[Minute, list[Bar]]]
    scale: list[str]
    line: str = ""
    """A path."""


def throughput(hour: Hour) -> Drawing:
    """What became of mail, as bars upon each other, and what came in as a line."""
    most = max((max(m.sent + m.deferred + m.bounced, m.received) for m in hour.minutes), default=0)
    top = _round(most)
    drawn = []
    for minute in hour.minutes:
        bars, y = [], 100.0
        for kind in ("sent", "deferred", "bounced"):
            if height := 100 * getattr(minute, kind) / top:
                y -= height
                bars.append(Bar(kind, minute.x, _short(y), _short(height)))
        if bars or minute.received:
            drawn.append((minute, bars))
    steps = [(m.x, _short(100 - 100 * m.received / top)) for m in hour.minutes]
    line = " ".join(f"{'L' if at else 'M'}{x} {y}H{x + STEP}" for at, (x, y) in enumerate(steps))
    scale = [words.amount(top), words.amount(top // 2), "0"]
    return Drawing(drawn, scale, line if most else "")


def delay(hour: Hour) -> Drawing:
    """Half of all was quicker than the mark, and all but a twentieth quicker than the bar's end."""
    most = max((m.most or 0 for m in hour.minutes), default=0)
    lines = max(next((n for n, at in enumerate(_LINES, 1) if at >= most), len(_LINES)), _LEAST_LINES)
    drawn = []
    for minute in hour.minutes:
        if minute.most is not None and minute.median is not None:
            bars = [
                _bar(kind, minute.x, value, _LINES[:lines])
                for kind, value in (("most", minute.most), ("median", minute.median))
            ]
            drawn.append((minute, bars))
    return Drawing(drawn, [words.age(at) for at in reversed(_LINES[:lines])])


def _bar(kind: str, x: int, value: float, lines: tuple[float, ...]) -> Bar:
    # What takes no time at all is to be seen, too.
    height = max(_height(value, lines), 2.0)
    return Bar(kind, x, _short(100 - height), _short(height))


def _height(value: float, lines: tuple[float, ...]) -> float:
    """Between two lines as the logarithm has it."""
    step = 100 / (len(lines) - 1)
    for number, (below, above) in enumerate(pairwise(lines)):
        if value <= above:
            return step * (number + max(log(value / below), 0) / log(above / below))
    return 100.0


def _round(most: int) -> int:
    """The least of 2, 4, 10, 20, 40, 100, ... that is as large."""
    top = 2
    while top < most:
        top = top * 5 // 2 if str(top)[0] == "4" else top * 2
    return top


def _short(value: float) -> float:
    return round(value, 2)
