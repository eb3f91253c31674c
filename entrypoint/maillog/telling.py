"""A message's story in words: one line for the log, JSON for who asks."""

from __future__ import annotations

from _json import encode_basestring_ascii as _quoted  # the json package takes 1 MB

from entrypoint.maillog import cutting
from entrypoint.maillog import lines as maillog

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from entrypoint.maillog.stories import Story

ORIGINAL = "\0"
"""Between an address and the one that it came from; Postfix shows no such letter."""
# Recipients that a summary names.
_NAMED = 3
# Letters of a text in a list: the first that the story's room is enough for. Of the last, 1,500 bytes are in any script.
_LISTED = (300, 100, 30)
_ENDED_BY_DELIVERY = ("sent", "partly sent", "bounced")
# In what a summary says of strangers' words, these would pass for its own.
_STRANGE = frozenset(" <>,()")
_MARKS = dict.fromkeys(map(ord, " ,()"), "?")
_SENT = ", status=sent"
# A summary's facts, as its line has them.
_SHOWN = {
    "outcome": "%s",
    "delay": " after %s s",
    "from": ", from=<%s>",
    "to": ", to=%s",
    "nrcpt": ", nrcpt=%s",
    "sent": ", sent=%s",
    "bounced": ", bounced=%s",
    "relay": ", relay=%s",
    "dsn": ", dsn=%s",
    "client_name": ", client=%s",
    "client": "[%s]",
    "sasl_username": ", sasl_username=%s",
    "size": ", size=%s",
    "message_id": ", message-id=%s",
    "reason": " (%s)",
}


def worst_first(story: Story) -> list[tuple[str, str]]:
    """Who got it tells least."""
    return sorted((story.attempts or {}).items(), key=lambda attempt: _SENT in attempt[1])


def summary(story: Story) -> tuple[str, dict[str, str]]:
    """One line, and its facts (lines.Line.fields)."""
    attempts = worst_first(story) if story.tried > 1 else [*(story.attempts or {}).items()]
    facts = _facts(story, attempts)
    shown = facts
    if attempts:
        named = [recipient.partition(ORIGINAL)[0] for recipient, _ in attempts[:_NAMED]]
        more = max(int(story.nrcpt or 0), len(attempts)) - len(named)
        shown = {**facts, "to": f"<{'>, to=<'.join(named)}>{f' and {more} more' if more else ''}"}
        facts["to"] = ", ".join(named)
    return "".join([_SHOWN[name] % value for name, value in shown.items()]), facts


def _facts(story: Story, attempts: list[tuple[str, str]]) -> dict[str, str]:
    """Of the worst of the attempts; "to" only keeps its place."""
    delivery = story.facts or (maillog.delivery(attempts[0][1]) if attempts else {})
    several = story.nrcpt != "1"
    found = {
        "outcome": story.outcome,
        "delay": _delay(story, attempts, delivery),
        "from": story.sender,
        "to": "" if attempts else None,
        "nrcpt": story.nrcpt,
        "sent": str(story.sent) if several else None,
        "bounced": str(story.bounced) if several else None,
        "relay": delivery.get("relay"),
        "dsn": delivery.get("dsn"),
        "client_name": story.client_name,
        "client": story.client,
        "sasl_username": story.login.translate(_MARKS) if story.login else None,
        "size": story.size,
        "message_id": story.message_id if story.message_id and _plain(story.message_id) else None,
        "reason": delivery.get("reason"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _delay(story: Story, attempts: list[tuple[str, str]], first: dict[str, str]) -> str:
    """Of what ended with a delivery, Postfix's own word; anything else has waited longer than that says."""
    if story.outcome in _ENDED_BY_DELIVERY:
        last = first if attempts and story.last == attempts[0][1] else maillog.delivery(story.last)
        if "delay" in last:
            return last["delay"]
    return f"{max(story.left - story.arrived, 0):.2f}"


def _plain(message_id: str) -> bool:
    """Whether it is what it should be: a sender may write anything."""
    inside = message_id[1:-1]
    return message_id == f"<{inside}>" and inside.isascii() and _STRANGE.isdisjoint(inside)


def as_json(story: Story, most: int, room: int, longest: int | None = None) -> str:
    """With up to `most` recipients, one at least and more in up to `room` bytes, those first who did not get it; texts
    with up to `longest` letters.
    """
    facts = {
        "queue_id": story.queue_id,
        "outcome": story.outcome or None,
        "client_name": story.client_name,
        "client": story.client,
        "sasl_username": story.login,
        "uid": story.uid,
        "from": story.sender,
        "message_id": story.message_id,
        "notification": story.notification,
        "about": story.about,
    }
    numbers = {
        "arrived": f"{story.arrived:.3f}",
        "left": f"{story.left:.3f}" if story.left else None,
        "size": story.size,
        "nrcpt": story.nrcpt,
        "sent": str(story.sent),
        "bounced": str(story.bounced),
    }
    begin = f'{{{_pairs(facts, numbers, longest)}, "recipients": ['
    room -= len(begin) + len("]}")
    attempts: list[str] = []
    for _, text in worst_first(story)[:most]:
        attempt = _attempt(text, longest)
        room -= len(attempt) + len(", ")
        if room < 0 and attempts:
            break
        attempts.append(attempt)
    return f"{begin}{', '.join(attempts)}]}}"


def in_list(story: Story, most: int, room: int) -> str:
    """As JSON in up to `room` bytes, of which 1,500 are enough for any story: long texts have only their beginning."""
    tried = (as_json(story, most, room, longest) for longest in _LISTED)
    return next((told for told in tried if len(told) <= room), "{}")


def _attempt(text: str, longest: int | None) -> str:
    delays: dict[str, str | None] = {}
    facts: dict[str, str | None] = {}
    for name, value in maillog.delivery(text).items():
        (delays if name.startswith("delay") else facts)[name] = value
    return f"{{{_pairs(facts, delays, longest)}}}"


def _pairs(texts: dict[str, str | None], numbers: dict[str, str | None], longest: int | None) -> str:
    told = [
        f'"{name}": {_quoted(value if longest is None or len(value) <= longest else cutting.cut(value, longest))}'
        for name, value in texts.items()
        if value is not None
    ]
    told += [f'"{name}": {float(value):.15g}' for name, value in numbers.items() if value is not None]
    return ", ".join(told)
