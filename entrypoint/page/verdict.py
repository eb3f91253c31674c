"""Whether mail goes out, in one sentence; and what somebody should look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from entrypoint.page import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from entrypoint.page.facts import Facts
    from entrypoint.page.hour import Hour

GOOD, WARNING, BAD = "good", "warning", "bad"
# As in deploy/monitoring/alerts.yml.
_WAITS_LONG = 4 * 3600
_MANY, _ATTEMPTS = 0.3, 20
_ENDS_SOON = 14 * 86400


class Note(NamedTuple):
    level: str
    name: str
    text: str


class Verdict(NamedTuple):
    level: str
    title: str
    text: str


class Waiting(NamedTuple):
    """Messages that want to go out, and the age of the oldest in seconds."""

    messages: int
    oldest: float


def waiting(facts: Facts) -> Waiting | None:
    """Without what somebody keeps back; None if the keeper does not say."""
    if not facts.counts:
        return None
    queues = [facts.counts["queues"][name] for name in ("maildrop", "incoming", "active", "deferred")]
    return Waiting(sum(each["depth"] for each in queues), max(each["oldest"] for each in queues))


def notes(facts: Facts, hour: Hour | None) -> list[Note]:
    """The worst first."""
    found = [*_of_checks(facts), *_of_certificates(facts), *_of_mail(facts, hour)]
    return sorted(found, key=lambda note: note.level != BAD)


def _of_checks(facts: Facts) -> Iterator[Note]:
    for result, name, text in facts.checks:
        if result != "ok":
            yield Note(BAD if result == "failed" else WARNING, name, text)
    if not facts.counts or not facts.minutes:
        yield Note(BAD, "keeper", "it does not answer: what happens to mail is not known")


def _of_certificates(facts: Facts) -> Iterator[Note]:
    for end, name in facts.certificates:
        left = float(end) - facts.now
        if left < 0:
            yield Note(BAD, "certificate", f"{name}: it ended {words.age(-left)} ago, and clients refuse it")
        elif left < _ENDS_SOON:
            yield Note(WARNING, "certificate", f"{name}: it ends in {words.age(left)}")


def _of_mail(facts: Facts, hour: Hour | None) -> Iterator[Note]:
    if (queue := waiting(facts)) and queue.oldest > _WAITS_LONG:
        yield Note(WARNING, "queue", f"the oldest message waits since {words.age(queue.oldest)}")
    if hour:
        tried = sum(hour.recent.values())
        put_off = hour.recent["deferred"]
        if tried > _ATTEMPTS and put_off > _MANY * tried:
            yield Note(WARNING, "deferrals", f"{put_off} of the last {tried} attempts were put off")


def verdict(facts: Facts, hour: Hour | None, found: list[Note]) -> Verdict:
    return next(_verdicts(facts, hour, found))


def _verdicts(facts: Facts, hour: Hour | None, found: list[Note]) -> Iterator[Verdict]:
    """All that are true, the worst first."""
    if facts.stopping:
        left = "" if facts.left is None else f"; {words.messages(facts.left)} left"
        text = f"It takes no new mail and delivers what is queued{left}."
        yield Verdict(WARNING, "The relay is stopping", text)
    queue = waiting(facts)
    if not hour or not queue:
        yield Verdict(
            BAD, "Not known whether mail goes out", "The program that watches Postfix does not answer."
        )
        return
    wait = f"{words.messages(queue.messages)} wait{'s' * (queue.messages == 1)}" if queue.messages else ""
    last = facts.counts["last_delivery"]
    delivered = f"last delivery {words.age(facts.now - last)} ago" if last else "no delivery since the start"
    told = _sentence(wait, delivered)
    if hour.recent["deferred"] and not hour.recent["sent"] and queue.messages:
        yield Verdict(BAD, "No mail goes out", told)
    if failed := [note.name for note in found if note.level == BAD]:
        text = _sentence(f"what fails: {', '.join(failed)}", wait, delivered)
        yield Verdict(BAD, "The relay is not ready", text)
    if any(note.name == "upstream" for note in found):
        yield Verdict(WARNING, "An upstream takes no mail", told)
    if found:
        yield Verdict(WARNING, "Mail goes out, with a warning", told)
    if hour.recent["deferred"] and queue.messages:
        yield Verdict(GOOD, "Mail goes out; some waits", told)
    if not hour.sent and not queue.messages:
        text = _sentence("" if hour.received else "no mail in the last hour", delivered)
        yield Verdict(GOOD, "Ready for mail", text)
    yield Verdict(GOOD, "Mail goes out", told)


def _sentence(*parts: str) -> str:
    text = ", ".join(filter(None, parts))
    return f"{text[:1].upper()}{text[1:]}."
