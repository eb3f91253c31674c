"""Files arrive whole, with their rights, and leave nothing of an earlier start behind."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from entrypoint.config import install
from entrypoint.config.render import File, Sasldb, Table
from entrypoint.config.secret import Secret


def compile_nothing(path: Path, table: Table | Sasldb) -> None:
    assert isinstance(table, Table)
    path.with_name(f"{path.name}.compiled").write_text(str(len(table.entries)))


def test_a_second_start_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    root = tmp_path / "run"
    install.install([File("etc/a", "1"), Table("etc/t", {"k": Secret("v")})], root, compile_nothing)
    install.install([File("etc/b", "2")], root, compile_nothing)
    assert [str(f.relative_to(root)) for f in root.rglob("*") if f.is_file()] == ["etc/b"]


def test_a_file_has_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        install.install(
            [File("open", "", 0o644), File("closed", "", 0o600)], tmp_path / "run", compile_nothing
        )
    finally:
        os.umask(before)
    modes = {f.name: f.stat().st_mode & 0o777 for f in (tmp_path / "run").iterdir()}
    assert modes == {"open": 0o644, "closed": 0o600}


def test_main_cf_looks_old_so_that_postfix_does_not_wait_for_it(tmp_path: Path) -> None:
    install.install([File("main.cf", "")], tmp_path / "run", compile_nothing)
    assert time.time() - (tmp_path / "run/main.cf").stat().st_mtime > 60


def test_bytes_of_any_encoding_pass_unchanged(tmp_path: Path) -> None:
    odd = b"\xff\xc3\xa4".decode("utf-8", "surrogateescape")
    install.install([File("x", odd)], tmp_path / "run", compile_nothing)
    assert (tmp_path / "run/x").read_bytes() == b"\xff\xc3\xa4"


def test_large_files_are_elsewhere_and_leave_nothing_of_an_earlier_start_there(tmp_path: Path) -> None:
    root, place = tmp_path / "run", tmp_path / "data/tables"
    for name in ("one", "two"):
        table = Table(f"tables/{name}", {"k": "v"})
        install.install([table], root, compile_nothing, ("tables", place))
    assert [file.name for file in place.iterdir()] == ["two.compiled"]
    assert (root / "tables/two.compiled").resolve() == place / "two.compiled"


def test_a_file_is_the_same_only_with_its_text_and_mode(tmp_path: Path) -> None:
    file = File("x", "text", 0o640)
    assert not install.same(tmp_path / "x", file)
    install.write(tmp_path / "x", file)
    assert install.same(tmp_path / "x", file)
    assert install.same(tmp_path / "x", File("x", Secret("text"), 0o640))
    assert not install.same(tmp_path / "x", File("x", "other", 0o640))
    assert not install.same(tmp_path / "x", File("x", "text", 0o600))


def test_what_is_written_after_the_reading_is_younger_than_the_list_of_what_was_read(tmp_path: Path) -> None:
    """On the kernel's own clock, which is some milliseconds behind the usual one."""
    (watched := tmp_path / "watched").touch()
    began = install.now()
    (later := tmp_path / "later").touch()
    install.note_reading(watched, began)
    assert watched.stat().st_mtime_ns == began <= later.stat().st_mtime_ns
    install.note_reading(tmp_path / "none", began)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("mode", [0o777, 0o2777, 0o1777, 0o755])
def test_a_directory_in_which_all_may_write_becomes_roots_alone(tmp_path: Path, mode: int) -> None:
    """As Kubernetes makes the emptyDir for /run, and as the image has it for a start without root."""
    tmp_path.chmod(mode)
    install.close(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("kind", ["link", "file", "missing"])
def test_what_somebody_else_put_where_the_configuration_will_be_goes(tmp_path: Path, kind: str) -> None:
    """Another container of a Pod may have had the emptyDir before."""
    (target := tmp_path / "target").mkdir(mode=0o777)
    (target / "theirs").touch()
    place = tmp_path / "postern"
    if kind == "link":
        place.symlink_to(target)
    elif kind == "file":
        place.touch()
    install.claim(place)
    assert not os.path.lexists(place)
    assert (target / "theirs").exists()


def test_only_what_is_ours_already_stays_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (made := tmp_path / "ours").mkdir()
    made.chmod(0o777)
    install.claim(made)
    assert made.stat().st_mode & 0o777 == 0o755
    somebody = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: somebody)
    install.claim(made)
    assert not made.exists()
