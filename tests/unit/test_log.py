"""Every line of the container has one form, whoever wrote the text in it."""

from __future__ import annotations

import os
import re

from entrypoint import log


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
