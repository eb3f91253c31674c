"""What the log adds up to, and that nobody who writes into it makes more of it than numbers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from entrypoint.maillog import reasons
from entrypoint.maillog.counts import BOUNDS, MOST, OTHER, STAGES, Counts
from entrypoint.maillog.lines import parse
from entrypoint.maillog.upstreams import Upstreams, read
from entrypoint.postfix.queues import QUEUES, Queues

HEAD = "Nov 21 16:23:09 relay postfix/"
QID = "4jWyDY0YgDz5nFW"
NOW = 1_763_700_000.0


def counted(*lines: str, upstreams: tuple[str, ...] = ("smtp.example.com:587",)) -> Counts:
    counts = Counts(Upstreams(list(upstreams)), lambda: NOW)
    for line in lines:
        counts.read(parse(f"{HEAD}{line}\n"))
    return counts


def delivery(
    status: str = "sent",
    reason: str = "250 ok",
    relay: str = "smtp.example.com[192.0.2.1]:587",
    dsn: str = "2.0.0",
    program: str = "smtp",
) -> str:
    return (
        f"{program}[31]: {QID}: to=<a@example.org>, relay={relay}, delay=7.5, delays=1/0.5/0.04/6, "
        f"dsn={dsn}, status={status} ({reason})"
    )


def happened(counts: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """Without what is 0."""
    found = {
        name: {value: number for value, number in count.items() if number} for name, count in counts.items()
    }
    return {name: count for name, count in found.items() if count}


def test_what_is_known_to_come_begins_at_0() -> None:
    """From a counter that appears with its first event rate() and increase() see nothing happen: an alert's loss."""
    statuses = {"sent": 0, "deferred": 0, "bounced": 0}
    upstreams = [f"{n}:25" for n in range(MOST)]
    assert counted(upstreams=("direct", "a:25")).deliveries == {"direct": statuses, "a:25": statuses}
    assert counted(upstreams=(*upstreams, "b:25", "c:25")).deliveries.keys() == {*upstreams, OTHER}
    assert counted().smtp == statuses
    assert counted().received == {"smtp": 0, "sendmail": 0}


def test_a_way_out_that_an_edit_added_is_counted_and_a_former_one_stays() -> None:
    counts = counted(delivery(), upstreams=("smtp.example.com:587",))
    counts.configured(Upstreams(["smtp.example.net:25"]))
    counts.read(parse(f"{HEAD}{delivery(relay='smtp.example.net[192.0.2.2]:25')}\n"))
    assert happened(counts.deliveries) == {
        "smtp.example.com:587": {"sent": 1},
        "smtp.example.net:25": {"sent": 1},
    }


def test_a_delivery_is_counted_for_its_way_out_and_in_each_stage() -> None:
    counts = counted(delivery(), delivery("bounced", dsn="5.1.1"), delivery(program="discard", relay="none"))
    assert happened(counts.deliveries) == {"smtp.example.com:587": {"sent": 2, "bounced": 1}}
    assert happened({"": counts.smtp}) == {"": {"sent": 1, "bounced": 1}}
    assert counts.last_delivery == NOW
    assert {stage: delays.total for stage, delays in counts.delays.items()} == dict(
        zip(STAGES, (2.0, 1.0, 0.08, 12.0), strict=True)
    )
    assert counts.delays["before_queue_manager"].counts[BOUNDS.index(1)] == 2


def test_a_deferral_is_no_delivery_and_has_a_reason_and_a_code() -> None:
    counts = counted(
        delivery(
            "deferred", "connect to smtp.example.com[192.0.2.1]:587: Connection refused", "none", "4.4.1"
        )
    )
    assert counts.deferrals == {"connection_refused": 1}
    assert counts.deferral_codes == {"4.4.1": 1}
    assert counts.last_delivery == 0


def test_asking_whether_an_address_exists_is_no_delivery() -> None:
    assert happened(counted(delivery("deliverable"), delivery("undeliverable")).deliveries) == {}


def test_what_comes_in_is_counted_by_how_it_came() -> None:
    counts = counted(
        f"smtpd[26]: {QID}: client=unknown[192.0.2.1]",
        f"submission/smtpd[26]: {QID}: client=unknown[192.0.2.1], sasl_method=PLAIN, sasl_username=a",
        f"pickup[26]: {QID}: uid=0 from=<root>",
        f"cleanup[29]: {QID}: message-id=<x@y>",
        f"qmgr[29]: {QID}: removed",
        "smtpd[26]: connect from unknown[192.0.2.1]",
        "smtpd[26]: disconnect from unknown[192.0.2.1] ehlo=1 quit=1 commands=2",
    )
    assert counts.received == {"smtp": 2, "sendmail": 1}
    assert counts.methods == {"": 1, "PLAIN": 1}
    assert (counts.cleaned_up, counts.removed, counts.connects, counts.disconnects) == (1, 1, 1, 1)


