"""HTTP on the health port, for every prober that can reach it."""

from __future__ import annotations

import os
import signal
from functools import partial

from entrypoint import log, processes, runtime
from entrypoint.health import checks
from entrypoint.health.guesses import Guesses
from entrypoint.health.inside import NO_MAIL, Inside
from entrypoint.health.listeners import PATIENCE, Listener, probe
from entrypoint.health.port import Port
from entrypoint.health.shared import Shared, SharedText, at_once
from entrypoint.health.upstream import UpstreamCheck
from entrypoint.health.view import View

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from entrypoint.health.answers import Routes


def serve(
    runtime_file: str = runtime.RUNTIME,
    state_file: str = runtime.STATE,
    environ: Mapping[str, str] | None = None,
) -> int:
    """Answer until SIGTERM, SIGINT or SIGQUIT: returns 0; or 1, with one line logged, if the port cannot be had."""
    processes.rename("health")
    facts = runtime.facts(runtime_file)
    port = int(facts["health_port"])
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, _stop)
        # Nobody waits for the program that asks the upstreams.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        protected = facts.get("page_password") == "1"
        names = {os.uname().nodename.lower(), facts.get("hostname", "").lower()}
        view = View(Guesses() if protected else None, (environ or {}).get("TZ", ""), names=names)
        table = routes(facts, state_file, wrong_passwords=lambda: view.wrong_passwords)
        with Port(port, table, view.answer) as server:
            while True:
                server.serve_one()
    except _StopError:
        return 0
    except OSError as error:
        log.write(f"error: cannot listen on port {port} (HEALTH_PORT): {error.strerror}", "postern/health")
        return 1


def routes(
    facts: dict[str, str],
    state_file: str = runtime.STATE,
    refused_file: str = runtime.REFUSED,
    wrong_passwords: Callable[[], int] = int,
) -> Routes:
    """What each path checks."""
    inside = Inside(state_file)
    measured = measures(facts, lambda: inside.busy)
    upstream = UpstreamCheck(facts.get("upstream_check", "off"))
    shared = Shared(lambda: measure(inside, measured, upstream))

    def alive() -> list[checks.Check]:
        return checks.alive(state_file)

    def ready() -> list[checks.Check]:
        before = checks.stopping(state_file) + alive()
        if all(check.ok for check in before):
            # Without a master each listener would be one more way to say the same.
            before += checks.startable(state_file) + shared.checks()
        return before + checks.configuration(refused_file)

    def metrics() -> tuple[str, str]:
        # Imported for those who ask for it.
        from entrypoint.health import metrics

        return metrics.page(state_file, refused_file, wrong_passwords=wrong_passwords()), metrics.KIND

    return {"/livez": alive, "/readyz": ready, "/healthz": ready, "/metrics": SharedText(metrics).text}


def measure(
    inside: Inside, listeners: Mapping[str, Callable[[], checks.Check]], upstream: UpstreamCheck
) -> list[checks.Check]:
    """All but what /livez says already."""
    found, told = inside.look()
    # Where no mail is taken, each listener would be one more way to say the same, and its refusal a line of the log.
    if all(check.ok for check in found if check.name in NO_MAIL):
        found += at_once(listeners)
    return found + upstream.look(float(told.get("upstream_failed_at", 0)), told.get("upstream_refused", ""))


def measures(
    facts: dict[str, str], busy: Callable[[], bool] = lambda: False
) -> dict[str, Callable[[], checks.Check]]:
    """What takes a while, by its name: one for each listener, and one for the logins if there are any."""
    users = bool(facts.get("logins"))
    found: dict[str, Callable[[], checks.Check]] = {
        str(listener): partial(probe, listener, facts["probe_source"], logins=users, busy=busy)
        for listener in map(Listener.of, facts["listeners"].split())
    }
    if any("submissions" in spec.split(":") for spec in facts["listeners"].split()):
        # The probe needs ssl anyway; now, because metrics puts something else in its place for a moment.
        import entrypoint.health.tls  # noqa: F401
    if users:
        # Costs memory only where it has something to do.
        from entrypoint.health import logins

        found["logins"] = partial(logins.check, PATIENCE)
    return found


class _StopError(BaseException):
    """Raised by the signal handler: Python would otherwise go back to waiting (PEP 475).

    Not an Exception, which would be taken for a connection that failed.
    """


def _stop(*_: object) -> None:
    raise _StopError
