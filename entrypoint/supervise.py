"""supervisord inside this process: starts the keeper and the health program again when they die, and ends with 1
when that is hopeless, so that the container's own restart policy and whoever watches it get to know.

PID 1 imports this module while its child writes the configuration; importing has no effect but memory.
"""

from __future__ import annotations

import os
import signal
import sys
import types

from entrypoint import log

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from typing import Self


def _format_exc() -> str:
    """For what should never happen; the module takes 0.3 MB."""
    import traceback

    return traceback.format_exc()


# What supervisor imports for its web server, its control program, its plug-ins and the log files that it would keep.
# None of them is used here, and the real modules would cost 120 ms of every start and, libcrypto among them, 15 MB for
# as long as the container lives.
_STAND_INS: dict[str, dict[str, object]] = {
    "base64": {"decodebytes": None, "encodebytes": None},
    "gettext": {"gettext": str},
    "glob": {},
    "hashlib": {"md5": None, "sha1": None},
    "html": {"escape": None},
    "html.entities": {},
    "html.parser": {"HTMLParser": object},
    "http": {},
    "http.client": {},
    "pkg_resources": {},
    "platform": {"node": lambda: os.uname().nodename},
    "string": {"ascii_letters": None},
    "supervisor.xmlrpc": {},
    # Where automatic log files would be, which are never written: it need only exist, also on a read-only root.
    "tempfile": {"gettempdir": lambda: "/"},
    "traceback": {"format_exc": _format_exc},
    "urllib.parse": {"unquote": None},
    "xmlrpc.client": {"Fault": Exception},
}
_standing_in = {name: types.ModuleType(name) for name in _STAND_INS if name not in sys.modules}
for _name, _module in _standing_in.items():
    vars(_module).update(_STAND_INS[_name])
sys.modules.update(_standing_in)
from supervisor import events, loggers  # noqa: E402
from supervisor.medusa import asyncore_25 as asyncore  # noqa: E402
from supervisor.options import ServerOptions, signame  # noqa: E402
from supervisor.process import Subprocess  # noqa: E402
from supervisor.states import SupervisorStates  # noqa: E402
from supervisor.supervisord import Supervisor  # noqa: E402

for _name in _standing_in:
    del sys.modules[_name]

_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_PASSED = ("MALLOC_ARENA_MAX", "PATH", "TZ")
_CONSEQUENCE = {
    "keeper": "Postfix does not run and no mail is accepted",
    "health": "nobody could see whether mail is accepted",
    "logins": "nobody can log in",
}


def supervise(configuration: str) -> int:
    """Run the programs of a supervisord.conf until told to stop.

    Returns the keeper's exit status after SIGTERM, SIGINT or SIGQUIT, and 1 when a program could not be kept running or
    the configuration is not one. A second one of these is passed to the keeper. SIGHUP changes nothing. SIGTERM, SIGINT and SIGQUIT may be blocked by the caller,
    so that none is lost before this function can act on it: they are unblocked here.
    """
    options = _Options()
    try:
        options.realize(["-n", "-c", configuration], doc="")
        supervisor = _Supervisor(options)
        supervisor.main()
    except asyncore.ExitNow:
        return 1 if supervisor.failed else supervisor.status()
    except SystemExit:
        # supervisor's way to refuse a configuration; it has said why on stderr.
        return 1
    return 1


class _Handler(loggers.Handler):  # type: ignore[misc]
    """Passes supervisor's own lines on in the form of all the others."""

    level = loggers.LevelsByName.WARN

    def emit(self, record: loggers.LogRecord) -> None:
        severity = "warning: " if record.level <= loggers.LevelsByName.WARN else "error: "
        for text in record.asdict()["message"].splitlines():
            log.write(severity + text, "postern/supervisor")

    def close(self) -> None:
        """Nothing was opened."""

    reopen = remove = close


