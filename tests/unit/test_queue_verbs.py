"""`postern queue`: what is named is shown or changed, and nothing else. Stand-ins for Postfix's programs."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from entrypoint import asking, queueverbs
from entrypoint.postfix import spool

Message = dict[str, Any]


def message(
    queue_id: str, sender: str, *recipients: str, reason: str = "", queue: str = "deferred", age: int = 60
) -> Message:
    told = {"delay_reason": reason} if reason else {}
    return {
        "queue_name": queue,
        "queue_id": queue_id,
        "arrival_time": int(time.time()) - age,
        "message_size": 1000,
        "forced_expire": False,
        "sender": sender,
        "recipients": [{"address": recipient, **told} for recipient in recipients],
    }


REFUSED = "connect to mx.example.org[192.0.2.1]:25: Connection refused"
QUEUE = [
    message("4A", "app@example.com", "ann@example.org", reason=REFUSED, age=7300),
    message("4B", "App@Example.com", "ben@example.net", "ann@example.org", reason="451 4.7.1 Greylisted"),
    message("4C", "", "bounce@sub.example.org", reason=REFUSED, age=90000),
    message("4D", "other@example.info", "ann@[192.0.2.9]", queue="hold"),
    message("4E", "app@example.info", "ann@example.org", queue="active", age=1),
]


class Postfix:
    """Programs in PATH that show a queue, and note what they are told to change."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "public").mkdir()
        self.shows(QUEUE)
        self._program("postqueue", f"exec cat {directory}/queue")
        ids = f"{directory}/changed"
        self._program(
            "postsuper",
            f'echo "$1" >{ids}; cat >>{ids}; echo >>{ids}\n'
            f'n=$(($(grep -c . {ids}) - 1)); [ $n = 0 ] || echo "postsuper: Placed on hold: $n messages" >&2',
        )
        self._program("postcat", f'printf "%s\\n" "$*" >{directory}/shown; cat {directory}/content')

    def _program(self, name: str, script: str) -> None:
        path = self.directory / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def fails(self, name: str, complaint: str) -> None:
        self._program(name, f"echo {shlex.quote(complaint)} >&2; exit 69")

    def shows(self, messages: list[Message]) -> None:
        (self.directory / "queue").write_text("".join(f"{json.dumps(each)}\n" for each in messages))

    def holds(self, text: bytes) -> None:
        (self.directory / "content").write_bytes(text)

    @property
    def changed(self) -> list[str]:
        """How, and then which ids; nothing if nobody asked for a change."""
        path = self.directory / "changed"
        return [line for line in path.read_text().splitlines() if line] if path.exists() else []

    def defers(self, *ids: str) -> list[Path]:
        """Files of deferred mail whose next try is in an hour."""
        made = [self.directory / "deferred" / queue_id[-1] / queue_id for queue_id in ids]
        for path in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.utime(path, (time.time() + 3600, time.time() + 3600))
        return made


