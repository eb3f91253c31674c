"""LOG_FORMAT and LOG_ADDRESSES over a relay's whole life: each line of it can be read by a machine, none names anybody."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from entrypoint.maillog.lines import parse
from tests.image import inside
from tests.image.backends import log_in, session
from tests.image.conftest import StartRelay
from tests.image.relay import HOSTNAME, Environment, Relay, letter
from tests.image.sink import Sink
from tests.image.test_health import readiness
from tests.image.test_metrics import scrape
from tests.image.waiting import until

NAME = "zebedee"
"""In the local part of every address that this relay sees."""
SENDER, LOGIN = f"{NAME}.sender@example.com", f"{NAME}.login@example.com"
TAKEN = (f"{NAME}.one@example.org", f'"{NAME} quoted"@example.org', f"j\u00f6rg.{NAME}@example.org")
GONE, LATER, ALIAS = f"{NAME}.gone@example.org", f"{NAME}.later@example.org", f"{NAME}.alias@example.org"
COPY = f"{NAME}.copy@example.org"
BUSY = f"421 4.3.2 ask {NAME}.help@example.com, or <{NAME}.boss@example.com>"
# More than Postfix logs of a text: it cuts it within the second address.
REPLIES = {
    GONE: f"550 5.1.1 <{GONE}>: {GONE} is gone",
    LATER: f"450 4.2.0 <{LATER}> try later, or write to {f'{NAME}.' * 220}{NAME}@example.org",
}
HOOK = f"#!/bin/sh\necho this is {NAME}.hook@example.com; echo and a second line >&2\n"
SAME_MOMENT = 0.05
"""Seconds between what a process makes of a line and its writing, on a busy machine."""
ALWAYS = {"time", "level", "source", "message"}
JSON_HASHED: Environment = {
    "LOG_FORMAT": "json",
    "LOG_ADDRESSES": "hashed",
    "LOG_ADDRESSES_SALT": "0123456789abcdef",
}
PLAIN_PARTIAL: Environment = {"LOG_ADDRESSES": "partial"}


@dataclass
class Life:
    log: str
    lines: list[str]
    pages: str
    """What the health port said near its end."""


def live(start: StartRelay, sink: Sink, directory: Path, settings: Environment) -> Life:
    """Everything that a relay has something to say about, from its start to its stop."""
    (hooks := directory / "hooks").mkdir()
    (hooks / "10-hello").write_text(HOOK)
    (hooks / "10-hello").chmod(0o755)
    (config := directory / "config").mkdir()
    (config / "virtual").write_text(f"{ALIAS} {TAKEN[0]}\n")
    relay = start(
        {
            "SMTPD_SASL_USERS": f"{LOGIN}:right",
            "LISTEN": "25:relay 587:submission",
            "ALLOWED_SENDER_DOMAINS": "example.com",
            "POSTFIX_recipient_bcc_maps": f"inline:{{ {{ {TAKEN[0]} = {COPY} }} }}",
            "POSTFIX_header_checks": "regexp:{ { /^Reply-To:/ WARN seen } }",
            **settings,
        },
        ports=(25, 587),
        volumes={
            str(hooks): {"bind": "/docker-entrypoint.d", "mode": "ro"},
            str(config): {"bind": "/config", "mode": "ro"},
        },
    )
    sink.behave(recipients=REPLIES)
    send(relay, sink)
    (config / "virtual").write_text(f"{ALIAS} {TAKEN[0]}\n{NAME}.new@example.org {TAKEN[0]}\n")
    relay.logged("virtual has changed")
    (config / "virtual").write_text(f"{ALIAS} {TAKEN[0]}\n{ALIAS} {NAME}.new@example.org\n")
    relay.logged("/config/virtual:2: ")
    sink.behave(recipients=REPLIES, replies={"connect": BUSY})
    crash(relay)
    relay.send(COPY, SENDER)
    relay.logged("refused to talk to me: 421")
    pages = readiness(relay, "warning upstream: .*421") + scrape(relay)
    relay.container.stop()
    sink.restore()
    assert relay.container.logs(stdout=False, stderr=True) == b""
    # Not splitlines(), for which letters of strangers end a line too.
    log = relay.logs()
    return Life(log, log.split("\n")[:-1], pages)


def send(relay: Relay, sink: Sink) -> None:
    for to in (*TAKEN, ALIAS):
        message = letter(to, SENDER)
        message["Message-ID"] = f"<{NAME}.id@example.com>"
        with relay.smtp() as client:
            client.send_message(message, SENDER, [to], ["SMTPUTF8"] if not to.isascii() else [])
    sink.mail(TAKEN[0], count=2, needs=[relay.container])
    for to in (GONE, LATER):
        relay.send(to, SENDER)
    # The bounce.
    sink.mail(SENDER, needs=[relay.container])
    message = letter(TAKEN[1], SENDER)
    message["Reply-To"] = f'"{NAME} in quotes"@example.com, <{NAME}+tag=x@example.com>'
    with relay.smtp() as client:
        client.send_message(message, SENDER, [TAKEN[1]], rcpt_options=["NOTIFY=SUCCESS"])
    # The notice that it was relayed, as the sink knows nothing of those.
    sink.mail(SENDER, count=2, needs=[relay.container])
    given = relay.exec("sh", "-c", f"echo hello | sendmail -i -f {SENDER} -XV {TAKEN[0]}")
    assert given.status == 0, given.output
    sink.mail(TAKEN[0], count=3, needs=[relay.container])
    relay.logged("try later")
    with relay.smtp() as client:
        client.ehlo()
        for sender in (f"{NAME}@elsewhere.example", NAME):
            client.mail(sender)
            assert client.rcpt(TAKEN[0])[0] in (550, 553, 554, 504), sender
            client.rset()
        client.docmd(f"MAIL FROM:<{NAME} broken@example.com")
        client.docmd(f"To: {NAME}.pipelined@example.com")
    with session(relay) as client:
        assert log_in(client, LOGIN, "wrong").startswith("535")
        assert log_in(client, LOGIN, "right").startswith("235")
        client.send_message(letter(TAKEN[0], SENDER), SENDER, [TAKEN[0]])
    sink.mail(TAKEN[0], count=4, needs=[relay.container])
    sink.mail(COPY, count=3, needs=[relay.container])


def crash(relay: Relay) -> None:
    """Of the keeper, which takes Postfix along, and of a program of ours that then cannot start: a traceback."""
    keeper = inside.the(relay, "keeper")
    inside.signal(relay, "KILL", [keeper])
    relay.logged("the keeper was killed")
    inside.replaced(relay, keeper)
    relay.wait_until_ready()
    facts = "/run/postern/etc/postern/runtime.json"
    assert relay.exec("mv", facts, f"{facts}.away").status == 0
    inside.signal(relay, "KILL", [inside.the(relay, "health")])
    relay.logged("FileNotFoundError")
    assert relay.exec("mv", f"{facts}.away", facts).status == 0
    relay.wait_until_ready()


@pytest.fixture(scope="module")
def as_json(start_shared_relay: StartRelay, _sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Life:
    return live(start_shared_relay, _sink, tmp_path_factory.mktemp("json"), JSON_HASHED)


@pytest.fixture(scope="module")
def plain(start_shared_relay: StartRelay, _sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Life:
    return live(start_shared_relay, _sink, tmp_path_factory.mktemp("plain"), PLAIN_PARTIAL)


def objects(life: Life) -> list[dict[str, Any]]:
    return [json.loads(line) for line in life.lines]


def test_every_line_of_a_whole_life_is_an_object_with_the_promised_facts(as_json: Life) -> None:
    """A collector drops what it cannot read, and that is the line of the crash."""
    found = objects(as_json)
    assert all(each.keys() >= ALWAYS for each in found)
    assert [each for each in found if not each["source"]] == []
    sources = {each["source"] for each in found}
    expected = {"postern", "postern/10-hello", "postern/health", "postern/keeper", "postern/supervisor", "postern/message"}  # fmt: skip
    assert expected <= sources
    assert {"postfix/master", "postfix/relay/smtpd", "postfix/smtp", "postfix/qmgr"} - sources <= {
        "postfix/relay/smtpd"
    }
    [sent, *_] = [each for each in found if each.get("event") == "delivery" and each["status"] == "sent"]
    assert isinstance(sent["pid"], int)
    assert isinstance(sent["delay"], float | int)
    assert sent["to"].endswith("@example.org")
    events = {each.get("event") for each in found}
    assert {"delivery", "queued", "removed", "reject", "login_failure", "connect", "summary"} <= events
    assert {"info", "warning", "error"} <= {each["level"] for each in found}


def test_time_goes_on_in_the_lines_of_each_program_that_writes(as_json: Life) -> None:
    """Those of Postfix pass through the keeper; a killed keeper's successor goes on where it was."""
    found = objects(as_json)
    times = [each["time"] for each in found if each["source"].startswith("postfix/")]
    assert len(times) > 50
    assert times == sorted(times)
    assert all(len(each["time"]) == len("2026-11-21T16:23:09.042Z") for each in found)
    assert len({time[-4:] for time in times}) > 10


