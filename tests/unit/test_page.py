"""The page: what it says of mail, that it is HTML, and that no word of a stranger's becomes a part of it."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import html5lib
import pytest

from entrypoint.page import hour, show, verdict, words
from entrypoint.page.facts import Facts, Places, clean
from tests.page import data

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

ROOT = Path(__file__).parents[2]
STYLE = (show.templates() / "page.css").read_text()
# Each would be something else than text somewhere in a page, or in a terminal.
HOSTILE = (
    "<script>ran=1</script>",
    "\"><img src=x onerror='ran=1'>",
    "' onmouseover='ran=1",
    "</title></style></summary></svg><b>out",
    "<!-- --><![CDATA[",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;&#x3c;",
    "line\u2028separator\x00\x1b[31m\u202eright to left",
    "javascript:ran=1",
)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr("time.time", lambda: data.NOW)
    return data.NOW


def a_few(answers: dict[str, Any]) -> dict[str, Any]:
    """To parse a hundred takes half a second."""
    return {**answers, "stories": answers["stories"][:9]}


def page(answers: dict[str, Any], **about: Any) -> str:
    return show.html(Facts(data.Told(answers, {**data.ABOUT, **about})), STYLE)


def parsed(text: str) -> Element:
    """Raises at the first fault that the HTML standard names."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    root: Element = parser.parse(text)
    return root


def title(answers: dict[str, Any]) -> str:
    found = parsed(page(answers)).findtext("head/title")
    assert found
    return found


def everywhere(text: str, value: Any) -> Any:
    """The answers with a stranger's words in the place of each text that Postfix copies from mail or from a server."""
    names = {
        "from",
        "to",
        "orig_to",
        "client_name",
        "message_id",
        "sasl_username",
        "reason",
        "relay",
        "text",
        "dsn",
    }
    if isinstance(value, dict):
        return {
            name: text if name in names and part is not None else everywhere(text, part)
            for name, part in value.items()
        }
    return [everywhere(text, part) for part in value] if isinstance(value, list) else value


CASES: dict[str, dict[str, Any]] = {
    "a good day": data.a_good_day(),
    "a relay that just started": {
        "counts": data.counts(0),
        "minutes": {"since": data.NOW - 2, "into": 2.0, "bounds": [1], "minutes": [[0] * 6]},
        "queue": {"at": data.NOW, "count": 0, "reasons": [], "domains": [], "more": 0},
        "stories": [],
        "stories waiting": [],
    },
    "a queue that is being counted": {**a_few(data.a_good_day()), "queue": {}, "queue last": {}},
    "a keeper that is away": {"checks": [("failed", "log", "the keeper does not answer")]},
    "all that can be wrong": {
        **a_few(data.a_good_day()),
        "checks": [("failed", "listener 25", "does not greet"), ("warning", "upstream", "timed out")],
        "certificates": f"{data.NOW - 1} old.example.com\n{data.NOW + 86400} soon.example.com\n",
    },
}


@pytest.mark.parametrize("case", CASES)
def test_the_page_is_valid_html_whatever_is_known(now: float, case: str) -> None:
    root = parsed(page(CASES[case]))
    identities = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(identities) == len(set(identities))
    assert root.findtext("body/header/h1/bdi") == "relay.example.com"


def test_the_page_is_valid_html_without_what_the_start_leaves(now: float) -> None:
    told = data.Told({}, {})
    assert parsed(show.html(Facts(told), STYLE)).findtext("body/header/h1/bdi") == "Postern"


@pytest.mark.parametrize("case", CASES)
def test_nothing_in_it_runs_loads_or_is_styled_but_by_its_own_sheet(now: float, case: str) -> None:
    root = parsed(page(CASES[case]))
    assert {element.tag for element in root.iter()}.isdisjoint(
        {"script", "img", "iframe", "object", "embed", "form", "input", "base", "video", "audio"}
    )
    names = {name for element in root.iter() for name in element.attrib}
    assert not [name for name in names if name == "style" or name.startswith("on")]
    links = [element.get("href", "") for element in root.iter() if element.get("href")]
    assert [link for link in links if not re.match(r"[/#]|data:image/svg\+xml,", link)] == []
    assert "url(" not in STYLE
    assert "@import" not in STYLE


