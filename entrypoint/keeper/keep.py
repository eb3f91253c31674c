"""The keeper's life: start Postfix, pass its log on, end it properly.

One loop waits for Postfix's log, /dev/log and signals; an idle relay costs no CPU time here.
"""

from __future__ import annotations

import os
import selectors
import signal
import time

from entrypoint import processes, runtime
from entrypoint.keeper import master, syslog, throttle
from entrypoint.keeper.stream import ProbeFilter, Stream, container_stdout

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

# pathlib would add 0.9 MB.
# ruff: noqa: PTH105, PTH108, PTH123

_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# Together below the 10 s after which `docker stop` kills, and below stopwaitsecs in supervisord.conf.
_PATIENCE = 8.0
_AFTER_KILL = 0.5
# A Postfix that nobody listens to any more has nothing worth waiting for.
_PREDECESSOR = 3.0


def keep(
    environ: Mapping[str, str],
    runtime_file: str = runtime.RUNTIME,
    state_file: str = runtime.STATE,
    pid_file: str = master.PID_FILE,
    device: str = syslog.DEVICE,
) -> int:
    """Run Postfix until told to stop. Returns 0 after SIGTERM, SIGINT or SIGQUIT, 1 when master ended by itself."""
    processes.rename("keeper")
    stream = Stream(container_stdout(), ProbeFilter(runtime.scalar(runtime_file, "probe_source")))
    keeper = Keeper(stream, state_file)
    keeper.watch_signals()
    keeper.end_predecessor(pid_file)
    keeper.open_syslog(device)
    keeper.start(environ)
    return keeper.run()


class Keeper:
    """Postfix's master as a child, and the loop around it."""

    def __init__(self, stream: Stream, state_file: str) -> None:
        self._stream = stream
        self._state_file = state_file
        self._selector = selectors.DefaultSelector()
        self._master = 0
        self._status: int | None = None  # master's wait status, once it has ended
        self._stopping = False
        self._throttled = ("", 0)  # the program that master could not start, and when (time.monotonic)
        self._log = -1  # the reading end of master's stdout; -1 when all of it has been read
        self._syslog: socket.socket | None = None

    def watch_signals(self) -> None:
        """Turn signals into bytes that the loop reads: each is its signal's number."""
        self._signals, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for number in (*_STOP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._selector.register(self._signals, selectors.EVENT_READ, self._on_signal)

    def end_predecessor(self, pid_file: str) -> None:
        """End the Postfix of a keeper that was killed: it holds the listening sockets and writes to nobody."""
        try:
            noted = int(runtime.scalar(self._state_file, "master"))
        except (OSError, ValueError):
            noted = 0
        if group := master.predecessor(pid_file, noted):
            self._stream.say(
                "warning: the keeper was killed; restarting Postfix, which it left without a log"
            )
            master.end(group, _PREDECESSOR)

    def open_syslog(self, device: str) -> None:
        try:
            self._syslog = syslog.listen(device)
        except OSError as error:
            self._stream.say(
                f"warning: cannot listen on {device} ({error.strerror}): "
                "if Postfix cannot start, its reason will not be logged"
            )
        else:
            self._selector.register(self._syslog, selectors.EVENT_READ, self._on_syslog)

    def start(self, environ: Mapping[str, str]) -> None:
        self._log, out = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._log, False)
        self._master = master.start(out, environ)
        os.close(out)
        self._selector.register(self._log, selectors.EVENT_READ, self._on_log)
        self._note_state()

    def run(self) -> int:
        while self._status is None and not self._stopping:
            self._turn(None)
        if self._stopping:
            self.stop()
        else:
            self.clear_away()
        self._forget_state()
        return 0 if self._stopping else 1

    def stop(self) -> None:
        """End Postfix on request. Everything accepted is in the queue; deliveries under way may happen twice."""
        self._note_state()
        self._end_group()

    def clear_away(self) -> None:
        """Master ended by itself: end its children, which hold the listening sockets, and say what happened."""
        self._end_group()
        self._stream.say(
            f"error: Postfix's master ended ({master.cause(self._status or 0)}): "
            "no mail is accepted until supervisor has restarted it"
        )

    def _end_group(self) -> None:
        for number, patience in ((signal.SIGTERM, _PATIENCE), (signal.SIGKILL, _AFTER_KILL)):
            master.send(self._master, number)
            if self._wait_for_group(time.monotonic() + patience):
                break
        self._drain()

    def _wait_for_group(self, deadline: float) -> bool:
        # The log is read meanwhile: its writers wait for us when the pipe is full.
        while processes.in_group(self._master):
            if time.monotonic() > deadline:
                return False
            self._turn(master.GLANCE)
        return True

    def _drain(self) -> None:
        """Read what is left: of the log up to its end, or to what a program that outlived Postfix may still add."""
        while self._log >= 0 and self._on_log():
            pass
        self._stream.flush()
        self._on_syslog()

    def _turn(self, timeout: float | None) -> None:
        for key, _ in self._selector.select(timeout):
            key.data()

    def _on_log(self) -> bool:
        try:
            data = os.read(self._log, 65536)
        except BlockingIOError:
            return False
        if data:
            self._look_for_throttling(self._stream.feed(data))
            return True
        self._selector.unregister(self._log)
        os.close(self._log)
        self._log = -1
        return False

    def _on_syslog(self) -> None:
        if self._syslog:
            for line in syslog.received(self._syslog):
                self._stream.add(line)

    def _look_for_throttling(self, lines: bytes) -> None:
        if throttle.MARK in lines and (program := throttle.program(lines, self._master)):
            self._throttled = (program, int(time.monotonic()))
            self._note_state()

    def _on_signal(self) -> None:
        try:
            numbers = os.read(self._signals, 512)
        except BlockingIOError:
            return
        self._stopping = self._stopping or any(number in numbers for number in _STOP)
        if self._master and self._status is None:
            pid, status = os.waitpid(self._master, os.WNOHANG)
            self._status = status if pid else None

    def _note_state(self) -> None:
        """Tell the health program who must live, and what it cannot see; a reader never sees half of it."""
        program, when = self._throttled
        state = (
            f'{{"keeper": {os.getpid()}, "master": {self._master}, "stopping": {int(self._stopping)}, '
            f'"throttled": "{program}", "throttled_at": {when}}}\n'
        )
        with open(self._state_file + ".new", "w", encoding="ascii") as file:
            file.write(state)
            os.fchmod(file.fileno(), 0o644)
        os.replace(self._state_file + ".new", self._state_file)

    def _forget_state(self) -> None:
        os.unlink(self._state_file)
