"""A small machine, or a Pod's limit: the relay is slower, and loses nothing."""

from __future__ import annotations

import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest
from docker.models.networks import Network

from entrypoint.config.policy.memory import LEAST
from tests.chaos.ledger import Attempt, Ledger, Outcome
from tests.chaos.sender import LOGIN, PASSWORD, Load, Senders, hand_over
from tests.chaos.witness import Witness
from tests.image import engine, inside
from tests.image.conftest import StartRelay
from tests.image.engine import Engine
from tests.image.relay import CAPABILITIES, Environment, Relay
from tests.image.sink import Sink
from tests.image.tls import Certificates
from tests.image.waiting import until

# A program that gets no memory for long may end itself; mail that is put off by that is tried again while the test waits.
RETRIES: Environment = {"QUEUE_RUN_DELAY": "10s", "POSTFIX_minimal_backoff_time": "10s"}
LOAD = Load(sessions=20, size=10_000)
SECONDS = 180.0
LARGE = b"All work and no play makes Jack a dull boy.\r\n" * (10_000_000 // 45)
AGENT_MB = 24
README = Path(__file__).parents[2] / "README.md"
# Version 2 of control groups, or version 1.
COUNTERS = "cat /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control 2>/dev/null"


@pytest.fixture
def network_of_its_own(docker: Engine) -> Iterator[Network]:
    made = docker.network()
    yield made
    docker.remove(made)


@dataclass
class Operator:
    """Looks at the relay by every means, all the time."""

    relay: Relay
    pages: tuple[str, ...] = ("/metrics", "/")
    readiness: list[str] = field(default_factory=list)
    queue: list[engine.Result] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        assert [answer for answer in self.readiness if not answer.startswith("200 ")] == []
        assert [result for result in self.queue if result.status] == []

    def _look(self) -> None:
        while not self._ended.wait(1.0):
            self.readiness.append(self.relay.readiness())
            for page in self.pages:
                self._ask(page)
            self.queue.append(self.relay.exec("postern", "queue"))

    def _ask(self, page: str) -> None:
        """Where memory or time runs short, the page is given up first, and says so."""
        try:
            get(self.relay, page)
        except urllib.error.HTTPError as error:
            if (page, error.code) != ("/", 503):
                raise
            unshown.append(error.read().decode())


unshown: list[str] = []
"""What the page said in its stead; each may be a program that the kernel ended in the place of one that mail needs."""


def get(relay: Relay, path: str) -> str:
    url = f"http://127.0.0.1:{engine.published(relay.container, 9154)}{path}"
    with urllib.request.urlopen(url, timeout=20) as answer:
        text: str = answer.read().decode()
    return text


@dataclass
class Lab:
    docker: Engine
    network: Network
    certificates: Certificates
    start_relay: StartRelay
    journal: Path

    @contextmanager
    def relay(
        self, mib: int, env: Environment | None = None, ports: tuple[int, ...] = (25,)
    ) -> Iterator[tuple[Relay, Ledger]]:
        """One with so much memory, and an upstream; without swap, or any limit would do. Nothing may be killed or lost."""
        unshown.clear()
        self.journal.chmod(0o777)
        upstream = Sink(self.docker, self.network, self.certificates, "sink", journal=self.journal)
        limit = {"mem_limit": f"{mib}m", "memswap_limit": f"{mib}m"}
        relay = self.start_relay({**RETRIES, **(env or {})}, network=self.network, ports=ports, **limit)
        ledger = Ledger()
        with Witness(self.journal / "received", ledger):
            yield relay, ledger
            until(
                "all have arrived",
                lambda: not ledger.waiting(),
                deadline=SECONDS,
                needs=[relay.container],
                state=ledger.waiting,
            )
        # A client may have to wait until a place is free, and give up; nobody is refused or cut off.
        assert ledger.outcomes().keys() <= {Outcome.ACCEPTED, Outcome.UNSENT}
        assert ledger.duplicates() == []
        assert killed_for_memory(relay) <= len(unshown)
        relay.wait_until_ready()
        self.docker.remove(relay.container, upstream.container)


@pytest.fixture
def lab(
    docker: Engine,
    network_of_its_own: Network,
    certificates: Certificates,
    start_relay: StartRelay,
    tmp_path: Path,
) -> Lab:
    return Lab(docker, network_of_its_own, certificates, start_relay, tmp_path)


def killed_for_memory(relay: Relay) -> int:
    [count] = re.findall(r"^oom_kill (\d+)$", relay.exec("sh", "-c", COUNTERS).output, re.MULTILINE)
    return int(count)


def burst(relay: Relay, ledger: Ledger, load: Load, messages: int) -> None:
    ports = {port: engine.published(relay.container, port) for port in (25, *([587] if load.logins else []))}
    senders = Senders(ledger, load, ports.__getitem__, seed=0)
    senders.start()
    try:
        until(
            f"{messages} messages are accepted",
            lambda: ledger.outcomes()[Outcome.ACCEPTED] >= messages,
            deadline=SECONDS,
            needs=[relay.container],
            state=ledger.outcomes,
        )
    finally:
        senders.end()


def test_with_64_mb_a_burst_and_a_large_mail_are_delivered_while_somebody_looks_on(lab: Lab) -> None:
    """1,000 messages of 10 kB by 20 clients at once, over TLS to the upstream, and one of 10 MB; nothing is set for it."""
    with lab.relay(64, {"LOG_FORMAT": "json"}) as (relay, ledger):
        relay.logged(
            "has 64 MB of memory, by the container's limit: at most 2 at once of the clients at a port"
        )
        with Operator(relay) as operator:
            burst(relay, ledger, LOAD, 1000)
            with relay.smtp() as session:
                session.ehlo()
                outcome, answer = hand_over(session, "large", LARGE)
            ledger.sent(Attempt("large", outcome, time.time(), answer))
            assert outcome is Outcome.ACCEPTED
        assert operator.readiness


def test_with_64_mb_clients_may_log_in_over_tls(lab: Lab) -> None:
    """With three ports, and one more program that checks passwords, there is room for one client at each, not for the page."""
    users: Environment = {"SMTPD_SASL_USERS": f"{LOGIN}:{PASSWORD}"}
    with lab.relay(64, users, ports=(25, 587)) as (relay, ledger), Operator(relay, ("/metrics",)):
        burst(relay, ledger, Load(sessions=12, size=10_000, logins=True), 200)


def test_the_smallest_limit_that_the_readme_names_is_enough_for_the_burst(lab: Lab) -> None:
    assert f"--memory {LEAST}m --memory-swap {LEAST}m" in README.read_text()
    with lab.relay(LEAST) as (relay, ledger):
        assert "are less than" not in relay.logs()
        burst(relay, ledger, LOAD, 1000)


def test_a_limit_that_is_too_small_is_said_before_anything_else(start_relay: StartRelay) -> None:
    mib = LEAST - 8
    relay = start_relay(mem_limit=f"{mib}m", memswap_limit=f"{mib}m", wait=False)
    relay.logged("listens on 25")
    assert (
        f"warning: {mib} MB of memory, the container's limit, are less than" in relay.logs().splitlines()[0]
    )


def test_clients_who_wait_get_their_turn_and_the_relay_stays_ready(start_relay: StartRelay) -> None:
    """As long as those before them hand in mail: others who only hold their places make the port as good as dead."""
    relay = start_relay(mem_limit="64m", memswap_limit="64m")
    sessions = [relay.smtp(), relay.smtp()]
    port = engine.published(relay.container, 25)
    with socket.create_connection(("127.0.0.1", port), 1.0) as third, pytest.raises(TimeoutError):
        third.recv(100)
    until("the port is not ready", lambda: "failed listener 25: timed out" in relay.readiness())
    sessions[0].ehlo()
    hand_over(sessions[0], "turn", b"Subject: a turn\r\n\r\n")
    until(
        "the port is busy",
        lambda: "200 " in (told := relay.readiness()) and "warning listener 25: busy" in told,
    )
    for session in sessions:
        session.close()
    until("the port is ready", lambda: "ok listener 25" in relay.readiness())


def test_what_is_added_to_postfix_takes_at_most_24_mb_with_thousands_of_stories(
    start_relay: StartRelay,
) -> None:
    """JSON, metrics, and more recipients that were tried in vain than are remembered: the most that there can be."""
    env: Environment = {"LOG_FORMAT": "json", "RELAYHOST": "[sink]:9", "UPSTREAM_CHECK": "off"}
    # Else not even root may read what memory another user's program has.
    relay = start_relay(env, cap_add=[*CAPABILITIES, "SYS_PTRACE"])
    text = b"Subject: to many\r\n\r\nOne line.\r\n.\r\n"
    with relay.smtp() as session:
        session.ehlo()
        for message in range(100):
            session.mail("app@example.com")
            for recipient in range(80):
                session.rcpt(f"somebody.with.a.long.name.{message}.{recipient}@example.org")
            session.docmd("DATA")
            session.send(text)
            assert session.getreply()[0] == 250
    tried = 'postern_deliveries_total{status="deferred",upstream="sink:9"} 8000.0'
    until("all were tried", lambda: tried in get(relay, "/metrics"), deadline=60.0, needs=[relay.container])
    get(relay, "/")
    assert agent_bytes(relay) <= AGENT_MB * 1e6


def agent_bytes(relay: Relay) -> int:
    """Of the keeper and the health program: all memory that is theirs, and their share of what they share (PSS)."""
    total = 0
    for name in ("keeper", "health"):
        path = f"/proc/{inside.the(relay, name).pid}/smaps_rollup"
        [kilobytes] = re.findall(r"^Pss: +(\d+) kB$", relay.exec("cat", path).output, re.MULTILINE)
        total += int(kilobytes) * 1024
    return total
