"""`postern queue`, with real mail: what is named is held, released, deleted, tried or taken in anew, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.conftest import StartRelay
from tests.image.relay import Relay, someone
from tests.image.sink import Sink
from tests.image.waiting import until

DOWN = {"rcpt": "451 4.3.2 closed for an hour"}
BOUNCES = someone("bounces.example")


class Queue:
    """A relay whose upstream takes nothing until `opens`."""

    def __init__(self, relay: Relay, sink: Sink) -> None:
        self.relay = relay
        self.sink = sink

    def closes(self) -> None:
        self.sink.behave(replies=DOWN)

    def opens(self) -> None:
        self.sink.behave(replies={})

    def waits(self, to: str, sender: str = BOUNCES) -> str:
        """A message that waits now; its queue id."""
        self.relay.send(to, sender)
        self.relay.queued(rf"to {to}: .*closed for an hour")
        return self.ids("--recipient", to)[0]

    def does(self, *arguments: str, status: int = 0) -> str:
        done = self.relay.exec("postern", "queue", *arguments)
        assert done.status == status, done.output
        return done.output

    def ids(self, *filters: str, queue: str = "") -> list[str]:
        shown = json.loads(self.relay.exec("postern", "queue", "--json", *filters).output)
        return [m["queue_id"] for m in shown["messages"] if not queue or m["queue_name"] == queue]

    def is_empty(self) -> None:
        self.relay.queued(r"\A0 messages waiting$")


@pytest.fixture(scope="module")
def relay_of_queue(
    start_shared_relay: StartRelay, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Relay, Path]:
    config = tmp_path_factory.mktemp("config")
    (config / "virtual").write_text("nobody@example.net nobody@example.org\n")
    relay = start_shared_relay(
        # Nothing is tried again unless a test says so, and no destination is left alone after a failure.
        {"QUEUE_RUN_DELAY": "1h", "POSTFIX_minimal_backoff_time": "1h"},
        volumes={str(config): {"bind": "/config", "mode": "ro"}},
    )
    return relay, config


@pytest.fixture
def queue(relay_of_queue: tuple[Relay, Path], sink: Sink) -> Iterator[Queue]:
    made = Queue(relay_of_queue[0], sink)
    made.closes()
    yield made
    made.relay.exec("postern", "queue", "delete", "--all", "--yes")


def test_held_mail_is_not_delivered_and_released_mail_is(queue: Queue) -> None:
    held, other = someone(), someone()
    queue.waits(held)
    queue.waits(other)
    assert queue.does("hold", "--recipient", held.upper()) == "1 message on hold now\n"
    assert re.search(r"  hold  .*\n.*\n  to " + held, queue.does())
    queue.opens()
    assert queue.does("flush") == "1 message tried now\n"
    assert queue.sink.mail(other)
    assert queue.ids(queue="hold") == queue.ids()
    assert not queue.sink.received(held)
    assert queue.does("release") == "1 message released\n"
    assert queue.sink.mail(held)
    queue.is_empty()


def test_a_held_message_stays_held_over_a_restart(start_relay: StartRelay, sink: Sink) -> None:
    sink.behave(replies=DOWN)
    queue = Queue(start_relay(), sink)
    queue_id = queue.waits(someone())
    queue.does("hold", queue_id)
    queue.opens()
    queue.relay.container.restart()
    queue.relay.wait_until_ready()
    assert queue.ids(queue="hold") == [queue_id]


def test_deleted_mail_is_gone_and_nobody_is_told(queue: Queue) -> None:
    deleted, other = someone("wrong.example"), someone()
    queue_id = queue.waits(deleted)
    queue.waits(other)
    assert "say --yes" in queue.does("delete", "--domain", "wrong.example", status=2)
    assert "--all" in queue.does("delete", "--yes", status=2)
    assert len(queue.ids()) == 2
    assert queue.does("delete", "--domain", "WRONG.example", "--yes") == "1 message deleted\n"
    queue.relay.logged(rf"postsuper\[\d+\]: {queue_id}: removed")
    queue.opens()
    queue.does("flush")
    assert queue.sink.mail(other)
    queue.is_empty()
    assert not queue.sink.received(deleted)
    assert not queue.sink.received(BOUNCES)


def test_all_is_deleted_by_saying_all(queue: Queue) -> None:
    queue.waits(someone())
    queue.does("hold", queue.waits(someone()))
    assert queue.does("delete", "--all", "--yes") == "2 messages deleted\n"
    queue.is_empty()
    assert queue.does("delete", "--all", "--yes", status=3) == "no message matches\n"


@pytest.mark.parametrize(
    "named",
    [
        "--sender {sender}",
        "--sender *{sender_end}",
        "--recipient {to}",
        "--sender {sender} --domain {domain} --reason closed",
        "{queue_id}",
    ],
)
def test_a_flush_tries_what_it_names_and_nothing_else(named: str, queue: Queue) -> None:
    sender, to, other = someone(), someone(), someone()
    queue_id = queue.waits(to, sender)
    unnamed = queue.waits(other)
    queue.opens()
    names = {"sender": sender, "sender_end": sender[3:], "to": to, "domain": "example.org"}
    arguments = named.format(queue_id=queue_id, **names).split()
    assert queue.does("flush", *arguments) == "1 message tried now\n"
    assert queue.sink.mail(to)
    until("the named one has left", lambda: queue.ids() == [unnamed], state=queue.ids)
    assert not queue.sink.received(other)


def test_a_flush_delivers_when_the_upstream_is_back(queue: Queue) -> None:
    """Also to a destination that Postfix leaves alone after it could not be reached."""
    addresses = [someone() for _ in range(3)]
    queue.sink.behave(replies={"connect": "421 4.3.2 down"})
    for to in addresses:
        queue.relay.send(to)
        queue.relay.queued(rf"to {to}: \S")
    queue.opens()
    assert queue.does("flush") == "3 messages tried now\n"
    for to in addresses:
        assert queue.sink.mail(to)
    queue.is_empty()


def test_what_is_requeued_goes_by_the_tables_of_now(queue: Queue, relay_of_queue: tuple[Relay, Path]) -> None:
    alias, right = someone("example.net"), someone()
    queue.waits(alias)
    other = queue.waits(someone())
    config = relay_of_queue[1]
    (config / "virtual").write_text(f"{alias} {right}\n")
    (config / "transport").write_text(f"{right.partition('@')[2]} smtp:[sink]:25\n")
    reloaded = queue.relay.exec("postern", "reload")
    assert (reloaded.status, len(reloaded.lines)) == (0, 3), reloaded.output
    queue.opens()
    assert queue.does("requeue", "--recipient", alias) == "1 message requeued\n"
    [received] = queue.sink.mail(right)
    assert received.rcpt_tos == [right]
    until("only the other waits", lambda: queue.ids() == [other], state=queue.ids)


LONG = 20_000
# In the container: the files of each message on the command line, again and again under names of their own.
CLONES = """
import os, pwd, shutil, sys, time
digits = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
def text(number, width):
    return text(number // 52, width - 1) + digits[number % 52] if width else ""
def found(original, queue):
    return next(f"{d}/{original}" for d, _, names in os.walk(f"{spool}/{queue}") if original in names)
uid, spool, then = pwd.getpwnam("postfix").pw_uid, "/var/spool/postfix", int(time.time()) + 3600
files = [[(queue, found(name, queue)) for queue in ("deferred", "defer")] for name in sys.argv[2:]]
# No message of its own has so many microseconds.
for n in range(1_000_000, 1_000_000 + int(sys.argv[1])):
    for queue, path in files[n % len(files)]:
        # As mail_queue.c spreads them: by the first of five hexadecimal digits of the microseconds.
        directory = f"{spool}/{queue}/{n:05X}"[:-4]
        os.makedirs(directory, exist_ok=True)
        os.chown(directory, uid, -1)
        name = os.path.basename(path)
        copy = f"{directory}/{name[:6]}{text(n, 4)}z{name.rpartition('z')[2]}"
        shutil.copy(path, copy)
        os.utime(copy, (then, then))
        os.chown(copy, uid, -1)
"""
# What a verb printed, and then the kilobytes that the largest of its processes had and the seconds of CPU time of all.
MEASURED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
sys.stdout.flush()
print(used.ru_maxrss, used.ru_utime + used.ru_stime)
sys.exit(done.returncode)
"""


@pytest.mark.root
def test_a_queue_of_20000_is_listed_and_changed_in_seconds_and_with_little_memory(
    start_relay: StartRelay, sink: Sink
) -> None:
    """The container may have no more than 64 MB; and who deletes mail has no time."""
    queue = Queue(start_relay({"QUEUE_RUN_DELAY": "1h", "POSTFIX_minimal_backoff_time": "1h"}), sink)
    queue.closes()
    originals = [queue.waits(someone("right.example")), queue.waits(someone("wrong.example"))]
    cloned = queue.relay.exec("python3", "-c", CLONES, str(LONG - 2), *originals)
    assert cloned.status == 0, cloned.output

    def does(*arguments: str) -> str:
        done = queue.relay.exec("python3", "-c", MEASURED, "postern", "queue", *arguments)
        assert done.status == 0, done.output[-1000:]
        kilobytes, seconds = done.lines[-1].split()
        print(f"{arguments}: {int(kilobytes) >> 10} MB, {float(seconds):.1f} s of CPU time")
        assert int(kilobytes) < 32 << 10
        assert float(seconds) < 10
        return done.output.rpartition("\n" + done.lines[-1])[0]

    assert "... and 19000 younger" in does()
    assert f'"matching": {LONG}, "waiting": {LONG}' in does("--json")
    assert does("hold", "--domain", "right.example").endswith("10000 messages on hold now")
    assert does("delete", "--domain", "wrong.example", "--yes").endswith("10000 messages deleted")
    assert f"{LONG // 2} messages waiting" in does("--limit", "1")


def test_a_message_is_shown_with_envelope_story_and_headers_but_no_body(queue: Queue) -> None:
    to = someone()
    queue_id = queue.waits(to, "app@example.com")
    shown = queue.does("show", queue_id)
    assert f"  from app@example.com\n  to {to}: " in shown
    assert "  Subject: A test\n" in shown
    assert "One line." not in shown
    assert "  One line.\n" in queue.does("show", queue_id, "--body")
    as_json = json.loads(queue.does("show", queue_id, "--json"))
    assert as_json["message"]["queue_id"] == queue_id
    assert "Subject: A test" in as_json["headers"]
    assert "body" not in as_json
    assert "One line." in json.loads(queue.does("show", queue_id, "--json", "--body"))["body"]
    assert as_json["story"]["recipients"][0]["status"] == "deferred"
    assert "no message" in queue.does("show", "4Zzzzzzzzzzz", status=3)


def test_what_a_stranger_wrote_drives_no_terminal(queue: Queue) -> None:
    """Envelope, headers, body and the upstream's words alike: an escape sequence may do what its reader could."""
    hostile = "\x1b]0;pwned\x07\x1b[2J\x9b1m\u202e"
    sender, to = '"a\\\x1b[2Jb"@example.com', someone()
    text = f"To: {to}\r\nSubject: {hostile}\r\nX: a\x08\x08b\r\n\r\n{hostile}\r\n".encode()
    with queue.relay.smtp() as session:
        session.sendmail(sender, [to], text)
    queue.relay.queued(rf"to {to}: .*closed for an hour")
    [queue_id] = queue.ids("--recipient", to)
    for arguments in ((), ("show", queue_id, "--body"), ("--json",), ("show", queue_id, "--body", "--json")):
        shown = queue.does(*arguments)
        assert shown.replace("\n", "").isprintable(), arguments
    assert "]0;pwned?" in queue.does("show", queue_id)


def test_the_queue_is_shown_to_nobody_but_root(queue: Queue) -> None:
    """Its addresses are other people's mail."""
    refused = queue.relay.exec("postern", "queue", user="65534")
    assert refused.status == 1, refused.output
    assert "cannot be read" in refused.output
