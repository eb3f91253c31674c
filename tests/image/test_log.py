"""One log: everything on stdout, in order, in one form, and its first lines say what the relay will do."""

from __future__ import annotations

import re
import time

from tests.image import inside
from tests.image.conftest import StartRelay
from tests.image.relay import Relay, someone
from tests.image.sink import Sink

LINE = re.compile(
    r"(?P<time>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) \S+ (?P<program>[\w./-]+)\[\d+\]: (?P<text>.+)"
)


def test_every_line_of_a_whole_life_has_one_form_and_comes_in_order_on_stdout(
    start_relay: StartRelay, sink: Sink
) -> None:
    """A collector needs one parser; a crash in between must not bring a second form."""
    relay = start_relay({"TZ": "Asia/Kathmandu"})
    master = inside.the(relay, "master")
    relay.send(to := someone())
    sink.mail(to)
    inside.signal(relay, "KILL", [master])
    inside.replaced(relay, master)
    relay.wait_until_ready()
    relay.container.stop()
    lines = relay.logs().splitlines()
    parsed = [LINE.fullmatch(line) for line in lines]
    assert [line for line, match in zip(lines, parsed, strict=True) if not match] == []
    said = [time.strptime(f"2024 {match['time']}", "%Y %b %d %H:%M:%S") for match in parsed if match]
    assert said == sorted(said)
    programs = {match["program"] for match in parsed if match}
    assert {"postern", "postern/keeper", "postfix/master", "postfix/smtpd", "postfix/smtp"} <= programs
    assert relay.container.logs(stdout=False, stderr=True) == b""


def test_the_start_says_who_may_send_to_where_with_which_tls_as_which_name(start_relay: StartRelay) -> None:
    relay = start_relay(
        {
            "MYHOSTNAME": "mail.example.net",
            "MYNETWORKS": "10.0.0.0/8 127.0.0.0/8",
            "ALLOWED_SENDER_DOMAINS": "example.net",
            "RELAYHOST": "[smtp.example.net]:587",
            "RELAYHOST_USERNAME": "somebody",
            "RELAYHOST_PASSWORD": "unspeakable",
            "TRUST_GATEWAY": None,
        }
    )
    texts = [match["text"] for match in map(LINE.fullmatch, relay.logs().splitlines()) if match]
    start = [text for text in texts if not text.startswith("warning: ")]
    assert start[:3] == [
        "mail.example.net listens on 25 (relay), 587 (relay)",
        "may send: 10.0.0.0/8 127.0.0.0/8; only as example.net",
        "sends everything to [smtp.example.net]:587 as somebody over TLS only, certificate verified (secure)",
    ]
    assert start[3].startswith("daemon started")
    assert len(texts) < 10
    assert "unspeakable" not in relay.logs()


def test_what_lowers_security_is_said_at_every_start(relay: Relay) -> None:
    assert "warning: TRUST_GATEWAY=yes: safe only while the ports are published on 127.0.0.1" in relay.logs()