@pytest.mark.parametrize("text", HOSTILE)
def test_a_strangers_words_are_shown_and_change_nothing(now: float, text: str) -> None:
    """The same elements, in the same order, as with harmless words."""
    answers = a_few(data.a_good_day())
    answers["stories"][0]["nrcpt"] = 7
    answers["stories"][0]["recipients"][0]["orig_to"] = "list@example.org"
    harmless, hostile = (
        parsed(page({**everywhere(each, answers), "checks": [("warning", "upstream", each)]}))
        for each in ("word", text)
    )
    assert [element.tag for element in hostile.iter()] == [element.tag for element in harmless.iter()]
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    said = [element.text for element in hostile.iter("bdi")]
    assert said.count(shown) > 40


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_destination_is_a_name_in_the_table(now: float, text: str) -> None:
    answers = a_few(data.a_good_day())
    answers["queue"]["domains"][0]["name"] = text
    root = parsed(page(answers))
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    assert shown in [element.text for element in root.findall("body/main/section//tbody/tr/th/bdi")]


def test_the_style_sheet_that_the_page_may_have_is_the_one_in_it(
    now: float, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert show.show(data.Told(data.a_good_day())) == 0
    first, _, text = capfdbinary.readouterr().out.decode().partition("\n")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert first == f"'sha256-{digest}'"
    assert text.endswith("</html>\n")


def test_the_last_hundred_messages_are_listed_newest_first_those_that_wait_among_them(now: float) -> None:
    answers = data.a_good_day()
    answers["stories waiting"] *= 60
    root = parsed(page(answers))
    rows = root.findall("body/main/section/ol/li")
    assert len(rows) == 100
    moments = [row.find("details/summary/time").get("datetime") for row in rows]  # type: ignore[union-attr]
    assert moments == sorted(moments, reverse=True)  # type: ignore[type-var]
    outcomes = [row.findtext("details/summary/span") for row in rows]
    assert {"sent", "bounced", "waiting"} == set(outcomes)


def test_addresses_are_shortened_where_anybody_may_look_and_the_log_may_have_them(now: float) -> None:
    answers = data.a_good_day()
    answers["stories"][0] |= {"from": "ann", "sasl_username": "ann", "message_id": "<x.ann@example.com>"}
    answers["stories"][0]["recipients"][0]["reason"] = "451 <ann.other@example.org>: try later"
    answers["stories"][0]["recipients"][0]["orig_to"] = '"ann <x>"@example.org'
    hidden = page(answers, password=False)
    assert "ann" not in hidden
    assert "o***@example.com" in hidden
    assert "HEALTH_PAGE_PASSWORD" in hidden
    for about in ({"password": True}, {"password": False, "addresses": "hashed"}):
        shown = page(answers, **about)
        assert "ann.other@example.org" in shown
        assert "HEALTH_PAGE_PASSWORD" not in shown


def test_a_keeper_that_is_silent_is_waited_for_once(tmp_path: Path) -> None:
    """Halted, or waiting for a reader of the container's output; the page comes while a browser still waits."""
    asked = data.Told({})
    asked.keeper = str(tmp_path / "keeper")
    asked.ask = lambda *given: Places.ask(asked, *given)  # type: ignore[method-assign]
    with socket.socket(socket.AF_UNIX) as keeper:
        keeper.bind(asked.keeper)
        keeper.listen()
        began = time.monotonic()
        facts = Facts(asked)
        took = time.monotonic() - began
    assert took < 3.5
    assert verdict.verdict(facts, None, []).title == "Not known whether mail goes out"


def test_no_control_character_passes_and_a_short_address_is_hidden_as_a_long_one() -> None:
    assert clean("a\x1b[1m\u2066b\n", "text", None) == "a?[1m?b?"
    assert clean("ann", "client_name", None) == "ann"


def changed(**more: Any) -> dict[str, Any]:
    return {**a_few(data.a_good_day()), **more}


def rows(sent: int, deferred: int, bounced: int = 0) -> dict[str, Any]:
    row = [sent, sent, deferred, bounced, sent, 0]
    return {"since": data.NOW - 1800, "into": 1.0, "bounds": [1], "minutes": [row] * 10}


_NOW = data.NOW
VERDICTS: dict[str, tuple[dict[str, Any], str]] = {
    "all is well": (changed(counts=data.counts(_NOW - 12), minutes=rows(9, 0)), "✓ Mail goes out"),
    "greylisting": (changed(minutes=rows(9, 1)), "✓ Mail goes out; some waits"),
    "nobody sends": (changed(counts=data.counts(0), minutes=rows(0, 0)), "✓ Ready for mail"),
    "a warning": (
        changed(minutes=rows(9, 0), checks=[("warning", "configuration", "refused")]),
        "! Mail goes out, with a warning",
    ),
    "the upstream is away and nobody sends": (
        changed(counts=data.counts(0), minutes=rows(0, 0), checks=[("warning", "upstream", "timed out")]),
        "! An upstream takes no mail",
    ),
    "the upstream is away": (
        changed(minutes=rows(0, 3), checks=[("warning", "upstream", "timed out")]),
        "✗ No mail goes out",
    ),
    "nothing gets out": (changed(minutes=rows(0, 1)), "✗ No mail goes out"),
    "nothing gets in": (
        changed(minutes=rows(9, 0), checks=[("failed", "listener 25", "x")]),
        "✗ The relay is not ready",
    ),
    "the keeper is away": (changed(counts=None), "✗ Not known whether mail goes out"),
    "a stop": (
        changed(checks=[("failed", "running", "the relay is being stopped")]),
        "! The relay is stopping",
    ),
    "many are put off": (changed(minutes=rows(2, 2)), "! Mail goes out, with a warning"),
    "one waits for long": (
        changed(counts=data.counts(_NOW - 1, (1, 5 * 3600.0)), minutes=rows(9, 0)),
        "! Mail goes out, with a warning",
    ),
    "a certificate ends soon": (
        changed(minutes=rows(9, 0), certificates=f"{_NOW + 86400} relay.example.com\n"),
        "! Mail goes out, with a warning",
    ),
    "a certificate has ended": (
        changed(minutes=rows(9, 0), certificates=f"{_NOW - 86400} relay.example.com\n"),
        "✗ The relay is not ready",
    ),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_one_line_says_whether_mail_goes_out(now: float, case: str) -> None:
    answers, expected = VERDICTS[case]
    assert title(answers) == f"{expected} · relay.example.com"


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({"stopping": 1, "left": 1}, "It takes no new mail and delivers what is queued; 1 message left."),
        ({"stopping": 1, "left": 0}, "It takes no new mail and delivers what is queued; 0 messages left."),
        (None, "It takes no new mail and delivers what is queued."),
    ],
)
def test_during_a_stop_the_page_says_how_many_are_left(
    now: float, state: dict[str, Any] | None, text: str
) -> None:
    stop = [("failed", "running", "the relay is being stopped")]
    assert f"<p>{text}</p>" in page(changed(checks=stop, state=state))
    assert " left." not in page(changed(state=state))


