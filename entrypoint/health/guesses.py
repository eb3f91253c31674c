"""Who may see the page: the keeper compares passwords, and a wrong one makes its sender wait."""

from __future__ import annotations

import time
from _thread import allocate_lock  # threading costs 0.3 MB

from entrypoint import log, runtime
from entrypoint.health import asking

# Seconds: for the keeper, after a wrong password before the same address may try another, for that turn to come, and between
# two warnings.
_PATIENCE = 2.0
_PENALTY = 0.25
_WAIT = 2.0
_QUIET = 60.0
_GLANCE = 0.02
# Addresses that gave a wrong one. Somebody with more of them makes all others wait, too: it is so many guesses in a second.
_MOST = 8
# Viewers that wait for their turn, of one address and in all: each has a place (entrypoint/health/places.py).
_LINE = 8
_LINES = 16
_BASE64 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
# Of the keeper's questions.
_LONGEST = 2000


class Guesses:
    """An address that gave a wrong password has one looked at every `penalty` seconds, in the order in which they come: who
    has the address of a guesser (behind a published port everybody has the gateway's) waits, and is let in.
    """

    def __init__(self, keeper: str = runtime.KEEPER, penalty: float = _PENALTY, wait: float = _WAIT) -> None:
        self._keeper = keeper
        self._penalty = penalty
        self._wait = wait
        self._lock = allocate_lock()
        self._lines: dict[str, list[object]] = {}
        self._held: dict[str, float] = {}
        self._quiet_until = float("-inf")
        self.wrong = 0
        """Passwords, so far."""

    def judge(self, client: str, credentials: str | None) -> int:
        """The status for this viewer: 200, 401, or 429 for one whose turn does not come. `credentials` are the Basic scheme's.

        Raises OSError if the keeper does not answer.
        """
        if not credentials:
            return 401
        ticket = object()
        with self._lock:
            line = self._lines.get(client, [])
            full = len(line) >= _LINE or sum(map(len, self._lines.values())) >= _LINES
            if full and self._must_wait(client):
                return 429
            line.append(ticket)
            self._lines[client] = line
        try:
            return self._in_turn(client, credentials, ticket)
        finally:
            with self._lock:
                line.remove(ticket)
                if not line:
                    del self._lines[client]

    def _in_turn(self, client: str, credentials: str, ticket: object) -> int:
        deadline = time.monotonic() + self._wait
        while True:
            # One after the other: two at once from one address would be two guesses.
            with self._lock:
                if self._lines[client][0] is ticket and not self._must_wait(client):
                    return self._judged(client, credentials)
            if time.monotonic() > deadline:
                return 429
            time.sleep(_GLANCE)

    def _must_wait(self, client: str) -> bool:
        now = time.monotonic()
        self._held = {who: until for who, until in self._held.items() if until > now}
        return client in self._held or len(self._held) >= _MOST

    def _judged(self, client: str, credentials: str) -> int:
        if self._right(credentials):
            return 200
        self._held[client] = time.monotonic() + self._penalty
        self._note(client)
        return 401

    def _right(self, credentials: str) -> bool:
        if len(credentials) > _LONGEST or not _BASE64.issuperset(credentials.encode("utf-8", "replace")):
            return False
        deadline = time.monotonic() + _PATIENCE
        while (said := self._asked(credentials)) == "wait" and time.monotonic() < deadline:
            time.sleep(_GLANCE)
        return said == "yes"

    def _asked(self, credentials: str) -> str:
        return asking.ask(f"page-password {credentials}", _PATIENCE, self._keeper).strip()

    def _note(self, client: str) -> None:
        self.wrong += 1
        if time.monotonic() < self._quiet_until:
            return
        self._quiet_until = time.monotonic() + _QUIET
        log.write(
            f"warning: wrong password for the page (HEALTH_PAGE_PASSWORD) from {client.removeprefix('::ffff:')} "
            f"({self.wrong} so far; told once a minute)",
            "postern/health",
        )
