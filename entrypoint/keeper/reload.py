"""What follows from a change in a watched file: `postern apply`, a program that ends, so that this one stays small."""

from __future__ import annotations

import os
import signal
import time

from entrypoint import runtime
from entrypoint.keeper import watch

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from entrypoint.keeper.stream import Stream

# pathlib would add 0.9 MB.
# ruff: noqa: PTH105, PTH123

PROGRAM = "/usr/bin/postern"
# Exit statuses of apply (entrypoint/apply.py).
_NOTHING, _UNREAD, _CHANGED, _PARTLY, _REFUSED = 0, 10, 11, 12, 78
_RESULTS = {
    _NOTHING: "nothing",
    _UNREAD: "changed",
    _CHANGED: "changed",
    _PARTLY: "partly",
    _REFUSED: "refused",
}
# Seconds. The second look comes sooner than the next first one: a change shall take effect within 5 s.
_PAUSE, _SETTLE = 1.0, 0.5
# What failed for another reason than the files themselves, a full disk for one, may succeed later.
_AGAIN = 60.0
# A million recipients take a tenth of that. A file on a network mount that is gone, or a pipe, is waited for for ever.
_PATIENCE = 300.0
# What changes by the calendar alone: a certificate of the relay's own that must be renewed.
_DAY = 86400.0


class Reloads:
    """When to look, one apply at a time, and what came of them all."""

    def __init__(
        self,
        stream: Stream,
        out: int,
        list_file: str,
        refused_file: str,
        applied_file: str = runtime.APPLIED,
    ) -> None:
        self._stream = stream
        self._out = out
        self._refused_file = refused_file
        self._applied_file = applied_file
        self._watcher = watch.Watcher(list_file)
        self._apply = 0
        self._ends = 0.0  # when an apply that runs has had its time
        self._overdue = False
        self._asked = False  # somebody wants an apply that begins from now on
        self._result = ""  # what the last one came to, until it is told
        self._next_look = time.monotonic()
        self._next_apply = time.monotonic() + _DAY
        self.succeeded = 0
        self.failed = 0

    def wait(self) -> float | None:
        """Seconds until something is due. None, for ever, without tables. The end of an apply is a signal."""
        if self._apply:
            return max(self._ends - time.monotonic(), 0.0)
        if self._asked:
            return 0.0
        if not self._watcher.anything:
            return None
        due = min(self._next_look, self._next_apply) if self._watcher.paths else self._next_apply
        return max(due - time.monotonic(), 0.0)

    def turn(self) -> None:
        """Do what is due."""
        if self.wait() != 0.0:
            return
        now = time.monotonic()
        if self._apply:
            self._end_overdue(now)
            return
        changed = self._watcher.anything and now >= self._next_look and self._watcher.look()
        self._next_look = now + (_SETTLE if self._watcher.settling else _PAUSE)
        if changed or self._asked or now >= self._next_apply:
            self._next_apply = now + _DAY
            self._begin(now)

    def ask(self, _: str) -> None:
        """Apply what is there, at once, or once more after the apply that runs: it may have read what has changed since."""
        self._asked = True

    def result(self) -> str:
        """What an apply came to, once, when nobody asked for another: JSON with result and lines; else ""."""
        if self._asked:
            return ""
        told, self._result = self._result, ""
        return told

    def reap(self) -> bool | None:
        """To be called after SIGCHLD: None if no apply has ended, else whether Postfix must be told to read what changed."""
        pid, status = os.waitpid(self._apply, os.WNOHANG) if self._apply else (0, 0)
        if not pid:
            return None
        self._apply = 0
        code = os.waitstatus_to_exitcode(status)
        self.succeeded += code in (_UNREAD, _CHANGED)
        self.failed += code not in (_NOTHING, _UNREAD, _CHANGED)
        if code not in (_NOTHING, _UNREAD, _CHANGED, _REFUSED):
            self._next_apply = time.monotonic() + _AGAIN
        if code < 0 and not self._overdue:
            by = signal.Signals(-code).name
            self._refuse(f"postern apply was killed by {by}, by lack of memory perhaps")
        self._watcher.read_list()
        self._note(_RESULTS.get(code, "failed"))
        return code in (_UNREAD, _PARTLY)

    def end(self) -> None:
        """Without waiting for what it was about to do: the next start makes all of the configuration anew."""
        if self._apply:
            os.kill(self._apply, signal.SIGKILL)
            os.waitpid(self._apply, 0)
            self._apply = 0

    def _begin(self, now: float) -> None:
        self._asked = False
        try:
            self._apply = _start(self._out)
        except OSError as error:
            # No memory, or too many processes: that passes, and Postfix must not end with its keeper meanwhile.
            self.failed += 1
            self._next_apply = now + _AGAIN
            self._refuse(f"postern apply cannot be started ({error.strerror})")
            self._note("failed")
        self._ends, self._overdue = now + _PATIENCE, False

    def _end_overdue(self, now: float) -> None:
        os.kill(self._apply, signal.SIGKILL)
        self._ends = now + _PATIENCE
        if not self._overdue:
            self._overdue = True
            self._refuse(
                f"postern apply did not end within {_PATIENCE:g} s, as a file cannot be read perhaps"
            )

    def _note(self, result: str) -> None:
        """For those who asked."""
        from _json import encode_basestring_ascii as quoted  # json itself takes 1 MB

        lines: list[str] = []
        if result != "nothing":
            try:
                with open(
                    self._applied_file if result == "changed" else self._refused_file, encoding="utf-8"
                ) as file:
                    lines = file.read().splitlines()
            except OSError:
                lines = ["the log says what"]
        self._result = f'{{"result": "{result}", "lines": [{", ".join(map(quoted, lines))}]}}\n'

    def _refuse(self, reason: str) -> None:
        """In the place of an apply that cannot do so itself."""
        told = f"the change was not applied: {reason}"
        self._stream.say(f"error: {told}; what was in force stays, and the next attempt is in a minute")
        try:
            with open(self._refused_file + ".new", "w", encoding="utf-8") as file:
                file.write(told + "\n")
                os.fchmod(file.fileno(), 0o644)
            os.replace(self._refused_file + ".new", self._refused_file)
        except OSError as error:
            self._stream.say(
                f"warning: cannot write {self._refused_file} ({error.strerror}): /readyz does not tell"
            )


def _start(out: int) -> int:
    """Start apply with the settings, which only PID 1, supervisord, still has; it logs to the descriptor `out`."""
    with open(f"/proc/{os.getppid()}/environ", "rb") as file:
        pairs = [pair.partition(b"=") for pair in file.read().split(b"\0")]
    return os.posix_spawn(
        PROGRAM,
        [PROGRAM, "apply"],
        {name: value for name, equals, value in pairs if name and equals},
        file_actions=[(os.POSIX_SPAWN_DUP2, out, 1)],
        setsigdef=[signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ],
    )