def test_warnings_stand_above_all_numbers_the_worst_first(now: float) -> None:
    root = parsed(page(CASES["all that can be wrong"]))
    sections = root.findall("body/main/section")
    assert [section.get("aria-label") for section in sections[:3]] == ["Verdict", "Warnings", "In numbers"]
    notes = [(note.get("class"), note.findtext("div/b")) for note in sections[1].findall("ul/li")]
    assert notes == [
        ("bad", "listener 25"),
        ("bad", "certificate"),
        ("warning", "upstream"),
        ("warning", "certificate"),
    ]


def bars(drawing: hour.Drawing) -> Iterator[hour.Bar]:
    return (bar for _, drawn in drawing.minutes for bar in drawn)


@pytest.mark.parametrize("factor", [0, 1, 7, 1000, 10**6])
def test_bars_stay_within_their_drawing_whatever_the_numbers(factor: int) -> None:
    told = data.a_good_day()["minutes"]
    told["minutes"] = [[number * factor for number in row] for row in told["minutes"]]
    last = hour.Hour(told, data.NOW)
    for drawing in (hour.throughput(last), hour.delay(last)):
        found = list(bars(drawing))
        assert bool(found) == bool(factor)
        assert all(bar.y >= -0.01 and bar.y + bar.height <= 100.01 and bar.height > 0 for bar in found)
        assert all(0 <= bar.x <= 240 - bar.width for bar in found)
        assert drawing.scale[0]


