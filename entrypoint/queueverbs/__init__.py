"""The queue in the operator's hand: `postern queue`, to look at it and to change it.

What came with mail is printed without control characters. Exit statuses: 0 done, 1 failed, 2 called wrongly,
3 nothing matched.
"""

from __future__ import annotations

import heapq
import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from entrypoint.asking import ask, printable
from entrypoint.postfix import queue as postfix

from .shown import AS_JSON, Counted, Done, amount, print_json, print_list, story_lines, told
from .wanted import Wanted, parser, queue_id

_FAILED, _WRONGLY, _NOTHING = 1, 2, 3
# What every program of Postfix says before a start has written its configuration.
_NO_CONFIGURATION = "main.cf: No such file"
_NOT_HERE = "the relay does not run in this container: docker exec reaches the one in which it does"
# Messages that a person is shown; a program gets all of them.
_SHOWN = 1000


def queue(arguments: list[str]) -> int:
    """`postern queue ...`. Returns the exit status."""
    name, rest = (arguments[0], arguments[1:]) if arguments and arguments[0] in _VERBS else ("", arguments)
    try:
        return _VERBS[name](rest)
    except (RuntimeError, OSError) as error:
        reason = _NOT_HERE if _NO_CONFIGURATION in str(error) else printable(str(error))
        print(f"the queue cannot be read or changed: {reason}", file=sys.stderr)
        return _FAILED


def _show_all(arguments: list[str]) -> int:
    command = parser(
        "",
        f"what waits, the oldest first, and why; or {_NAMES} (each has --help)",
        ids=False,
    )
    command.add_argument("--json", action="store_true", help="for programs")
    command.add_argument(
        "--limit", type=int, metavar="N", help=f"the oldest N; 0 is all (default: {_SHOWN}; with --json all)"
    )
    options, unknown = command.parse_known_args(arguments)
    if unknown:
        command.error(
            f"{printable(unknown[0])!r} is not known: say {_NAMES}, an option, or nothing to see what waits"
        )
    wanted = Wanted.of(options)
    limit = options.limit if options.limit is not None else 0 if options.json else _SHOWN
    reasons: Counter[str] = Counter()
    counted = Counted()
    # Only as many as are shown are kept, and as text, which takes a fifth of the memory.
    texts = (
        (message["arrival_time"], message["queue_id"], json.dumps(message))
        for message in counted.those(wanted, reasons)
    )
    oldest = [text for *_, text in (heapq.nsmallest(limit, texts) if limit > 0 else sorted(texts))]
    try:
        if options.json:
            print_json(oldest, counted, reasons)
        else:
            print_list(oldest, counted, reasons, everything=wanted.all)
        sys.stdout.flush()
    except BrokenPipeError:
        # `head` has had enough, and Python would complain at the end of what it could not write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0 if counted.matching or wanted.all else _NOTHING


def _show(arguments: list[str]) -> int:
    command = parser("show", "one message: envelope, story, headers", filters=False, ids=False)
    command.add_argument("id", metavar="ID", type=queue_id)
    command.add_argument("--body", action="store_true", help="what it says, too")
    command.add_argument("--json", action="store_true", help="for programs")
    options = command.parse_args(arguments)
    wanted = Wanted(ids=frozenset({options.id}))
    message = next((message for message in postfix.messages() if message in wanted), None)
    story = _story(options.id)
    if not message and not story:
        print(f"there is no message {options.id} in the queue", file=sys.stderr)
        return _NOTHING
    headers = postfix.contents(options.id, postfix.HEADERS) if message else iter(())
    body = postfix.contents(options.id, postfix.BODY) if message and options.body else iter(())
    if options.json:
        shown = {"message": message, "story": story, "headers": list(headers)}
        print(json.dumps(shown | ({"body": list(body)} if options.body else {})))
        return 0
    parts = {
        "": told(message) if message else (f"{options.id} is no longer in the queue",),
        "what happened to it:": story_lines(story or {}),
        "headers:": headers,
        "body:": body,
    }
    for title, lines in parts.items():
        for number, line in enumerate(lines):
            if title and number == 0:
                print(f"\n{title}")
            print(f"  {printable(line)}" if title else printable(line))
    return 0