@pytest.fixture
def postfix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Postfix:
    made = Postfix(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(spool, "SPOOL", tmp_path)
    return made


@pytest.fixture
def told(postfix: Postfix) -> Iterator[Callable[[str], bytes]]:
    """What a daemon of Postfix was told on its socket, once it was."""
    listeners: dict[str, socket.socket] = {}
    for service in ("qmgr", "pickup"):
        listeners[service] = socket.socket(socket.AF_UNIX)
        listeners[service].bind(str(postfix.directory / "public" / service))
        listeners[service].listen()
        listeners[service].settimeout(5)

    def received(service: str) -> bytes:
        connection = listeners[service].accept()[0]
        with connection:
            return b"".join(iter(lambda: connection.recv(100), b""))

    yield received
    for listener in listeners.values():
        listener.close()


def ids(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """Those that a list shows, in its order."""
    queueverbs.queue(["--json", *arguments])
    return [each["queue_id"] for each in json.loads(capsys.readouterr().out)["messages"]]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ("--sender *", "4C 4A 4B 4D 4E"),
        ("--sender app@example.com", "4A 4B"),
        ("--sender APP@EXAMPLE.COM", "4A 4B"),
        ("--sender app@*", "4A 4B 4E"),
        ("--sender @example.info", "4D 4E"),
        ("--sender @example.inf", ""),
        ("--sender example.info", ""),
        ("--sender <>", "4C"),
        ("--recipient ?nn@example.org", "4A 4B 4E"),
        ("--recipient @example.org", "4A 4B 4E"),
        ("--recipient ann@[192.0.2.9]", "4D"),
        ("--domain EXAMPLE.org", "4A 4B 4E"),
        ("--domain @example.org", "4A 4B 4E"),
        ("--domain *.example.org", "4C"),
        ("--reason GREYlisted", "4B"),
        ("--reason *", ""),
        ("--sender @example.com --reason refused", "4A"),
        ("--recipient ben@* --domain example.org", ""),
        ("--recipient ben@* --domain example.net", "4B"),
    ],
)
def test_filters_combine_and_name_what_they_say(
    arguments: str, shown: str, postfix: Postfix, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those about recipients must be met by one and the same."""
    assert ids(capsys, *arguments.split()) == shown.split()


def test_a_person_sees_the_oldest_first_with_age_and_reason(
    postfix: Postfix, capsys: pytest.CaptureFixture[str]
) -> None:
    assert queueverbs.queue([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("4C  deferred  1000 bytes  since ")
    assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(1\.\d d\)$", lines[0])
    assert lines[1:3] == ["  from <>", f"  to bounce@sub.example.org: {REFUSED}"]
    assert re.search(r" \(2\.\d h\)$", lines[3])


def test_reasons_are_counted_whatever_is_particular_to_a_message(
    postfix: Postfix, capsys: pytest.CaptureFixture[str]
) -> None:
    reasons = [
        f"host mx[192.0.2.{n}] said: 450 4.2.0 <a{n}@example.org>: busy, see 4hX9zq0Kk{n}" for n in range(9)
    ]
    postfix.shows([message(f"4{n}", "", "a@example.org", reason=reason) for n, reason in enumerate(reasons)])
    assert queueverbs.queue([]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "9 messages waiting",
        "      9  host mx... said: 450 4.2.0 ...: busy, see ...",
    ]


def test_reasons_without_end_are_put_together(postfix: Postfix, capsys: pytest.CaptureFixture[str]) -> None:
    postfix.shows([message("4A", "", *(f"{n}@example.org" for n in range(3)))])
    many = message("4A", "", *(f"{n}@example.org" for n in range(1500)))
    for number, recipient in enumerate(many["recipients"]):
        recipient["delay_reason"] = f"no. {number}"
    postfix.shows([many])
    assert queueverbs.queue(["--json"]) == 0
    reasons = json.loads(capsys.readouterr().out)["reasons"]
    assert (len(reasons), reasons[0]["messages"]) == (1001, 500)


def test_a_list_that_is_cut_says_so(postfix: Postfix, capsys: pytest.CaptureFixture[str]) -> None:
    assert queueverbs.queue(["--limit", "2", "--sender", "*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "bytes" in line] == ["4C", "4A"]
    assert "... and 3 younger; --limit 0 shows all" in lines
    assert "5 of 5 messages waiting" in lines
    assert ids(capsys, "--limit", "1") == ["4C"]


HOSTILE = "\x1b[2J<b>\u202e\x07\n4Z  hold"


def test_what_came_with_mail_drives_no_terminal_and_forges_no_line(
    postfix: Postfix, capsys: pytest.CaptureFixture[str]
) -> None:
    postfix.shows([message("4A", HOSTILE, HOSTILE, reason=HOSTILE), message("4B", "", "b", reason=HOSTILE)])
    postfix.holds(b"Subject: a\rb\x1b[2J\xff\xe2\x80\xa8c\nX: y\n")
    for arguments in ([], ["show", "4A", "--body"]):
        assert queueverbs.queue(arguments) == 0
        out = capsys.readouterr().out
        assert out.replace("\n", "").isprintable()
        assert not any(line.startswith("4Z") for line in out.splitlines())
    assert "  Subject: a?b?[2J\ufffd?c\n  X: y\n" in out
    for arguments in (["--json"], ["show", "4A", "--json"]):
        assert queueverbs.queue(arguments) == 0
        out = capsys.readouterr().out
        assert out.isascii()
        shown = json.loads(out)
        assert (shown.get("message") or shown["messages"][0])["sender"] == HOSTILE


@pytest.mark.parametrize(
    "arguments",
    [
        "--sender nobody@example.com",
        "--json --sender nobody@example.com",
        "show 4Z",
        "hold 4D",
        "release 4A",
        "flush 4D",
        "requeue 4E",
        "delete 4Z --yes",
        "delete --yes --reason nonsense",
    ],
)
def test_that_nothing_matched_is_a_status_of_its_own(arguments: str, postfix: Postfix) -> None:
    assert queueverbs.queue(arguments.split()) == 3
    assert postfix.changed == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("release 4A", "no message that is on hold matches\n"),
        ("flush 4D", "no message that is deferred matches\n"),
        ("delete 4Z --yes", "no message matches\n"),
        ("hold 4D", "no message matches\n"),
        ("show 4Z", "there is no message 4Z in the queue\n"),
    ],
)
def test_that_nothing_matched_is_said_with_where_it_was_looked_for(
    arguments: str, said: str, postfix: Postfix, capsys: pytest.CaptureFixture[str]
) -> None:
    assert queueverbs.queue(arguments.split()) == 3
    assert capsys.readouterr() == ("", said)


def test_an_empty_queue_may_be_looked_at(postfix: Postfix, capsys: pytest.CaptureFixture[str]) -> None:
    postfix.shows([])
    assert queueverbs.queue([]) == 0
    assert capsys.readouterr().out == "0 messages waiting\n"
    assert queueverbs.queue(["flush"]) == 3


@pytest.mark.parametrize("arguments", [["foo"], ["4A"], ["--json", "show"]], ids=" ".join)
def test_who_does_not_know_the_verbs_is_told_them(
    arguments: list[str], postfix: Postfix, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        queueverbs.queue(arguments)
    assert (
        f"{arguments[-1]!r} is not known: say show, flush, hold, release, delete or requeue"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--sender", ""],
        ["--sendr", "x"],
        ["hold", ""],
        ["hold", "--recipient", ""],
        ["hold", "-d"],
        ["show"],
        ["show", "4A/../x"],
        ["delete"],
        ["delete", "--yes"],
        ["delete", "--yes", "--all", "4A"],
        ["delete", "--yes", "--sender", ""],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_a_wrong_call_is_told_and_changes_nothing(
    arguments: list[str], postfix: Postfix, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty variable of a script, above all, must not mean everything."""
    with pytest.raises(SystemExit) as ended:
        queueverbs.queue(arguments)
    assert ended.value.code == 2
    assert "usage: postern queue" in capsys.readouterr().err
    assert postfix.changed == []


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        ("hold", "-h 4A 4B 4C 4E"),
        ("hold --domain example.org", "-h 4A 4B 4E"),
        ("hold 4C 4E 4Z", "-h 4C 4E"),
        ("hold 4A 4B --reason refused", "-h 4A"),
        ("requeue", "-r 4A 4B 4C"),
        ("release", "-H 4D"),
        ("delete --all --yes", "-d 4A 4B 4C 4D 4E"),
        ("delete --yes --sender <>", "-d 4C"),
    ],
)
def test_what_is_named_is_changed_and_counted(
    arguments: str,
    changed: str,
    postfix: Postfix,
    told: Callable[[str], bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert queueverbs.queue(arguments.split()) == 0
    assert postfix.changed == changed.split()
    count = len(changed.split()) - 1
    how = {"-h": "on hold now", "-r": "requeued", "-d": "deleted"}.get(changed[:2], "released")
    assert capsys.readouterr().out == f"{count} message{'s' * (count > 1)} {how}\n"


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    ("arguments", "status", "shown"),
    [
        ("hold --domain example.org", 0, {"matching": 3, "changed": 3}),
        ("flush 4A 4B", 0, {"matching": 2, "changed": 1}),
        ("requeue", 0, {"matching": 3, "changed": 3}),
        ("release", 0, {"matching": 1, "changed": 1}),
        ("delete --yes --sender <>", 0, {"matching": 1, "changed": 1}),
        ("delete --yes --sender nobody", 3, {"matching": 0, "changed": 0}),
        ("flush 4D", 3, {"matching": 0, "changed": 0}),
    ],
)
def test_a_program_is_told_how_many_were_changed(
    arguments: str,
    status: int,
    shown: dict[str, int],
    postfix: Postfix,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of two that are flushed one has just left."""
    postfix.defers("4A")
    assert queueverbs.queue([*arguments.split(), "--json"]) == status
    assert json.loads(capsys.readouterr().out) == shown


def test_what_is_requeued_is_picked_up_at_once(postfix: Postfix, told: Callable[[str], bytes]) -> None:
    assert queueverbs.queue(["requeue", "4A"]) == 0
    assert told("pickup") == b"W"


@pytest.mark.parametrize(("arguments", "due"), [("", "4A 4B 4C"), ("--sender <>", "4C"), ("4A 4B", "4A 4B")])
def test_a_flush_makes_due_what_is_named(
    arguments: str, due: str, postfix: Postfix, told: Callable[[str], bytes]
) -> None:
    files = postfix.defers("4A", "4B", "4C")
    assert queueverbs.queue(["flush", *arguments.split()]) == 0
    assert told("qmgr") == b"FDI"
    assert [file.name for file in files if file.stat().st_mtime <= time.time()] == due.split()


def test_released_mail_is_tried_at_once(postfix: Postfix, told: Callable[[str], bytes]) -> None:
    """postsuper(1) leaves it the time of the next try that it had."""
    [file] = postfix.defers("4D")
    assert queueverbs.queue(["release", "4D"]) == 0
    assert postfix.changed == ["-H", "4D"]
    assert told("qmgr") == b"FDI"
    assert file.stat().st_mtime <= time.time()


def test_what_moved_meanwhile_is_told(
    postfix: Postfix, told: Callable[[str], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    """A queue manager at work moves messages from queue to queue while others look for them."""
    postfix.defers("4A", "4B")
    assert queueverbs.queue(["flush"]) == 0
    assert (
        capsys.readouterr().out == "2 messages tried now; 1 left meanwhile, or were on the move: ask again\n"
    )


def test_nothing_is_deleted_where_nobody_can_be_asked(
    postfix: Postfix, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with pytest.raises(SystemExit) as ended:
            queueverbs.queue(["delete", "4A"])
    assert ended.value.code == 2
    assert "say --yes" in capsys.readouterr().err
    assert postfix.changed == []


@pytest.mark.parametrize(
    ("answer", "status"), [("y", 0), ("YES", 0), ("n", 1), ("", 1), ("yes, all", 1), (None, 1)]
)
def test_a_deletion_is_asked_about_with_its_count(
    answer: str | None,
    status: int,
    postfix: Postfix,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def ask(question: str) -> str:
        asked.append(question)
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", ask)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert queueverbs.queue(["delete", "--reason", "greylisted"]) == status
    assert asked == ["delete 1 message for 2 recipients? Nobody will be told. [y/N] "]
    assert postfix.changed == (["-d", "4B"] if status == 0 else [])


def test_a_queue_that_cannot_be_read_is_no_empty_one(
    postfix: Postfix, capsys: pytest.CaptureFixture[str]
) -> None:
    postfix.fails("postqueue", "postqueue: fatal: Permission denied")
    for arguments in ([], ["--json"], ["show", "4A"], ["hold"], ["delete", "--all", "--yes"]):
        assert queueverbs.queue(arguments) == 1
        shown = capsys.readouterr()
        assert "Permission denied" in shown.err
        assert "waiting" not in shown.out


def test_a_container_without_a_relay_says_so_instead_of_naming_postfixs_files(
    postfix: Postfix, capsys: pytest.CaptureFixture[str]
) -> None:
    postfix.fails("postqueue", "postqueue: fatal: open /etc/postfix/main.cf: No such file or directory")
    assert queueverbs.queue([]) == 1
    shown = capsys.readouterr().err
    assert "the relay does not run in this container" in shown
    assert "main.cf" not in shown


def test_a_change_that_fails_is_told(postfix: Postfix, capsys: pytest.CaptureFixture[str]) -> None:
    postfix.fails("postsuper", "postsuper: fatal: use of this command is reserved for the superuser")
    assert queueverbs.queue(["hold"]) == 1
    assert "reserved for the superuser" in capsys.readouterr().err


def test_a_message_is_shown_without_its_body_unless_asked(
    postfix: Postfix, capsys: pytest.CaptureFixture[str]
) -> None:
    postfix.holds(b"Received: from app\n\tby relay\nSubject: A test\n")
    assert queueverbs.queue(["show", "4B"]) == 0
    out = capsys.readouterr().out
    assert "  from App@Example.com\n  to ben@example.net: 451 4.7.1 Greylisted\n" in out
    assert "\nheaders:\n  Received: from app\n   by relay\n  Subject: A test\n" in out
    assert "body:" not in out
    assert (postfix.directory / "shown").read_text() == "-q -h 4B\n"
    assert queueverbs.queue(["show", "4B", "--body"]) == 0
    assert "\nbody:\n  Received: from app\n" in capsys.readouterr().out
    assert (postfix.directory / "shown").read_text() == "-q -b 4B\n"


class Keeper(threading.Thread):
    """Answers one question."""

    def __init__(self, path: Path, answer: str) -> None:
        super().__init__()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._answer = answer
        self.asked = ""

    def run(self) -> None:
        connection = self._listener.accept()[0]
        with self._listener, connection:
            self.asked = connection.recv(4096).decode()
            connection.sendall(self._answer.encode())


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Callable[[str], tuple[Keeper, str]]]:
    started: list[Keeper] = []

    def start(answer: str) -> tuple[Keeper, str]:
        path = tmp_path / f"keeper{len(started)}"
        started.append(Keeper(path, answer))
        started[-1].start()
        return started[-1], str(path)

    yield start
    for each in started:
        each.join()


def test_a_message_is_shown_with_its_story_also_when_it_has_left(
    postfix: Postfix,
    keeper: Callable[[str], tuple[Keeper, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    story = {
        "queue_id": "4Z",
        "outcome": "sent\x1b",
        "left": 1.5,
        "recipients": [{"to": "a@example.org", "delay": 2.5}],
    }
    at, path = keeper(json.dumps(story))
    monkeypatch.setattr(queueverbs, "ask", lambda question: asking.ask(question, path=path))
    assert queueverbs.queue(["show", "4Z"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4Z is no longer in the queue"
    assert {"  outcome: sent?", "  to: a@example.org, delay: 2.5"} <= set(lines)
    at.join()
    assert at.asked == "story 4Z\n"


@pytest.mark.parametrize("answer", ["{}\n", "no such question: there are state\n", "[1]", ""])
def test_a_message_without_a_story_is_shown_without(
    answer: str,
    postfix: Postfix,
    keeper: Callable[[str], tuple[Keeper, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = keeper(answer)[1]
    monkeypatch.setattr(queueverbs, "ask", lambda question: asking.ask(question, path=path))
    postfix.holds(b"Subject: x\n")
    assert queueverbs.queue(["show", "4A"]) == 0
    out = capsys.readouterr().out
    assert "what happened" not in out
    assert "Subject: x" in out


@pytest.mark.parametrize(
    ("answer", "status", "printed"),
    [
        ({"result": "nothing", "lines": []}, 0, ["nothing has changed"]),
        (
            {"result": "changed", "lines": ["/config/users has changed"]},
            0,
            ["/config/users has changed"],
        ),
        (
            {"result": "refused", "lines": ["/config/transport:2: must name a transport\x1b"]},
            78,
            [
                "/config/transport:2: must name a transport?",
                "the change has no effect; what was in force before it stays",
            ],
        ),
        (
            {"result": "failed", "lines": ["no space"]},
            1,
            ["no space", "the change has no effect; what was in force before it stays"],
        ),
    ],
    ids=["nothing", "changed", "refused", "failed"],
)
def test_a_reload_says_what_came_of_it(
    answer: dict[str, object],
    status: int,
    printed: list[str],
    keeper: Callable[[str], tuple[Keeper, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    at, path = keeper(json.dumps(answer))
    assert asking.reload([], path) == status
    assert capsys.readouterr().out.splitlines() == printed
    at.join()
    assert at.asked == "reload\n"


@pytest.mark.parametrize("answer", ["", "no such question: there are state\n", "{}"])
def test_a_keeper_that_does_not_answer_is_a_failure(
    answer: str, keeper: Callable[[str], tuple[Keeper, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert asking.reload([], keeper(answer)[1]) == 1
    assert "keeper" in capsys.readouterr().out


def test_a_relay_that_does_not_run_cannot_reload(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asking.reload([], str(tmp_path / "none")) == 1
    assert "is the relay running" in capsys.readouterr().out


def test_a_reader_that_has_had_enough_is_no_error(postfix: Postfix) -> None:
    postfix.shows(QUEUE * 1000)
    done = subprocess.run(
        f"({sys.executable} -c 'from entrypoint import queueverbs; queueverbs.queue([])') | head -n 1",
        shell=True,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("4C  deferred")
    assert done.stderr == ""


LONG = 20_000
PROGRAM = """
import sys
from pathlib import Path
from entrypoint import queueverbs
status = queueverbs.queue(sys.argv[1:])
print(status, Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0], file=sys.stderr)
"""


@pytest.mark.parametrize(("arguments", "megabytes"), [([], 30), (["--json"], 45), (["hold"], 40)], ids=str)
def test_a_long_queue_takes_little_memory(
    arguments: list[str], megabytes: int, postfix: Postfix, tmp_path: Path
) -> None:
    """The whole container may have no more than 64 MB."""
    line = json.dumps(message("ID", "app@example.com", "ann@example.org", reason=REFUSED))
    with (tmp_path / "queue").open("w") as file:
        for number in range(LONG):
            file.write(line.replace("ID", f"4hX9zq{number:06}") + "\n")
    began = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    status, peak = done.stderr.split()[-2:]
    assert status == "0"
    assert int(peak) < megabytes * 1024
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - began < 5
    assert str(LONG) in done.stdout or done.stdout.count("queue_id") == LONG
