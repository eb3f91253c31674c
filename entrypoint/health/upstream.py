"""Whether an upstream would take mail at all: asked once, and then only while deliveries find no way. What only mail meets, a
login that is refused or TLS that is not what it must be, the keeper says (keeper/refusals.py).

The asking is a program of its own (health/greeting.py), never more than one; who asks for readiness never waits for it,
but for a moment the first time.
"""

from __future__ import annotations

import os
import select
import signal
import time
from _thread import allocate_lock  # threading costs 0.3 MB

from entrypoint import log, runtime
from entrypoint.health.checks import Check

# pathlib would add 0.9 MB.
# ruff: noqa: PTH116

PROGRAM = ("/usr/bin/postern", "upstream-greeting")
# Seconds: the first asker's, between two looks while something is wrong, and between two if mail says so and we do not.
_FIRST = 1.0
_AGAIN = 30.0
_SOONEST = 10.0
_WAITS, _ANOTHER_WAY = "mail waits in the queue", "mail takes another way"


class UpstreamCheck:
    """`policy` is UPSTREAM_CHECK: warn, fail or off."""

    def __init__(self, policy: str, path: str = runtime.WAYS, program: tuple[str, ...] = PROGRAM) -> None:
        self._policy = policy
        self._path = path
        self._program = program
        self._lock = allocate_lock()
        self._began = float("-inf")
        self._answer = -1  # the reading end of the running program's output
        self._text = b""
        self._check: Check | None = None
        self._consequence = ""  # as the log has it

    def look(self, failed_at: float, refused: str = "") -> list[Check]:
        """Nothing where there is nothing to ask; `failed_at` and `refused` are keeper/deliveries.py's."""
        if self._policy == "off" or not self._any():
            return []
        with self._lock:
            if self._answer < 0 and self._due(failed_at):
                self._begin()
            if self._answer >= 0:
                self._read(_FIRST if self._check is None else 0.0)
            asked = self._check or Check("upstream", "not asked yet", warning=self._policy == "warn")
        if not refused:
            return [asked]
        met = Check("upstream", f"{refused}: {_WAITS}", warning=self._policy != "fail")
        return [asked, met] if asked.detail else [met]

    def _any(self) -> bool:
        try:
            return os.stat(self._path).st_size > 0
        except OSError:
            return False

    def _due(self, failed_at: float) -> bool:
        age = time.monotonic() - self._began
        if self._check is None:
            return True
        if self._check.detail:
            return age > _AGAIN
        return failed_at >= int(self._began) and age > _SOONEST

    def _begin(self) -> None:
        self._began = time.monotonic()
        self._text = b""
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.posix_spawn(
                self._program[0],
                self._program,
                {},
                file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)],
                # What it inherits from us would keep it alive: it ends by a signal if all else hangs.
                setsigdef=[signal.SIGALRM, signal.SIGCHLD, signal.SIGHUP],
            )
        except OSError as error:
            os.close(reading)
            self._check = Check("upstream", f"cannot be asked ({error.strerror})", warning=True)
        else:
            self._answer = reading
        finally:
            os.close(writing)

    def _read(self, patience: float) -> None:
        poll = select.poll()
        poll.register(self._answer, select.POLLIN)
        deadline = time.monotonic() + patience
        while poll.poll(max(deadline - time.monotonic(), 0) * 1000):
            data = os.read(self._answer, 65536)
            if not data:
                os.close(self._answer)
                self._answer = -1
                self._check = judge(self._text.decode("utf-8", "replace"), self._policy)
                self._tell(self._check.detail)
                return
            self._text += data

    def _tell(self, problem: str) -> None:
        """In the log, once: a relay without mail has nothing else there to say that there is no way out."""
        consequence = problem.rpartition(": ")[2]
        if consequence != self._consequence:
            self._consequence = consequence
            said = f"warning: upstream {problem}" if problem else "upstream: every one answers again"
            log.write(said, "postern/health")


def judge(text: str, policy: str) -> Check:
    """What greeting.ask_all said. A way out is closed when none of its upstreams answers."""
    ways: dict[str, list[tuple[str, str]]] = {}
    for line in text.splitlines():
        number, name, problem = line.split("\t")
        ways.setdefault(number, []).append((name, problem))
    found = [f"{name} {problem}" for way in ways.values() for name, problem in way if problem]
    if not found and ways:
        return Check("upstream")
    closed = not ways or any(all(problem for _, problem in way) for way in ways.values())
    told = "; ".join(_printable(problem) for problem in found) or "does not answer"
    return Check(
        "upstream",
        f"{told}: {_WAITS if closed else _ANOTHER_WAY}",
        warning=policy != "fail" or not closed,
    )


def _printable(text: str) -> str:
    """A greeting is a stranger's words."""
    return "".join(c if c.isprintable() else "?" for c in text[:200])
