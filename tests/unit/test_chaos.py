"""What the chaos run counts: a promise that was broken must show, whatever else happened at the time."""

from __future__ import annotations

import random
import smtplib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.chaos import events
from tests.chaos.__main__ import plan
from tests.chaos.ledger import (
    AFTER,
    BEFORE,
    LINE,
    RESTART,
    UNANSWERED,
    Attempt,
    Duplicate,
    Event,
    Ledger,
    Outcome,
    Said,
)
from tests.chaos.sender import Load, hand_over
from tests.chaos.witness import Witness
from tests.chaos.world import said
from tests.sink import Listen, Sink, Store

TEXT = b"Subject: a\r\n\r\nb\r\n"
KILL = Event("kill", "the container", 100.0, 100.5, doubles=True)
DISK = Event("disk", "full", 90.0, 110.0, doubles=False)
DROPS = Event("upstream", "drops after DATA, has it", 99.0, 102.0, doubles=True)


def accepted(message: str, moment: float = 100.0) -> Attempt:
    return Attempt(message, Outcome.ACCEPTED, moment, "250 2.0.0 Ok: queued as 4abc")


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def test_what_was_accepted_and_never_came_is_lost(ledger: Ledger) -> None:
    ledger.happened(KILL)
    ledger.happened(Event("kill", "qmgr", 200, 200, doubles=False))
    ledger.sent(accepted("a"))
    ledger.sent(accepted("b"))
    assert ledger.waiting() == 2
    ledger.arrived("b", 101)
    assert ledger.lost() == [(accepted("a"), [KILL])]
    assert any("lost" in line and " 1 " in line for line in ledger.report())


def test_what_comes_before_its_answer_is_not_lost(ledger: Ledger) -> None:
    ledger.arrived("a", 99)
    ledger.sent(accepted("a"))
    assert (ledger.lost(), ledger.waiting()) == ([], 0)


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.AMBIGUOUS, Outcome.UNSENT])
def test_what_was_not_promised_is_never_lost_and_is_told_when_it_comes(
    ledger: Ledger, outcome: Outcome
) -> None:
    ledger.sent(Attempt("a", outcome, 1))
    ledger.sent(Attempt("b", outcome, 1))
    ledger.arrived("b", 2)
    assert ledger.lost() == []
    assert ledger.against_the_answer() == {outcome: 1}


@pytest.mark.parametrize(
    ("first", "cause"),
    [
        (KILL.began - BEFORE, KILL),
        (KILL.ended + LINE, KILL),
        (KILL.began - BEFORE - 0.1, None),
        (KILL.ended + LINE + 0.1, None),
    ],
)
def test_a_duplicate_of_which_the_relay_noted_nothing_is_excused_by_a_kill_at_its_first_arrival_only(
    ledger: Ledger, first: float, cause: Event | None
) -> None:
    """What else happens leaves who waits for the answer alive, and he says what became of it."""
    ledger.happened(KILL)
    ledger.happened(DISK)
    ledger.happened(Event("upstream", "down", 90.0, 110.0, doubles=True))
    ledger.sent(accepted("a"))
    ledger.arrived("a", 150)
    ledger.arrived("a", first)
    assert ledger.duplicates() == [Duplicate("a", (first, 150), (str(cause) if cause else None,))]
    assert ledger.duplicates()[0].avoidable == (cause is None)


def test_each_further_arrival_needs_a_cause_of_its_own(ledger: Ledger) -> None:
    ledger.happened(KILL)
    for moment in (100, 120, 140):
        ledger.arrived("a", moment)
    [double] = ledger.duplicates()
    assert double.causes == (str(KILL), None)
    assert double.avoidable


@pytest.mark.parametrize(
    ("noted", "cause"),
    [(DROPS.began - LINE, DROPS), (DROPS.ended + AFTER, DROPS), (DROPS.ended + AFTER + 0.1, None)],
)
def test_a_connection_that_the_relay_lost_is_excused_by_what_cut_it_then(
    ledger: Ledger, noted: float, cause: Event | None
) -> None:
    """And not by a kill of somebody else, or by none: the relay may have cut it by itself."""
    ledger.happened(DROPS)
    ledger.said("a", noted, Said.CUT)
    for moment in (98, 120):
        ledger.arrived("a", moment)
    assert ledger.duplicates()[0].causes == (str(cause) if cause else None,)


def test_a_cut_of_another_messages_connection_excuses_nothing(ledger: Ledger) -> None:
    ledger.happened(DROPS)
    ledger.said("b", 100.0, Said.CUT)
    for moment in (100, 120):
        ledger.arrived("a", moment)
    assert ledger.duplicates()[0].avoidable


def test_what_could_not_be_logged_is_excused_by_the_kill_of_who_logs(ledger: Ledger) -> None:
    """Postfix then stands still, and its end catches who waits to say that the answer came."""
    for moment in (100, 120):
        ledger.arrived("a", moment)
    ledger.happened(DROPS)
    assert ledger.duplicates()[0].avoidable
    ledger.happened(killed := Event("kill", "postlogd", 99.5, 99.5, doubles=False))
    assert ledger.duplicates()[0].causes == (str(killed),)
    ledger.said("a", 101, Said.SENT)
    assert ledger.duplicates()[0].avoidable


