"""What the keeper and the start would say of a shop's relay at noon; always the same."""

from __future__ import annotations

import json
import math
import random
from typing import Any

from entrypoint.maillog.minutes import BOUNDS
from entrypoint.page.facts import Places

NOW = 1795262400.0
"""2026-11-21, 12:00 UTC."""
ABOUT: dict[str, Any] = {
    "hostname": "relay.example.com",
    "listeners": [["25", "trusted networks"], ["587", "logins, after STARTTLS"]],
    "ways": [
        {
            "senders": [],
            "more_senders": 0,
            "to": ["[smtp.example.com]:587", "[backup.example.com]:587"],
            "tls": "over TLS only, certificate verified",
            "login": True,
        }
    ],
    "domains": [],
    "more_domains": 0,
    "password": True,
    "addresses": "full",
}
_GREYLISTED = (
    "host smtp.example.com[192.0.2.25] said: 451 4.7.1 Greylisted, please try again in 5 minutes "
    "(in reply to RCPT TO command)"
)
_TIMED_OUT = "connect to smtp.example.com[192.0.2.25]:587: Connection timed out"
_PEOPLE = ("ann", "bob", "carol", "dave", "erin", "frank", "grace", "heidi")


class Told(Places):
    """Gives these answers in the place of files, keeper and health program; None and "" are those that are away."""

    def __init__(self, answers: dict[str, Any], about: dict[str, Any] | None = None) -> None:
        super().__init__()
        self._answers = answers
        self._files = {
            self.about: json.dumps(ABOUT if about is None else about),
            self.build: "0.1.0\n4bac43786ac0\n",
            self.certificates: answers.get("certificates", ""),
        }

    def read(self, path: str) -> str:
        return str(self._files.get(path, ""))

    def ask(self, question: str, patience: float = 0.0) -> Any:
        assert patience >= 0
        return json.loads(json.dumps(self._answers.get(question)))

    def ready(self) -> list[tuple[str, str, str]]:
        checks: list[tuple[str, str, str]] = self._answers.get("checks", [("ok", "keeper", "")])
        return checks


def a_good_day(now: float = NOW) -> dict[str, Any]:
    return {
        "counts": counts(now - 4, deferred=(7, 1690.0)),
        "minutes": {"since": now - 2.3 * 86400, "into": 30.0, "bounds": [*BOUNDS], "minutes": _rows()},
        "queue": {
            "at": now - 3,
            "count": 7,
            "reasons": [
                {"name": "reply_to_recipient", "count": 5, "oldest": now - 1690, "text": _GREYLISTED},
                {"name": "timeout", "count": 1, "oldest": now - 640, "text": _TIMED_OUT},
                {"name": "untried", "count": 1, "oldest": now - 1, "text": ""},
            ],
            "domains": [
                {"name": "example.org", "count": 4, "oldest": now - 1690, "text": "reply_to_recipient"},
                {"name": "example.net", "count": 2, "oldest": now - 640, "text": "timeout"},
                {"name": "shop.example", "count": 1, "oldest": now - 1, "text": "untried"},
            ],
            "more": 0,
        },
        "stories": [_left(now, number) for number in range(99)],
        "stories waiting": [
            story(
                now - 61,
                recipients=[attempt("judy@example.org", "deferred", "4.7.1", _GREYLISTED)],
            )
        ],
    }


def counts(last: float, deferred: tuple[int, float] = (0, 0.0)) -> dict[str, Any]:
    """When the last delivery was; depth and oldest message of the deferred queue."""
    queues = dict.fromkeys(("maildrop", "incoming", "active", "hold", "corrupt"), (0, 0.0))
    found = {name: {"depth": d, "oldest": o} for name, (d, o) in {**queues, "deferred": deferred}.items()}
    return {"queues": found, "last_delivery": last}


def attempt(to: str, status: str, dsn: str, reason: str, delay: float = 0.6) -> dict[str, Any]:
    relay = "smtp.example.com[192.0.2.25]:587"
    return {"to": to, "relay": relay, "dsn": dsn, "status": status, "reason": reason, "delay": delay}


def story(arrived: float, recipients: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "queue_id": "4jWyDY0YgDz5nFW",
        "client_name": "shop.internal",
        "client": "10.0.0.7",
        "from": "orders@example.com",
        "message_id": f"<{arrived:.0f}@shop.example.com>",
        "arrived": arrived,
        "size": 18240,
        "nrcpt": len(recipients),
        "sent": 0,
        "bounced": 0,
        "recipients": recipients,
        **more,
    }


def _left(now: float, number: int) -> dict[str, Any]:
    chance = random.Random(number)
    to = f"{chance.choice(_PEOPLE)}@{chance.choice(('example.net', 'example.org', 'shop.example'))}"
    left = now - 4 - 9 * number
    if number == 3:
        refused = (
            "host smtp.example.com[192.0.2.25] said: 550 5.1.1 no such user (in reply to RCPT TO command)"
        )
        gone = [attempt(to, "bounced", "5.1.1", refused)]
        return story(left - 0.7, gone, left=left, outcome="bounced", bounced=1)
    delay = round(chance.uniform(0.3, 2.4), 2)
    took = [attempt(to, "sent", "2.0.0", f"250 2.0.0 Ok: queued as {chance.randrange(16**10):010X}", delay)]
    return story(left - delay, took, left=left, outcome="sent", sent=1)


def _rows() -> list[list[int]]:
    chance = random.Random(7)
    rows = []
    for minute in range(60):
        sent = round(9 + 4 * math.sin(minute / 7) + 4 * chance.random())
        deferred = chance.randint(1, 3) if minute in (31, 32, 33, 49) else 0
        buckets = [0] * (len(BOUNDS) + 1)
        for _ in range(sent):
            buckets[min(max(round(chance.gauss(2.6, 1.1)), 0), len(BOUNDS))] += 1
        rows.append([sent + deferred, sent, deferred, int(minute == 59), *buckets])
    return rows
