"""What is ready behind the ports: Postfix's programs go on, its log is read, mail can be kept, and tables can be read."""

from __future__ import annotations

import time

from entrypoint import processes, runtime
from entrypoint.health import asking
from entrypoint.health.checks import Check

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Mapping

# The keeper answers within milliseconds, unless it waits for a reader of the container's stdout.
_PATIENCE = 2.0
NO_MAIL = ("log", "spool")
"""The checks without which nothing can be handed in."""
_LOGGER = "postlogd"
# A warning comes when this part of what Postfix would use is left, but not before there is less than so many bytes: the
# spool may share a large disk that is always rather full.
_LEFT = 5
_BYTES = 1 << 30
# Seconds. When all places are taken, Postfix lets go of a client that has said nothing for 10 s (smtpd_timeout).
_LATELY = 15.0


class Inside:
    """By the keeper's word, and /proc's."""

    def __init__(
        self, state_file: str = runtime.STATE, keeper: str = runtime.KEEPER, proc: str = processes.PROC
    ) -> None:
        self._state_file = state_file
        self._keeper = keeper
        self._proc = proc
        self._taken_at = 0.0

    @property
    def busy(self) -> bool:
        """Whether mail was taken from a client just before the last look."""
        return self._taken_at > 0 and time.monotonic() - self._taken_at < _LATELY

    def look(self) -> tuple[list[Check], dict[str, str]]:
        """The checks, and what the keeper said, of which there is nothing if it said nothing."""
        try:
            text = asking.ask("circumstances", _PATIENCE, self._keeper)
        except TimeoutError:
            silent = (
                "the keeper does not answer: perhaps nobody reads the container's output; mail stalls soon"
            )
            return [Check("log", silent)], {}
        except OSError as error:
            reason = (
                f"the keeper cannot be asked ({error.strerror}): what is wrong with the spool is not seen"
            )
            return [Check("log", reason, warning=True)], {}
        if not text:
            reason = "the keeper has no answer, see the log: what is wrong with the spool is not seen"
            return [Check("log", reason, warning=True)], {}
        told = runtime.flat(text)
        self._taken_at = float(told.get("taken_at", 0))
        programs = self._programs()
        # Those that exist and do nothing (SIGSTOP, a debugger).
        stopped = {process.name for process in programs if process.stopped}
        log = ""
        if _LOGGER in stopped:
            log = f"{_LOGGER} is stopped by a signal: mail stalls soon"
        elif told.get("log_full") == "1" and programs and _LOGGER not in {each.name for each in programs}:
            log = f"{_LOGGER} is gone, and who logs waits for it: mail stalls until Postfix is started anew, by itself"
        others = [Check(f"program {name}", _STOPPED) for name in sorted(stopped - {_LOGGER})]
        return [*others, Check("log", log), spool(told), tables(told)], told

    def _programs(self) -> list[processes.Process]:
        """Postfix's, master among them."""
        try:
            master = int(runtime.scalar(self._state_file, "master"))
        except (OSError, ValueError):
            # It has just ended, which /livez knows.
            return []
        return processes.in_group(master, self._proc)


_STOPPED = "stopped by a signal: mail waits until it is continued (SIGCONT) or killed"


def spool(told: Mapping[str, str]) -> Check:
    """Whether mail can be kept, and for how long yet."""
    name = "spool"
    if problem := told.get("spool_problem"):
        return Check(name, f"{problem}: no mail can be taken, nor kept for another try")
    if "spool_free_bytes" not in told:
        return Check(name)
    free, size = int(told["spool_free_bytes"]), int(told["spool_size_bytes"])
    refusing = int(told["spool_refusing_below"])
    if free <= refusing:
        return Check(name, f"{_amount(free)} free: new mail is refused (452), what is queued is delivered")
    if free - refusing < min((size - refusing) // _LEFT, _BYTES):
        text = f"{_amount(free)} free of {_amount(size)}: new mail is refused below {_amount(refusing)}"
        return Check(name, text, warning=True)
    free, count = int(told["spool_free_inodes"]), int(told["spool_inodes"])
    if free < count // (4 * _LEFT):
        text = f"{free} inodes free of {count}: without one no mail can be taken"
        return Check(name, text, warning=True)
    return Check(name)


def tables(told: Mapping[str, str]) -> Check:
    """Whether Postfix finds everything that main.cf and master.cf send it to."""
    problem = told.get("tables_problem")
    return Check("tables", f"{problem}: mail that needs this table waits, or is refused" if problem else "")


def _amount(count: int) -> str:
    return f"{count >> 20} MB"
