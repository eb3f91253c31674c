"""What is told of a message, from the lines that Postfix writes about it."""

from __future__ import annotations

import json
import re
import time
import tracemalloc
from collections.abc import Iterable
from typing import Any

import pytest

from entrypoint.maillog import forms, stories
from entrypoint.maillog.lines import Line, parse
from entrypoint.maillog.queue_ids import arrived
from entrypoint.maillog.stories import Stories

HEAD = "Nov 21 16:23:09 relay postfix/"
QID = "4jWyDY0YgDz5nFW"
ARRIVED = 1795278189.080248
NOTICE = "4jWyDZ1YgDz5nFX"
DELAYS = "delay=0.07, delays=0.01/0.05/0.01/0"
CLIENT = f"submission/smtpd[26]: {QID}: client=unknown[192.0.2.1], sasl_method=PLAIN, sasl_username=ann"
ACTIVE = f"qmgr[23]: {QID}: from=<app@example.com>, size=303, nrcpt=1 (queue active)"
SENT = f"smtp[31]: {QID}: to=<a@example.org>, relay=sink[192.0.2.2]:25, {DELAYS}, dsn=2.0.0, status=sent (250 Ok)"
DEFERRED = (
    f"smtp[31]: {QID}: to=<a@example.org>, relay=none, {DELAYS}, dsn=4.4.1, status=deferred (connect to "
    "sink[192.0.2.2]:25: Connection refused)"
)
BOUNCED = (
    f"smtp[31]: {QID}: to=<b@example.org>, relay=sink[192.0.2.2]:25, {DELAYS}, dsn=5.1.1, status=bounced (host "
    "sink[192.0.2.2] said: 550 5.1.1 nobody (in reply to RCPT TO command))"
)
REMOVED = f"qmgr[23]: {QID}: removed"
A_LIFE = (CLIENT, f"cleanup[29]: {QID}: message-id=<x@app.example.com>", ACTIVE, SENT, REMOVED)


@pytest.fixture
def told() -> Stories:
    return Stories("relay", 7, lambda: ARRIVED + 100)


def hear(told: Stories, lines: Iterable[str]) -> list[Line]:
    """The summaries that follow."""
    return [own for line in lines if (own := told.read(parse(HEAD + line)))]


def story(told: Stories, name: str = QID) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told.story(name))
    return found


def test_a_message_is_told_in_one_line_when_it_leaves(told: Stories) -> None:
    [line] = hear(told, A_LIFE)
    assert (line.origin.stamp, line.origin.program, line.origin.pid, line.queue_id) == (
        "Nov 21 16:23:09",
        "postern/message",
        "7",
        QID,
    )
    assert line.text == (
        f"{QID}: sent after 0.07 s, from=<app@example.com>, to=<a@example.org>, nrcpt=1, "
        "relay=sink[192.0.2.2]:25, dsn=2.0.0, client=unknown[192.0.2.1], sasl_username=ann, size=303, "
        "message-id=<x@app.example.com> (250 Ok)"
    )
    assert (line.kind, line.fields) == (
        "summary",
        {
            "outcome": "sent",
            "delay": "0.07",
            "from": "app@example.com",
            "to": "a@example.org",
            "nrcpt": "1",
            "relay": "sink[192.0.2.2]:25",
            "dsn": "2.0.0",
            "client_name": "unknown",
            "client": "192.0.2.1",
            "sasl_username": "ann",
            "size": "303",
            "message_id": "<x@app.example.com>",
            "reason": "250 Ok",
        },
    )


def test_as_json_the_line_has_all_of_it(told: Stories) -> None:
    [line] = hear(told, (*A_LIFE[:2], ACTIVE.replace("nrcpt=1", "nrcpt=2"), SENT, BOUNCED, REMOVED))
    shown = json.loads(forms.Json()(line))
    assert {
        name: shown[name]
        for name in ("source", "event", "queue_id", "outcome", "delay", "size", "sent", "bounced")
    } == {
        "source": "postern/message",
        "event": "summary",
        "queue_id": QID,
        "outcome": "partly sent",
        "delay": 0.07,
        "size": 303,
        "sent": 1,
        "bounced": 1,
    }
    assert (shown["from"], shown["to"]) == ("app@example.com", "b@example.org, a@example.org")
    assert (shown["client"], shown["sasl_username"]) == ("192.0.2.1", "ann")
    assert shown["message"] == line.text