def test_an_answer_that_did_not_come_by_the_relays_own_log_excuses_one_duplicate(ledger: Ledger) -> None:
    ledger.said("a", 103, Said.UNANSWERED)
    for message in ("a", "b"):
        for moment in (100, 120):
            ledger.arrived(message, moment)
    assert [double.causes for double in ledger.duplicates()] == [(UNANSWERED,), (None,)]
    ledger.arrived("a", 140)
    assert ledger.duplicates()[0].causes == (UNANSWERED, None)


@pytest.mark.parametrize(
    ("told", "cause"),
    [
        (KILL.began - LINE, KILL),
        (KILL.ended + LINE, KILL),
        (KILL.ended + LINE + 0.1, None),
        # Only when it came again: then it is about that.
        (150, KILL),
    ],
)
def test_what_the_relay_took_for_delivered_must_not_come_again(
    ledger: Ledger, told: float, cause: Event | None
) -> None:
    """But for a kill between that line of its log and what its queue file was to say."""
    ledger.happened(KILL)
    ledger.happened(Event("upstream", "down", 90.0, 150.0, doubles=True))
    ledger.said("a", 99.5, Said.UNANSWERED)
    ledger.said("a", told, Said.SENT)
    for moment in (KILL.began - LINE, 150):
        ledger.arrived("a", moment)
    assert [double.causes for double in ledger.duplicates()] == [(str(cause) if cause else None,)]


def test_one_lost_message_one_duplicate_without_a_cause_or_a_relay_that_stays_unwell_is_enough(
    ledger: Ledger,
) -> None:
    ledger.happened(KILL)
    for moment in (100, 120):
        ledger.arrived("a", moment)
    assert not ledger.broken()
    ledger.unmended = "waited in vain"
    assert ledger.broken()
    ledger.unmended = ""
    ledger.sent(accepted("b"))
    assert ledger.broken()
    ledger.arrived("b", 500)
    assert not ledger.broken()
    ledger.arrived("b", 600)
    assert ledger.broken()


@pytest.mark.parametrize("status", [1, 137])
def test_a_stop_that_is_no_clean_end_is_a_broken_promise(ledger: Ledger, status: int) -> None:
    ledger.stopped(0, 90)
    assert not ledger.broken()
    ledger.stopped(status, 100)
    assert ledger.unclean() == [status]
    assert ledger.broken()


@pytest.mark.parametrize(
    ("program", "ago", "clean"),
    [("master", 1, True), ("master", RESTART + 1, False), ("master", -1, False), ("smtp", 1, False)],
)
def test_but_for_a_kill_of_who_sees_to_it_just_before(
    ledger: Ledger, program: str, ago: float, *, clean: bool
) -> None:
    ledger.happened(Event("kill", program, 100 - ago, 100 - ago, doubles=True))
    ledger.stopped(1, 100)
    assert ledger.broken() is not clean
    ledger.stopped(137, 100)
    assert 137 in ledger.unclean(), "it took too long, whoever was killed"


def test_what_was_refused_and_came_needs_a_kill_at_its_answer_and_what_had_no_final_dot_never_comes(
    ledger: Ledger,
) -> None:
    for message, outcome in (("a", Outcome.REFUSED), ("b", Outcome.UNSENT), ("c", Outcome.AMBIGUOUS)):
        ledger.sent(Attempt(message, outcome, 100.0))
        ledger.arrived(message, 101)
    assert [attempt.message for attempt in ledger.unexplained()] == ["a", "b"]
    assert ledger.broken()
    ledger.happened(KILL)
    assert [attempt.message for attempt in ledger.unexplained()] == ["b"]


def test_what_comes_with_another_body_is_neither_the_message_nor_nothing(ledger: Ledger) -> None:
    ledger.sent(accepted("a"))
    ledger.arrived("a", 101, whole=False)
    assert [attempt.message for attempt, _ in ledger.lost()] == ["a"]
    ledger.arrived("a", 102)
    assert ledger.lost() == []
    assert ledger.mangled() == [accepted("a")]
    assert ledger.broken()


def test_the_table_tells_each_event_once(ledger: Ledger) -> None:
    ledger.happened(KILL)
    ledger.happened(Event("kill", "the container", 300.0, 300.5, doubles=True))
    ledger.happened(DISK)
    for moment in (100, 150):
        ledger.arrived("a", moment)
    rows = [line.split() for line in ledger.report()]
    assert ["kill", "the", "container", "2", "1.0", "1"] in rows
    assert ["disk", "full", "1", "20.0", "0"] in rows


def test_a_seed_is_a_row_of_events() -> None:
    def details(seed: int) -> list[str]:
        dice = random.Random(seed)
        return [each.detail for each in (*events.strikes(dice, 3), *events.weather(dice))]

    assert details(7) == details(7) != details(8)
    assert len(events.strikes(random.Random(1), 3)) == 1 + len(events.DAEMONS) + len(events.JUMPS) + 3


