"""The keeper's life: start Postfix, pass its log on, end it properly.

One loop waits for Postfix's log, /dev/log, signals and the next look at watched files and the clock.
"""

from __future__ import annotations

import os
import selectors
import signal
import time

from entrypoint import log, nonroot, processes, runtime
from entrypoint.keeper import master, page_password, state, syslog, throttle, watch
from entrypoint.keeper.answers import Answers
from entrypoint.keeper.circumstances import Circumstances
from entrypoint.keeper.journal import Journal
from entrypoint.keeper.log_pipe import LogPipe
from entrypoint.keeper.queue_sums import QueueSums
from entrypoint.keeper.reload import Reloads
from entrypoint.keeper.standstill import Standstill
from entrypoint.keeper.stream import ProbeFilter, Stream, container_stdout
from entrypoint.keeper.totals import Totals
from entrypoint.keeper.wakeups import QUEUE_MANAGER, TRY_ALL, Wakeups
from entrypoint.maillog.minutes import Minutes
from entrypoint.maillog.stories import Stories

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from entrypoint.keeper.answers import Answer
    from entrypoint.keeper.drain import Drain


_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# Together with DRAIN_TIMEOUT below stopwaitsecs in supervisord.conf; by default below the 10 s of `docker stop`, too.
_PATIENCE = 1.5
_AFTER_KILL = 0.5
# service_throttle_time of postconf(5), and a little more.
_THROTTLED_FOR = 70
# A Postfix that nobody listens to any more has nothing worth waiting for.
_PREDECESSOR = 3.0


class Places:
    """The files that the keeper reads and writes."""

    def __init__(self) -> None:
        self.runtime = runtime.RUNTIME
        self.state = runtime.STATE
        self.pid_file = master.PID_FILE
        self.device = nonroot.log_device()
        self.watched = watch.LIST
        self.refused = runtime.REFUSED
        self.applied = runtime.APPLIED
        self.queue_manager = QUEUE_MANAGER
        self.answers = runtime.KEEPER


def keep(environ: Mapping[str, str], places: Places | None = None) -> int:
    """Run Postfix until told to stop. Returns 0 after SIGTERM, SIGINT or SIGQUIT, 1 when master ended by itself.

    After a stop that leaves mail in the spool it returns DRAIN_LEFTOVERS_EXIT_STATUS.
    """
    at = places or Places()
    log.use_installed(at.runtime)
    processes.rename("keeper")
    out = container_stdout()
    mask, form = log.asked()
    around = Circumstances()
    stories = Stories(os.uname().nodename.partition(".")[0], os.getpid())
    totals = Totals()
    minutes = Minutes()
    journal = Journal([totals, stories, around.deliveries, minutes], form=form, mask=mask)
    stream = Stream(out, ProbeFilter(runtime.scalar(at.runtime, "probe_source")), journal)
    reloads = Reloads(stream, out, at.watched, at.refused, at.applied)
    keeper = Keeper(stream, at.state, reloads, Wakeups(at.queue_manager), totals)
    keeper.read_limits(at.runtime)
    keeper.watch_signals()
    keeper.end_predecessor(at.pid_file)
    keeper.open_syslog(at.device)
    keeper.open_answers(
        at.answers,
        {
            "circumstances": around.answer,
            "counts": totals.answer,
            "minutes": minutes.answer,
            "page-password": page_password.PagePassword().answer,
            "stories": stories.stories,
            "story": stories.story,
        },
    )
    keeper.start(environ)
    return keeper.run()


