"""Messages as the page lists them."""

from __future__ import annotations

from typing import Any, NamedTuple

from entrypoint.page import words

_LEVELS = {
    "sent": "good",
    "waiting": "warning",
    "removed": "warning",
    "deleted": "warning",
    "partly sent": "warning",
}
_UNKNOWN = "not known"


class Attempt(NamedTuple):
    to: str
    original: str
    status: str
    text: str
    """Where, by which code, how long, and what was said."""


class Message(NamedTuple):
    level: str
    outcome: str
    moment: float
    """When it left, or came if it waits."""
    sender: str
    to: str
    more: int
    """Recipients beside the first."""
    delay: str
    facts: list[tuple[str, str]]
    attempts: list[Attempt]
    untold: int
    """Recipients of whom there is no attempt to show."""


def message(story: dict[str, Any], now: float) -> Message:
    outcome = story.get("outcome", "waiting")
    attempts = [_attempt(each) for each in story["recipients"]]
    count = max(int(story.get("nrcpt", 0)), len(attempts))
    left = story.get("left")
    return Message(
        _LEVELS.get(outcome, "bad"),
        outcome,
        left or story["arrived"],
        story.get("from", _UNKNOWN) or "<>",
        attempts[0].to if attempts else _UNKNOWN,
        max(count - 1, 0),
        words.age((left or now) - story["arrived"]),
        list(_facts(story)),
        attempts,
        count - len(attempts),
    )


def _facts(story: dict[str, Any]) -> list[tuple[str, str]]:
    client, name = story.get("client"), story.get("client_name")
    came = f"{name} [{client}]" if client else f"sendmail, uid {story['uid']}" if "uid" in story else ""
    rows = {
        "queue id": story["queue_id"],
        "came": words.day(story["arrived"]) + words.clock(story["arrived"])[5:],
        "client": came,
        "login": story.get("sasl_username"),
        "size": words.size(story["size"]) if "size" in story else None,
        "message id": story.get("message_id"),
        "notification": story.get("notification"),
        "tells of": story.get("about"),
    }
    return [(title, text) for title, text in rows.items() if text]


def _attempt(told: dict[str, Any]) -> Attempt:
    delay = f"after {words.age(told['delay'])}" if "delay" in told else ""
    where = f"at {told['relay']}" if told.get("relay", "none") != "none" else ""
    said = f": {told['reason']}" if "reason" in told else ""
    text = ", ".join(filter(None, (where, delay, told.get("dsn", "")))) + said
    return Attempt(told["to"], told.get("orig_to", ""), told.get("status", ""), text)
