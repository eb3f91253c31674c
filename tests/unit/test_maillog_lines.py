"""Lines as real relays wrote them, and as strangers would like them to be read."""

from __future__ import annotations

import pytest

from entrypoint.maillog.lines import delivery, parse

HEAD = "Nov 21 16:23:09 relay "
QID = "4jWyDY0YgDz5nFW"


def test_a_delivery_whose_reason_postfix_cut_off_is_a_delivery() -> None:
    """It logs 2,000 characters, and an upstream may write an essay."""
    attempt = (
        f"{QID}: to=<a@b.example>, relay=h[192.0.2.1]:25, delay=1, delays=0/0/0/1, dsn=4.2.0, status=deferred"
    )
    text = f"{attempt} (host h[192.0.2.1] said: 450 4.2.0 {'very ' * 400}"[:2000]
    line = parse(f"{HEAD}postfix/smtp[1]: {text}\n")
    assert (line.kind, line.fields["status"], line.fields["dsn"]) == ("delivery", "deferred", "4.2.0")
    assert line.fields["reason"].startswith("host h[192.0.2.1] said: 450 4.2.0 very ")
    assert delivery(text) == line.fields


def test_a_line_is_taken_apart() -> None:
    line = parse(f"{HEAD}postfix/submission/smtpd[32]: connect from unknown[192.0.2.1]\n")
    assert (line.origin.stamp, line.origin.program, line.origin.service, line.origin.pid) == (
        "Nov 21 16:23:09",
        "postfix/submission/smtpd",
        "smtpd",
        "32",
    )
    assert (line.level, line.queue_id, line.kind) == ("info", "", "connect")
    assert line.text == "connect from unknown[192.0.2.1]"


@pytest.mark.parametrize(
    ("text", "kind", "facts"),
    [
        (
            f"postfix/smtpd[26]: {QID}: client=unknown[192.0.2.1]",
            "client",
            {"client_name": "unknown", "client": "192.0.2.1"},
        ),
        (
            f"postfix/submission/smtpd[26]: {QID}: client=unknown[192.0.2.1], sasl_method=PLAIN, sasl_username=a, b",
            "client",
            {
                "client_name": "unknown",
                "client": "192.0.2.1",
                "sasl_method": "PLAIN",
                "sasl_username": "a, b",
            },
        ),
        (f"postfix/cleanup[29]: {QID}: message-id=<x@y>", "message_id", {"message_id": "<x@y>"}),
        (
            f"postfix/qmgr[23]: {QID}: from=<app@example.com>, size=303, nrcpt=1 (queue active)",
            "queued",
            {"from": "app@example.com", "size": "303", "nrcpt": "1"},
        ),
        (
            f"postfix/smtp[31]: {QID}: to=<a@example.org>, orig_to=<b@example.org>, relay=none, delay=0.07, "
            "delays=0.01/0.05/0.01/0, dsn=4.4.1, status=deferred (connect to h[192.0.2.2]:25: Connection refused)",
            "delivery",
            {
                "to": "a@example.org",
                "orig_to": "b@example.org",
                "relay": "none",
                "delay": "0.07",
                "delay_before_queue_manager": "0.01",
                "delay_queue_manager": "0.05",
                "delay_connection_setup": "0.01",
                "delay_transmission": "0",
                "dsn": "4.4.1",
                "status": "deferred",
                "reason": "connect to h[192.0.2.2]:25: Connection refused",
            },
        ),
        (f"postfix/qmgr[23]: {QID}: removed", "removed", {}),
        (f"postfix/cleanup[23]: {QID}: removed (canceled)", "removed", {"reason": "canceled"}),
        (
            f"postfix/qmgr[23]: {QID}: from=<a@b.example>, status=expired, returned to sender",
            "expired",
            {"from": "a@b.example", "status": "expired", "reason": "returned to sender"},
        ),
        (
            "postfix/smtpd[1]: NOQUEUE: reject: RCPT from unknown[192.0.2.4]: 554 5.7.1 <a@b.c>: Relay access denied; "
            "from=<x@y.z> to=<a@b.c> proto=ESMTP helo=<foo>",
            "reject",
            {
                "action": "reject",
                "command": "RCPT",
                "client_name": "unknown",
                "client": "192.0.2.4",
                "code": "554",
                "dsn": "5.7.1",
                "reason": "<a@b.c>: Relay access denied",
                "from": "x@y.z",
                "to": "a@b.c",
                "protocol": "ESMTP",
                "helo": "foo",
            },
        ),
        (
            "postfix/submission/smtpd[32]: warning: unknown[192.0.2.1]: SASL PLAIN authentication failed: "
            "wrong login or password, sasl_username=ann",
            "login_failure",
            {
                "client_name": "unknown",
                "client": "192.0.2.1",
                "sasl_method": "PLAIN",
                "reason": "wrong login or password",
                "sasl_username": "ann",
            },
        ),
    ],
)
def test_the_facts_of_each_kind_of_line(text: str, kind: str, facts: dict[str, str]) -> None:
    line = parse(HEAD + text)
    assert (line.kind, line.fields) == (kind, facts)
    assert line.queue_id == (QID if QID in text else "")


def test_an_address_cannot_state_how_its_mail_fared() -> None:
    """Postfix writes one with such letters in quotes."""
    forged = '"x>, relay=a, delay=1, delays=1/1/1/1, dsn=2.0.0, status=sent (ok)"@example.com'
    line = parse(
        f"{HEAD}postfix/smtp[1]: {QID}: to=<{forged}>, relay=h[192.0.2.1]:25, delay=1, delays=1/1/1/1, dsn=5.0.0, "
        "status=bounced (host said: 550 no)"
    )
    assert (line.fields["to"], line.fields["status"]) == (forged, "bounced")


@pytest.mark.parametrize("word", ["statistics", "table", "warning"])
def test_a_word_is_no_queue_id(word: str) -> None:
    assert parse(f"{HEAD}postfix/anvil[1]: {word}: max connection rate 1/60s").queue_id == ""


@pytest.mark.parametrize(
    ("text", "level"),
    [("error: x", "error"), ("warning: y", "warning"), ("fatal: z", "fatal"), ("all is well", "info")],
)
def test_the_level_is_what_the_text_begins_with(text: str, level: str) -> None:
    assert parse(f"{HEAD}postern[7]: {text}").level == level


@pytest.mark.parametrize(
    "text", ["", "Traceback", "a line: of [something] else", "x" * 70000, HEAD + "]: ", "]: "]
)
def test_what_is_no_line_of_the_log_is_kept_whole(text: str) -> None:
    line = parse(text + "\n")
    assert (line.origin.program, line.text, line.kind, line.fields) == ("", text, "", {})
