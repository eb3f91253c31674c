"""A stop: what is queued goes out, nobody hands in more, and nothing that got its 250 is lost or sent twice."""

from __future__ import annotations

import json
import re
import smtplib
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.image import engine
from tests.image.conftest import StartRelay
from tests.image.relay import Environment, Relay, letter, someone
from tests.image.sink import Sink
from tests.image.waiting import until

# Nothing listens there: mail is deferred.
NOWHERE = "[sink]:2599"
# `docker stop` kills then.
DOCKER = 10
LOGIN = ("app@example.com", "secret")
# As Debian's own master.cf has it: the lists of main.cf do not count there.
OWN_LISTENER = "30 inet n - n - - smtpd -o smtpd_client_restrictions="
LISTENERS = "25:relay 26:submission 27:submissions 28:inbound 29:inbound:haproxy"
# Whoever is let in by lists of the user's own is told, too.
PERMITTING: Environment = {
    "POSTFIX_smtpd_client_restrictions": "permit_mynetworks, permit",
    "POSTFIX_smtpd_sender_restrictions": "permit",
}
REFUSED = (421, r"4\.3\.2 .*this relay is stopping, try again later")


def own_seconds(relay: Relay) -> float:
    """As the relay itself measured its stop: the engine's part is no promise of ours."""
    return float(relay.logged(r"stopped after").partition("stopped after ")[2].partition(" s")[0])


def begin_stop(relay: Relay) -> None:
    relay.container.kill(signal="SIGTERM")


def stop(relay: Relay, timeout: int = DOCKER) -> tuple[int, float]:
    """Exit code, and seconds; at `timeout` the engine kills, and the code is 137."""
    began = time.monotonic()
    relay.container.stop(timeout=timeout)
    return relay.exit_code(), time.monotonic() - began


def hang(relay: Relay, sink: Sink) -> str:
    """The queue id of a mail whose delivery the upstream does not answer: the stop waits for it."""
    sink.behave(hang=["mail"])
    relay.send(someone(), sender := someone())
    until("the relay tries to deliver", lambda: "MAIL" in sink.commands(), needs=[relay.container])
    return queue_id(relay.logged(rf"from=<{sender}>.*queue active"))


def defer(relay: Relay) -> str:
    relay.send(to := someone())
    return queue_id(relay.logged(rf"to=<{to}>.*status=deferred"))


def queue_id(line: str) -> str:
    return line.partition("]: ")[2].partition(": ")[0]


class Sender(threading.Thread):
    """Sends on one session until it is told to go, and knows what got its 250."""

    def __init__(self, relay: Relay, number: int, at_most: int = 100_000) -> None:
        super().__init__(daemon=True)
        self._at_most = at_most
        self._session = relay.smtp()
        self._name = someone(f"{number}.example")
        self.accepted: list[str] = []
        self.told: object = None

    def run(self) -> None:
        try:
            self._send()
        finally:
            self._session.close()

    def _send(self) -> None:
        for count in range(self._at_most):
            to = f"{count}-{self._name}"
            try:
                self._session.send_message(letter(to), "app@example.com", [to])
            except smtplib.SMTPRecipientsRefused as error:
                self.told = error.recipients[to]
                return
            except (smtplib.SMTPException, OSError) as error:
                self.told = error
                return
            self.accepted.append(to)


@pytest.mark.flaky(rerun_except="^AssertionError")
@pytest.mark.parametrize(
    ("limit", "delay", "empty"), [("60s", 0.0, True), ("3s", 0.4, False)], ids=["in_time", "too_slow"]
)
def test_every_250_of_eight_sessions_during_a_stop_arrives_exactly_once(
    start_relay: StartRelay, sink: Sink, limit: str, delay: float, empty: bool
) -> None:
    """Whether all goes out in time, or the rest at the next start."""
    relay = start_relay({"DRAIN_TIMEOUT": limit, "POSTFIX_default_destination_concurrency_limit": "5"})
    sink.behave(delay={"message": delay})
    senders = [Sender(relay, number) for number in range(8)]
    for sender in senders:
        sender.start()
    until("sixty are accepted", lambda: sum(len(s.accepted) for s in senders) > 60)
    code, _ = stop(relay, timeout=70)
    for sender in senders:
        sender.join(timeout=20)
    assert (code, own_seconds(relay) < float(limit[:-1]) + 1) == (0, True)
    for sender in senders:
        assert isinstance(sender.told, tuple), sender.told
        assert sender.told[0] == REFUSED[0]
    assert ("the spool is empty" in relay.logs()) == empty
    sink.behave(delay={})
    start_again_and_deliver(relay)
    accepted = [to for sender in senders for to in sender.accepted]
    received = Counter(arrived(sink))
    assert {to: received[to] for to in accepted} == dict.fromkeys(accepted, 1)


