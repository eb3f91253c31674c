"""The log as machines read it, and without the addresses of people."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entrypoint.maillog import forms
from entrypoint.maillog.forms import Json
from entrypoint.maillog.lines import parse
from entrypoint.maillog.masking import mask

ROOT = Path(__file__).parents[2]
NOW = 1795278189.042  # 2026-11-21T16:23:09.042Z
HEAD = "Nov 21 16:23:09 relay "
QID = "4jWyDY0YgDz5nFW"
SALT = "0123456789abcdef"


@pytest.fixture(autouse=True)
def _zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from zone(monkeypatch, "UTC")


def zone(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    monkeypatch.setenv("TZ", name)
    time.tzset()
    # A process that logs has one zone.
    forms._stamp.cache_clear()
    forms._moment.cache_clear()
    yield
    monkeypatch.undo()
    time.tzset()


def read(line: str, form: Json | None = None) -> dict[str, Any]:
    text = (form or Json(lambda: NOW))(parse(line))
    assert text.endswith("}\n")
    assert text.count("\n") == 1
    assert text.isascii()
    found: dict[str, Any] = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    return found


def test_a_delivery_is_one_object_with_its_facts_and_numbers_are_numbers() -> None:
    text = (
        f"{QID}: to=<a@example.org>, orig_to=<b@example.org>, relay=none, delay=0.07, delays=0.01/0.05/0.01/0, "
        'dsn=4.4.1, status=deferred (connect to h[192.0.2.2]:25: "refused")'
    )
    assert read(f"{HEAD}postfix/smtp[31]: {text}") == {
        "time": "2026-11-21T16:23:09.042Z",
        "level": "info",
        "source": "postfix/smtp",
        "pid": 31,
        "queue_id": QID,
        "event": "delivery",
        "to": "a@example.org",
        "orig_to": "b@example.org",
        "relay": "none",
        "delay": 0.07,
        "delay_before_queue_manager": 0.01,
        "delay_queue_manager": 0.05,
        "delay_connection_setup": 0.01,
        "delay_transmission": 0,
        "dsn": "4.4.1",
        "status": "deferred",
        "reason": 'connect to h[192.0.2.2]:25: "refused"',
        "message": text,
    }


def test_what_is_not_known_of_a_line_is_left_out() -> None:
    assert read(f"{HEAD}postern[7]: warning: the disk is full") == {
        "time": "2026-11-21T16:23:09.042Z",
        "level": "warning",
        "source": "postern",
        "pid": 7,
        "message": "warning: the disk is full",
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Traceback (most recent call last):",
        '{"level": "info"}',
        '\x00\x1b[2J\u2028\x85\t\\ " \udcff é €😀',
        "x" * 70000,
        f"{HEAD}a[{'9' * 5000}]: b",
        f"{HEAD}a[٣]: b",
        f"{HEAD}postfix/qmgr[1]: {QID}: from=<>, size=٣, nrcpt={'9' * 5000} (queue active)",
        f"{HEAD}postfix/smtp[1]: {QID}: to=<a@b>, relay=r, delay=., delays=1.2.3/{'9' * 400}.0/007/٣.٣, "
        "dsn=2.0.0, status=sent (ok)",
        "Xxx 99 99:99:99 relay postfix/qmgr[1]: no date",
        "Feb 31 16:23:09 relay postfix/qmgr[1]: no such day",
    ],
)
def test_whatever_a_line_holds_it_is_json_and_whole(text: str) -> None:
    parsed = parse(text)
    found = read(text)
    assert found["message"] == parsed.text
    assert {"time", "level", "source", "message"} <= found.keys()


def test_time_is_the_clocks_for_a_line_that_has_just_been_written() -> None:
    clock = iter([NOW, NOW + 0.1, NOW + 0.97, NOW + 1, NOW + 1.1])
    form = Json(lambda: next(clock))
    seconds = ["09", "09", "09", "10", "10"]
    # The third came when the clock had gone on.
    told = [read(f"Nov 21 16:23:{second} relay postfix/qmgr[1]: x", form)["time"][17:] for second in seconds]
    assert told == ["09.042Z", "09.142Z", "10.012Z", "10.042Z", "10.142Z"]


def test_time_goes_on_from_one_process_to_the_next_though_a_line_was_stamped_before_the_second_ended() -> (
    None
):
    """A refused edit, and by another process that the files are right again: sorted by time, they keep their order."""
    refused = read(f"{HEAD}postern[1]: x", Json(lambda: NOW))["time"]
    right_again = read(f"{HEAD}postern[2]: x", Json(lambda: NOW + 0.965))["time"]
    after = read("Nov 21 16:23:10 relay postern[1]: x", Json(lambda: NOW + 0.970))["time"]
    assert [refused[17:], right_again[17:], after[17:]] == ["09.042Z", "10.007Z", "10.012Z"]


def test_a_line_that_comes_late_has_the_second_of_its_stamp_and_comes_after_all_else_of_it() -> None:
    clock = iter([NOW + 1.5, NOW + 60])
    form = Json(lambda: next(clock))
    assert [read(f"{HEAD}postern[1]: x", form)["time"][17:] for _ in range(2)] == ["09.999Z", "09.999Z"]


def test_a_line_that_comes_a_little_late_is_not_looked_up_in_the_calendar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """mktime() reads the zone anew: under load, when some line of each second is late, a tenth of the keeper's time."""
    monkeypatch.setattr("entrypoint.maillog.forms.time.mktime", lambda _: pytest.fail("looked up"))
    assert read(f"{HEAD}postern[1]: x", Json(lambda: NOW + 3))["time"][17:] == "09.999Z"


