"""The one way to wait: for a condition in words, until a deadline, and not a moment longer for what cannot come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from docker.models.containers import Container

_PAUSE = 0.05
_LOG_LINES = 40

Result = TypeVar("Result")


class InVainError(AssertionError):
    """It may have been too early. Anything else that is asserted is final, where mail is counted."""


def until(
    what: str,
    condition: Callable[[], Result | None],
    *,
    deadline: float = 20.0,
    needs: Iterable[Container] = (),
    state: Callable[[], object] | None = None,
) -> Result:
    """The condition's first true value.

    Fails at once when one of the containers it `needs` is no longer running, and after `deadline` seconds; `state`
    is asked then, to say how far it came.
    """
    end = time.monotonic() + deadline
    while True:
        if found := condition():
            return found
        for container in needs:
            _running(container, what)
        if time.monotonic() > end:
            told = f": {state()}" if state else ""
            raise InVainError(f"waited {deadline:g} s in vain until {what}{told}")
        time.sleep(_PAUSE)


def _running(container: Container, what: str) -> None:
    container.reload()
    if container.status in ("created", "running"):
        return
    code = container.attrs["State"]["ExitCode"]
    log = container.logs(tail=_LOG_LINES).decode(errors="replace")
    raise AssertionError(f"{container.name} ended with exit code {code}, while waiting until {what}:\n{log}")
