"""Files arrive whole, with their rights, and leave nothing of an earlier start behind."""

from __future__ import annotations

import os
import time
from pathlib import Path

from entrypoint.config import install
from entrypoint.config.render import File, Table
from entrypoint.config.settings import Secret


def compile_nothing(path: Path, table: Table) -> None:
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
