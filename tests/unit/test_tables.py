"""Tables as Postfix reads them: complete, in one step, whatever happens to the writer."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb
import pytest

from entrypoint.config.render import Table
from entrypoint.config.secret import Secret
from entrypoint.postfix import tables
from entrypoint.postfix.tables import Change

if TYPE_CHECKING:
    from entrypoint.postfix.tables import Change as _Change

TEN = {f"user{n}@example.com": "OK" for n in range(10)}
MANY = {f"a-user-with-a-long-name-{n}@example.org": "OK" for n in range(50_000)}


def compiled(directory: Path, entries: Mapping[str, str]) -> _Change:
    return tables.compile_table(directory / "t", Table("t", entries))


def opened(directory: Path) -> lmdb.Environment:
    """As dict_lmdb(3) opens it: with the map size of Postfix's own default."""
    return lmdb.open(str(directory / "t.lmdb"), subdir=False, lock=False, readonly=True, map_size=16 << 20)


def content(directory: Path) -> dict[str, bytes]:
    with opened(directory) as database, database.begin() as transaction:
        return {key.decode("utf-8", "surrogateescape"): value for key, value in transaction.cursor()}


def test_what_is_in_the_table_is_in_the_file(tmp_path: Path) -> None:
    entries = {
        "ann@example.com": "OK",
        "[mail.example.com]:25": Secret("me:pass word "),
        "ä@example.com": "ö",
    }
    assert compiled(tmp_path, entries) == Change(3, added=3)
    assert content(tmp_path) == {
        "ann@example.com": b"OK",
        "[mail.example.com]:25": b"me:pass word ",
        "ä@example.com": "ö".encode(),
    }


def test_bytes_of_any_encoding_pass_unchanged(tmp_path: Path) -> None:
    odd = b"\xff\xc3\xa4".decode("utf-8", "surrogateescape")
    compiled(tmp_path, {odd: odd, "\uffff": "", "\ue000": ""})
    assert content(tmp_path) == {odd: b"\xff\xc3\xa4", "\uffff": b"", "\ue000": b""}
    assert not compiled(tmp_path, {"\ue000": "", odd: odd, "\uffff": ""})


def test_nobody_but_root_can_read_it(tmp_path: Path) -> None:
    compiled(tmp_path, TEN)
    assert (tmp_path / "t.lmdb").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["t.lmdb"]


@pytest.mark.parametrize(
    ("before", "after", "change", "told"),
    [
        pytest.param(TEN, TEN, Change(10), "10 entries (unchanged)", id="none"),
        pytest.param(TEN, TEN | {"new@x": "OK"}, Change(11, added=1), "11 entries (1 added)", id="one more"),
        pytest.param({"a": "1", "b": "2"}, {"a": "1"}, Change(1, removed=1), "1 entry (1 removed)", id="one less"),
        pytest.param(
            {"a": "1", "b": "2"},
            {"b": "3", "c": "4"},
            Change(2, added=1, removed=1, altered=1),
            "2 entries (1 added, 1 removed, 1 altered)",
            id="all kinds",
        ),
        pytest.param({"b": "2"}, {"a": "1"}, Change(1, added=1, removed=1), "1 entry (1 added, 1 removed)", id="all"),
        pytest.param(TEN, {}, Change(0, removed=10), "0 entries (10 removed)", id="to nothing"),
        pytest.param({}, {"a": "1"}, Change(1, added=1), "1 entry (1 added)", id="from nothing"),
    ],
)  # fmt: skip
def test_the_content_is_replaced_and_the_difference_told(
    before: dict[str, str], after: dict[str, str], change: _Change, told: str, tmp_path: Path
) -> None:
    compiled(tmp_path, before)
    found = compiled(tmp_path, after)
    assert (found, bool(found), str(found)) == (change, before != after, told)
    assert content(tmp_path) == {key: value.encode() for key, value in after.items()}


def others(generation: int) -> dict[str, str]:
    return {f"{generation}-{key}": "OK" for key in MANY}


@pytest.mark.parametrize(
    "after", [MANY, dict.fromkeys(MANY, "no"), others(0)], ids=["same", "altered", "others"]
)
def test_a_long_table_is_compiled_and_changed_in_little_memory_beside_its_entries(
    after: dict[str, str], tmp_path: Path
) -> None:
    """A relay with a million recipients and a limit on its memory shall start, and take a change."""
    for entries in (MANY, after):
        tracemalloc.start()
        compiled(tmp_path, entries)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 24 * len(entries)


def test_the_file_stays_small_however_often_all_of_it_is_replaced(tmp_path: Path) -> None:
    sizes = []
    for generation in range(5):
        compiled(tmp_path, others(generation % 2))
        sizes.append((tmp_path / "t.lmdb").stat().st_size)
    assert max(sizes) < 3.5 * sizes[0]