class _Options(ServerOptions):  # type: ignore[misc]
    """supervisor's options without the files and servers it would open."""

    # What supervisord's own main() sets: this is no reload, and no test of a configuration.
    first = True
    test = False

    def make_logger(self) -> None:
        self.logger = loggers.Logger(loggers.LevelsByName.WARN, [_Handler()])
        for text in (*self.parse_criticals, *self.parse_warnings):
            self.logger.warn(text)  # noqa: G010, supervisor has no other

    def write_pidfile(self) -> None:
        """Nobody reads it."""

    def fork(self) -> int:
        # Until it becomes its program, the child has our handlers: they would swallow a stop that comes so early,
        # and the container would wait for stopwaitsecs.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
        pid: int = super().fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            for number in _STOP:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)
        return pid

    def execve(self, filename: str, argv: list[str], env: dict[str, str]) -> None:
        # The settings, passwords among them, have become files; nothing that listens to a network gets them.
        super().execve(filename, argv, {name: env[name] for name in _PASSED if name in env})

    def openhttpservers(self, supervisord: Supervisor) -> None:
        """None configured; supervisor would import its web server before it looks."""


class _Alarm:
    """Ends supervisord's poll() as soon as a signal arrives.

    Since Python 3.5 (PEP 475) a signal does not end poll(): each step of a stop would wait for the timeout of
    1 s. supervisord treats this as one more of the file descriptors that it reads.
    """

    def __init__(self) -> None:
        self.fd, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._before)
        os.close(self.fd)
        os.close(self._write)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        os.read(self.fd, 4096)

    def handle_error(self) -> None:
        """Nothing to read: the signal was seen by an earlier poll."""


class _Supervisor(Supervisor):  # type: ignore[misc]
    failed = False
    _asked = False

    def runforever(self) -> None:
        # run() clears all subscriptions just before it calls this.
        events.subscribe(events.SupervisorRunningEvent, self._start_now)
        events.subscribe(events.ProcessStateFatalEvent, self._give_up)
        events.subscribe(events.ProcessLogEvent, _show_output)
        # Those of programs that are started again must not close meanwhile, nor open later than Postfix is started.
        managers = (getattr(group, "socket_manager", None) for group in self.process_groups.values())
        self._held = [manager.get_socket() for manager in managers if manager]
        sockets = self.options.get_socket_map()
        with _Alarm() as alarm:
            sockets[alarm.fd] = alarm
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)
            try:
                super().runforever()
            finally:
                del sockets[alarm.fd]

    def handle_signal(self) -> None:
        """All pending signals at once: supervisor's own takes one per poll, and reloads itself on SIGHUP."""
        while (number := self.options.get_signal()) is not None:
            if number in _STOP and self._asked:
                log.write(f"received {signame(number)} again: stopping at once")
                self._hurry()
            elif number in _STOP:
                log.write(f"received {signame(number)}: stopping")
                self._asked = True
                self.options.mood = SupervisorStates.SHUTDOWN
            elif number == signal.SIGHUP:
                log.write("ignored SIGHUP: settings are read at the start only; restart the container")

    def status(self) -> int:
        """The keeper's exit status: it knows what became of the mail. 0 when a signal ended it, or there is none."""
        return max(0, *(process.exitstatus or 0 for process in self._keepers()))

    def _hurry(self) -> None:
        for process in self._keepers():
            if process.pid:
                self.options.kill(process.pid, signal.SIGTERM)

    def _keepers(self) -> list[Subprocess]:
        group = self.process_groups.get("keeper")
        return list(group.processes.values()) if group else []

    def _start_now(self, _: events.Event) -> None:
        # Otherwise the first poll() passes, 1 s, before anything is started. Highest priority number first: that
        # is Postfix, which somebody waits for.
        for group in sorted(self.process_groups.values(), reverse=True):
            group.transition()

    def _give_up(self, event: events.ProcessStateEvent) -> None:
        # A stop turns a program that waits for its next attempt into a fatal one: that is no failure.
        if self.options.mood != SupervisorStates.RUNNING:
            return
        name = event.process.config.name
        consequence = _CONSEQUENCE.get(name, "the relay is not complete")
        log.write(f"error: {name} fails again and again: {consequence}; the container ends with status 1")
        self.failed = True
        self.options.mood = SupervisorStates.SHUTDOWN


def _show_output(event: events.ProcessLogEvent) -> None:
    """A program's stdout has the log's one form already; its stderr is Python's or libc's last word and gets it."""
    name = event.process.config.name
    if event.channel == "stdout":
        # The keeper finishes its lines itself. Each of another program's comes whole: it is shorter than PIPE_BUF.
        (log.copy if name == "keeper" else log.pass_on)(event.data)
        return
    for text in event.data.decode("utf-8", "replace").splitlines():
        if text.strip():
            log.write(f"error: {text}", f"postern/{name}", pid=event.pid)