def test_a_minute_is_where_its_time_is_and_as_high_as_its_numbers() -> None:
    told = {
        "since": 0,
        "into": 30.0,
        "bounds": [0.1, 1, 10],
        "minutes": [[4, 2, 1, 1, 0, 2, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 1]],
    }
    last = hour.Hour(told, data.NOW)
    assert (last.known, last.received, last.sent, last.deferred, last.bounced) == (3, 5, 3, 1, 1)
    assert (last.median, last.most) == (1, 10)
    first, *_, newest = last.minutes
    assert (first.x, newest.x, newest.begin) == (57 * 4, 59 * 4, data.NOW - 30)
    [drawn, _] = hour.throughput(last).minutes
    assert [(bar.kind, bar.y, bar.height) for bar in drawn[1]] == [
        ("sent", 50, 50),
        ("deferred", 25, 25),
        ("bounced", 0, 25),
    ]
    assert [bar.height for bar in bars(hour.delay(last))] == [50, 50, 100, 100]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0.1, "0.1 s"),
        (2, "2 s"),
        (59.6, "60 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3660, "1 h 1 min"),
        (36000, "10 h"),
        (90000, "1 d 1 h"),
        (2e6, "23 d"),
    ],
)
def test_ages_are_short(seconds: float, text: str) -> None:
    assert words.age(seconds) == text


def test_every_reason_of_a_deferral_has_words() -> None:
    from entrypoint.maillog import reasons
    from entrypoint.page import queue_sums

    known = {word for table in (reasons._DEFERRALS, reasons._CONNECT) for _, word in table}
    known |= {*reasons._AFTER.values(), reasons.OTHER, "greylisted", "reply_to_connection"}
    assert known | {queue_sums.UNTRIED, queue_sums.HELD} == set(words.REASONS)


def _luminance(colour: str) -> float:
    digits = colour.removeprefix("#")
    digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_texts_can_be_read_in_both_schemes(scheme: int) -> None:
    """A contrast of 4.5 (WCAG 2.2, level AA)."""
    colours = dict(re.findall(r"--([\w-]+): (#\w+)", STYLE.split(":root {")[scheme + 1].partition("}")[0]))
    pairs = [("text", "card"), ("text", "ground"), ("soft", "card"), ("soft", "ground")]
    for level in (verdict.GOOD, verdict.WARNING, verdict.BAD):
        pairs += [(level, f"{level}-ground"), ("text", f"{level}-ground"), ("card", level)]
    for above, below in pairs:
        lighter, darker = sorted((_luminance(colours[above]), _luminance(colours[below])), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (above, below)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_readme_has_a_picture_that_is_small(scheme: str) -> None:
    picture = (ROOT / f"docs/images/page-{scheme}.png").read_bytes()
    width, height = struct.unpack(">II", picture[16:24])
    assert (width, len(picture) < 200_000) == (1280, True)
    assert 600 < height < 1400
    assert f"docs/images/page-{scheme}.png" in (ROOT / "README.md").read_text()


def test_a_template_that_was_prepared_gives_the_same_page(
    now: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = page(data.a_good_day())
    monkeypatch.setattr(show, "_PREPARED", str(tmp_path))
    show.prepare()
    monkeypatch.setattr(show, "templates", lambda: tmp_path / "nothing is here")
    assert page(data.a_good_day()) == expected
