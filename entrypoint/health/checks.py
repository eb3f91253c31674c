"""What "alive" and "ready" mean, as lists of checks; a check that failed says what follows from it."""

from __future__ import annotations

import threading
import time

from entrypoint import processes, runtime
from entrypoint.health import smtp

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable

# For all of one listener's session. Kubernetes waits 1 s by default, Docker 30 s.
PATIENCE = 3.0
# After 60 s (service_throttle_time in postconf(5)) master tries again, and says so if that fails, too.
_THROTTLED_FOR = 70


class Check:
    """One statement about the relay: what was looked at, whether it is well, and if not what that means."""

    __slots__ = ("detail", "name", "ok")

    def __init__(self, name: str, detail: str = "") -> None:
        self.name = name
        self.detail = detail
        self.ok = not detail

    def __str__(self) -> str:
        return f"ok {self.name}" if self.ok else f"failed {self.name}: {self.detail}"


class Listener:
    """A port on which Postfix takes mail; address "" means all addresses."""

    __slots__ = ("address", "port")

    def __init__(self, address: str, port: int) -> None:
        self.address = address
        self.port = port

    @classmethod
    def named(cls, name: str) -> Listener:
        """From its name in master.cf: 25, 127.0.0.1:25 or [::1]:25."""
        address, _, port = name.rpartition(":")
        return cls(address.strip("[]"), int(port))

    def __str__(self) -> str:
        where = f"[{self.address}]:" if ":" in self.address else f"{self.address}:" if self.address else ""
        return f"listener {where}{self.port}"

    def targets(self) -> list[str]:
        # "" is IPv6 only where the container has no IPv4; there, nothing answers on the first.
        return [self.address] if self.address else ["127.0.0.1", "::1"]


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


def accepting(listeners: list[Listener], source: str, patience: float = PATIENCE) -> list[Check]:
    """One check for each listener, all at once."""
    checks: list[Check | None] = [None] * len(listeners)

    def run(index: int) -> None:
        checks[index] = probe(listeners[index], source, patience)

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(1, len(listeners))]
    for thread in threads:
        thread.start()
    if listeners:
        run(0)
    for thread in threads:
        thread.join()
    return [check for check in checks if check]


def probe(listener: Listener, source: str, patience: float = PATIENCE) -> Check:
    """Ask one listener, waiting `patience` seconds at most."""
    deadline = time.monotonic() + patience
    problem = "no address"
    for address in listener.targets():
        try:
            with smtp.connect(address, listener.port, source, deadline) as connection:
                return Check(str(listener), smtp.examine(connection, deadline))
        except ConnectionRefusedError:
            problem = "connection refused: no program can hand in mail here"
        except OSError as error:
            return Check(str(listener), f"{error.strerror or error}: mail handed in here waits or fails")
    return Check(str(listener), problem)


class Shared:
    """One set of results for all who ask within a second, so that many probers do not mean many sessions."""

    def __init__(self, measure: Callable[[], list[Check]], seconds: float = 0.9, failed: float = 0.1) -> None:
        self._measure = measure
        # Bad news is looked at again sooner: somebody waits for the start to end.
        self._seconds = {True: seconds, False: failed}
        self._lock = threading.Lock()
        self._at = float("-inf")
        self._checks: list[Check] = []

    def checks(self) -> list[Check]:
        with self._lock:
            # From the end of the measurement: those who waited for it get it too, even if it took long.
            good = all(check.ok for check in self._checks)
            if time.monotonic() - self._at > self._seconds[good]:
                self._checks = self._measure()
                self._at = time.monotonic()
            return self._checks


def _state(path: str) -> dict[str, str]:
    try:
        return runtime.facts(path)
    except OSError:
        # The keeper has not started Postfix yet, or has ended it.
        return {}
