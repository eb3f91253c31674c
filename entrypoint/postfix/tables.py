"""Lookup tables in the form that Postfix opens: lmdb, one file, key and value as they are.

A table changes in place, in one transaction: each lookup sees all of the old content or all of the new, in sessions
that are open already too, and a writer that is killed has changed nothing. A new file of the same name would be seen
by new processes only.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from operator import methodcaller
from pathlib import Path

import lmdb

from entrypoint.config.render import Table

# What an entry takes beside its bytes, and the most by which all of it may grow: pages that are half full, the pages of
# the content before, and characters of four bytes.
_ENTRY = 16
_GROWTH = 8
_LEAST = 16 * 1024 * 1024
_PART = 50_000
# Of the pages that a change takes: for each level of the tree, free ones by the page that lists them, and at least.
_TOUCHED, _LISTED, _SPARE = 3, 256, 16
# The bytes that the environment or a file had; a Secret's too. No function of Python's: it is called a million times.
_bytes = methodcaller("encode", "utf-8", "surrogateescape")


@dataclass(frozen=True)
class Change:
    """How many entries a table has now, and how many of them came, went, or got another value. False if none did."""

    entries: int
    added: int = 0
    removed: int = 0
    altered: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.altered)

    def __str__(self) -> str:
        counts = {"added": self.added, "removed": self.removed, "altered": self.altered}
        told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        return f"{self.entries} {'entry' if self.entries == 1 else 'entries'} ({told or 'unchanged'})"


def compile_table(path: Path, table: Table) -> Change:
    """Makes `path`.lmdb, or brings it to the table's content. Raises OSError."""
    with prepared(path, table) as (change, put):
        put()
        return change


@contextmanager
def prepared(path: Path, table: Table) -> Iterator[tuple[Change, Callable[[], None]]]:
    """What compile_table() would change, and what does it then in one step, for which there is room. Raises OSError.

    Keys must be in the form in which Postfix looks them up, without capitals. The file can be read by root alone:
    Postfix opens it before it gives up its rights. postmap(1) would trim the white space at the end of a value, and a
    password may end in a space.
    """
    target = path.with_name(f"{path.name}.lmdb")
    with (_altered if target.exists() else _made)(target, table.entries) as (change, commit):

        def put() -> None:
            with _worded(target):
                commit()

        yield change, put


@contextmanager
def _worded(file: Path) -> Iterator[None]:
    try:
        yield
    except lmdb.Error as error:
        raise OSError(f"{file} cannot be written: {error}") from None


@contextmanager
def _made(target: Path, entries: Mapping[str, str]) -> Iterator[tuple[Change, Callable[[], object]]]:
    new = target.with_name(f".{target.stem}.new.lmdb")
    new.unlink(missing_ok=True)
    try:
        with _worded(target):
            os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            with _opened(new, entries) as database:
                _fill(database, entries)
        yield Change(len(entries), added=len(entries)), lambda: new.rename(target)
    finally:
        new.unlink(missing_ok=True)


@contextmanager
def _altered(file: Path, entries: Mapping[str, str]) -> Iterator[tuple[Change, Callable[[], object]]]:
    # Closing any descriptor of the file gives up the lock, and the transaction must have ended by then.
    with ExitStack() as opened:
        with _worded(file):
            database = opened.enter_context(_opened(file, entries))
            locked = opened.enter_context(file.open("rb+"))
            transaction = database.begin(write=True)
            opened.callback(_cut, database, locked.fileno())
            opened.callback(transaction.abort)
            _wait_for_readers(locked.fileno())
            before = _pages(transaction)
            with transaction.cursor() as cursor:
                change = _merge(cursor, entries)
            if change:
                _reserve(file, locked.fileno(), _most(database, transaction, before, change))
        yield change, transaction.commit


def _opened(file: Path, entries: Mapping[str, str]) -> lmdb.Environment:
    """Never synchronised with the disk: what a crash of the machine may leave is made anew by the next start."""
    # Bytes of address space; the file takes what it needs.
    text = sum(map(len, entries)) + sum(map(len, entries.values())) + _ENTRY * len(entries)
    room = file.stat().st_size + _GROWTH * text + _LEAST
    return lmdb.open(str(file), subdir=False, lock=False, sync=False, map_size=room)


def _fill(database: lmdb.Environment, entries: Mapping[str, str]) -> None:
    """In order, which fills pages to the brim, and in parts: what a transaction has written is held in memory."""
    keys = iter(_sorted(entries))
    while part := list(islice(keys, _PART)):
        with database.begin(write=True) as transaction, transaction.cursor() as cursor:
            cursor.putmulti(((_bytes(key), _bytes(entries[key])) for key in part), append=True)


def _pages(transaction: lmdb.Transaction) -> int:
    found = transaction.stat()
    return int(found["branch_pages"] + found["leaf_pages"] + found["overflow_pages"])


def _most(database: lmdb.Environment, transaction: lmdb.Transaction, before: int, change: Change) -> int:
    """The bytes that the file has at the most when the transaction is committed.

    All pages that it touches are written anew, behind the others if none of those is free. One entry touches those on
    the way to it, and where pages are split or joined, their neighbours.
    """
    found = transaction.stat()
    entries = change.added + change.removed + change.altered
    by_entry = _TOUCHED * (found["depth"] + 1) * entries + found["overflow_pages"]
    touched = min(max(before, _pages(transaction)), by_entry)
    # The list of free pages is in pages as well.
    return int((database.info()["last_pgno"] + 1 + touched + touched // _LISTED + _SPARE) * found["psize"])


def _reserve(file: Path, descriptor: int, size: int) -> None:
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        raise OSError(f"{file} cannot be written: {error.strerror}") from None


def _cut(database: lmdb.Environment, file: int) -> None:
    """Gives back the room that was not needed."""
    used = (database.info()["last_pgno"] + 1) * database.stat()["psize"]
    if used < os.fstat(file).st_size:
        os.ftruncate(file, used)


def _wait_for_readers(file: int) -> None:
    """Postfix's own protocol (dict_lmdb(3)): nobody reads what may be overwritten now, and nobody else writes.

    Lookups go on meanwhile: the pages of the present content are not among those that may.
    """
    fcntl.lockf(file, fcntl.LOCK_EX)
    fcntl.lockf(file, fcntl.LOCK_SH)


def _merge(cursor: lmdb.Cursor, entries: Mapping[str, str]) -> Change:
    """Both in the order of their bytes, side by side: a million entries are held in memory once, and not again here."""
    # What goes makes room for what comes: put first, it would take new pages, and the file would stay as large.
    put: list[str] = []
    removed = altered = 0
    cursor.first()
    for key in _sorted(entries):
        wanted = _bytes(key)
        # Beyond the last entry the cursor's key is empty; to delete moves on to the next one.
        while b"" < bytes(cursor.key()) < wanted:
            removed += cursor.delete()
        if cursor.key() != wanted:
            put.append(key)
            continue
        if cursor.value() != _bytes(entries[key]):
            put.append(key)
            altered += 1
        cursor.next()
    while cursor.key():
        removed += cursor.delete()
    cursor.putmulti((_bytes(key), _bytes(entries[key])) for key in put)
    return Change(len(entries), len(put) - altered, removed, altered)


def _sorted(keys: Collection[str]) -> list[str]:
    """In the order of their bytes, which is that of their characters unless some stand for bytes that are no UTF-8."""
    # A million keys' bytes, to be compared by, would take 64 MB.
    return sorted(keys) if all(map(str.isascii, keys)) else sorted(keys, key=_bytes)