def test_time_does_not_go_back_when_lines_of_two_programs_cross() -> None:
    form = Json(lambda: NOW)
    told = [
        read(f"Nov 21 16:23:{s} relay postfix/qmgr[1]: x", form)["time"] for s in ("09", "08", "09", "06")
    ]
    assert told == sorted(told)


def test_a_clock_that_was_set_back_is_followed() -> None:
    """Else an hour of the log would have one time."""
    form = Json(lambda: NOW - 3600)
    read(f"{HEAD}a[1]: later", form)
    assert read("Nov 21 15:23:09 relay a[1]: x", form)["time"] == "2026-11-21T15:23:09.042Z"


@pytest.mark.parametrize(
    ("where", "clock", "stamp", "expected"),
    [
        ("Asia/Kathmandu", NOW, "Nov 21 22:08:09", "2026-11-21T16:23:09.042Z"),
        # An hour that comes twice: 00:59:58 and 01:59:58 UTC have the same stamp.
        ("Europe/London", 1792890000.0, "Oct 25 01:59:58", "2026-10-25T00:59:58.999Z"),
        ("Europe/London", 1792893600.0, "Oct 25 01:59:58", "2026-10-25T01:59:58.999Z"),
        # The last second of a year, taken in the next.
        ("UTC", 1798761600.6, "Dec 31 23:59:59", "2026-12-31T23:59:59.999Z"),
        ("UTC", 1835395201.0, "Feb 28 23:59:59", "2028-02-28T23:59:59.999Z"),
    ],
)
def test_a_stamp_without_year_and_zone_is_the_moment_it_was(
    where: str, clock: float, stamp: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in zone(monkeypatch, where):
        assert read(f"{stamp} relay postfix/qmgr[1]: x", Json(lambda: clock))["time"] == expected


def partial(text: str) -> str:
    masked = mask("partial")
    assert masked
    return masked(text)


def hashed(text: str, salt: str = SALT) -> str:
    masked = mask("hashed", salt)
    assert masked
    return masked(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("to=<ann@example.com>, orig_to=<bob@example.com>", "to=<a***@example.com>, orig_to=<b***@example.com>"),
        ('to=<"ann b>@x"@example.com>, relay=none', "to=<a***@example.com>, relay=none"),
        ("from=<jörg@müller.example>", "from=<j***@müller.example>"),
        ("from=<bounce+ann=example.org@lists.example>", "from=<b***@lists.example>"),
        ("sasl_method=PLAIN, sasl_username=ann@example.com", "sasl_method=PLAIN, sasl_username=a***@example.com"),
        ("host said: 550 5.1.1 <ann@example.com>: no", "host said: 550 5.1.1 <a***@example.com>: no"),
        ("said: 550 ann@example.com, bob@x; no", "said: 550 a***@example.com, b***@x; no"),
        ("said: 550 'ann@example.com' (mailto:bob@x)", "said: 550 'a***@example.com' (mailto:b***@x)"),
        ('said: 550 "ann b"@example.com unknown', "said: 550 a***@example.com unknown"),
        ('said: 550 "ann@example.com" unknown', 'said: 550 "a***@example.com" unknown'),
        ('said: 550 ""ann b"@example.com" unknown', 'said: 550 "a***@example.com" unknown'),
        ('said: 550 ""ann@bob"@example.com", ""bob"@[192.0.2.1]"', 'said: 550 "a***@example.com", "b***@[192.0.2.1]"'),
        ("<ann smith@example.com>: bad syntax", "<a***@example.com>: bad syntax"),
        ("<@a.example:ann@[192.0.2.1]>", "<a***@[192.0.2.1]>"),
        ("message-id=<ann@example.com>", "message-id=<a***@example.com>"),
        ("not owned by user ann@example.com", "not owned by user a***@example.com"),
        ("504 <ann>: need more; from=<> to=<ann> helo=<ann>", "504 <a***>: need more; from=<> to=<a***> helo=<a***>"),
        ("to=<ann@example.com>, to=<bob>", "to=<a***@example.com>, to=<b***>"),
        # Raw bytes of a stranger's, as they are decoded.
        (r"to=<ann\xff@example.com> said: b\xff\xfeob@x", "to=<a***@example.com> said: b***@x"),
    ],
)  # fmt: skip
def test_no_address_survives_wherever_it_stands(text: str, shown: str) -> None:
    assert partial(text) == shown
    for name in ("ann", "bob", "jörg"):
        assert name not in hashed(text)


