"""Which changes of which files the keeper sees, and when it believes them. Each look is made by the test."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from entrypoint.keeper import watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AN_HOUR_AGO = time.time() - 3600


def old(*files: Path) -> None:
    """Give files, and the directories they are in, a time before the reading."""
    for file in files:
        for each in (file, file.parent):
            os.utime(each, (AN_HOUR_AGO, AN_HOUR_AGO))


@pytest.fixture
def watching(tmp_path: Path) -> Callable[..., watch.Watcher]:
    """A watcher of the given paths, which were read a minute ago."""

    def watching(*paths: Path) -> watch.Watcher:
        listed = tmp_path / "watched"
        listed.write_text("".join(f"{path}\n" for path in paths))
        os.utime(listed, (time.time() - 60,) * 2)
        return watch.Watcher(str(listed))

    return watching


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """/config/transport."""
    file = tmp_path / "config/transport"
    file.parent.mkdir()
    file.write_text("example.com smtp:[a]:25\n")
    old(file)
    return file


def in_place(file: Path) -> None:
    with file.open("a") as more:
        more.write("example.net smtp:[b]:25\n")


def same_size(file: Path) -> None:
    file.write_text(file.read_text().replace("[a]", "[c]"))


def by_rename(file: Path) -> None:
    new = file.with_name("transport.new")
    new.write_text(file.read_text())
    old(new)
    new.rename(file)


@pytest.mark.parametrize("edit", [in_place, same_size, by_rename, os.unlink])
@pytest.mark.parametrize("listed", ["the file", "its directory"])
def test_a_change_counts_once_two_looks_have_seen_the_same(
    edit: Callable[[Path], None], listed: str, table: Path, watching: Callable[..., watch.Watcher]
) -> None:
    watcher = watching(table if listed == "the file" else table.parent)
    assert not watcher.look()
    edit(table)
    assert [watcher.look() for _ in range(4)] == [False, True, False, False]


def test_a_file_that_is_still_being_written_is_left_alone(
    table: Path, watching: Callable[..., watch.Watcher]
) -> None:
    watcher = watching(table)
    watcher.look()
    for _ in range(3):
        in_place(table)
        assert not watcher.look()
        assert watcher.settling
    assert watcher.look()
    assert not watcher.settling


def test_what_never_comes_to_rest_is_read_once_a_minute(
    table: Path, watching: Callable[..., watch.Watcher]
) -> None:
    """A log that somebody writes beside the tables would keep them without effect for ever."""
    watcher = watching(table.parent)
    watcher.look()
    looks = []
    for _ in range(2 * (watch.RESTLESS + 1)):
        in_place(table)
        looks.append(watcher.look())
    assert [number for number, taken in enumerate(looks, 1) if taken] == [
        watch.RESTLESS + 1,
        2 * (watch.RESTLESS + 1),
    ]


def test_a_change_that_was_taken_back_is_none(table: Path, watching: Callable[..., watch.Watcher]) -> None:
    watcher = watching(table.parent)
    watcher.look()
    (passing := table.with_name("4913")).touch()
    assert not watcher.look()
    passing.unlink()
    assert [watcher.look(), watcher.look()] == [False, False]


def test_a_file_that_comes_and_one_that_goes_are_changes(
    table: Path, watching: Callable[..., watch.Watcher]
) -> None:
    watcher = watching(table.parent)
    watcher.look()
    (further := table.with_name("virtual")).touch()
    assert [watcher.look(), watcher.look()] == [False, True]
    further.unlink()
    assert [watcher.look(), watcher.look()] == [False, True]


def mounted(directory: Path, text: str) -> Path:
    """A ConfigMap as the kubelet mounts and changes it: visible names lead through ..data, which is swapped."""
    directory.mkdir(exist_ok=True)
    (version := directory / f"..{text}").mkdir()
    (version / "transport").write_text(text)
    old(version / "transport")
    (swap := directory / "..data_tmp").symlink_to(version.name)
    swap.rename(directory / "..data")
    if not (visible := directory / "transport").is_symlink():
        visible.symlink_to("..data/transport")
    return visible


@pytest.mark.parametrize("listed", ["the file", "its directory"])
def test_the_swap_of_a_configmap_is_a_change(
    listed: str, tmp_path: Path, watching: Callable[..., watch.Watcher]
) -> None:
    file = mounted(tmp_path / "config", "one")
    old(file)
    watcher = watching(file if listed == "the file" else file.parent)
    watcher.look()
    mounted(tmp_path / "config", "two")
    assert [watcher.look(), watcher.look()] == [False, True]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda file: mounted(file.parent, "two"), id="a swap"),
        pytest.param(lambda file: file.write_text("x"), id="in place"),
    ],
)
def test_what_changed_between_the_reading_and_the_first_look_is_seen(
    change: Callable[[Path], None], tmp_path: Path, watching: Callable[..., watch.Watcher]
) -> None:
    """While the relay starts, or while the keeper is being started again."""
    file = mounted(tmp_path / "config", "one")
    watcher = watching(file.parent)
    change(file)
    assert [watcher.look() for _ in range(3)] == [False, True, False]


def test_a_file_that_went_before_the_first_look_is_missed_too(
    table: Path, watching: Callable[..., watch.Watcher]
) -> None:
    watcher = watching(table.parent)
    table.unlink()
    assert [watcher.look() for _ in range(3)] == [False, True, False]


def test_a_start_that_changes_nothing_is_no_change(
    table: Path, watching: Callable[..., watch.Watcher]
) -> None:
    watcher = watching(table.parent)
    assert not any(watcher.look() for _ in range(3))


def test_certificates_in_directories_of_their_own_are_seen(
    tmp_path: Path, watching: Callable[..., watch.Watcher]
) -> None:
    file = tmp_path / "config/certificates/mail.example.com/tls.crt"
    file.parent.mkdir(parents=True)
    file.write_text("one")
    for each in (file, file.parent, file.parents[1], file.parents[2]):
        os.utime(each, (AN_HOUR_AGO, AN_HOUR_AGO))
    watcher = watching(tmp_path / "config")
    assert not watcher.look()
    file.write_text("another")
    assert [watcher.look(), watcher.look()] == [False, True]


def test_a_directory_without_end_costs_no_more_than_a_large_one(
    tmp_path: Path, watching: Callable[..., watch.Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody will mount / there; a link to the directory itself has no end."""
    looked: list[str] = []
    stat = os.stat
    (config := tmp_path / "config").mkdir()
    for n in range(40):
        (config / f"round{n}").symlink_to(".")
    watcher = watching(config)

    def counted(path: str) -> os.stat_result:
        looked.append(path)
        return stat(path)

    monkeypatch.setattr(os, "stat", counted)
    watcher.look()
    assert 0 < len(looked) <= watch.MOST + 2


def test_without_a_list_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    watcher = watch.Watcher(str(tmp_path / "none"))
    assert (watcher.anything, watcher.paths) == (False, [])


def test_a_list_may_ask_for_the_daily_run_alone(tmp_path: Path) -> None:
    (listed := tmp_path / "watched").write_text("daily\n")
    watcher = watch.Watcher(str(listed))
    assert (watcher.anything, watcher.paths) == (True, [])


def test_a_list_that_was_written_anew_is_what_counts(
    tmp_path: Path, watching: Callable[..., watch.Watcher]
) -> None:
    watcher = watching(tmp_path / "one")
    (tmp_path / "watched").write_text("/another\n")
    watcher.read_list()
    assert watcher.paths == ["/another"]