def test_nothing_is_told_of_what_still_waits_but_to_who_asks(told: Stories) -> None:
    assert hear(told, (*A_LIFE[:3], DEFERRED)) == []
    assert json.loads(told.stories()) == []
    assert story(told) == {
        "queue_id": QID,
        "client_name": "unknown",
        "client": "192.0.2.1",
        "sasl_username": "ann",
        "from": "app@example.com",
        "message_id": "<x@app.example.com>",
        "arrived": 1795278189.08,
        "size": 303,
        "nrcpt": 1,
        "sent": 0,
        "bounced": 0,
        "recipients": [
            {
                "to": "a@example.org",
                "relay": "none",
                "dsn": "4.4.1",
                "status": "deferred",
                "reason": "connect to sink[192.0.2.2]:25: Connection refused",
                "delay": 0.07,
                "delay_before_queue_manager": 0.01,
                "delay_queue_manager": 0.05,
                "delay_connection_setup": 0.01,
                "delay_transmission": 0,
            }
        ],
    }
    assert story(told, "<x@app.example.com>") == story(told, "@app.example.com>") == story(told)
    assert story(told, "4jWyDY0YgDz5nF") == {}


def test_the_last_attempt_for_each_recipient_counts(told: Stories) -> None:
    [line] = hear(told, (*A_LIFE[:3], DEFERRED, ACTIVE, *A_LIFE[3:]))
    assert (line.fields["outcome"], line.fields["reason"]) == ("sent", "250 Ok")
    [left] = json.loads(told.stories())
    assert [each["status"] for each in left["recipients"]] == ["sent"]
    assert (left["outcome"], left["left"], left["sent"]) == ("sent", 1795278289.08, 1)


def test_of_several_recipients_those_who_did_not_get_it_are_told_first(told: Stories) -> None:
    life = (CLIENT, ACTIVE.replace("nrcpt=1", "nrcpt=2"), SENT, BOUNCED, REMOVED)
    [line] = hear(told, life)
    assert line.text.startswith(
        f"{QID}: partly sent after 0.07 s, from=<app@example.com>, to=<b@example.org>, to=<a@example.org>, nrcpt=2, "
        "sent=1, bounced=1, relay=sink[192.0.2.2]:25, dsn=5.1.1, "
    )
    assert line.fields["to"] == "b@example.org, a@example.org"
    assert line.fields["reason"].startswith("host sink[192.0.2.2] said: 550 5.1.1 nobody")


def test_fifty_recipients_are_one_short_line(told: Stories) -> None:
    sent = [SENT.replace("<a@", f"<a{number}@") for number in range(50)]
    [line] = hear(told, (ACTIVE.replace("nrcpt=1", "nrcpt=50"), *sent, REMOVED))
    assert (
        "to=<a0@example.org>, to=<a1@example.org>, to=<a2@example.org> and 47 more, nrcpt=50, " in line.text
    )
    assert (line.fields["sent"], line.fields["bounced"]) == ("50", "0")
    assert len(line.text) < 300


def test_a_client_that_went_away_sent_nothing(told: Stories) -> None:
    assert hear(told, (CLIENT, f"cleanup[29]: {QID}: removed (canceled)")) == []
    assert json.loads(told.stories()) == []
    assert story(told) == {}


def test_a_question_whether_an_address_exists_is_no_message(told: Stories) -> None:
    assert hear(told, (ACTIVE, SENT.replace("=sent", "=undeliverable"), REMOVED)) == []
    assert json.loads(told.stories()) == []


@pytest.mark.parametrize(
    ("lines", "outcome"),
    [
        ((ACTIVE, BOUNCED, REMOVED), "bounced"),
        ((ACTIVE, DEFERRED, f"postsuper[9]: {QID}: removed"), "deleted"),
        (
            (
                ACTIVE,
                DEFERRED,
                f"qmgr[23]: {QID}: from=<app@example.com>, status=expired, returned to sender",
                REMOVED,
            ),
            "expired",
        ),
        ((REMOVED,), "removed"),
    ],
    ids=["bounced", "deleted", "expired", "unknown"],
)
def test_why_it_did_not_arrive(told: Stories, lines: tuple[str, ...], outcome: str) -> None:
    [line] = hear(told, lines)
    assert line.fields["outcome"] == outcome
    # Not the age that it had at the last attempt.
    assert line.fields["delay"] == ("0.07" if outcome == "bounced" else "100.00")