CUT = (
    "2026-11-21T21:00:59.123456789Z Nov 21 21:00:59 relay postfix/{}[26]: 4jX33p2L23z8VgV: to=<m1@chaos.example>, relay=sink[192.0.2.2]:25, delay=5, "
    "delays=0/0/0/5, dsn=4.4.2, status=deferred ({} while sending end of data -- message may be sent more than once)"
)


@pytest.mark.parametrize(
    ("program", "reason", "found"),
    [
        ("smtp", "conversation with sink[192.0.2.2] timed out", [Said.UNANSWERED]),
        ("smtp", "lost connection with sink[192.0.2.2]", [Said.CUT]),
        # What became of another message: this one was not tried.
        ("error", "delivery temporarily suspended: conversation with sink[192.0.2.2] timed out", []),
    ],
)
def test_the_log_tells_an_upstream_that_did_not_answer_from_a_connection_that_was_lost(
    program: str, reason: str, found: list[Said]
) -> None:
    """Which may be one that the relay cut by itself."""
    assert [what for _, _, what in said([CUT.format(program, reason), "a line"])] == found


def test_when_a_message_was_delivered_is_told_by_the_engines_clock() -> None:
    line = "2026-11-21T21:01:00.123456789Z Nov 20 21:01:00 relay postfix/smtp[26]: 4jX33p2L23z8VgV: to=<m1@chaos.example>, {}"
    log = [line.format("relay=sink, status=sent (250 ok)"), line.format("status=deferred (later)"), "a line"]
    stamp = datetime(2026, 11, 21, 21, 1, 0, 123456, UTC).timestamp()
    assert list(said(log)) == [("m1", stamp, Said.SENT)]


def test_the_clock_comes_back_from_its_jumps() -> None:
    assert sum(events.JUMPS.values()) == 0


def test_the_long_form_is_a_hundred_thousand_messages_and_thirty_stops() -> None:
    chosen = plan([])
    assert (chosen.messages, chosen.rounds * chosen.stops) == (100_000, 30)
    assert plan(["--seed", "7"]).seed == 7


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    listen = Listen("127.0.0.1", smtp=0)
    with (
        (tmp_path / "received").open("a") as journal,
        Sink(listen=listen, store=Store(journal, keeps=False)) as started,
    ):
        yield started


def session(sink: Sink) -> smtplib.SMTP:
    opened = smtplib.SMTP("127.0.0.1", sink.ports["smtp"], timeout=5)
    opened.ehlo("client.example")
    return opened


@pytest.mark.parametrize(
    ("behaviour", "outcome", "answer"),
    [
        ({}, Outcome.ACCEPTED, "250 2.0.0 OK"),
        ({"replies": {"rcpt": "451 4.3.0 later"}}, Outcome.REFUSED, "451 4.3.0 later"),
        ({"replies": {"message": "452 4.3.1 full"}}, Outcome.REFUSED, "452 4.3.1 full"),
        ({"drop": ["data"]}, Outcome.UNSENT, "SMTPServerDisconnected"),
        ({"drop": ["message"]}, Outcome.AMBIGUOUS, "SMTPServerDisconnected"),
    ],
    ids=["accepted", "refused", "refused_at_the_dot", "unsent", "ambiguous"],
)
def test_a_client_knows_what_it_was_told(
    sink: Sink, behaviour: dict[str, object], outcome: Outcome, answer: str
) -> None:
    sink.change(behaviour)
    opened = session(sink)
    said = hand_over(opened, "m1", TEXT)
    opened.close()
    assert said[0] is outcome
    assert answer in said[1]


def test_a_journal_has_a_line_for_each_message_and_memory_has_nothing(sink: Sink, tmp_path: Path) -> None:
    with session(sink) as opened:
        hand_over(opened, "m1", TEXT)
        hand_over(opened, "m2", TEXT)
    sink.store.wait_for(lambda: not sink.store.sessions(), deadline=5)
    told = (tmp_path / "received").read_text()
    assert [told.count(f'"{name}@chaos.example"') for name in ("m1", "m2")] == [1, 1]
    assert '"command"' not in told
    assert (sink.store.messages(), sink.store.sessions()) == ([], [])


def test_a_body_that_is_not_whole_or_another_messages_is_no_arrival(
    sink: Sink, tmp_path: Path, ledger: Ledger
) -> None:
    load = Load(size=200)
    whole = b"Subject: a\r\n\r\n" + load.body("m1")
    assert len(load.body("m1")) == 200
    with session(sink) as opened:
        for message, text in (("m1", whole), ("m2", whole), ("m3", b"Subject: a\r\n\r\n")):
            ledger.sent(accepted(message))
            assert hand_over(opened, message, text)[0] is Outcome.ACCEPTED
        hand_over(opened, "m4", whole.replace(b"m1", b"m4")[:-40] + b"\r\n")
        ledger.sent(accepted("m4"))
    with Witness(tmp_path / "received", ledger, load.digest):
        sink.store.wait_for(lambda: not sink.store.sessions(), deadline=5)
    assert [attempt.message for attempt, _ in ledger.lost()] == ["m2", "m3", "m4"]
    assert [attempt.message for attempt in ledger.mangled()] == ["m2", "m3", "m4"]