def test_time_goes_on_from_line_to_line_whoever_wrote_them(as_json: Life) -> None:
    """Else who sorts by it reads that a file is right again before it was wrong. PID 1, the keeper and what they start
    write at once: two that do so in the same moment may cross.
    """
    times = [datetime.fromisoformat(each["time"]).timestamp() for each in objects(as_json)]
    back = [(before, after) for before, after in pairwise(times) if after < before - SAME_MOMENT]
    assert len(times) > 100
    assert back == []


def told(lines: list[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """How often each thing happened to a message, a login or a recipient."""
    events = ("delivery", "queued", "removed", "expired", "reject", "login_failure", "message_id")
    return Counter((each["event"], each.get("status", "")) for each in lines if each.get("event") in events)


def test_the_same_life_has_the_same_events_in_both_forms(as_json: Life, plain: Life) -> None:
    of_plain = [parse(line) for line in plain.lines]
    assert all(line.origin.program for line in of_plain)
    counted = told([{"event": line.kind, **line.fields} for line in of_plain])
    assert told(objects(as_json)) == counted
    assert counted["delivery", "sent"] == 12
    assert counted["delivery", "bounced"] == 1
    assert counted["delivery", "deferred"] >= 1
    assert [line for line in plain.lines if line.endswith("try later, or write to ***")]


def test_no_address_survives_in_the_log(as_json: Life, plain: Life) -> None:
    """Neither a sender's nor a recipient's nor a login's, whoever says it: not an upstream, not a client, not a hook."""
    assert [line for life in (as_json, plain) for line in life.lines if NAME in line.lower()] == []
    assert "this is z***@example.com" in plain.log
    assert "<z***@example.org>: z***@example.org is gone" in plain.log
    assert "sasl_username=z***@example.com" in plain.log
    assert "warning: header Reply-To: z***@example.com, <z***@example.com> from" in plain.log
    assert "sender delivery status notification" in plain.log


def test_no_address_survives_in_what_the_health_port_shows(as_json: Life, plain: Life) -> None:
    """Who can reach it need not be who may read the log. A server's words there are "partial" in any case."""
    for life in (as_json, plain):
        assert NAME not in life.pages
        assert 'greets with "421 4.3.2 ask z***@example.com, or <z***@example.com>"' in life.pages
        assert "warning configuration: " in life.pages
        assert not re.search(r'^[^#\n]*="[^"\n]*@', life.pages, re.MULTILINE)


def test_lines_about_one_address_are_found_by_its_hash(as_json: Life) -> None:
    found = objects(as_json)
    [failure] = [each for each in found if each.get("event") == "login_failure"]
    used = [each for each in found if each.get("event") == "client" and each.get("sasl_username")]
    assert [each["sasl_username"] for each in used] == [failure["sasl_username"]]
    assert failure["sasl_username"].endswith("@example.com")
    [bounced] = [each for each in found if each.get("status") == "bounced"]
    assert bounced["reason"].count(bounced["to"]) == 2


def test_readiness_probes_leave_no_line_in_json_either(as_json: Life) -> None:
    assert [each for each in objects(as_json) if "127.98.67.25" in each["message"]] == []


def test_a_burst_loses_no_line_and_keeps_their_order(start_relay: StartRelay) -> None:
    messages = 1000
    relay = start_relay(
        {
            "LOG_FORMAT": "json",
            "RELAYHOST": None,
            "POSTFIX_default_transport": "discard",
            "MYNETWORKS": "127.0.0.0/8",
        }
    )
    burst = ("smtp-source", "-m", str(messages), "-s", "10", "-f", SENDER, "-t", LATER, "inet:127.0.0.1:25")
    assert relay.exec(*burst).status == 0
    stories: dict[str, list[str]] = {}

    def all_told() -> bool:
        stories.clear()
        for line in relay.logs().splitlines():
            if queue_id := (found := json.loads(line)).get("queue_id"):
                stories.setdefault(queue_id, []).append(found.get("event"))
        return sum(events[-1] == "summary" for events in stories.values()) == messages

    until("every message's story has its end", all_told, needs=[relay.container])
    story = ("client", "message_id", "queued", "delivery", "removed", "summary")
    assert Counter(map(tuple, stories.values())) == {story: messages}


def test_problems_with_the_settings_are_said_as_json_and_without_addresses(start_relay: StartRelay) -> None:
    """They are said before it is known whether LOG_FORMAT itself is right."""
    env: Environment = {
        **JSON_HASHED,
        "LOG_ADDRESSES_SALT": None,
        "SENDER_LOGINS": f"nobody {SENDER}",
        "RELAYHOST": f"{NAME}@{HOSTNAME}",
    }
    relay = start_relay(env, wait=False)
    assert relay.exit_code() == 78
    found = [json.loads(line) for line in relay.logs().splitlines()]
    assert all(each["level"] == "error" and each["source"] == "postern" for each in found)
    said = "\n".join(each["message"] for each in found)
    assert "LOG_ADDRESSES" in said
    assert "RELAYHOST" in said
    assert NAME not in said
