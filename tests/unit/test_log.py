"""Every line of the container has one form, whoever wrote the text in it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrypoint import log
from entrypoint.config import decision, render
from entrypoint.config.host import Host
from entrypoint.config.problem import MisconfiguredError

SALT = "0123456789abcdef"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    log.use("plain", "full")


def test_a_line_has_the_form_that_postlogd_gives_to_postfix_lines() -> None:
    line = log.line("warning: no upstream", "postern/keeper", pid=17).decode()
    host = os.uname().nodename.partition(".")[0]
    assert re.fullmatch(
        rf"[A-Z][a-z]{{2}} \d\d \d\d:\d\d:\d\d {re.escape(host)} postern/keeper\[17\]: warning: no upstream\n",
        line,
    )


def test_a_text_from_outside_cannot_forge_a_second_line_or_drive_a_terminal() -> None:
    line = log.line("bad\r\nNov 20 11:44:00 x postfix/smtpd[1]: forged\u2028\x1b[2J\x85end").decode()
    assert line.count("\n") == 1
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line


def test_a_name_that_is_no_unicode_is_logged_and_not_an_error() -> None:
    assert rb"file \udcff" in log.line("file \udcff")


def test_a_reader_that_is_gone_costs_the_line_and_nothing_else() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    log.write("nobody listens", fd=writing)
    os.close(writing)


def test_a_full_non_blocking_stdout_loses_nothing() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    lines = b"x" * 99 + b"\n"
    child = os.fork()
    if not child:
        os.close(writing)
        size = 0
        while data := os.read(reading, 4096):
            size += len(data)
        os._exit(0 if size == len(lines) * 5000 else 1)
    os.close(reading)
    log.copy(lines * 5000, writing)
    os.close(writing)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def written(capfd: pytest.CaptureFixture[str], text: str) -> str:
    log.write(text)
    return capfd.readouterr().out


def test_each_line_is_an_object_if_json_is_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    log.use("json", "full")
    found = json.loads(written(capfd, 'error: bad\n"file" \udcff for ann@example.com'))
    assert (found["level"], found["source"], found["pid"]) == ("error", "postern", os.getpid())
    assert found["message"] == 'error: bad "file" \\udcff for ann@example.com'


def test_lines_of_other_programs_are_finished_each(capfd: pytest.CaptureFixture[str]) -> None:
    """A crash may leave what is no line of the log."""
    log.use("json", "partial")
    log.pass_on(log.line("to ann@example.com", "postern/health", 7) + b"Traceback\n\nhalf a \xff line")
    found = [json.loads(line) for line in capfd.readouterr().out.split("\n")[:-1]]
    assert [(o["source"], o["message"]) for o in found] == [
        ("postern/health", "to a***@example.com"),
        ("", "Traceback"),
        ("", "half a \\xff line"),
    ]


@pytest.mark.parametrize(
    ("environ", "is_json", "shown"),
    [
        ({}, False, "ann@example.com"),
        ({"LOG_FORMAT": "json"}, True, "ann@example.com"),
        ({"LOG_FORMAT": " JSON "}, True, "ann@example.com"),
        ({"LOG_FORMAT": "xml", "LOG_ADDRESSES": "hash"}, False, "a***@example.com"),
        ({"LOG_FORMAT": "json", "LOG_ADDRESSES": "hashed"}, True, "a***@example.com"),
    ],
)
def test_before_settings_are_right_the_log_is_as_they_seem_to_want_it(
    environ: dict[str, str], is_json: bool, shown: str, capfd: pytest.CaptureFixture[str]
) -> None:
    log.use_unread(environ)
    text = written(capfd, "error: no ann@example.com")
    assert text.startswith("{") == is_json
    assert shown in text


def test_long_running_programs_use_what_the_start_decided(
    tmp_path: Path, machine: Host, capfd: pytest.CaptureFixture[str]
) -> None:
    environ = {"LOG_FORMAT": "json", "LOG_ADDRESSES": "hashed", "LOG_ADDRESSES_SALT": SALT}
    made = {
        file.path: file
        for file in render.files(decision.make(environ, None, machine), render.templates(), tmp_path)
    }
    salt = made[render.LOG_SALT].revealed()
    assert salt.mode == 0o600
    assert not any(SALT in str(file.masked().text) for file in made.values())
    (tmp_path / "salt").write_text(salt.text)
    (tmp_path / "runtime").write_text(made["etc/postern/runtime.json"].revealed().text)
    log.use_installed(str(tmp_path / "runtime"), str(tmp_path / "salt"))
    told = written(capfd, "to <ann@example.com>")
    log.use("json", "hashed", SALT)
    assert json.loads(told)["message"] == json.loads(written(capfd, "to <ann@example.com>"))["message"]


@pytest.mark.parametrize(
    ("environ", "rule"),
    [
        ({"LOG_ADDRESSES": "hashed"}, "must come with LOG_ADDRESSES_SALT"),
        ({"LOG_ADDRESSES": "hashed", "LOG_ADDRESSES_SALT": "short"}, "at least 16 characters"),
        ({"LOG_ADDRESSES": "none"}, "must be one of full, partial, hashed"),
        ({"LOG_FORMAT": "JSON"}, "must be one of plain, json"),
    ],
)
def test_a_log_that_could_not_be_as_asked_for_is_refused(
    environ: dict[str, str], rule: str, machine: Host
) -> None:
    with pytest.raises(MisconfiguredError) as refused:
        decision.make(environ, None, machine)
    [problem] = refused.value.problems
    assert rule in str(problem)
    assert "short" not in str(problem)


@pytest.mark.parametrize("addresses", ["partial", "hashed"])
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("VIRTUAL", "zebedee"),
        ("RELAY_RECIPIENTS", "zebedee@example.org zebedee"),
        ("SENDER_LOGINS", "zebedee"),
        ("POSTMASTER", "zebedee zebedee@example.org"),
    ],
)
def test_where_addresses_are_hidden_a_problem_still_says_what_a_line_must_look_like(
    setting: str, value: str, addresses: str
) -> None:
    with pytest.raises(MisconfiguredError) as caught:
        decision.make({setting: value, "RELAY_DOMAINS": "example.org"}, None, Host("relay.example.com"))
    log.use("plain", addresses, SALT)
    [said] = [
        log.finished(log.line(str(problem))).decode()
        for problem in caught.value.problems
        if problem.setting == setting
    ]
    assert "such as" in said
    assert "user@example.com" in said
    assert "zebedee@" not in said
