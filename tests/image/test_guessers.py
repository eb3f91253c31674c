"""Row C12 in numbers: how fast a guesser who never gives up can guess; and the lines by which outside tools ban clients."""

from __future__ import annotations

import threading
import time
from typing import Self

import pytest
from docker.models.networks import Network

from tests.image import engine
from tests.image.backends import log_in, login
from tests.image.conftest import StartRelay
from tests.image.relay import Relay, someone
from tests.image.sink import Sink
from tests.image.stations import Client
from tests.image.test_topologies_clients import submission
from tests.image.waiting import until

GUESSED = [f"app{number}@example.com" for number in range(12)]
OTHER, PASSWORD = "other@example.com", "correct horse"
GUESSES_A_MINUTE = 10
COUNTED = 4
"""Guesses that are looked at after the limit, at the least: the address is slowed, and not shut out."""


class Guesser(threading.Thread):
    """From the test host's address, one guess after the other on one port, until it is told to stop."""

    def __init__(self, relay: Relay, port: int) -> None:
        super().__init__()
        self._relay, self._port = relay, port
        self._ended = threading.Event()
        self.answers: list[tuple[float, str]] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        while not self._ended.is_set():
            with submission(self._relay, self._port) as session:
                session.ehlo()
                told = log_in(session, GUESSED[len(self.answers) % len(GUESSED)], f"guess{len(self.answers)}")
                self.answers.append((time.monotonic(), told[:9]))


def test_after_the_limit_fewer_than_ten_guesses_a_minute_are_looked_at_and_others_log_in_at_once(
    start_relay: StartRelay, client: Client, network: Network, sink: Sink
) -> None:
    """Two guess at the same time from one trusted address, each on a port of its own, and count as one.

    They go round the names of twelve who have logged in from there; another logs in from there as if nothing was.
    """
    names = [*GUESSED, OTHER]
    relay = start_relay(
        {"SMTPD_SASL_USERS": ",".join(f"{name}:{PASSWORD}" for name in names)}, ports=(587, 465)
    )
    assert [login(relay, name, PASSWORD)[:3] for name in names] == ["235"] * len(names)
    with Guesser(relay, 587) as one, Guesser(relay, 465) as another:
        relay.logged(r"warning: logins from \S+ are slowed")
        slowed = time.monotonic()

        def looked_at() -> list[float]:
            return sorted(
                when
                for when, told in (*one.answers, *another.answers)
                if told.startswith("535") and when > slowed
            )

        until(
            f"a minute has passed, and {COUNTED} more guesses were looked at",
            lambda: time.monotonic() > slowed + 60 and len(looked_at()) >= COUNTED,
            deadline=120,
            needs=[relay.container],
        )
        assert login(relay, OTHER, PASSWORD).startswith("235 ")
        right = ("--tls", "--auth", "PLAIN", "--auth-user", GUESSED[0], "--auth-password", PASSWORD)
        address = engine.address(relay.container, network)
        sent = client.swaks(f"{address}:587", to := someone(), *right, sender=GUESSED[0])
        assert sent.status == 0, sent.output
    assert sink.mail(to)
    times = looked_at()
    assert max(sum(start <= when < start + 60 for when in times) for start in times) < GUESSES_A_MINUTE
    for guesser in (one, another):
        told = [answer for _, answer in guesser.answers]
        assert set(told) == {"535 5.7.8", "454 4.7.0"}
        assert told.count("454 4.7.0") > COUNTED, "this guesser gave up by itself"


LIMITS = {
    "SMTPD_CLIENT_CONNECTION_RATE_LIMIT": "Connection rate limit exceeded",
    "SMTPD_CLIENT_MESSAGE_RATE_LIMIT": "Message delivery request rate limit exceeded",
    "SMTPD_CLIENT_RECIPIENT_RATE_LIMIT": "Recipient address rate limit exceeded",
}


@pytest.mark.parametrize("setting", LIMITS)
def test_a_line_names_the_client_above_a_limit_while_others_mail_arrives(
    start_relay: StartRelay, client: Client, network: Network, sink: Sink, setting: str
) -> None:
    relay = start_relay({setting: "2"})
    address = engine.address(relay.container, network)
    itself = engine.address(client.container, network)
    taken = [client.swaks(address, someone()).status == 0 for _ in range(3)]
    assert taken == [True, True, False]
    assert f"{LIMITS[setting]}: 3 from unknown[{itself}]" in relay.logged("limit exceeded")
    relay.send(to := someone())
    assert sink.mail(to)