@pytest.mark.flaky(rerun_except="^AssertionError")
@pytest.mark.parametrize("recovers", [True, False])
def test_by_default_a_stop_with_hundreds_queued_ends_before_docker_kills_and_none_is_lost(
    start_relay: StartRelay, sink: Sink, *, recovers: bool
) -> None:
    """All go out at once when the upstream recovers in time; those that cannot go out are the next start's."""
    relay = start_relay({"POSTFIX_default_destination_concurrency_limit": "5"})
    sink.behave(delay={"message": 1.0})
    sender = Sender(relay, 0, at_most=300)
    sender.run()
    assert len(sender.accepted) == 300
    # As `docker stop` does it: SIGTERM, and SIGKILL after 10 s, which the exit code would show.
    begin_stop(relay)
    if recovers:
        relay.logged("delivering what is queued, 7 s at the most")
        sink.behave(delay={})
    assert relay.exit_code(deadline=DOCKER) == 0
    assert own_seconds(relay) < DOCKER - 1
    assert ("the spool is empty" in relay.logs()) == recovers
    sink.behave(delay={})
    if not recovers:
        [count, ids] = left(relay)
        assert count == len(ids) > 200
        start_again_and_deliver(relay)
    received = Counter(arrived(sink))
    assert {to: received[to] for to in sender.accepted} == dict.fromkeys(sender.accepted, 1)


def start_again_and_deliver(relay: Relay) -> None:
    relay.container.start()
    relay.wait_until_ready()
    until(
        "the queue is empty",
        lambda: relay.queue() == "0 messages waiting\n",
        deadline=40,
        needs=[relay.container],
        state=relay.queue,
    )


def left(relay: Relay) -> tuple[int, set[str]]:
    """How many messages stay, and which, by the log of the first stop."""
    [count] = re.findall(r"(\d+) stays? in the spool", relay.logs())
    named = re.findall(r"stay, as the time was up: (.*)", relay.logs())
    return int(count), {name for line in named for name in line.split()}


def arrived(sink: Sink) -> Iterator[str]:
    """The recipients of every message that the sink took, by its log."""
    for line in sink.container.logs().decode().splitlines():
        if line.startswith("{") and (event := json.loads(line))["event"] == "message":
            yield from event["rcpt_tos"]


def recipient_answer(relay: Relay, port: int) -> tuple[int, bytes]:
    """What a client of a listener is told about a recipient that was welcome before."""
    if port == 27:
        session: smtplib.SMTP = smtplib.SMTP_SSL(
            "127.0.0.1",
            engine.published(relay.container, port),
            timeout=20,
            context=ssl._create_unverified_context(),
        )
    elif port == 29:
        session = Proxied("127.0.0.1", engine.published(relay.container, port), timeout=20)
    else:
        session = relay.smtp(port)
    with session:
        if port == 26:
            session.starttls(context=ssl._create_unverified_context())
        if port in (26, 27):
            session.login(*LOGIN)
        session.ehlo_or_helo_if_needed()
        session.mail(LOGIN[0])
        return session.rcpt(someone("example.com"))


