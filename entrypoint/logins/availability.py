"""Whether logins can be checked: asked when somebody wants to know, and logged once when it changes."""

from __future__ import annotations

import threading
import time

from entrypoint import log
from entrypoint.logins.backends import PATIENCE, UnavailableError

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = "postern/logins"
# Seconds. An answer is good for all who ask within the first; who waits longer than the second gets "no answer".
_FRESH = 2.0
_LONGEST = 2.5
# A backend that answers, but could not check a login a moment ago, is not well yet: it would be down and up in turns.
_DOUBT = 10.0


class Availability:
    def __init__(self, ping: Callable[[], None]) -> None:
        self._ping = ping
        self._lock = threading.Lock()
        self._reason = ""
        self._failed = self._succeeded = float("-inf")
        self._asking = threading.Lock()
        self._answer: _Answer | None = None

    def checked(self, problem: str = "") -> None:
        """A login could be checked (it does not matter with what result), or why not."""
        if problem:
            self._failed = time.monotonic()
        else:
            self._succeeded, self._failed = time.monotonic(), float("-inf")
        self._note(problem)

    def busy(self, problem: str) -> None:
        """A login waited in vain for others: a problem if none of these could be checked, either."""
        if time.monotonic() - self._succeeded > PATIENCE:
            self.checked(problem)

    def problem(self) -> str:
        """Why logins cannot be checked now, in words; "" if they can."""
        with self._asking:
            if not self._answer or self._answer.stale(self._succeeded):
                self._answer = _Answer(self._ask)
            answer = self._answer
        problem = answer.wait()
        if problem or time.monotonic() - self._failed > _DOUBT:
            self._note(problem)
        return problem or self._reason

    def _ask(self) -> str:
        try:
            self._ping()
        except UnavailableError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001  # a fault of ours must not look like a backend that is well
            return fault(error)
        return ""

    def _note(self, problem: str) -> None:
        with self._lock:
            before, self._reason = self._reason, problem
        if problem and not before:
            log.write(f"warning: logins cannot be checked: {problem}", PROGRAM)
        elif before and not problem:
            log.write("logins can be checked again", PROGRAM)


class _Answer:
    """To a question that may take long: asked in a thread of its own."""

    def __init__(self, ask: Callable[[], str]) -> None:
        self._ask = ask
        self._problem = ""
        self._done = threading.Event()
        self._begun = time.monotonic()
        threading.Thread(target=self._run, daemon=True).start()

    def stale(self, succeeded: float) -> bool:
        """Whether it is too old, or a login that succeeded then has shown otherwise."""
        contradicted = self._problem and self._begun < succeeded
        return self._done.is_set() and (bool(contradicted) or time.monotonic() - self._begun > _FRESH)

    def wait(self) -> str:
        left = self._begun + _LONGEST - time.monotonic()
        return self._problem if self._done.wait(max(left, 0)) else f"no answer within {_LONGEST:g} s"

    def _run(self) -> None:
        self._problem = self._ask()
        self._done.set()


def fault(error: Exception) -> str:
    """An error that nobody foresaw, without its text, which could hold a password."""
    traceback = error.__traceback__
    while traceback and traceback.tb_next:
        traceback = traceback.tb_next
    where = f" in {traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}" if traceback else ""
    return f"an unexpected {type(error).__name__}{where}"