def test_a_refusal_is_counted_by_reason_and_code_also_postscreens() -> None:
    mail = "from=<a@example.com> to=<b@example.org> proto=ESMTP helo=<x>"
    counts = counted(
        f"smtpd[1]: NOQUEUE: reject: RCPT from unknown[192.0.2.1]: 554 5.7.1 <b@example.org>: Relay access denied; {mail}",
        "postscreen[1]: NOQUEUE: reject: RCPT from [192.0.2.1]:5: 550 5.7.1 Service unavailable; client [192.0.2.1] "
        "blocked using zen.example.org; from=<a@example.com>, to=<b@example.org>, proto=ESMTP, helo=<x>",
        f"smtpd[1]: NOQUEUE: reject_warning: RCPT from unknown[192.0.2.1]: 554 5.7.1 <b@e.org>: Relay access denied; {mail}",
    )
    assert happened(counts.rejects) == {"relay_denied": {"554": 1}, "blocklist": {"550": 1}}
    assert happened({"": counts.reject_codes}) == {"": {"554": 1, "550": 1}}


@pytest.mark.parametrize(
    "refusal",
    [
        "RCPT from x[192.0.2.1]: 554 5.7.1 <b@example.org>: Relay access denied",
        "RCPT from x[192.0.2.1]: 554 5.7.1 <x[192.0.2.1]>: Client host rejected: Relay access denied: this address is the gateway",
        "RCPT from x[192.0.2.1]: 554 5.7.1 <a@e.net>: Sender address rejected: Sender domain is not in ALLOWED_SENDER_DOMAINS",
        "RCPT from x[192.0.2.1]: 553 5.7.1 <a@e.net>: Sender address rejected: not owned by user u",
        "RCPT from x[192.0.2.1]: 554 5.7.1 <b@example.org>: Recipient address rejected: Access denied",
        "RCPT from x[192.0.2.1]: 550 5.1.1 <b@e.org>: Recipient address rejected: User unknown in relay recipient table",
        "RCPT from x[192.0.2.1]: 554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.example.org",
        "RCPT from x[192.0.2.1]: 451 4.3.0 <b@example.org>: Temporary lookup failure",
        "RCPT from x[192.0.2.1]: 421 4.3.2 <x[192.0.2.1]>: Client host rejected: this relay is stopping, try again later",
        "MAIL from x[192.0.2.1]: 552 5.3.4 Message size exceeds fixed limit",
        "MAIL from x[192.0.2.1]: 452 4.3.1 Insufficient system storage",
    ],
)
def test_how_this_relay_refuses_is_counted_from_0(refusal: str) -> None:
    """Else increase() and an alert would miss the first refusal."""

    def series(counts: Counts) -> set[tuple[str, str]]:
        return {(reason, code) for reason, codes in counts.rejects.items() for code in codes}

    fresh = counted()
    mail = "from=<a@example.com> to=<b@example.org> proto=ESMTP helo=<x>"
    refused = counted(f"smtpd[1]: NOQUEUE: reject: {refusal}; {mail}")
    assert happened(fresh.rejects) == {}
    assert len(happened(refused.rejects)) == 1
    assert series(refused) == series(fresh)
    assert refused.reject_codes.keys() == fresh.reject_codes.keys()


def test_what_a_check_of_the_content_refuses_is_counted_and_its_words_are_no_facts() -> None:
    """A line of a mail's body may look like Postfix's own."""
    tail = "from unknown[192.0.2.1]; from=<a@b> to=<c@d> proto=ESMTP helo=<x>: 5.7.1 no"
    forged = (
        "from x[192.0.2.9]: 421 4.7.1 <c@d>: Relay access denied; from=<a@b> to=<c@d> proto=ESMTP helo=<x>"
    )
    counts = counted(
        f"cleanup[1]: {QID}: reject: header Subject: forbidden {tail}",
        f"cleanup[1]: {QID}: reject: body {forged} {tail}",
        f"cleanup[1]: {QID}: hold: header Subject: forbidden {tail}",
        f"cleanup[1]: {QID}: warning: header Subject: forbidden {tail}",
    )
    assert happened(counts.rejects) == {"content": {OTHER: 2}}
    assert happened({"": counts.reject_codes}) == {"": {OTHER: 2}}


