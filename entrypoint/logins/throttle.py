"""Guessing is slowed by client address. Postfix can only count AUTH commands (smtpd_client_auth_rate_limit), and an
honest program may log in for each of a thousand mails: what is counted here is failures.

An address may be that of many: of all who are behind a NAT, or of the whole world where an engine hides who connects.
So of the few guesses that a slowed address has, some are kept for logins that were right from there before, and each
such login can spend one of them; it has to be right again, for which it takes a turn, to spend another. One guesser, or one program
with an old password, does not lock out the others. What comes with the right password costs nothing.

Who guesses at such a login's name has it wait for the turns that are left, and cannot be told from its owner.
"""

from __future__ import annotations

import socket
import threading
import time

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MINUTE = 60.0
MOST_WRONG = 9
"""How many attempts from a slowed address may turn out to be wrong in a minute, whatever logins they name."""
KEPT = 3
"""How many of these are for logins that were right from there and have not failed since."""
INTERVAL = 10.0
"""Seconds between two attempts of all others, at the least."""
FORGOTTEN = 600.0
"""Seconds without a failure, after which an address is as good as any other."""
PATIENCE = 2.0
"""Seconds to wait for the answers to other attempts. Postfix waits for 10 s, and the check itself takes some."""
_REMEMBERED = 10_000


class _Client:
    __slots__ = ("failed", "slowed", "turn", "wrong")

    def __init__(self) -> None:
        # When, and which login: as a hash, because a name may have thousands of letters.
        self.wrong: list[tuple[float, int]] = []
        self.failed = float("-inf")
        self.slowed = False
        self.turn = 0.0

    def slow(self, now: float) -> bool:
        return self.slowed and now - self.failed <= FORGOTTEN

    def lately(self, now: float) -> list[int]:
        """The logins of the last minute's failures, and once it is slowed, of those since then."""
        self.wrong = [(when, login) for when, login in self.wrong if now - when < MINUTE]
        return [login for _, login in self.wrong]

    def add(self, now: float, login: str, limit: int) -> int:
        """If it is slowed from now on: how many there were in a minute; else 0."""
        slow = self.slow(now)
        failures = len(self.lately(now)) + 1
        self.wrong.append((now, hash(login)))
        self.failed = now
        self.slowed = slow or failures > limit
        if slow or not self.slowed:
            return 0
        self.wrong, self.turn = [], now
        return failures


class Throttle:
    """`limit` is how many failures within a minute are nobody's business; 0 means any number."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._answered = threading.Condition()
        # Who failed last comes last.
        self._clients: dict[str, _Client] = {}
        # Address and login; who was right last comes last. Whether there was no failure since.
        self._known: dict[tuple[str, str], bool] = {}
        # The logins that are being looked at.
        self._checking: dict[str, list[str]] = {}

    def admits(self, address: str, login: str = "") -> bool:
        """Whether this attempt may be checked; then `checked` must follow. One that may not is neither right nor wrong.

        Blocks for up to PATIENCE seconds while that depends on the answers to others: each may be a wrong one.
        """
        who = _who(address)
        with self._answered:
            self._answered.wait_for(lambda: self._verdict(who, login) is not None, PATIENCE)
            if not self._verdict(who, login):
                return False
            if (client := self._clients.get(who)) and not self._known.get((who, login)):
                client.turn = self._clock()
            self._checking.setdefault(who, []).append(login)
            return True

    def checked(self, address: str, login: str = "") -> None:
        """Ends what `admits` began, after `succeeded` or `failed` or with no answer at all."""
        who = _who(address)
        with self._answered:
            self._checking[who].remove(login)
            if not self._checking[who]:
                del self._checking[who]
            self._answered.notify_all()

    def succeeded(self, address: str, login: str) -> None:
        """Notes a login that was right."""
        with self._answered:
            key = _who(address), login
            self._known.pop(key, None)
            self._known[key] = True
            _forget_oldest(self._known)

    def failed(self, address: str, login: str = "") -> int:
        """Notes a wrong login. If the address is slowed from now on: how many there were in a minute; else 0."""
        if not self._limit:
            return 0
        with self._answered:
            who = _who(address)
            if (who, login) in self._known:
                self._known[who, login] = False
            client = self._clients[who] = self._clients.pop(who, _Client())
            _forget_oldest(self._clients)
            return client.add(self._clock(), login, self._limit)

    def _verdict(self, who: str, login: str) -> bool | None:
        """None if it depends on the answers to others."""
        now = self._clock()
        client = self._clients.get(who)
        if not client or not client.slow(now):
            return True
        wrong, checking = len(client.lately(now)), self._checking.get(who, [])
        trusted = self._known.get((who, login))
        if not trusted and now - client.turn < self._pause(who, login, client):
            return False
        if wrong >= (MOST_WRONG if trusted else MOST_WRONG - KEPT):
            return False
        # Else as many guesses at one login as come at the same time could take all places.
        if (trusted and login in checking) or wrong + len(checking) >= MOST_WRONG:
            return None
        return True

    def _pause(self, who: str, login: str, client: _Client) -> float:
        """Who failed lately lets the others go first, or the most eager one would get each turn.

        So does who was never right, or one who makes up names would.
        """
        failed = hash(login) in client.lately(self._clock())
        return INTERVAL * (1 + failed + ((who, login) not in self._known) / 2)


def _forget_oldest(known: dict[Any, Any]) -> None:
    if len(known) > _REMEMBERED:
        del known[next(iter(known))]


def _who(address: str) -> str:
    """The address, or the network of a public IPv6 address: who has one has 2^64."""
    if not address.startswith(("2", "3")) or ":" not in address:
        return address
    try:
        return socket.inet_pton(socket.AF_INET6, address)[:8].hex()
    except OSError:
        return address