def test_what_was_queued_before_the_keeper_began_is_told_with_what_is_known(told: Stories) -> None:
    [line] = hear(told, (ACTIVE, SENT, REMOVED))
    assert line.text == (
        f"{QID}: sent after 0.07 s, from=<app@example.com>, to=<a@example.org>, nrcpt=1, "
        "relay=sink[192.0.2.2]:25, dsn=2.0.0, size=303 (250 Ok)"
    )
    assert json.loads(told.stories())[0]["arrived"] == 1795278189.08


def test_a_notification_and_what_it_is_about_name_each_other(told: Stories) -> None:
    notice = f"bounce[5]: {QID}: sender non-delivery notification: {NOTICE}"
    hear(told, (ACTIVE, BOUNCED, f"cleanup[29]: {NOTICE}: message-id=<n@relay>", notice, REMOVED))
    assert story(told)["notification"] == NOTICE
    assert story(told, NOTICE)["about"] == QID


def test_what_was_requeued_is_still_the_clients(told: Stories) -> None:
    again = f"pickup[4]: {NOTICE}: uid=100 from=<app@example.com> orig_id={QID}"
    hear(told, (*A_LIFE[:3], DEFERRED, f"postsuper[9]: {QID}: requeued", again))
    assert story(told) == {}
    assert (story(told, NOTICE)["sasl_username"], story(told, NOTICE)["client"]) == ("ann", "192.0.2.1")


def test_who_gave_it_to_sendmail_is_told(told: Stories) -> None:
    hear(told, [f"pickup[4]: {QID}: uid=0 from=<root>"])
    assert story(told)["uid"] == "0"


def test_two_aliases_of_one_address_are_two_recipients(told: Stories) -> None:
    aliases = [SENT.replace("org>, ", f"org>, orig_to=<{name}@example.net>, ") for name in ("x", "y")]
    [line] = hear(told, (ACTIVE.replace("nrcpt=1", "nrcpt=2"), *aliases, REMOVED))
    assert line.fields["to"] == "a@example.org, a@example.org"
    assert [each["orig_to"] for each in json.loads(told.stories())[0]["recipients"]] == [
        "x@example.net",
        "y@example.net",
    ]


@pytest.mark.parametrize(
    "forged",
    [
        '"x>, nrcpt=9, relay=evil, dsn=2.0.0"@example.org',
        '"> and 9 more, nrcpt=9 ("@example.org',
    ],
)
def test_an_address_cannot_write_a_summary(told: Stories, forged: str) -> None:
    [line] = hear(
        told, (ACTIVE.replace("app@example.com", forged), BOUNCED.replace("b@example.org", forged), REMOVED)
    )
    assert (line.fields["from"], line.fields["to"], line.fields["nrcpt"]) == (forged, forged, "1")
    assert line.fields["relay"] == "sink[192.0.2.2]:25"
    assert story(told)["recipients"][0]["to"] == forged


def test_neither_a_login_nor_a_message_id_can_write_a_summary(told: Stories) -> None:
    words = "x, size=9 (delivered)"
    life = (CLIENT.replace("ann", words), f"cleanup[29]: {QID}: message-id=<{words}>", *A_LIFE[2:])
    [line] = hear(told, life)
    assert line.fields["sasl_username"] == "x??size=9??delivered?"
    assert (line.fields["size"], line.fields["reason"]) == ("303", "250 Ok")
    assert "message_id" not in line.fields
    assert story(told)["sasl_username"] == words


@pytest.mark.parametrize(
    ("queue_id", "when"), [(QID, ARRIVED), ("ABCDEF0123", None), ("", None)], ids=["long", "short", "none"]
)
def test_a_long_queue_id_says_when_its_message_came(queue_id: str, when: float | None) -> None:
    assert arrived(queue_id) == when


def of(number: int, text: str) -> str:
    return text.replace("YgDz5nFW", f"YgDz{number:06d}")


def test_of_a_full_queue_the_oldest_are_forgotten_and_memory_stays_within_bounds(
    told: Stories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stories, "MOST", 1000)
    tracemalloc.start()
    for number in range(1500):
        hear(told, [of(number, line) for line in (*A_LIFE[:3], DEFERRED)])
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < stories.MOST * 700
    assert story(told, of(0, QID)) == {}
    assert story(told, of(1499, QID))["from"] == "app@example.com"
    hear(told, [of(number, REMOVED) for number in range(1500)])
    assert len(json.loads(told.stories())) == 100
    assert (told._weight, told._waiting) == (0, {})


