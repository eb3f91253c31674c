"""What happened to each message: gathered from the lines that name it, told in one line when it leaves the queue, and
in full to who asks.

Memory is bounded whatever the queue holds. A message costs 0.5 kB and each recipient that was tried another 0.5 kB; of
`MOST` together, 4 MB, the oldest are forgotten first. What is forgotten, or was queued before the keeper began, is told
with what is known: the queue manager repeats sender, size and number of recipients with each activation.
"""

from __future__ import annotations

import time
from collections import deque
from itertools import islice
from sys import intern

from entrypoint.maillog import queue_ids, telling
from entrypoint.maillog.lines import SUMMARY, Line, Origin

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST = 8000
"""Messages in the queue and recipients that were tried, together."""
# Forgotten at once, as a part of MOST: to take the first of a dict that has lost many is slow.
_PART = 16
# Recipients that are kept: of a message that waits, of one that has left, in the list of all.
_TRIED = 1000
_KEPT = 20
_LISTED = 5
_LEFT = 100
# Bytes of an answer; a socket holds some 200 kB (net.core.wmem_max), and half a JSON text would be none.
_LARGEST_ANSWER = 150_000


class Story:
    """One message; None for what no line has told. Sizes and numbers are as Postfix wrote them."""

    __slots__ = (
        "about",
        "attempts",
        "bounced",
        "client",
        "client_name",
        "expired",
        "facts",
        "heard",
        "last",
        "left",
        "login",
        "message_id",
        "notification",
        "nrcpt",
        "outcome",
        "queue_id",
        "sender",
        "sent",
        "size",
        "uid",
        "verification",
    )

    def __init__(self, queue_id: str, heard: float) -> None:
        self.queue_id = queue_id
        self.heard = heard
        """When the first line that named it came, in seconds since 1970."""
        self.client: str | None = None
        self.client_name: str | None = None
        self.login: str | None = None
        self.uid: str | None = None
        """Who gave it to sendmail(1) in the container."""
        self.sender: str | None = None
        self.size: str | None = None
        self.nrcpt: str | None = None
        self.message_id: str | None = None
        self.attempts: dict[str, str] | None = None
        """By recipient, the text of the line about the last delivery."""
        self.last = ""
        self.facts: dict[str, str] | None = None
        """Of a delivery after which nothing remains to be done, those of that text."""
        self.sent = 0
        self.bounced = 0
        self.expired = False
        self.verification = False
        """Nobody's mail: Postfix asks whether an address exists."""
        self.notification: str | None = None
        self.about: str | None = None
        """Of a notification, the message that it tells of."""
        self.outcome = ""
        self.left = 0.0

    @property
    def arrived(self) -> float:
        """In seconds since 1970; of a message without a long queue id, when it was first heard of."""
        return queue_ids.arrived(self.queue_id) or self.heard

    @property
    def tried(self) -> int:
        return len(self.attempts) if self.attempts else 0


