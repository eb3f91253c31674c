"""What "alive" and "ready" mean, as lists of checks; a check that failed says what follows from it."""

from __future__ import annotations

import time

from entrypoint import processes, runtime

# pathlib would add 0.9 MB.
# ruff: noqa: PTH123

# After 60 s (service_throttle_time in postconf(5)) master tries again, and says so if that fails, too.
_THROTTLED_FOR = 70
# Of the problems that made an edit be refused; the log has them all, and there may be one for each line of a table.
_PROBLEMS_SHOWN = 3
_LONGEST_PROBLEM = 200
_MOST = 8192


class Check:
    """One statement about the relay: what was looked at, whether it is well, and if not what that means.

    A `warning` is well, as no mail suffers from it yet, and has something to say nevertheless.
    """

    __slots__ = ("detail", "name", "ok", "warning")

    def __init__(self, name: str, detail: str = "", *, warning: bool = False) -> None:
        self.name = name
        self.detail = detail
        self.warning = warning
        self.ok = warning or not detail

    def __str__(self) -> str:
        if self.warning:
            return f"warning {self.name}: {self.detail}"
        return f"ok {self.name}" if self.ok else f"failed {self.name}: {self.detail}"


def alive(state_file: str = runtime.STATE, proc: str = processes.PROC) -> list[Check]:
    """The keeper and Postfix's master exist, are still what the keeper noted down, and can do something."""
    state = _state(state_file)
    checks = []
    for name in ("keeper", "master"):
        process = processes.look(int(state.get(name, 0)), proc)
        problem = ""
        if process is None or process.name != name:
            problem = "not running: no mail is accepted or delivered until supervisor has restarted it"
        elif process.stopped:
            problem = "stopped by a signal: mail stalls until it is continued (SIGCONT) or killed"
        checks.append(Check(name, problem))
    return checks


def startable(state_file: str = runtime.STATE) -> list[Check]:
    """Nothing, or one failed check for the program of Postfix that master could not start lately."""
    state = _state(state_file)
    name = state.get("throttled")
    # The keeper measured by the same clock: it is the machine's, and nobody sets it.
    if not name or time.monotonic() - float(state["throttled_at"]) > _THROTTLED_FOR:
        return []
    return [Check(f"program {name}", f"ends whenever it is started, see the log: {_without(name)}")]


def _without(program: str) -> str:
    if program in ("smtpd", "cleanup", "trivial-rewrite"):
        return "no mail is accepted"
    if program in ("qmgr", "smtp"):
        return "mail is accepted, but waits in the queue"
    return "mail may be refused, or wait in the queue"


def stopping(state_file: str = runtime.STATE) -> list[Check]:
    """Nothing, or the one failed check that tells load balancers to look elsewhere."""
    if _state(state_file).get("stopping") == "1":
        return [Check("running", "the relay is being stopped: hand in mail elsewhere")]
    return []


def configuration(refused_file: str = runtime.REFUSED) -> list[Check]:
    """Nothing, or the warning that what is in force is not what the user wrote last."""
    try:
        with open(refused_file, encoding="utf-8", errors="replace") as file:
            problems = [_printable(line) for line in file.read(_MOST).split("\n") if line.strip()]
    except OSError:
        return []
    text = "; ".join(problems[:_PROBLEMS_SHOWN])
    if problems[_PROBLEMS_SHOWN:]:
        text += "; and more, see the log"
    refused = "the last edit was refused and the one before is in force"
    return [Check("configuration", f"{refused}: {text}", warning=True)]


def _printable(line: str) -> str:
    """The problem quotes what the user wrote."""
    return "".join(c if c.isprintable() else "?" for c in line.strip()[:_LONGEST_PROBLEM])


def _state(path: str) -> dict[str, str]:
    try:
        return runtime.facts(path)
    except OSError:
        # The keeper has not started Postfix yet, or has ended it.
        return {}