def test_a_message_to_ten_thousand_is_counted_in_little_memory(told: Stories) -> None:
    tracemalloc.start()
    hear(told, (SENT.replace("<a@", f"<a{number}@") for number in range(10_000)))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 1_000_000
    assert story(told)["sent"] == 10_000
    hear(told, [REMOVED])
    assert len(told._left[0].attempts or {}) == 20


def long(delivery: str, reason: str) -> list[str]:
    """One attempt for each of 20 recipients."""
    said = delivery[: delivery.index(" (")] + f" ({reason})"
    return [re.sub("to=<.@example", f"to=<recipient-{number}@example", said) for number in range(20)]


@pytest.mark.parametrize(
    "reason", ["host sink[192.0.2.2] refused to talk to me: 421 " + "so busy " * 32, "x " * 900]
)
def test_a_hundred_messages_are_listed_however_long_their_stories(told: Stories, reason: str) -> None:
    """An answer is as long as a socket holds, as the keeper waits for no reader."""
    for number in range(110):
        life = [CLIENT, ACTIVE.replace("nrcpt=1", "nrcpt=20"), *long(DEFERRED, reason)]
        hear(told, [of(number, line) for line in life])
    waiting = told.stories("waiting")
    hear(told, [of(number, line) for number in range(110) for line in (*long(BOUNCED, reason), REMOVED)])
    for answer in (waiting, told.stories()):
        assert len(answer) < 150_000
        listed = json.loads(answer)
        assert len(listed) == 100
        assert listed[0]["queue_id"] == of(109, QID)
        for each in listed:
            assert each["nrcpt"] == 20
            assert re.fullmatch(r"recipient-\d+@example.org", each["recipients"][0]["to"])
            assert reason.startswith(each["recipients"][0]["reason"].removesuffix("..."))


def test_a_few_messages_are_listed_with_five_recipients_and_what_was_said_to_each(told: Stories) -> None:
    reason = "host sink[192.0.2.2] refused to talk to me: 421 " + "so busy " * 30
    hear(told, [ACTIVE, *long(BOUNCED, reason), REMOVED])
    [listed] = json.loads(told.stories())
    assert [each["reason"] for each in listed["recipients"]] == [reason] * 5


def test_what_is_listed_shortened_says_so_and_is_cut_before_what_may_be_an_address(told: Stories) -> None:
    """Of which the beginning could not be told from any other word, and would be shown."""
    words = "host sink[192.0.2.2] said: 550 5.1.1 " + "no " * 80
    for cut in range(10, 40):
        reason = words + "x" * (300 - len(words) - cut) + f" <zebedee.smith@example.org>: {'no ' * 20}"
        hear(told, [ACTIVE, *long(BOUNCED, reason)[:1], REMOVED])
        said = json.loads(told.stories())[0]["recipients"][0]["reason"]
        assert said.endswith("...")
        assert "zeb" not in said or "<zebedee.smith@example.org>" in said


def test_a_list_is_whole_json_that_a_socket_holds_whatever_strangers_send(told: Stories) -> None:
    many = "\u00e9" * 400
    life = (
        CLIENT.replace("unknown", "x" * 250).replace("=ann", f"={many}"),
        f"cleanup[29]: {QID}: message-id=<{many}@x>",
        ACTIVE.replace("app@", f"{many}@"),
        *(BOUNCED.replace("nobody", many).replace("<b@", f"<{letter}{many}@") for letter in "bcd"),
        REMOVED,
    )
    for number in range(200):
        hear(told, [of(number, line) for line in life])
    answer = told.stories()
    assert len(answer) < 150_000
    assert [each["queue_id"] for each in json.loads(answer)] == [
        of(number, QID) for number in range(199, 99, -1)
    ]


def test_a_line_costs_microseconds(told: Stories) -> None:
    """The keeper may take 5 % of a relay's CPU; this is a part of it (measured: 2 us, and allowed ten times that)."""
    lines = [parse(HEAD + of(number, text)) for number in range(2000) for text in A_LIFE]
    begun = time.process_time()
    for line in lines:
        told.read(line)
    assert (time.process_time() - begun) / len(lines) < 20e-6
