"""The verbs, and the story of a start. The only reader of os.environ, and the only one that ends the process.

Each verb imports what it needs when it runs: the health check is a start of Python every few seconds, of which the signal
module alone would take a sixth.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs PID 1 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import NoReturn

# pathlib would add 0.9 MB to PID 1.
# ruff: noqa: PTH100, PTH116, PTH120


def main() -> NoReturn:
    verb, *arguments = sys.argv[1:] or ["run"]
    if verb in VERBS:
        if verb != "run":
            _become_the_relays_user()
        sys.exit(VERBS[verb](arguments))
    _execute([verb, *arguments])


def _become_the_relays_user() -> None:
    """`docker exec -u 0` into a relay without root: Postfix's programs, told that they are root's, would not find its mail."""
    from entrypoint import runtime

    if os.geteuid() != 0:
        return
    try:
        owner = os.stat(runtime.RUNTIME)
    except OSError:
        return
    if owner.st_uid:
        try:
            os.setgroups([])
            os.setgid(owner.st_gid)
            os.setuid(owner.st_uid)
        except OSError:
            print(
                f"postern: this relay runs as uid {owner.st_uid}: docker exec --user {owner.st_uid} ...",
                file=sys.stderr,
            )
            sys.exit(1)


def run(_: list[str]) -> int:
    """Starts the relay and stays until it ends: 0 after a stop, 78 for a wrong configuration, 1 for a failure."""
    import signal

    # PID 1 ignores signals that it has no handler for: a stop during the start would wait for the engine's kill.
    for stop in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(stop, lambda *_: os._exit(0))
    from entrypoint import alone, hooks, log, runtime

    log.use_unread(os.environ)
    sys.excepthook = _say
    if trouble := alone.trouble():
        log.write(f"error: {trouble}")
        return 1
    if not hooks.run():
        return 1
    configuring = os.fork()
    if configuring == 0:
        os._exit(_configure())
    from entrypoint.supervise import supervise

    if status := os.waitstatus_to_exitcode(os.waitpid(configuring, 0)[1]):
        if status < 0:
            # Nobody else could say so: the kernel tells the process that it ends nothing.
            killed = signal.Signals(-status).name
            log.write(
                f"error: the relay does not start: {killed} ended its configuration, perhaps for lack of memory"
            )
        return status if status > 0 else 1
    log.use_installed()
    return supervise(runtime.SUPERVISORD_CONF)


def _configure() -> int:
    """In a child: the memory that this takes goes with it, and supervisord is loaded meanwhile."""
    from entrypoint import start

    try:
        return start.configure(os.environ)
    except Exception as error:  # noqa: BLE001  # a fault of ours must not end as a silent status
        _say(type(error), error, error.__traceback__)
        return 1


def _say(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """A fault of ours, in the log's form."""
    import traceback

    from entrypoint import log

    for line in "".join(traceback.format_exception(kind, error, where)).splitlines():
        log.write(f"error: {line}")


def check(arguments: list[str]) -> int:
    from entrypoint import verbs

    return verbs.check(os.environ, arguments)


def render(arguments: list[str]) -> int:
    from entrypoint import verbs

    return verbs.render_files(os.environ, arguments)


def reference(_: list[str]) -> int:
    from entrypoint.config import reference as table

    print(table.markdown(), end="")
    return 0


def probe(arguments: list[str]) -> int:
    from entrypoint import verbs

    return verbs.probe_upstream(os.environ, arguments)


def test(arguments: list[str]) -> int:
    from entrypoint import mailtest

    return mailtest.send_and_follow(os.environ, arguments)


def queue(arguments: list[str]) -> int:
    from entrypoint import queueverbs

    return queueverbs.queue(arguments)


def reload(arguments: list[str]) -> int:
    from entrypoint import asking

    return asking.reload(arguments)


def health(_: list[str]) -> int:
    from entrypoint.health.check import check as ask

    return ask()


def keeper(_: list[str]) -> int:
    from entrypoint.keeper.keep import keep

    return keep(os.environ)


def health_server(_: list[str]) -> int:
    from entrypoint.health.server import serve

    return serve(environ=os.environ)


def upstream_greeting(_: list[str]) -> int:
    from entrypoint.health.greeting import ask_all

    return ask_all()


def page(_: list[str]) -> int:
    import signal

    # Whatever hangs in there, this ends.
    signal.alarm(15)
    from entrypoint import processes

    processes.expendable()
    from entrypoint.page import show

    return show.show()


def queue_sums(_: list[str]) -> int:
    from entrypoint import processes

    processes.expendable()
    from entrypoint.page import queue_sums as sums

    return sums.show()


def logins(_: list[str]) -> int:
    import signal

    # A stop need not wait for backends that do not answer: nothing is lost, a client is told to try again.
    for stop in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(stop, lambda *_: os._exit(0))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from entrypoint.logins.server import serve

    return serve()


def hash_password(arguments: list[str]) -> int:
    from entrypoint import hash as verb

    return verb.make(arguments)


def apply(_: list[str]) -> int:
    from entrypoint.apply import apply as change

    return change(os.environ)


def usage(_: list[str]) -> int:
    print(
        "postern run                 start the relay (the default)\n"
        "postern check [--json]      every problem with the settings at once; 78 if there is one\n"
        "postern render DIR          write the configuration to DIR, secrets masked (--reveal-secrets shows them)\n"
        "postern probe [--from A] [--to B]   try the upstream as Postfix would, without sending mail\n"
        "postern test ADDRESS        send a small mail and say, step by step, what becomes of it\n"
        "postern queue               what is waiting, for whom, since when, why (`postern queue --help` says what more)\n"
        "postern reload              take over changed files now, and say what changed\n"
        "postern health              ask the running relay whether it is ready\n"
        "postern hash LOGIN          make a line of the users file; the password is asked for, or read from stdin\n"
        "postern reference           the settings, as the README's table\n"
        "anything else               is run as a command"
    )
    return 0


VERBS: dict[str, Callable[[list[str]], int]] = {
    "run": run,
    "check": check,
    "render": render,
    "reference": reference,
    "probe": probe,
    "test": test,
    "queue": queue,
    "reload": reload,
    "health": health,
    "hash": hash_password,
    "help": usage,
    "--help": usage,
    # Started by supervisord.
    "keeper": keeper,
    # Started by the keeper.
    "apply": apply,
    "queue-sums": queue_sums,
    "health-server": health_server,
    # Started by the health server.
    "upstream-greeting": upstream_greeting,
    "page": page,
    "logins": logins,
}


def _execute(command: list[str]) -> NoReturn:
    """`docker run postern sh` gives a shell."""
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"postern: {command[0]}: {error.strerror}; `postern help` lists the verbs", file=sys.stderr)
        sys.exit(127)


if __name__ == "__main__":
    # On a laptop, `python3 -m entrypoint render DIR` reads the templates of this checkout.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    main()
