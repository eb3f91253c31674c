"""A line of the log as JSON: one object a line, in ASCII, so that no reader needs to agree on anything else.

    {"time": "2026-11-21T16:23:09.042Z", "level": "info", "source": "postfix/qmgr", "pid": 23, "queue_id": "4jWyDY0YgDz5nFW",
     "event": "queued", "from": "app@example.com", "size": 303, "nrcpt": 1, "message": "4jWyDY0YgDz5nFW: from=<app@..."}

`time`, `level`, `source` and `message` are always there; the rest where it is known. On _json, which is the json
package's own but without its 1 MB.
"""

from __future__ import annotations

import time
from _json import encode_basestring_ascii as quoted
from functools import lru_cache
from math import isfinite

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.maillog.lines import Line

_NUMBERS = frozenset(
    {
        "bounced",
        "code",
        "delay",
        "delay_before_queue_manager",
        "delay_connection_setup",
        "delay_queue_manager",
        "delay_transmission",
        "nrcpt",
        "sent",
        "size",
        "uid",
    }
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY = 86400
# Milliseconds. Lines of several programs can come a little out of order, and time stands still for them. A clock that
# was set back further is followed: otherwise hours of the log would have one and the same time.
_DISORDER = 5000
# Seconds that are looked through first.
_JUST = 5
# Milliseconds after the end of its second within which a line is on its way from who stamped it. Several processes write
# the log, and each gives such a line the clock's time: times then stand in the log as the lines do.
_ON_ITS_WAY = 500


class Json:
    """Makes the lines of one stream. `clock` is time.time()."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._last = 0  # the last time given, in milliseconds
        # As the clock said it last, in milliseconds, of a line with this stamp, and how that is written.
        self._now = -1
        self._of = ""
        self._told = ""

    def __call__(self, line: Line) -> str:
        """The line's object, with its line break."""
        origin = line.origin
        facts = _who(origin.program, origin.pid, line.level)
        if line.queue_id:
            facts += f', "queue_id": "{line.queue_id}"'
        if line.kind:
            facts += f', "event": "{line.kind}"'
            for name, value in line.fields.items():
                facts += f', "{name}": {_number(value) if name in _NUMBERS else quoted(value)}'
        return f'{{"time": "{self._time(origin.stamp)}", {facts}, "message": {quoted(line.text)}}}\n'

    def _time(self, stamp: str) -> str:
        """The clock's, unless the line comes late: then the stamp says when it was written, and its second's end is used."""
        now = int(self._clock() * 1000)
        if now != self._now or stamp != self._of:
            self._now, self._of = now, stamp
            self._told = self._look(stamp, now)
        return self._told

    def _look(self, stamp: str, now: int) -> str:
        second = now // 1000
        told = now if stamp in (_stamp(second), "") else _late(_moment(stamp, second), now)
        if not 0 < self._last - told <= _DISORDER:
            self._last = told
        second, milliseconds = divmod(self._last, 1000)
        return f"{_universal(second)}.{milliseconds:03d}Z"


def _late(second: int, now: int) -> int:
    end = second * 1000 + 999
    return now if 0 < now - end <= _ON_ITS_WAY else end


@lru_cache(16)
def _stamp(second: int) -> str:
    """As log.py and postlogd(8) write it."""
    return time.strftime("%b %d %H:%M:%S", time.localtime(second))


@lru_cache(16)
def _universal(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


@lru_cache(16)
def _moment(stamp: str, now: int) -> int:
    """The second that a stamp without year and zone means: of all that it could, the nearest to `now`."""
    # Under load some line of each second is late, and mktime() takes as long as ten lines do.
    for second in range(now - 1, now - _JUST, -1):
        if _stamp(second) == stamp:
            return second
    try:
        told = (_MONTHS.index(stamp[:3]) + 1, int(stamp[4:6]), *map(int, stamp[7:].split(":")))
        year = time.localtime(now).tm_year
        could = [
            time.mktime(time.struct_time((each, *told, 0, 0, summer)))
            for each in (year - 1, year, year + 1)
            for summer in (0, 1)
        ]
    except (ValueError, TypeError, OverflowError):
        return now
    # Where there is no such moment, on February 29 or in a summer that a zone does not have, another one is given.
    meant = [int(moment) for moment in could if time.localtime(moment)[1:6] == told]
    return min(meant, key=lambda moment: abs(moment - now), default=now)


@lru_cache(64)
def _who(program: str, pid: str, level: str) -> str:
    number = f', "pid": {_number(pid)}' if pid else ""
    return f'"level": "{level}", "source": {quoted(program)}{number}'


@lru_cache(4096)
def _number(text: str) -> str:
    """As JSON has it; what is none after all stays text."""
    try:
        if text.isdecimal():
            return str(int(text))
        value = float(text)
    except ValueError:
        return quoted(text)
    return repr(value) if isfinite(value) else quoted(text)