class Stories:
    """`host` and `pid` are those of its lines."""

    def __init__(self, host: str, pid: int, now: Callable[[], float] = time.time) -> None:
        self.kinds = (*_HEARD, "removed")
        self._host = host
        self._pid = str(pid)
        self._now = now
        self._waiting: dict[str, Story] = {}
        self._weight = 0
        self._left: deque[Story] = deque(maxlen=_LEFT)

    def read(self, line: Line) -> Line | None:
        """Takes a line; the summary, when it is the last about a message."""
        queue_id = line.queue_id
        if not queue_id:
            return None
        if line.kind == "removed":
            return self._leave(line)
        if hear := _HEARD.get(line.kind):
            hear(self, self._waiting.get(queue_id) or self._begin(queue_id), line)
        return None

    def story(self, name: str) -> str:
        """One as JSON, by its queue id or the end of its message id; {} if nothing is known of it."""
        found = self._waiting.get(name) or next((s for s in self._all() if _is(s, name)), None)
        return (telling.as_json(found, _TRIED, _LARGEST_ANSWER) if found else "{}") + "\n"

    def stories(self, which: str = "") -> str:
        """The last hundred that left the queue, or that are `waiting` in it, as a JSON list, newest first. They share the
        room: where all are long, each has fewer recipients and only the beginning of what was said.
        """
        found = [*(islice(self._queued_now(), _LEFT) if which == "waiting" else reversed(self._left))]
        told: list[str] = []
        room = _LARGEST_ANSWER
        for story in found:
            text = telling.in_list(story, _LISTED, room // (len(found) - len(told)) - len(", "))
            room -= len(text) + len(", ")
            told.append(text)
        return f"[{', '.join(told)}]\n"

    def _queued_now(self) -> Iterator[Story]:
        """Without what is still being handed in, and what is nobody's mail."""
        return (s for s in reversed(self._waiting.values()) if s.sender is not None and not s.verification)

    def _all(self) -> Iterator[Story]:
        yield from reversed(self._left)
        yield from self._waiting.values()

    def _begin(self, queue_id: str) -> Story:
        self._make_room()
        self._weight += 1
        made = self._waiting[queue_id] = Story(queue_id, self._now())
        return made

    def _make_room(self) -> None:
        if self._weight < MOST:
            return
        for old in list(islice(self._waiting, len(self._waiting) // _PART + 1)):
            self._forget(old)

    def _forget(self, queue_id: str) -> Story | None:
        story = self._waiting.pop(queue_id, None)
        if story:
            self._weight -= 1 + story.tried
        return story

    def _client(self, story: Story, line: Line) -> None:
        found = line.fields
        # The same few for thousands of messages.
        story.client = intern(found["client"])
        story.client_name = intern(found["client_name"])
        if "sasl_username" in found:
            story.login = intern(found["sasl_username"])

    def _pickup(self, story: Story, line: Line) -> None:
        story.uid = line.fields["uid"]
        # What postsuper(1) has requeued.
        if old := self._forget(line.text.rpartition(" orig_id=")[2]):
            story.client, story.client_name, story.login, story.uid = (
                old.client,
                old.client_name,
                old.login,
                old.uid,
            )

    def _message_id(self, story: Story, line: Line) -> None:
        story.message_id = line.fields["message_id"]

    def _queued(self, story: Story, line: Line) -> None:
        story.sender, story.size, story.nrcpt = line.fields.values()

    def _delivery(self, story: Story, line: Line) -> None:
        found = line.fields
        status = found["status"]
        if status == "sent":
            story.sent += 1
            if story.nrcpt == "1":
                story.facts = found
        elif status == "bounced":
            story.bounced += 1
        elif status.endswith("deliverable"):
            story.verification = True
        story.last = line.text
        if story.attempts is None:
            story.attempts = {}
        # Two aliases may lead to one address.
        recipient = found["to"] + (telling.ORIGINAL + found["orig_to"] if "orig_to" in found else "")
        if recipient not in story.attempts:
            if len(story.attempts) >= _TRIED:
                return
            self._weight += 1
        story.attempts[recipient] = line.text

    def _expired(self, story: Story, line: Line) -> None:
        story.expired = True
        story.sender = line.fields["from"]

    def _notification(self, story: Story, line: Line) -> None:
        identity = line.fields["notification"]
        story.notification = identity
        (self._waiting.get(identity) or self._begin(identity)).about = story.queue_id

    def _leave(self, line: Line) -> Line | None:
        story = self._forget(line.queue_id) or Story(line.queue_id, self._now())
        # Before its client had ended it, so nobody has accepted it; or nobody's mail.
        if "reason" in line.fields or story.verification:
            return None
        story.left = self._now()
        story.outcome = _outcome(story, line.origin.service)
        if story.tried > _KEPT:
            story.attempts = dict(telling.worst_first(story)[:_KEPT])
        self._left.append(story)
        return self._summary(story, line.origin.stamp)

    def _summary(self, story: Story, stamp: str) -> Line:
        text, facts = telling.summary(story)
        story.facts = None
        text = f"{story.queue_id}: {text}"
        origin = Origin(stamp, SUMMARY, self._pid)
        made = Line(
            f"{stamp} {self._host} {SUMMARY}[{self._pid}]: {text}", text, origin, queue_id=story.queue_id
        )
        made.kind, made.fields = "summary", facts
        return made


_HEARD: dict[str, Callable[[Stories, Story, Line], None]] = {
    "client": Stories._client,  # noqa: SLF001
    "pickup": Stories._pickup,  # noqa: SLF001
    "message_id": Stories._message_id,  # noqa: SLF001
    "queued": Stories._queued,  # noqa: SLF001
    "delivery": Stories._delivery,  # noqa: SLF001
    "expired": Stories._expired,  # noqa: SLF001
    "notification": Stories._notification,  # noqa: SLF001
}


def _is(story: Story, name: str) -> bool:
    return story.queue_id == name or (
        name[-1:] == ">" and story.message_id is not None and story.message_id.endswith(name)
    )


def _outcome(story: Story, service: str) -> str:
    if service == "postsuper":
        return "deleted"
    if story.expired:
        return "expired"
    if story.sent and story.bounced:
        return "partly sent"
    if story.bounced:
        return "bounced"
    return "sent" if story.sent else "removed"
