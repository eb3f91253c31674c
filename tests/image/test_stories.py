"""What happened to each message: one line in the log when it leaves the queue, and its story for who asks."""

from __future__ import annotations

import json
import re
import smtplib
from typing import Any

import pytest

from tests.image import engine
from tests.image.backends import session
from tests.image.conftest import StartRelay
from tests.image.relay import Relay, letter, someone
from tests.image.sink import Sink

_ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as asking:
    asking.connect("/run/postern/keeper")
    asking.sendall(sys.argv[1].encode())
    print(b"".join(iter(lambda: asking.recv(65536), b"")).decode())
"""
SENT = "sent after [0-9.]+ s"


def ask(relay: Relay, question: str) -> Any:
    answered = relay.exec("python3", "-c", _ASK, question)
    assert answered.status == 0, answered.output
    return json.loads(answered.output)


def summary(relay: Relay, of: str) -> str:
    """The text of the line that holds a pattern, with its queue id taken off."""
    line = relay.logged(rf" postern/message\[\d+\]: \w+: .*{of}")
    return re.split(r"\]: \w+: ", line, maxsplit=1)[1]


def summaries(relay: Relay) -> list[str]:
    return [line for line in relay.logs().splitlines() if " postern/message[" in line]


@pytest.fixture
def own_relay(start_relay: StartRelay, sink: Sink) -> Relay:
    """That may meet refusals."""
    return start_relay()


def waiting(relay: Relay, to: str) -> str:
    """The queue id of a message to it that has been tried."""
    line = relay.logged(rf"\w+: to=<{to}>.* status=deferred")
    return line.split("]: ")[1].partition(":")[0]


def test_a_delivered_message_is_told_in_one_line_right_after_it_has_left(relay: Relay, sink: Sink) -> None:
    relay.send(to := someone())
    told = summary(relay, f"to=<{to}>")
    pattern = (
        rf"{SENT}, from=<app@example\.com>, to=<{to}>, nrcpt=1, relay=sink\[[\d.]+\]:25, dsn=2\.0\.0, "
        r"client=unknown\[[\d.]+\], size=\d+, message-id=<[^>]+> \(250 .+\)"
    )
    assert re.fullmatch(pattern, told), told
    lines = relay.logs().splitlines()
    at = next(number for number, line in enumerate(lines) if line.endswith(told))
    queue_id = lines[at].split("]: ")[1].partition(":")[0]
    assert lines[at - 1].endswith(f"]: {queue_id}: removed")
    assert [each["queue_id"] for each in ask(relay, "stories")].count(queue_id) == 1
    story = ask(relay, f"story {queue_id}")
    assert (story["outcome"], story["from"], story["sent"]) == ("sent", "app@example.com", 1)
    assert story["recipients"][0]["to"] == to


def test_the_login_that_sent_it_is_in_the_story(start_relay: StartRelay, sink: Sink) -> None:
    relay = start_relay({"SMTPD_SASL_USERS": "ann:correct horse"}, ports=(587,))
    with session(relay) as submitting:
        submitting.login("ann", "correct horse")
        submitting.send_message(letter(to := someone()), "app@example.com", [to])
    assert ", sasl_username=ann, " in summary(relay, f"to=<{to}>")
    assert ask(relay, "stories")[0]["sasl_username"] == "ann"


def test_a_message_that_waits_has_a_story_and_one_that_outlives_a_restart_is_told_with_what_is_known(
    own_relay: Relay, sink: Sink
) -> None:
    sink.behave(replies={"rcpt": "451 4.7.1 try again later"})
    own_relay.send(to := someone())
    queue_id = waiting(own_relay, to)
    story = ask(own_relay, f"story {queue_id}")
    assert "outcome" not in story
    assert story["client_name"] == "unknown"
    [attempt] = story["recipients"]
    assert (attempt["to"], attempt["status"], attempt["dsn"]) == (to, "deferred", "4.7.1")
    assert "451 4.7.1 try again later" in attempt["reason"]
    assert summaries(own_relay) == []

    own_relay.container.restart()
    sink.behave(replies={})
    sink.mail(to)
    told = summary(own_relay, f"to=<{to}>")
    assert re.match(rf"{SENT}, from=<app@example\.com>, to=<{to}>, nrcpt=1, relay=sink", told)
    assert "client=" not in told
    assert len(summaries(own_relay)) == 1


def test_recipients_of_one_message_who_end_differently_are_told_in_one_line(
    own_relay: Relay, sink: Sink
) -> None:
    good, never, later = someone(), someone(), someone()
    sink.behave(recipients={never: "550 5.1.1 nobody here", later: "451 4.2.1 mailbox busy"})
    with own_relay.smtp() as sending:
        sending.send_message(letter(good), "app@example.com", [good, never, later])
    queue_id = waiting(own_relay, later)
    statuses = {each["to"]: each["status"] for each in ask(own_relay, f"story {queue_id}")["recipients"]}
    assert statuses == {good: "sent", never: "bounced", later: "deferred"}

    sink.behave(recipients={})
    assert own_relay.exec("postqueue", "-f").status == 0
    told = summary(own_relay, "partly sent after")
    assert f"to=<{never}>" in told
    assert ", nrcpt=3, sent=2, bounced=1, " in told
    assert re.search(
        r"\(host sink\[[\d.]+\] said: 550 5\.1\.1 nobody here \(in reply to RCPT TO command\)\)", told
    )

    story = ask(own_relay, f"story {queue_id}")
    summary(own_relay, rf"{SENT}, from=<>, to=<app@example\.com>")
    notice = ask(own_relay, f"story {story['notification']}")
    assert (notice["about"], notice["from"], notice["outcome"]) == (queue_id, "", "sent")


def test_a_message_that_nobody_took_says_why(own_relay: Relay, sink: Sink) -> None:
    sink.behave(recipients={(to := someone()): "550 5.1.1 nobody here"})
    own_relay.send(to)
    told = summary(own_relay, f"to=<{to}>")
    assert re.match(r"bounced after [0-9.]+ s, from=<app@example\.com>, ", told)
    assert "said: 550 5.1.1 nobody here" in told


def test_a_message_that_the_operator_deletes_is_told_as_deleted(own_relay: Relay, sink: Sink) -> None:
    sink.behave(replies={"rcpt": "451 4.7.1 try again later"})
    own_relay.send(to := someone())
    queue_id = waiting(own_relay, to)
    assert own_relay.exec("postsuper", "-d", queue_id).status == 0
    assert re.match(rf"deleted after [0-9.]+ s, .*to=<{to}>, .*\(host sink", summary(own_relay, f"to=<{to}>"))


def test_a_client_that_went_away_before_the_end_sent_nothing(own_relay: Relay, sink: Sink) -> None:
    leaving = smtplib.SMTP("127.0.0.1", engine.published(own_relay.container, 25), "client.example")
    leaving.ehlo()
    leaving.mail("app@example.com")
    leaving.rcpt(gone := someone())
    leaving.docmd("DATA")
    leaving.send(f"To: {gone}\r\n")
    leaving.close()
    own_relay.logged(r"lost connection after DATA")
    own_relay.send(to := someone())
    summary(own_relay, f"to=<{to}>")
    assert len(summaries(own_relay)) == 1
    assert [each["recipients"][0]["to"] for each in ask(own_relay, "stories")] == [to]


_FORGED = """
import os, socket
os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as device:
    device.connect("/dev/log")
    for text in (
        "smtp[9]: 4jWyDY0YgDz5nFW: to=<a@example.org>, relay=x[192.0.2.1]:25, delay=1.2, delays=0/0/1/0, dsn=2.0.0, "
        "status=sent (250 forged)",
        "qmgr[9]: 4jWyDY0YgDz5nFW: removed",
    ):
        device.send(f"<22>Nov 20 11:44:00 postfix/{text}".encode())
"""


@pytest.mark.root
def test_what_a_program_that_is_not_postfix_says_is_logged_and_changes_no_story_and_no_number(
    own_relay: Relay, sink: Sink
) -> None:
    """Whoever breaks into one program of the relay may write to its syslog, and could say that mail was delivered."""
    assert own_relay.exec("python3", "-c", _FORGED).status == 0
    own_relay.logged(r" syslog/postfix/smtp\[9\]: 4jWyDY0YgDz5nFW: to=<a@example\.org>.*delay=1\.2,")
    own_relay.logged(r" syslog/postfix/qmgr\[9\]: 4jWyDY0YgDz5nFW: removed")
    assert ask(own_relay, "stories") == []
    own_relay.send(to := someone())
    assert sink.mail(to)
    assert "sent after" in summary(own_relay, f"to=<{to}>")
    assert ask(own_relay, "counts")["smtp"]["sent"] == 1