def test_what_waited_too_long_is_counted() -> None:
    counts = counted(
        f"qmgr[23]: {QID}: from=<a@example.com>, status=expired, returned to sender",
        f"qmgr[23]: {QID}: from=<a@example.com>, status=force-expired, returned to sender",
    )
    assert counts.expired == 2


def test_a_failed_login_and_tls_of_a_client_are_counted_and_not_those_of_an_upstream() -> None:
    tls = "TLS connection established {} h[192.0.2.1]{}: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X"
    counts = counted(
        "submission/smtpd[1]: warning: unknown[192.0.2.1]: SASL PLAIN authentication failed: (reason unavailable)",
        "submission/smtpd[1]: Anonymous " + tls.format("from", ""),
        "smtp[1]: Verified " + tls.format("to", ":25"),
    )
    assert counts.login_failures == 1
    assert counts.tls == {"Anonymous TLSv1.3 TLS_AES_256_GCM_SHA384 256 256": 1}


def test_nobody_can_make_more_labels_than_a_few() -> None:
    """A stranger's server may answer with any code: each would be a series in Prometheus for ever."""
    lines = [
        delivery("deferred", f"host h[192.0.2.1] said: 450 4.1.{n} no", dsn=f"4.1.{n}") for n in range(200)
    ]
    counts = counted(*lines)
    assert len(counts.deferral_codes) == MOST + 1
    assert counts.deferral_codes[OTHER] == 200 - MOST
    assert happened(counted(delivery("<script>")).deliveries) == {}  # no status of Postfix's
    assert happened(counted(delivery("eaten")).deliveries) == {"smtp.example.com:587": {OTHER: 1}}


@pytest.mark.parametrize("number", range(0, 52, 3))
def test_a_message_counts_whenever_it_came(number: int) -> None:
    """The time in its queue id may hold the letter that ends it."""
    digits = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
    assert counted(f"qmgr[1]: 4jWyDY{digits[number]}0zgz5nFW: removed").removed == 1


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("connect to h.example[192.0.2.1]:25: Connection refused", "connection_refused"),
        ("connect to h.example[192.0.2.1]:25: Connection timed out", "timeout"),
        ("connect to h.example[192.0.2.1]:25: No route to host", "unreachable"),
        (
            "delivery temporarily suspended: connect to h[192.0.2.1]:25: Connection refused",
            "connection_refused",
        ),
        ("conversation with h[192.0.2.1] timed out while receiving the initial server greeting", "timeout"),
        (
            "lost connection with h[192.0.2.1] while sending end of data -- message may be sent",
            "connection_lost",
        ),
        (
            "Host or domain name not found. Name service error for name=h.example type=A: Host not found, try again",
            "dns",
        ),
        ("TLS is required, but was not offered by host h[192.0.2.1]", "tls"),
        ("Server certificate not trusted", "tls"),
        ("SASL authentication failed; server h[192.0.2.1] said: 535 5.7.8 no", "authentication"),
        (
            "host h[192.0.2.1] said: 530 5.7.0 Authentication required (in reply to MAIL FROM command)",
            "authentication",
        ),
        ("host h[192.0.2.1] refused to talk to me: 421 busy", "reply_to_connection"),
        ("host h[192.0.2.1] said: 450 4.2.0 Greylisted (in reply to RCPT TO command)", "greylisted"),
        ("host h[192.0.2.1] said: 450 4.2.0 later (in reply to RCPT TO command)", "reply_to_recipient"),
        ("host h[192.0.2.1] said: 451 later (in reply to MAIL FROM command)", "reply_to_sender"),
        ("host h[192.0.2.1] said: 451 later (in reply to end of DATA command)", "reply_to_message"),
        ("mail transport unavailable", "relay_itself"),
        ("host h[192.0.2.1] said: 451 Connection refused (in reply to DATA command)", "reply_to_data"),
        ("", "other"),
    ],
)
def test_why_mail_waits_is_one_of_a_few_words(reason: str, word: str) -> None:
    assert reasons.of_deferral(reason) == word


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("<b@example.org>: Relay access denied", "relay_denied"),
        (
            "<b@example.org>: Recipient address rejected: User unknown in relay recipient table",
            "unknown_recipient",
        ),
        ("<a@example.org>: Sender address rejected: not owned by user x", "sender_not_owned"),
        ("<a@example.org>: Sender address rejected: Access denied", "sender"),
        ("<unknown[192.0.2.1]>: Client host rejected: Access denied", "client"),
        ('<"x>: Relay access denied"@example.org>: Recipient address rejected: no', "recipient"),
        ("Message size exceeds fixed limit", "size"),
        ("<b@example.org>: Temporary lookup failure", "lookup"),
        ("<h[192.0.2.1]>: Client host rejected: this relay is stopping, try again later", "stopping"),
        ("anything else", "other"),
    ],
)
def test_why_a_client_is_refused_is_one_of_a_few_words(reason: str, word: str) -> None:
    assert reasons.of_reject(reason) == word