class Proxied(smtplib.SMTP):
    """A client behind a load balancer that names its address."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        line = socket.create_connection((host, port), timeout)
        line.sendall(b"PROXY TCP4 192.0.2.1 127.0.0.1 40000 29\r\n")
        return line


@pytest.mark.parametrize("postscreen", ["no", "yes"])
def test_on_every_listener_clients_are_told_to_go_whatever_other_lists_permit(
    start_relay: StartRelay, sink: Sink, postscreen: str
) -> None:
    env: Environment = {
        "LISTEN": LISTENERS,
        "DRAIN_TIMEOUT": "1h",
        "SMTPD_SASL_USERS": ":".join(LOGIN),
        "RELAY_DOMAINS": "example.com [sink]:25",
        "POSTSCREEN": postscreen,
        "POSTFIXMASTER_30__inet": OWN_LISTENER,
        "MYNETWORKS": "127.0.0.0/8 172.16.0.0/12 192.168.0.0/16 10.0.0.0/8",
        **PERMITTING,
    }
    ports = (25, 26, 27, 28, 29, 30)
    relay = start_relay(env, ports=ports)
    welcome = {port: recipient_answer(relay, port)[0] for port in ports}
    hang(relay, sink)
    begin_stop(relay)
    relay.logged("delivering what is queued, 3600 s at the most")
    told = {port: recipient_answer(relay, port) for port in ports}
    # On a relay port nobody may send to inside domains: they come in by the inbound one.
    assert [welcome[port] for port in ports[1:5]] == [250] * 4
    assert {port: code for port, (code, _) in told.items()} == dict.fromkeys(ports, REFUSED[0])
    assert all(re.match(REFUSED[1], text.decode()) for _, text in told.values())


def test_a_message_that_is_being_handed_in_is_finished_and_delivered_and_the_session_told_to_go(
    start_relay: StartRelay, sink: Sink
) -> None:
    relay = start_relay()
    with relay.smtp() as idle, relay.smtp() as session:
        idle.ehlo()
        session.ehlo()
        session.mail("app@example.com")
        session.rcpt(to := someone())
        assert session.docmd("DATA")[0] == 354
        begin_stop(relay)
        relay.logged("delivering what is queued, 7 s at the most")
        idle.mail("app@example.com")
        assert idle.rcpt(someone())[0] == REFUSED[0]
        session.send(b"Subject: late\r\n\r\nOne line.\r\n.\r\n")
        assert session.getreply()[0] == 250
    assert relay.exit_code() == 0
    assert len(sink.mail(to)) == 1
    assert re.search(r"stopped after .* 1 delivered; the spool is empty", relay.logs())


def test_readiness_says_so_while_the_queue_is_being_delivered(start_relay: StartRelay, sink: Sink) -> None:
    relay = start_relay()
    hang(relay, sink)
    begin_stop(relay)
    relay.logged("delivering what is queued, 7 s at the most")
    assert relay.readiness().startswith("503 failed running: the relay is being stopped")
    state = relay.exec("perl", "-MIO::Socket::UNIX", "-e", ASK).output
    assert '"left": 1' in state
    sink.behave(hang=[])
    assert relay.exit_code() == 0
    assert "1 delivered; the spool is empty" in relay.logs()


ASK = 'my $s = IO::Socket::UNIX->new("/run/postern/keeper"); print $s "state\\n"; print <$s>'


@pytest.mark.parametrize("status", [0, 75])
def test_mail_that_waits_for_its_next_try_is_named_and_not_waited_for(
    start_relay: StartRelay, status: int
) -> None:
    relay = start_relay({"RELAYHOST": NOWHERE, "DRAIN_LEFTOVERS_EXIT_STATUS": str(status)})
    ids = {defer(relay) for _ in range(2)}
    assert stop(relay)[0] == status
    assert own_seconds(relay) < 2
    relay_log = relay.logs()
    assert "warning: stopped after" in relay_log
    assert "0 delivered, 2 stay in the spool for the next start" in relay_log
    [named] = re.findall(r"stay, as their next try was not due: (.*)", relay_log)
    assert {*named.split()} == ids


def test_a_setting_for_leftovers_does_not_matter_when_none_are_left(start_relay: StartRelay) -> None:
    assert stop(start_relay({"DRAIN_LEFTOVERS_EXIT_STATUS": "75"}))[0] == 0


def test_a_stop_takes_no_longer_than_it_may_and_names_what_could_not_go_out(
    start_relay: StartRelay, sink: Sink
) -> None:
    """Longer than supervisor and the engine wait by themselves: both are told."""
    relay = start_relay({"DRAIN_TIMEOUT": "12s"})
    left = hang(relay, sink)
    assert stop(relay, timeout=15)[0] == 0
    assert 12 <= own_seconds(relay) < 13
    assert re.search(rf"stay, as the time was up: {left}\b", relay.logs())


def test_by_default_a_stop_ends_before_docker_kills(start_relay: StartRelay, sink: Sink) -> None:
    relay = start_relay()
    left = hang(relay, sink)
    code, seconds = stop(relay)
    assert (code, seconds < DOCKER - 1) == (0, True), f"exit code {code} after {seconds:.1f} s"
    assert re.search(rf"stay, as the time was up: {left}\b", relay.logs())


def test_a_second_signal_ends_a_stop_at_once(start_relay: StartRelay, sink: Sink) -> None:
    relay = start_relay({"DRAIN_TIMEOUT": "6h"})
    left = hang(relay, sink)
    begin_stop(relay)
    relay.logged("delivering what is queued, 21600 s at the most")
    began = time.monotonic()
    begin_stop(relay)
    assert relay.exit_code() == 0
    assert time.monotonic() - began < 3
    assert re.search(rf"stay, as the wait was cut short: {left}\b", relay.logs())


@pytest.mark.parametrize("mended", [True, False])
def test_with_time_enough_deferred_mail_is_tried_once_more_and_only_once(
    start_relay: StartRelay, sink: Sink, mended: bool
) -> None:
    relay = start_relay({"DRAIN_TIMEOUT": "1m"})
    sink.behave(replies={"rcpt": "451 4.3.0 try later"})
    defer(relay)
    if mended:
        sink.behave(replies={})
    code, seconds = stop(relay, timeout=65)
    assert (code, seconds < 8) == (0, True), f"exit code {code} after {seconds:.1f} s"
    assert sink.commands().count("RCPT") == 2
    assert ("1 delivered; the spool is empty" in relay.logs()) == mended