LOCAL_PARTS = (
    "{}", "{}.smith", "a.{}", "{}+tag", "tag+{}", "{}=x.org", "{}%relay", "host!{}", "o'{}", "'{}", "{}'", "a/{}/b",
    "=?utf-8?q?{}?=", "&{}", "|{}", "j\u00f6rg{}", "user={}", '"{}"', '"{} x"', '"x {}"', '"a@{}"', '"{}@b"', '"a\\"{}"',
    '"a>{}"', '"a,{}"', '"{}:x"',
)  # fmt: skip
PLACES = (
    "to=<{}>, relay=none", "orig_to=<{}>", "<{}>: bad", "said: 550 {} no", "said: 550 '{}' no", 'said: 550 "{}" no', "({})",
    "[{}]", "<<{}>>", "a,{},b", "{}...", "{}/x", "*{}*", "mailto:{}", "rfc822;{}", "&lt;{}&gt;", "https://x/?u={}&v",
    "sasl_username={}, x", "user={}", "id={}", "MAIL FROM:{} SIZE=1", "(in reply to RCPT TO {} command)", "a <{}> b <{}>",
    "{} {}", "<{},{}>", "\u00ab{}\u00bb", "{}\u2026",
)  # fmt: skip
DOMAINS = ("example.com", "[192.0.2.1]", "m\u00fcller.example", "x")


@pytest.mark.parametrize("place", PLACES)
def test_no_local_part_survives_anywhere(place: str) -> None:
    for local, domain in itertools.product(LOCAL_PARTS, DOMAINS):
        address = f"{local.format('zebedee')}@{domain}"
        text = place.replace("{}", address)
        for shown in (partial(text), hashed(text)):
            assert "zebedee" not in shown, text


@pytest.mark.parametrize(
    "address", ["<zebedee.smith@example.org>", "zebedee.smith@x", '<"z zebedee"@x>', '"zebedee z"@x']
)
@pytest.mark.parametrize("letter", ["x", "\u00fc", "\u091c"])
def test_no_address_survives_that_postfix_cuts_off(address: str, letter: str) -> None:
    """It logs 2,000 bytes of a text, and a server's words may be longer."""
    head = "host sink[192.0.2.1] said: 550 no "
    for shown in range(1, len(address)):
        filling = letter * ((2000 - len(head) - shown - 1) // len(letter.encode()))
        text = f"{head}{filling} {address}".encode()[:2000].decode("utf-8", "replace")
        line = f"{HEAD}postfix/smtp[1]: {text}"
        for masked in (partial(line), hashed(line)):
            assert masked.startswith(line[:60])
            assert not re.search("zeb|smith", masked), (shown, masked[-40:])


@pytest.mark.parametrize(
    "text",
    [
        "from=<>, size=1",
        "helo=<mail.example.com>",
        "sasl_username=ann",
        "h[192.0.2.1]:25",
        "a @ b",
        "@example.com",
    ],
)
def test_what_is_no_address_stays(text: str) -> None:
    assert partial(text) == hashed(text) == text


def test_one_address_has_one_hash_by_which_lines_are_found_and_another_salt_another() -> None:
    texts = (
        "to=<Ann@Example.com>",
        "said: 550 ann@example.com no",
        "sasl_username=ann@example.com",
        "'ann@example.com'",
    )
    digits = {next(word for word in hashed(t).lower().replace("=", " ").replace("<", " ").replace("'", " ").split()
                   if "@" in word).partition("@")[0] for t in texts}  # fmt: skip
    assert len(digits) == 1
    assert len(digits.pop()) == 12
    assert hashed("<ann@example.com>") != hashed("<bob@example.com>")
    assert hashed("<ann@example.com>") != hashed("<ann@example.org>")
    assert hashed("<ann@example.com>") != hashed("<ann@example.com>", SALT[::-1])
    assert hashed("<ann@example.com>", "x" * 200)


def test_facts_are_found_in_masked_lines_too() -> None:
    line = f"{HEAD}postfix/qmgr[1]: {QID}: from=<ann@example.com>, size=303, nrcpt=1 (queue active)"
    for how in (partial, hashed):
        assert parse(how(line)).fields["size"] == "303"


def test_nobody_asked_for_masks_means_none() -> None:
    assert mask("full") is None


@pytest.mark.parametrize(
    "piece",
    [
        '"',
        " ",
        "x ",
        '""a',
        '""\\',
        '"\\"',
        '"" ',
        '<"',
        '<""',
        '"a" ',
        '"\\',
        "a@",
        "<a@",
        "to=<",
        "a",
        '"a"',
        "<",
    ],
)
def test_a_strangers_line_costs_no_more_than_its_length(piece: str) -> None:
    """The longest line there can be. With a pattern that tries twice it takes half an hour."""
    began = time.process_time()
    partial(piece * (65536 // len(piece)) + " x@y")
    assert time.process_time() - began < 2


def test_no_json_package_is_needed() -> None:
    """It would cost each long-running program 1 MB."""
    program = "import sys; from entrypoint.maillog import forms, lines, masking; print('json' in sys.modules)"
    done = subprocess.run([sys.executable, "-Sc", program], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout == b"False\n"
