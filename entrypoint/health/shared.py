"""Measuring once for many who ask."""

from __future__ import annotations

import time
from _thread import allocate_lock, start_new_thread  # threading costs 0.3 MB

from entrypoint.health import mistakes
from entrypoint.health.checks import Check

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def at_once(measures: Mapping[str, Callable[[], Check]]) -> list[Check]:
    """The result of each, in their order; one that hangs does not hold up the others, and one that raises has failed."""
    checks: dict[str, Check] = {}
    ends = {name: allocate_lock() for name in measures}

    def run(name: str) -> None:
        try:
            checks[name] = measures[name]()
        except Exception as error:  # noqa: BLE001  # what it did not say would count as well
            checks[name] = Check(name, mistakes.tell(error))
        finally:
            ends[name].release()

    for end in ends.values():
        end.acquire()
    for name in list(measures)[1:]:
        try:
            start_new_thread(run, (name,))
        except RuntimeError:
            # No more threads (--pids-limit): then one after the other.
            run(name)
    for name in list(measures)[:1]:
        run(name)
    for end in ends.values():
        end.acquire()
    return [checks[name] for name in measures]


class Shared:
    """One set of results for all who ask within a second, so that many probers do not mean many sessions."""

    def __init__(self, measure: Callable[[], list[Check]], seconds: float = 0.9, failed: float = 0.1) -> None:
        self._measure = measure
        # Bad news is looked at again sooner: somebody waits for the start to end.
        self._seconds = {True: seconds, False: failed}
        self._lock = allocate_lock()
        self._at = float("-inf")
        self._checks: list[Check] = []

    def checks(self) -> list[Check]:
        with self._lock:
            # From the end of the measurement: those who waited for it get it too, even if it took long.
            good = all(check.ok for check in self._checks)
            if time.monotonic() - self._at > self._seconds[good]:
                self._checks = self._measure()
                self._at = time.monotonic()
            return self._checks


class SharedText:
    """The same for a text: so many scrapers do not mean as many questions to the keeper."""

    def __init__(self, make: Callable[[], tuple[str, str]], seconds: float = 0.9) -> None:
        self._make = make
        self._seconds = seconds
        self._lock = allocate_lock()
        self._until = float("-inf")
        self._text = ("", "")

    def text(self) -> tuple[str, str]:
        """With its media type."""
        with self._lock:
            if time.monotonic() > self._until:
                self._text = self._make()
                self._until = time.monotonic() + self._seconds
            return self._text
