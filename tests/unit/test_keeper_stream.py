"""What of Postfix's log reaches the container's stdout: everything but the readiness probe's own lines."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from entrypoint.keeper import stream, syslog, throttle
from entrypoint.keeper.journal import Journal
from entrypoint.keeper.stream import ProbeFilter, Stream
from entrypoint.maillog import lines as maillog

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = "127.98.67.25"
PROBE = ProbeFilter(SOURCE)
START = "Nov 20 11:44:00 relay "
RECIPIENT = "readiness-probe@postern.invalid"
REJECT = (
    f"NOQUEUE: reject: RCPT from unknown[{SOURCE}]: 450 4.7.0 <unknown[{SOURCE}]>: Client host rejected: "
    f"readiness probe: no mail is taken from this address; from=<> to=<{RECIPIENT}> proto=ESMTP helo=<localhost>"
)
NO_RELAYING = (
    f"NOQUEUE: reject: RCPT from unknown[{SOURCE}]: 554 5.7.1 <{RECIPIENT}>: Relay access denied; "
    f"from=<> to=<{RECIPIENT}> proto=ESMTP helo=<localhost>"
)


@pytest.mark.parametrize("tag", ["postfix/smtpd", "postfix/submissions/smtpd", "relay-1/587/smtpd"])
@pytest.mark.parametrize(
    "text",
    [
        f"connect from unknown[{SOURCE}]",
        f"connect from localhost[{SOURCE}]",
        f"disconnect from unknown[{SOURCE}] ehlo=1 mail=1 rcpt=0/1 rset=1 quit=1 commands=4/5",
        f"disconnect from unknown[{SOURCE}] ehlo=2 starttls=1 mail=1/2 rcpt=0/1 rset=1 quit=1 commands=6/8",
        f"Anonymous TLS connection established from unknown[{SOURCE}]: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384",
        REJECT,
        NO_RELAYING,
    ],
)
def test_a_probe_that_succeeds_leaves_nothing_in_the_log(tag: str, text: str) -> None:
    assert PROBE.without_probe(f"{START}{tag}[71]: {text}\n".encode()) == b""


@pytest.mark.parametrize(
    "text",
    [
        f"CONNECT from [{SOURCE}]:56617 to [127.0.0.1]:25",
        f"ALLOWLISTED [{SOURCE}]:56617",
        f"WHITELISTED [{SOURCE}]:56617",
        f"PASS OLD [{SOURCE}]:56617",
    ],
)
def test_postscreen_in_front_adds_nothing(text: str) -> None:
    assert PROBE.without_probe(f"{START}postfix/inbound/postscreen[71]: {text}\n".encode()) == b""


@pytest.mark.parametrize(
    "line",
    [
        f"postfix/smtpd[71]: disconnect from unknown[{SOURCE}] ehlo=1 auth=0/1 quit=1 commands=2/3",
        f"postfix/smtpd[71]: disconnect from unknown[{SOURCE}] ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5",
        f"postfix/smtpd[71]: disconnect from unknown[{SOURCE}] ehlo=1 vrfy=1 unknown=0/3 quit=1 commands=3/6",
        f"postfix/smtpd[71]: {NO_RELAYING.replace('readiness-probe', 'victim')}",
        f"postfix/smtpd[71]: {NO_RELAYING.replace(SOURCE, '10.1.2.3')}",
        f"postfix/smtpd[71]: {REJECT.replace(SOURCE, '10.1.2.3').replace('<localhost>', f'<[{SOURCE}]>')}",
        f"postfix/smtpd[71]: Anonymous TLS connection established from unknown[10.1.2.3]: TLSv1.3 [{SOURCE}]",
        f"postfix/smtpd[71]: Trusted TLS connection established from unknown[{SOURCE}]: TLSv1.3 with cipher X",
        f"postfix/smtpd[71]: warning: unknown[{SOURCE}]: SASL PLAIN authentication failed: x, sasl_username=a",
        f"postfix/smtpd[71]: SSL_accept error from unknown[{SOURCE}]: -1",
        f"postfix/smtpd[71]: NOQUEUE: reject: RCPT from unknown[{SOURCE}]: 451 4.3.0 <readiness probe@b>: Temporary "
        "lookup failure; from=<> to=<a@b> proto=ESMTP helo=<x>",
        f"postfix/postscreen[71]: CONNECT from [10.1.2.3]:2 to [{SOURCE}]:25",
        f"postfix/postscreen[71]: NOQUEUE: reject: RCPT from [10.1.2.3]:2: 550; helo=<ALLOWLISTED [{SOURCE}]:1>",
        f"postfix/postscreen[71]: DISCONNECT [{SOURCE}]:56617",
        f"postfix/postscreen[71]: PREGREET 11 after 0 from [{SOURCE}]:56617: EHLO x",
        f"postfix/smtpd[71]: ALLOWLISTED [{SOURCE}]:56617",
        f"postfix/postscreen[71]: connect from unknown[{SOURCE}]",
        f"postfix/smtpd[71]: lost connection after RCPT from unknown[{SOURCE}]",
        f"postfix/smtpd[71]: timeout after CONNECT from unknown[{SOURCE}]",
        f"postfix/smtpd[71]: warning: connect from unknown[{SOURCE}]",
        f"postfix/smtpd[71]: NOQUEUE: reject: RCPT from unknown[{SOURCE}]: 451 4.3.0 <a@b>: Temporary lookup failure; "
        "from=<> to=<a@b> proto=ESMTP helo=<readiness probe>",
        f"postfix/smtpd[71]: NOQUEUE: reject: MAIL from unknown[{SOURCE}]: 452 4.3.1 Insufficient system storage",
        f"postfix/smtpd[71]: 4jWDwK3Lkcz6XC3: client=unknown[{SOURCE}]",
        f"postfix/anvil[72]: statistics: max connection rate 1/60s for (smtp:[{SOURCE}])",
        f"postfix/smtp[73]: connect from unknown[{SOURCE}]",
        "postfix/smtpd[71]: connect from unknown[127.98.67.251]",
        "postfix/smtpd[71]: connect from unknown[10.1.2.3]",
        f"postfix/smtpd[71]: disconnect from x[10.1.2.3] helo=<[{SOURCE}]>",
        f"postfix/cleanup[74]: 4jWDwK3Lkcz6XC3: message-id=<x[9]: connect from unknown[{SOURCE}]>",
    ],
)
def test_any_other_line_stays_visible(line: str) -> None:
    data = f"{START}{line}\n".encode()
    assert PROBE.without_probe(data) == data


def test_lines_around_the_probe_keep_their_order() -> None:
    lines = [f"{START}postfix/qmgr[1]: {n}: removed\n" for n in range(3)]
    probe = f"{START}postfix/smtpd[71]: connect from unknown[{SOURCE}]\n"
    assert (
        PROBE.without_probe((lines[0] + probe + lines[1] + probe + lines[2]).encode())
        == "".join(lines).encode()
    )


def written(tmp_path: Path, pieces: list[bytes]) -> bytes:
    path = tmp_path / "out"
    out = os.open(path, os.O_WRONLY | os.O_CREAT)
    log = Stream(out, PROBE, Journal())
    for piece in pieces:
        log.feed(piece)
    log.flush()
    os.close(out)
    return path.read_bytes()


def test_what_is_looked_through_is_complete_lines() -> None:
    out = os.open(os.devnull, os.O_WRONLY)
    log = Stream(out, PROBE, Journal())
    assert [log.feed(piece) for piece in (b"one\ntw", b"", b"o", b"\nthree\n")] == [
        b"one\n",
        b"",
        b"",
        b"two\nthree\n",
    ]
    os.close(out)


THROTTLED = "warning: /usr/lib/postfix/sbin/qmgr: bad command startup -- throttling"


@pytest.mark.parametrize("tag", ["postfix/master[12]", "relay-1/master[12]"])
def test_a_program_that_master_cannot_start_is_found_in_its_log(tag: str) -> None:
    before = f"{START}postfix/qmgr[21]: fatal: invalid option: Q\n"
    assert throttle.program(f"{before}{START}{tag}: {THROTTLED}\n{before}".encode(), 12) == "qmgr"


def test_of_several_programs_the_last_is_named() -> None:
    other = THROTTLED.replace("qmgr", "cleanup")
    lines = f"{START}postfix/master[12]: {THROTTLED}\n{START}postfix/master[12]: {other}\n"
    assert throttle.program(lines.encode(), 12) == "cleanup"


@pytest.mark.parametrize(
    "line",
    [
        f"postfix/master[13]: {THROTTLED}",
        f"postfix/master[123]: {THROTTLED}",
        f"postfix/smtpd[71]: {THROTTLED}",
        f"postfix/cleanup[74]: 4jWDwK3Lkcz6XC3: message-id=<postfix/master[12]: {THROTTLED}",
        f"postfix/smtpd[71]: warning: postfix/master[12]: {THROTTLED}",
        f"postfix/smtpd[71]: NOQUEUE: reject: from=<x@{START}postfix/master[12]: {THROTTLED}",
        f"postfix/smtpd[71]: NOQUEUE: reject: from=<x@postfix/master[12]: {THROTTLED}> to=<a@b>",
        f"postfix/master[12]: {THROTTLED}> and more",
        f"postfix/master[12]: fatal{THROTTLED}",
    ],
)
def test_nobody_but_master_can_say_that_a_program_cannot_be_started(line: str) -> None:
    assert throttle.program(f"{START}{line}\n".encode(), 12) == ""


def test_a_programs_name_cannot_break_the_keepers_note() -> None:
    line = f'{START}postfix/master[12]: warning: /x/a", "master: bad command startup -- throttling\n'
    assert throttle.program(line.encode(), 12) == "amaster"


def test_a_line_that_comes_in_pieces_is_one_line(tmp_path: Path) -> None:
    probe = f"{START}postfix/smtpd[71]: connect from unknown[{SOURCE}]\n".encode()
    data = b"one\ntwo\n" + probe + b"three\n"
    assert written(tmp_path, [data[i : i + 1] for i in range(len(data))]) == b"one\ntwo\nthree\n"


def test_the_last_line_is_written_even_without_its_line_break(tmp_path: Path) -> None:
    assert written(tmp_path, [b"one\nlast words"]) == b"one\nlast words\n"


def test_endless_output_without_a_line_break_does_not_fill_the_memory(tmp_path: Path) -> None:
    piece = b"x" * 10_000
    out = written(tmp_path, [piece] * 100)
    assert out.replace(b"\n", b"") == piece * 100
    assert max(map(len, out.split(b"\n"))) <= stream.LONGEST + len(piece)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            b"<18>Nov 20 11:44:00 postfix/master[9]: fatal: bind: in use",
            "postfix/master[9]: fatal: bind: in use",
        ),
        (b"<18>Nov  2 11:44:00 saslauthd[9]: hello\n", "saslauthd[9]: hello"),
        (b"<14>tag: no time", "tag: no time"),
        (b"no priority", "no priority"),
        (b"<x>odd", "<x>odd"),
        (
            b"<14>a\nNov 20 11:44:00 h postfix/qmgr[1]: forged\0",
            "a Nov 20 11:44:00 h postfix/qmgr[1]: forged?",
        ),
    ],
)
def test_a_syslog_message_becomes_one_line_of_our_form(message: bytes, text: str) -> None:
    line = syslog.line(message, 0.0).decode()
    assert line.endswith(f" {os.uname().nodename.partition('.')[0]} {text}\n")
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    "text",
    [
        "postfix/smtp[9]: 5C1A2B3D4F: to=<a@b.example>, relay=x[192.0.2.1]:25, delay=1.2, delays=0/0/1/0, dsn=2.0.0, "
        "status=sent (250 ok)",
        "postfix/qmgr[9]: 5C1A2B3D4F: removed",
        "postfix/smtpd[9]: warning: 5C1A2B3D4F: client=unknown[192.0.2.7]",
        "postfix/cleanup[9]: 5C1A2B3D4F: message-id=<a@b.example>",
        "postfix/master[9]: 5C1A2B3D4F: to=<a@b.example>, relay=none, delay=1, delays=0/0/1/0, dsn=4.0.0, status=deferred (x)",
    ],
)
def test_what_anybody_may_say_is_logged_and_no_fact(text: str) -> None:
    """Any user of the container may write to /dev/log: to count it would let a stranger say what became of mail."""
    line = syslog.line(f"<22>Nov 20 11:44:00 {text}".encode())
    assert maillog.parse(line.decode()).kind == ""
    assert line.endswith(f" syslog/{text}\n".encode())