def _story(queue_id: str) -> dict[str, Any] | None:
    """What the keeper remembers of a message; None if nothing, or if it cannot be asked."""
    try:
        told = json.loads(ask(f"story {queue_id}"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and told else None


def _delete(arguments: list[str]) -> int:
    command = parser("delete", "removes messages, for all of their recipients; nobody is told")
    command.add_argument("--all", action="store_true", help="every message, when nothing else is named")
    command.add_argument("--yes", action="store_true", help="without asking")
    command.add_argument("--json", action="store_true", help=AS_JSON)
    options = command.parse_args(arguments)
    wanted = Wanted.of(options, _DELETABLE)
    if wanted.all != options.all:
        command.error("name what to delete, by id or filter; or everything, with --all and nothing else")
    if not options.yes and not sys.stdin.isatty():
        command.error("nobody can be asked here (docker exec -it asks): say --yes")
    ids, recipients = _chosen(wanted)
    if (
        ids
        and not options.yes
        and not _confirmed(
            f"delete {amount(len(ids))} for {amount(recipients, 'recipient')}? Nobody will be told. [y/N] "
        )
    ):
        print("nothing was deleted")
        return _FAILED
    done = Done("deleted", _DELETABLE, postfix.change(postfix.DELETE, ids), len(ids))
    return _told(done, as_json=options.json)


def _confirmed(question: str) -> bool:
    try:
        return input(question).strip().casefold() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        print()
        return False


def _chosen(wanted: Wanted) -> tuple[list[str], int]:
    """The ids, and how many recipients that is."""
    ids, recipients = [], 0
    for message in postfix.messages():
        if message in wanted:
            ids.append(message["queue_id"])
            recipients += len(message["recipients"])
    return ids, recipients


def _told(done: Done, *, as_json: bool) -> int:
    """Returns the exit status."""
    if as_json:
        print(done.as_json)
    else:
        print(done, file=sys.stdout if done.count else sys.stderr)
    return 0 if done.count else _NOTHING


def _changing(
    name: str, description: str, queues: frozenset[str], how: str, act: Callable[[list[str]], int]
) -> Callable[[list[str]], int]:
    """A verb that does one thing to what is named; to all in those queues if nothing is."""

    def verb(arguments: list[str]) -> int:
        command = parser(name, description)
        command.add_argument("--json", action="store_true", help=AS_JSON)
        options = command.parse_args(arguments)
        ids, _ = _chosen(Wanted.of(options, queues))
        return _told(Done(how, queues, act(ids), len(ids)), as_json=options.json)

    return verb


def _release(ids: list[str]) -> int:
    released = postfix.change(postfix.RELEASE, ids)
    # They are deferred now, with the time of the next try that they had.
    postfix.retry(ids)
    return released


_DELETABLE = frozenset({"incoming", "active", "deferred", "hold"})
_HELD, _DEFERRED = frozenset({"hold"}), frozenset({"deferred"})

_VERBS: dict[str, Callable[[list[str]], int]] = {
    "": _show_all,
    "show": _show,
    "flush": _changing("flush", "tries now what is deferred", _DEFERRED, "tried now", postfix.retry),
    "hold": _changing(
        "hold",
        "keeps messages back until they are released",
        _DELETABLE - _HELD,
        "on hold now",
        lambda ids: postfix.change(postfix.HOLD, ids),
    ),
    "release": _changing("release", "ends a hold, and tries now", _HELD, "released", _release),
    "delete": _delete,
    "requeue": _changing(
        "requeue",
        "takes in anew what is deferred: by the routes, aliases and rewriting of today",
        _DEFERRED,
        "requeued",
        lambda ids: postfix.change(postfix.REQUEUE, ids),
    ),
}
*_most, _last = filter(None, _VERBS)
_NAMES = f"{', '.join(_most)} or {_last}"
