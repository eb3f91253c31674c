"""What becomes of the test's mail, as the keeper hears it (entrypoint/maillog/stories.py)."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from entrypoint.asking import ask
from entrypoint.mailtest import meaning
from entrypoint.postfix import spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from entrypoint.config.policy import Policy
    from entrypoint.mailtest.handing import Handed

    Say = Callable[[str, str], None]
    Story = dict[str, Any]

_PAUSE = 0.1
# Seconds until qmgr(8) has put a mail away that it could not deliver; it notes then when it tries again.
_PUT_AWAY = 3.0
# Seconds for the keeper, which on a busy machine may not wait for the question long enough.
_PATIENCE = 3.0
_WORDS = {
    "sent": "taken",
    "bounced": "refused for good",
    "deferred": "not now",
}


def asked(question: str) -> str:
    """The keeper's answer. Raises OSError."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return ask(question)
        except (BrokenPipeError, ConnectionAbortedError, ConnectionResetError):
            if time.monotonic() > end:
                raise
        time.sleep(_PAUSE)


def follow(
    handed: Handed, policy: Policy, say: Say, seconds: float, spool_directory: Path = spool.SPOOL
) -> int:
    """Tells each step until the mail has left, waits, or the time is up. Returns 0 if it has been taken."""
    story: Story = {}
    told: set[tuple[str, ...]] = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            story = json.loads(asked(f"story {handed.name}"))
        except (OSError, ValueError):
            say(
                "FAILED",
                "the relay does not answer any more: it was stopped, perhaps; `postern queue` shows the mail",
            )
            return 1
        if "queue_id" in story and not told:
            told.add(())
            say("accepted", f"as {story['queue_id']}; the log has more under this name")
        for attempt in _new(story, told):
            say("tried", _in_words(attempt))
        if story.get("outcome"):
            return _left(story, handed, policy, say)
        if _waits(story):
            return _waiting(story, handed, policy, say, spool_directory)
        time.sleep(_PAUSE)
    return _timed_out(story, handed, say, seconds)


def _new(story: Story, told: set[tuple[str, ...]]) -> Iterator[Story]:
    for attempt in story.get("recipients", ()):
        name = (attempt["to"], attempt["status"], str(attempt["delay"]))
        if name not in told:
            told.add(name)
            yield attempt


def _in_words(attempt: Story) -> str:
    status = attempt["status"]
    where = "" if attempt["relay"] == "none" else f" at {attempt['relay']}"
    what = _WORDS.get(status, status)
    return f"<{attempt['to']}>{where} after {attempt['delay']:g} s: {what}: {attempt.get('reason', '')}"


def _waits(story: Story) -> bool:
    """Whether all have been tried, and some are to be tried again."""
    attempts = story.get("recipients", ())
    return len(attempts) >= story.get("nrcpt", 1) and any(each["status"] == "deferred" for each in attempts)


def _left(story: Story, handed: Handed, policy: Policy, say: Say) -> int:
    if story["outcome"] == "sent":
        say("OK", "the mail was taken; if it is not in the mailbox, ask the owner of the server above")
        return 0
    if story["outcome"] == "deleted":
        say("FAILED", "somebody deleted it meanwhile")
        return 1
    refused = [each for each in story["recipients"] if each["status"] != "sent"]
    say("advice", meaning.advice(refused[0], handed, policy) if refused else "the log says what became of it")
    say("FAILED", "it was not delivered, and is not tried again")
    return 1


def _waiting(story: Story, handed: Handed, policy: Policy, say: Say, spool_directory: Path) -> int:
    deferred = next(each for each in story["recipients"] if each["status"] == "deferred")
    again = _next_attempt(story["queue_id"], spool_directory)
    when = time.strftime("from %H:%M:%S on", time.localtime(again)) if again else "later"
    say("advice", meaning.advice(deferred, handed, policy))
    say("WAITING", f"it stays in the queue and is tried again {when}")
    _say_how_to_end(story["queue_id"], say)
    return 1


def _next_attempt(queue_id: str, spool_directory: Path) -> float | None:
    """In seconds since 1970: qmgr(8) keeps it as the file's time."""
    end = time.monotonic() + _PUT_AWAY
    while time.monotonic() < end:
        for file in (spool_directory / "deferred").glob(f"**/{queue_id}"):
            try:
                return file.stat().st_mtime
            except FileNotFoundError:
                continue
        time.sleep(_PAUSE)
    return None


def _timed_out(story: Story, handed: Handed, say: Say, seconds: float) -> int:
    if "queue_id" not in story:
        say(
            "WAITING", f"after {seconds:g} s the log has not named it: `postern queue` shows whether it waits"
        )
        return 1
    deliveries = story.get("recipients", ())
    what = "it waits" if deliveries else "the next server has not answered, or others are before it"
    say("WAITING", f"no end after {seconds:g} s: {what}; {meaning.probing(handed)}")
    _say_how_to_end(story["queue_id"], say)
    return 1


def _say_how_to_end(queue_id: str, say: Say) -> None:
    say("", f"postern queue show {queue_id}           how it fares")
    say("", f"postern queue delete --yes {queue_id}   if it shall not be sent any more")
