"""Ready means more than open ports: what is behind them is named when it would lose, hold or refuse mail."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from entrypoint.health import inside
from entrypoint.health.inside import Inside
from tests.unit.test_health_checks import failed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MB = 1 << 20
WELL = {
    "spool_problem": "",
    "spool_free_bytes": 900 * MB,
    "spool_size_bytes": 1000 * MB,
    "spool_free_inodes": 900,
    "spool_inodes": 1000,
    "spool_refusing_below": 100 * MB,
    "tables_problem": "",
}


def told(**changes: object) -> dict[str, str]:
    return {name: str(value) for name, value in {**WELL, **changes}.items()}


def test_a_spool_with_room_is_well() -> None:
    assert str(inside.spool(told())) == "ok spool"
    assert str(inside.spool({})) == "ok spool"


def test_a_spool_that_cannot_be_written_is_a_failure() -> None:
    shown = str(inside.spool(told(spool_problem="Read-only file system")))
    assert shown == "failed spool: Read-only file system: no mail can be taken, nor kept for another try"


@pytest.mark.parametrize(
    ("free", "begin"), [(280, "ok"), (279, "warning"), (101, "warning"), (100, "failed")]
)
def test_a_spool_is_warned_of_when_a_fifth_of_what_mail_may_use_is_left_and_fails_when_mail_is_refused(
    free: int, begin: str
) -> None:
    shown = str(inside.spool(told(spool_free_bytes=free * MB)))
    assert shown.startswith(f"{begin} spool")
    assert ("new mail is refused (452)" in shown) == (begin == "failed")


def test_a_large_disk_that_is_rather_full_is_no_news() -> None:
    large = {"spool_size_bytes": 100_000 * MB}
    assert str(inside.spool(told(spool_free_bytes=2000 * MB, **large))) == "ok spool"
    assert inside.spool(told(spool_free_bytes=1100 * MB, **large)).warning


def test_few_inodes_are_a_warning_where_they_are_counted_at_all() -> None:
    shown = str(inside.spool(told(spool_free_inodes=49)))
    assert shown == "warning spool: 49 inodes free of 1000: without one no mail can be taken"
    assert str(inside.spool(told(spool_free_inodes=0, spool_inodes=0))) == "ok spool"


def test_a_table_that_cannot_be_opened_is_a_failure() -> None:
    assert str(inside.tables(told())) == "ok tables"
    shown = str(inside.tables(told(tables_problem="/x.lmdb: No such file or directory")))
    assert shown.startswith("failed tables: /x.lmdb: No such file or directory: mail that needs this table")


class Keeper:
    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()

    def answer(self, text: str) -> None:
        def once() -> None:
            connection, _ = self._listener.accept()
            with connection:
                assert connection.recv(100) == b"circumstances\n"
                connection.sendall(text.encode())

        threading.Thread(target=once, daemon=True).start()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    made = Keeper(tmp_path / "keeper")
    yield made
    made.close()


def proc(tmp_path: Path, **states: str) -> str:
    """A /proc with these programs in Postfix's process group, whose leader is 12."""
    for pid, (name, state) in enumerate(states.items(), 12):
        (tmp_path / "proc" / str(pid)).mkdir(parents=True)
        (tmp_path / "proc" / str(pid) / "stat").write_text(f"{pid} ({name}) {state} 1 12 12 0 -1 4194560")
    (tmp_path / "state.json").write_text('{"keeper": 11, "master": 12}\n')
    return str(tmp_path / "proc")


def test_a_relay_that_is_well_shows_three_checks(tmp_path: Path, keeper: Keeper) -> None:
    keeper.answer('{"spool_problem": "", "upstream_failed_at": 7}\n')
    found, said = Inside(
        str(tmp_path / "state.json"), keeper.path, proc(tmp_path, master="S", qmgr="S", postlogd="S")
    ).look()
    assert [str(check) for check in found] == ["ok log", "ok spool", "ok tables"]
    assert said["upstream_failed_at"] == "7"


def test_a_program_that_is_stopped_is_named(tmp_path: Path, keeper: Keeper) -> None:
    keeper.answer("{}\n")
    found, _ = Inside(
        str(tmp_path / "state.json"), keeper.path, proc(tmp_path, master="S", qmgr="T", smtpd="S")
    ).look()
    assert failed(found) == ["program qmgr"]
    assert "stopped by a signal: mail waits" in str(found[0])


def test_a_log_that_postfix_cannot_write_or_nobody_reads_is_a_failure(
    tmp_path: Path, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper.answer("{}\n")
    found, _ = Inside(
        str(tmp_path / "state.json"), keeper.path, proc(tmp_path, master="S", postlogd="T")
    ).look()
    assert failed(found) == ["log"]
    assert "postlogd is stopped by a signal" in str(found[0])
    monkeypatch.setattr(inside, "_PATIENCE", 0.05)
    found, said = Inside(str(tmp_path / "state.json"), keeper.path, str(tmp_path)).look()
    assert (failed(found), said) == (["log"], {})
    assert "perhaps nobody reads the container's output" in str(found[0])


@pytest.mark.parametrize(("reader", "found"), [("postlogd", []), ("qmgr", ["log"])])
def test_a_log_that_is_full_is_a_failure_when_its_reader_is_gone(
    reader: str, found: list[str], tmp_path: Path, keeper: Keeper
) -> None:
    """With one, it is full for a moment."""
    keeper.answer('{"log_full": 1}\n')
    checks, _ = Inside(
        str(tmp_path / "state.json"), keeper.path, proc(tmp_path, master="S", **{reader: "S"})
    ).look()
    assert failed(checks) == found


def test_a_keeper_that_could_not_open_its_socket_is_a_warning(tmp_path: Path) -> None:
    """Mail goes on without it."""
    [check], said = Inside(str(tmp_path / "none"), str(tmp_path / "none"), str(tmp_path)).look()
    assert (check.warning, said) == (True, {})


def test_a_keeper_that_has_no_answer_is_a_warning_and_no_spool_that_is_well(
    tmp_path: Path, keeper: Keeper
) -> None:
    keeper.answer("")
    [check], said = Inside(str(tmp_path / "none"), keeper.path, str(tmp_path)).look()
    assert (check.warning, said) == (True, {})
    assert "the keeper has no answer, see the log" in str(check)


@pytest.mark.parametrize(("ago", "busy"), [(1, True), (60, False), (None, False)])
def test_who_has_just_taken_mail_is_busy(ago: int | None, busy: bool, tmp_path: Path, keeper: Keeper) -> None:
    keeper.answer(f'{{"taken_at": {0 if ago is None else int(time.monotonic()) - ago}}}\n')
    looking = Inside(str(tmp_path / "state.json"), keeper.path, str(tmp_path))
    assert not looking.busy
    looking.look()
    assert looking.busy is busy
