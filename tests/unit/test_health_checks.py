"""Alive means that the two who matter exist; what else is wrong or odd is named with what follows from it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from entrypoint.health import checks

if TYPE_CHECKING:
    from pathlib import Path

    from entrypoint.health.checks import Check


def proc(tmp_path: Path, **processes: str) -> tuple[str, str]:
    """A /proc and the keeper's note: keeper 11, master 12."""
    for pid, name, state in ((11, "keeper", "keeper"), (12, "master", "master")):
        comm, _, letter = processes.get(name, state).partition(" ")
        if comm:
            (tmp_path / str(pid)).mkdir()
            (tmp_path / str(pid) / "stat").write_text(
                f"{pid} ({comm}) {letter or 'S'} 1 {pid} {pid} 0 -1 4194560"
            )
    (tmp_path / "state.json").write_text('{"keeper": 11, "master": 12, "stopping": 0}\n')
    return str(tmp_path / "state.json"), str(tmp_path)


def failed(found: list[Check]) -> list[str]:
    return [check.name for check in found if not check.ok]


def test_keeper_and_master_alive_is_alive(tmp_path: Path) -> None:
    assert failed(checks.alive(*proc(tmp_path))) == []


@pytest.mark.parametrize(
    "processes", [{"master": ""}, {"master": "smtpd"}, {"master": "master Z"}, {"master": "not (master"}]
)
def test_a_master_that_is_gone_dead_or_somebody_else_is_not_alive(
    tmp_path: Path, processes: dict[str, str]
) -> None:
    assert failed(checks.alive(*proc(tmp_path, **processes))) == ["master"]


@pytest.mark.parametrize("name", ["keeper", "master"])
def test_a_process_that_is_stopped_is_not_alive_since_it_does_nothing(tmp_path: Path, name: str) -> None:
    found = checks.alive(*proc(tmp_path, **{name: f"{name} T"}))
    assert failed(found) == [name]
    assert "stopped by a signal" in "".join(check.detail for check in found)


def test_a_keeper_that_is_gone_is_not_alive(tmp_path: Path) -> None:
    assert failed(checks.alive(*proc(tmp_path, keeper=""))) == ["keeper"]


def test_without_the_keepers_note_nothing_is_alive(tmp_path: Path) -> None:
    assert failed(checks.alive(str(tmp_path / "none"), str(tmp_path))) == ["keeper", "master"]


def test_a_relay_that_is_being_stopped_says_so(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_text('{"keeper": 11, "master": 12, "stopping": 1}\n')
    assert failed(checks.stopping(str(state))) == ["running"]
    state.write_text('{"keeper": 11, "master": 12, "stopping": 0}\n')
    assert checks.stopping(str(state)) == []


def throttled(tmp_path: Path, program: str, seconds_ago: float) -> list[Check]:
    at = int(time.monotonic() - seconds_ago)
    state = tmp_path / "state.json"
    state.write_text(f'{{"keeper": 11, "throttled": "{program}", "throttled_at": {at}}}\n')
    return checks.startable(str(state))


@pytest.mark.parametrize(
    ("program", "consequence"),
    [
        ("cleanup", "no mail is accepted"),
        ("qmgr", "mail is accepted, but waits in the queue"),
        ("tlsmgr", "mail may be refused, or wait in the queue"),
    ],
)
def test_a_program_that_postfix_cannot_start_is_named_with_what_follows(
    tmp_path: Path, program: str, consequence: str
) -> None:
    [check] = throttled(tmp_path, program, 1)
    assert str(check).startswith(f"failed program {program}: ends whenever it is started")
    assert check.detail.endswith(consequence)


def test_a_program_stays_failed_from_one_of_masters_attempts_to_the_next_and_no_longer(
    tmp_path: Path,
) -> None:
    assert len(throttled(tmp_path, "smtp", 64)) == 1
    assert throttled(tmp_path, "smtp", 75) == []
    assert throttled(tmp_path, "", 0) == []
    assert checks.startable(str(tmp_path / "none")) == []


def refused(tmp_path: Path, text: str) -> str:
    (tmp_path / "refused").write_text(text)
    [check] = checks.configuration(str(tmp_path / "refused"))
    assert (check.ok, check.warning) == (True, True)
    return str(check)


def test_while_no_edit_is_refused_there_is_nothing_to_warn_of(tmp_path: Path) -> None:
    assert checks.configuration(str(tmp_path / "refused")) == []


def test_a_refused_edit_is_a_warning_with_its_problems(tmp_path: Path) -> None:
    begin = "warning configuration: the last edit was refused and the one before is in force"
    problem = "/config/users, line 3: must be login:hash"
    assert refused(tmp_path, f"{problem}\n") == f"{begin}: {problem}"
    assert refused(tmp_path, "a\nb\n\nc\n") == f"{begin}: a; b; c"
    assert refused(tmp_path, "a\nb\nc\nd\n") == f"{begin}: a; b; c; and more, see the log"
    assert refused(tmp_path, "problem\n" * 1_000_000).endswith("; problem; and more, see the log")


def test_what_the_user_wrote_cannot_forge_a_line_or_drive_a_terminal(tmp_path: Path) -> None:
    shown = refused(tmp_path, "line 1: \x1b[2J\x85ok keeper\u2028\n")
    assert shown.endswith(": line 1: ?[2J?ok keeper")
    assert len(refused(tmp_path, "x" * 100_000)) < 400