class Keeper:
    """Postfix's master as a child, and the loop around it."""

    def __init__(
        self, stream: Stream, state_file: str, reloads: Reloads, wakeups: Wakeups, totals: Totals
    ) -> None:
        self._stream = stream
        self._state_file = state_file
        self._reloads = reloads
        self._wakeups = wakeups
        self._totals = totals
        self._queue_sums = QueueSums()
        self._selector = selectors.DefaultSelector()
        self._master = 0
        self._status: int | None = None  # master's wait status, once it has ended
        self._stopping = 0  # how often somebody has asked for it
        self._drain: Drain | None = None
        self._drain_seconds = 0.0
        self._leftovers_status = 0
        self._throttled = ("", 0)  # the program that master could not start, and when (time.monotonic)
        self._log = LogPipe(self._selector, self._on_log)
        self._standstill = Standstill()
        self._syslog: socket.socket | None = None
        self._answers: Answers | None = None

    def read_limits(self, runtime_file: str) -> None:
        facts = runtime.facts(runtime_file)
        self._drain_seconds = float(facts.get("drain_timeout", 0))
        self._leftovers_status = int(facts.get("drain_leftovers_exit_status", 0))

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

    def open_answers(self, path: str, more: Mapping[str, Answer]) -> None:
        try:
            answers = Answers(
                path,
                {
                    "state": self._tell_state,
                    "reload": self._reloads.ask,
                    "queue": self._queue_sums.ask,
                    **more,
                },
            )
        except OSError as error:
            self._stream.say(
                f"warning: cannot listen on {path} ({error.strerror}): what Postfix does is not shown"
            )
        else:
            self._answers = answers
            self._selector.register(answers, selectors.EVENT_READ, answers.serve)

    def start(self, environ: Mapping[str, str]) -> None:
        out = self._log.open()
        self._master = master.start(out, environ)
        os.close(out)
        self._environ = environ
        self._note_state()

    def run(self) -> int:
        while self._status is None and not self._stopping:
            due = self._wakeups.wait()
            self._turn(due if (next_look := self._reloads.wait()) is None else min(due, next_look))
            self._reloads.turn()
            self._wakeups.turn()
            self._look_at_the_clock()
            if self._answers and (result := self._reloads.result()):
                self._answers.tell("reload", result)
        status = self.stop() if self._stopping else self.clear_away()
        state.forget(self._state_file)
        return status

    def stop(self) -> int:
        """End Postfix on request, once what is queued is delivered or the time is up. Returns the exit status."""
        # First of all: from now on nobody shall hand in mail here.
        self._note_state()
        self._reloads.end()
        # Imported by those who are about to end.
        from entrypoint.keeper.drain import Drain

        drain = self._drain = Drain(
            self._master,
            self._drain_seconds,
            self._wakeups.queue_manager,
            turn=self._turn,
            hurried=lambda: self._stopping > 1 or self._status is not None,
        )
        self._stream.journal.read_by(drain)
        for line in drain.run(self._environ):
            self._stream.say(line)
        self._end_group()
        told, left = drain.report()
        for line in told:
            self._stream.say(line)
        return self._leftovers_status if left else 0

    def clear_away(self) -> int:
        """Master ended by itself: end its children, which hold the listening sockets, and say what happened."""
        self._reloads.end()
        self._end_group()
        self._stream.say(
            f"error: Postfix's master ended ({master.cause(self._status or 0)}): "
            "no mail is accepted until supervisor has restarted it"
        )
        return 1

    def _end_group(self) -> None:
        for number, patience in ((signal.SIGTERM, _PATIENCE), (signal.SIGKILL, _AFTER_KILL)):
            master.send(self._master, number)
            # Else what is halted would never see it.
            master.send(self._master, signal.SIGCONT)
            if self._wait_for_group(time.monotonic() + patience):
                break
        self._read_rest()

    def _wait_for_group(self, deadline: float) -> bool:
        # The log is read meanwhile: its writers wait for us when the pipe is full.
        while processes.in_group(self._master):
            if time.monotonic() > deadline:
                return False
            self._turn(master.GLANCE)
        return True

    def _read_rest(self) -> None:
        """Read what is left: of the log up to its end, or to what a program that outlived Postfix may still add."""
        self._log.read_rest()
        self._stream.flush()
        self._on_syslog()
        self._queue_sums.end()

    def _turn(self, timeout: float | None) -> None:
        for key, _ in self._selector.select(self._log.wait(timeout)):
            key.data()
        self._log.turn()
        # Also while it is stopped: a drain, which may take hours, would wait for what does not move.
        self._look_at_the_log()

    def _on_log(self, data: bytes) -> None:
        self._standstill.heard()
        self._look_for_throttling(self._stream.feed(data))

    def _on_syslog(self) -> None:
        if self._syslog:
            for line in syslog.received(self._syslog):
                self._stream.add(line)

    def _look_at_the_clock(self) -> None:
        back = self._wakeups.set_back()
        if not back or self._status is not None:
            return
        self._stream.say(f"warning: the clock was set back by {back:.0f} s: Postfix's timers begin anew")
        # All but the one after which a program is started again that could not be.
        waits = self._throttled[0] and time.monotonic() - self._throttled[1] < _THROTTLED_FOR
        os.kill(self._master, signal.SIGTERM if waits else signal.SIGHUP)
        self._wakeups.reloaded(TRY_ALL)

    def _look_at_the_log(self) -> None:
        if self._status is None and self._standstill.look(self._master):
            then = "" if self._stopping else " and started anew"
            self._stream.say(
                f"error: Postfix stands still, as nobody reads its log (postlogd was killed): it is ended{then}"
            )
            os.kill(self._master, signal.SIGKILL)

    def _look_for_throttling(self, lines: bytes) -> None:
        if throttle.MARK in lines and (program := throttle.program(lines, self._master)):
            self._throttled = (program, int(time.monotonic()))
            self._note_state()

    def _on_signal(self) -> None:
        try:
            numbers = os.read(self._signals, 512)
        except BlockingIOError:
            return
        self._stopping += sum(number in _STOP for number in numbers)
        if self._master and self._status is None:
            pid, status = os.waitpid(self._master, os.WNOHANG)
            self._status = status if pid else None
        if (sums := self._queue_sums.reap()) and self._answers:
            self._answers.tell("queue", sums)
        if (changed := self._reloads.reap()) is not None:
            self._totals.configured()
            self._note_state()
            # Master reads its configuration again; sessions that are open stay open.
            if changed and self._status is None:
                os.kill(self._master, signal.SIGHUP)
                self._wakeups.reloaded()

    def _state(self) -> dict[str, int | str]:
        program, when = self._throttled
        return {
            "keeper": os.getpid(),
            "master": self._master,
            "stopping": int(self._stopping > 0),
            "throttled": program,
            "throttled_at": when,
            "reloads": self._reloads.succeeded,
            "reload_failures": self._reloads.failed,
        }

    def _tell_state(self, _: str) -> str:
        # What the drain counts takes time: only for somebody who waits for it.
        return state.text({**self._state(), **(self._drain.state() if self._drain else {})})

    def _note_state(self) -> None:
        try:
            state.note(self._state_file, self._state())
        except OSError as error:
            # A full tmpfs is no reason to end Postfix, which does not write there.
            reason = error.strerror
            self._stream.say(
                f"warning: cannot write {self._state_file} ({reason}): /livez and /readyz may be wrong"
            )
