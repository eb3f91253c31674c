"""Lookup tables in the form that Postfix opens: lmdb, one file, key and value as they are."""

from __future__ import annotations

import os
from pathlib import Path

import lmdb

from entrypoint.config.render import Table

_MAP_SIZE = 16 * 1024 * 1024


def compile_table(path: Path, table: Table) -> None:
    """Writes `path`.lmdb, readable by root alone: Postfix opens it before it gives up its rights.

    postmap(1) would trim the white space at the end of a value, and a password may end in a space.
    """
    new = path.with_name(f".{path.name}.new.lmdb")
    new.unlink(missing_ok=True)
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with (
        lmdb.open(str(new), subdir=False, lock=False, map_size=_MAP_SIZE) as database,
        database.begin(write=True) as t,
    ):
        for key, value in table.entries.items():
            t.put(key.encode(), value.reveal().encode("utf-8", "surrogateescape"))
    new.rename(path.with_name(f"{path.name}.lmdb"))
