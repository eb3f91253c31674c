"""What /proc says about processes. Only /proc/PID/stat is read: it is open to every user, and the name in it
protects against a pid that was given to another program since it was noted down (proc_pid_stat(5)).
"""

from __future__ import annotations

import os

from entrypoint import log

# pathlib would add 0.9 MB to each of the long-running programs.
# ruff: noqa: PTH123, PTH208

PROC = "/proc"


class Process:
    """One process: its pid, name (at most 15 characters), state (proc_pid_stat(5)), process group and session."""

    # A plain class: dataclasses and typing would add 1 MB to each of the long-running programs.
    __slots__ = ("group", "name", "pid", "session", "state")

    def __init__(self, pid: int, name: str, state: str, group: int, session: int) -> None:
        self.pid = pid
        self.name = name
        self.state = state
        self.group = group
        self.session = session

    @property
    def stopped(self) -> bool:
        """Whether a signal stopped it (SIGSTOP): it lives and holds what it holds, but does nothing."""
        return self.state == "T"


def look(pid: int, proc: str = PROC) -> Process | None:
    """The process, or None if there is none. A zombie is none: it does nothing and holds nothing."""
    try:
        with open(f"{proc}/{pid}/stat", "rb") as file:
            stat = file.read()
    except OSError:
        return None
    # The name may itself contain spaces and parentheses.
    name, _, rest = stat.partition(b"(")[2].rpartition(b")")
    state, _, group, session = rest.split()[:4]
    if state in (b"Z", b"X"):
        return None
    return Process(pid, name.decode("utf-8", "replace"), state.decode("ascii"), int(group), int(session))


def in_group(leader: int, proc: str = PROC) -> list[Process]:
    """The living processes of the group and session that `leader` founded, whether or not it lives itself."""
    found = (look(int(name), proc) for name in os.listdir(proc) if name.isdigit())
    return [process for process in found if process and process.group == process.session == leader]


def rename(name: str) -> None:
    """Give this process a name of its own; otherwise each of our programs is called like the interpreter."""
    try:
        with open("/proc/self/comm", "w", encoding="ascii") as file:
            file.write(name)
    except OSError:
        # Without the name the health check would call the keeper dead. Only a /proc mounted read-only does this.
        log.write("warning: cannot write /proc/self/comm: liveness will be reported as failed")


def expendable() -> None:
    """Where memory runs short, the kernel shall end this process before any that mail needs."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000")
    except OSError:
        return