def test_who_has_the_table_open_sees_the_new_content_at_once(tmp_path: Path) -> None:
    compiled(tmp_path, TEN)
    with opened(tmp_path) as database:
        for entries in (MANY, TEN, MANY, {}, TEN):
            compiled_elsewhere(tmp_path, entries)
            try:
                transaction = database.begin()
            except lmdb.MapResizedError:
                # As slmdb(3) does: the file has outgrown what this reader had mapped.
                database.set_mapsize(0)
                transaction = database.begin()
            with transaction:
                assert transaction.stat()["entries"] == len(entries)
                assert (transaction.get(b"user7@example.com") == b"OK") == ("user7@example.com" in entries)


def compiled_elsewhere(directory: Path, entries: Mapping[str, str]) -> None:
    """A process opens a database once, and so does what is forked from it."""
    code = (
        "import json, sys; from pathlib import Path; from entrypoint.postfix import tables; "
        "from entrypoint.config.render import Table; "
        "tables.compile_table(Path(sys.argv[1], 't'), Table('t', json.load(sys.stdin)))"
    )
    command = [sys.executable, "-c", code, str(directory)]
    subprocess.run(command, input=json.dumps(entries), text=True, check=True, cwd=Path(__file__).parents[2])


def in_a_child(do: Callable[..., object], *arguments: object) -> int:
    """The exit status, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            do(*arguments)
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Deadly(Mapping[str, str]):
    """Entries that kill whoever has read half of their values."""

    def __iter__(self) -> Iterator[str]:
        return iter(MANY)

    def __len__(self) -> int:
        return len(MANY)

    def __getitem__(self, key: str) -> str:
        if key.endswith("-25000@example.org"):
            os.kill(os.getpid(), signal.SIGKILL)
        return MANY[key]

    def values(self) -> list[str]:  # type: ignore[override]
        return []


@pytest.mark.parametrize("before", [TEN, None], ids=["an old table", "none"])
def test_a_writer_that_is_killed_has_changed_nothing(before: dict[str, str] | None, tmp_path: Path) -> None:
    if before:
        compiled(tmp_path, before)
    assert in_a_child(compiled, tmp_path, Deadly()) == -signal.SIGKILL
    assert (tmp_path / "t.lmdb").exists() == bool(before)
    if before:
        assert content(tmp_path) == {key: value.encode() for key, value in before.items()}
    compiled(tmp_path, MANY)
    assert len(content(tmp_path)) == len(MANY)


def test_a_writer_waits_for_the_lookup_that_is_under_way(tmp_path: Path) -> None:
    """Postfix holds a lock while it looks something up. It is one of processes, so the reader is another one."""
    compiled(tmp_path, TEN)
    locked, tell = os.pipe()
    wait, go = os.pipe()
    reader = os.fork()
    if reader == 0:
        with (tmp_path / "t.lmdb").open("rb") as file:
            fcntl.lockf(file, fcntl.LOCK_SH)
            os.write(tell, b"!")
            os.read(wait, 1)
        os._exit(0)
    os.read(locked, 1)
    writer = threading.Thread(target=compiled, args=(tmp_path, {}))
    writer.start()
    writer.join(0.2)
    assert writer.is_alive()
    os.write(go, b"!")
    writer.join(5)
    assert not writer.is_alive()
    os.waitpid(reader, 0)
    for descriptor in (locked, tell, wait, go):
        os.close(descriptor)


def test_a_disk_that_is_full_is_an_error_that_names_the_table(tmp_path: Path) -> None:
    """A limit on the size of files stands in for it."""
    compiled(tmp_path, TEN)

    def compile_many() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        with pytest.raises(OSError, match=rf"{tmp_path}/t\.lmdb cannot be written"):
            compiled(tmp_path, MANY)

    assert in_a_child(compile_many) == 0
    assert len(content(tmp_path)) == 10


HALF = {key: "OK" for number, key in enumerate(MANY) if number % 2}


@pytest.mark.parametrize(
    "after",
    [MANY | {"new@x": "OK"}, dict.fromkeys(MANY, "no"), HALF, others(0), others(0) | HALF],
    ids=["one more", "altered", "half", "others", "half others"],
)
def test_what_is_ready_takes_no_more_room_when_it_is_put_in_force(
    after: dict[str, str], tmp_path: Path
) -> None:
    """Or the disk could be full between two tables of one change. The second time there are free pages in the file."""
    path = tmp_path / "t"
    compiled(tmp_path, MANY)

    def put_without_room() -> None:
        for entries in (after, MANY, after):
            with tables.prepared(path, Table("t", entries)) as (change, put):
                size = (tmp_path / "t.lmdb").stat().st_size
                _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
                put()
                resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            assert change
            assert (tmp_path / "t.lmdb").stat().st_size < size

    assert in_a_child(put_without_room) == 0
    assert content(tmp_path).keys() == after.keys()


def test_what_was_ready_and_is_not_wanted_leaves_nothing(tmp_path: Path) -> None:
    compiled(tmp_path, TEN)
    before = (tmp_path / "t.lmdb").read_bytes()
    for name in ("t", "another"):
        with tables.prepared(tmp_path / name, Table(name, MANY)) as (change, _):
            assert change.entries == len(MANY)
    assert [file.name for file in tmp_path.iterdir()] == ["t.lmdb"]
    assert (tmp_path / "t.lmdb").read_bytes() == before