WAYS = Upstreams(["smtp.example.com:587", "backup.example.com:25", "[2001:db8::1]:25"])


@pytest.mark.parametrize(
    ("relay", "reason", "name"),
    [
        ("SMTP.example.com[192.0.2.1]:587", "250 ok", "smtp.example.com:587"),
        ("backup.example.com[192.0.2.2]:25", "250 ok", "backup.example.com:25"),
        ("2001:db8::1[2001:db8::1]:25", "250 ok", "[2001:db8::1]:25"),
        ("none", "connect to backup.example.com[192.0.2.2]:25: Connection refused", "backup.example.com:25"),
        (
            "none",
            "Host or domain name not found. Name service error for name=backup.example.com type=A: not found",
            "backup.example.com:25",
        ),
        (
            "none",
            "unable to look up host backup.example.com: Name or service not known",
            "backup.example.com:25",
        ),
        ("none", "host Backup.example.com[192.0.2.2] refused to talk to me: 421 no", "backup.example.com:25"),
        ("none", "lost connection with backup.example.com[192.0.2.2] while", "backup.example.com:25"),
        ("none", "host mx.of.a.stranger[192.0.2.2] said: 450 no", "smtp.example.com:587"),
        ("mx.of.a.stranger[192.0.2.9]:25", "250 ok", "smtp.example.com:587"),
        ("none", "mail transport unavailable", "smtp.example.com:587"),
    ],
)
def test_a_way_out_is_called_as_it_was_configured(relay: str, reason: str, name: str) -> None:
    assert WAYS.of(relay, reason) == name


def test_without_upstreams_all_mail_goes_direct_and_of_many_the_first_are_told_apart(tmp_path: Path) -> None:
    assert read(str(tmp_path / "none")).of("mx.example.org[192.0.2.1]:25", "") == "direct"
    (tmp_path / "upstreams").write_text("".join(f"h{n}:25\n" for n in range(60)))
    ways = read(str(tmp_path / "upstreams"))
    assert ways.of("h49[192.0.2.1]:25", "") == "h49:25"
    assert ways.of("h50[192.0.2.1]:25", "") == "other"


def queue_id(seconds: int, inode: str = "5nFW") -> str:
    digits = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
    text = ""
    while seconds:
        seconds, digit = divmod(seconds, 52)
        text = digits[digit] + text
    return f"{text}0YzDz{inode}"


def test_depth_and_age_of_a_queue_stand_in_the_names_of_its_files(tmp_path: Path) -> None:
    names = {
        "deferred/A": [queue_id(int(NOW) - 500), queue_id(int(NOW) - 20, "5nFX")],
        "deferred/B": [queue_id(int(NOW) - 5)],
        "active": [queue_id(int(NOW))],
        "incoming": ["12345.678"],  # in the making
        "hold": ["0A1B2C3D4E"],  # the short form, which tells no time
    }
    for directory, files in names.items():
        (tmp_path / directory).mkdir(parents=True)
        for name in files:
            (tmp_path / directory / name).touch()
    found = Queues(str(tmp_path), lambda: NOW).look()
    assert {name: queue.depth for name, queue in found.items()} == {
        **dict.fromkeys(QUEUES, 0),
        "deferred": 3,
        "active": 1,
        "hold": 1,
    }
    assert found["deferred"].oldest == 500
    assert found["deferred"].ages[:3] == [1, 1, 1]
    assert found["deferred"].total == 525
    assert (found["hold"].oldest, sum(found["hold"].ages)) == (0, 0)


def test_a_large_queue_is_not_looked_at_all_the_time(tmp_path: Path) -> None:
    (tmp_path / "deferred").mkdir()
    queues = Queues(str(tmp_path))
    queues.look()
    queues._next = float("inf")
    os.close(os.open(tmp_path / "deferred" / queue_id(5), os.O_CREAT))
    assert queues.look()["deferred"].depth == 0
    queues._next = 0
    assert queues.look()["deferred"].depth == 1
