"""Starting and ending Postfix's master(8) together with everything it started.

Master's process group is the unit: an smtpd(8) that outlives master holds the listening sockets, and the next
master could not bind them.
"""

from __future__ import annotations

import os
import signal
import time

from entrypoint import nonroot, processes
from entrypoint.postfix import SPOOL

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Mapping

# pathlib would add 0.9 MB.
# ruff: noqa: PTH123

PROGRAM = "/usr/lib/postfix/sbin/master"
PID_FILE = f"{SPOOL}/pid/master.pid"
# How often the group is looked at while it ends; nothing announces the end of a process that is not our child.
GLANCE = 0.02
# What Postfix uses of an environment (import_environment in postconf(5)). The rest stays out: it holds passwords.
PASSED = ("MAIL_CONFIG", "PATH", "TZ")


def start(out: int, environ: Mapping[str, str]) -> int:
    """Start master with its stdout on the descriptor `out`; returns its pid, which is also its process group.

    With -d master neither detaches from stdout nor from our session, so it gets a session of its own.
    """
    return os.posix_spawn(
        PROGRAM,
        [PROGRAM, "-d"],
        {name: environ[name] for name in PASSED if name in environ} | nonroot.environment(),
        file_actions=[(os.POSIX_SPAWN_DUP2, out, 1)],
        setsid=True,
        # Python ignores two of these, the keeper the third, and programs that Postfix runs would inherit that.
        setsigdef=[signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ],
    )


def send(group: int, number: signal.Signals) -> None:
    """Signal the whole group; one that is gone already has what it should get."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def predecessor(pid_file: str, noted: int, proc: str = processes.PROC) -> int:
    """The process group of a master that an earlier keeper left running, or 0.

    Postfix's pid file lives on a volume: its number may come from another container's life and belong to anybody
    here, so only a living master counts. `noted` is what our own predecessor wrote in this container (0: nothing);
    it counts as well if master itself is dead and only its children remain.
    """
    try:
        with open(pid_file, encoding="ascii") as file:
            filed = int(file.read())
    except (OSError, ValueError):
        filed = 0
    for pid in (noted, filed):
        leader = processes.look(pid, proc) if pid > 1 else None
        if leader and leader.name == "master" and leader.group == pid:
            return pid
    if noted > 1 and not processes.look(noted, proc) and processes.in_group(noted, proc):
        return noted
    return 0


def end(group: int, seconds: float) -> None:
    """End a process group that is not our child: SIGTERM, and SIGKILL after `seconds`."""
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 2.0)):
        send(group, number)
        deadline = time.monotonic() + patience
        while processes.in_group(group):
            if time.monotonic() > deadline:
                break
            time.sleep(GLANCE)
        else:
            return


def cause(status: int) -> str:
    """Why it ended, in words, from its wait status."""
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit status {os.WEXITSTATUS(status)}; its reason is in the lines above"
