"""What only root can tell of the spool and of the lookup tables: whether Postfix can write the one and open the others.

Looked at when somebody asks, and not again for a few seconds: a relay that nobody asks does nothing here.
"""

from __future__ import annotations

import os
import pwd
import re
import sys
import time

from entrypoint import nonroot
from entrypoint.postfix import SPOOL

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Iterator

# pathlib would add 0.9 MB.
# ruff: noqa: PTH108, PTH116, PTH123

CONFIGURATION = "/run/postern/etc/postfix"
# As postfix/spool.py makes them. Each message is written in "incoming", and renamed through the others.
_QUEUES = ("active", "bounce", "defer", "deferred", "incoming", "private", "public")
_USER = "postfix"
# As much as a short message takes: a full disk may still have room for an empty file's name.
_WRITTEN = b"\0" * 4096
_SECONDS = 3.0
# Tables that are a file, and what its name ends in.
_FILES = {"cidr": "", "lmdb": ".lmdb", "pcre": "", "regexp": "", "texthash": ""}
_tables = re.compile(rf"\b({'|'.join(_FILES)}):(/[^\s,{{}}$]+)").findall
_limits = re.compile(r"^(queue_minfree|message_size_limit) = (\d+)$", re.MULTILINE).findall
# lmdb.h: in the first page, after its header, in the machine's own order of bytes.
_LMDB_MAGIC = 0xBEEFC0DE


class SpoolWatch:
    """Holds what was seen last."""

    def __init__(self, spool: str = SPOOL, configuration: str = CONFIGURATION, user: str = _USER) -> None:
        self._spool = spool
        self._configuration = configuration
        self._user = user
        self._seen: dict[str, str | int] = {}
        self._at = float("-inf")
        self._read: tuple[object, ...] = ()
        self._tables: list[tuple[str, str]] = []
        self._minimum = 0

    def look(self) -> dict[str, str | int]:
        """`spool_problem` and `tables_problem`, each "" or a few words.

        `spool_free_bytes`, `spool_size_bytes`, `spool_free_inodes`, `spool_inodes` (0: the file system does not count
        them), and `spool_refusing_below`: the free bytes at which smtpd(8) takes no more mail.
        """
        if time.monotonic() - self._at > _SECONDS:
            self._seen = self._look()
            self._at = time.monotonic()
        return self._seen

    def _look(self) -> dict[str, str | int]:
        try:
            self._read_configuration()
            tables = next(self._broken(), "")
        except OSError as error:
            tables = f"{error.filename}: {error.strerror}"
        return {"tables_problem": tables, "spool_refusing_below": self._minimum, **self._space()}

    def _space(self) -> dict[str, str | int]:
        try:
            free = os.statvfs(self._spool)
            problem = self._unwritable()
        except OSError as error:
            return {"spool_problem": error.strerror or str(error)}
        return {
            "spool_problem": problem,
            "spool_free_bytes": free.f_bavail * free.f_frsize,
            "spool_size_bytes": free.f_blocks * free.f_frsize,
            "spool_free_inodes": free.f_favail,
            "spool_inodes": free.f_files,
        }

    def _unwritable(self) -> str:
        """Why Postfix, or anybody, cannot write there; root itself is stopped by no owner and no mode."""
        try:
            owner = nonroot.uid() or pwd.getpwnam(self._user).pw_uid
        except KeyError:
            return f"there is no user {self._user}"
        for name in _QUEUES:
            status = os.stat(f"{self._spool}/{name}")
            if status.st_uid != owner:
                return f"{name} belongs to uid {status.st_uid} and not to {self._user}"
            if status.st_mode & 0o700 != 0o700:
                return f"{name} has mode {status.st_mode & 0o7777:o}"
        if not nonroot.uid() and not os.stat(self._spool).st_mode & 1:
            return f"{self._user} may not enter {self._spool}"
        probe = f"{self._spool}/.writable"
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, _WRITTEN)
        finally:
            os.close(descriptor)
            os.unlink(probe)
        return ""

    def _read_configuration(self) -> None:
        """Which tables there are and what free space smtpd(8) wants, from files that are replaced when they change."""
        files = [f"{self._configuration}/{name}" for name in ("main.cf", "master.cf")]
        now = tuple((s.st_ino, s.st_mtime_ns) for s in map(os.stat, files))
        if now == self._read:
            return
        texts = []
        for path in files:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                texts.append("".join(line for line in file if not line.startswith("#")))
        self._tables = sorted(set(_tables("".join(texts))))
        limits = {name: int(value) for name, value in _limits(texts[0])}
        # As smtpd_check_queue() in smtpd_check.c has it.
        self._minimum = max(
            limits.get("queue_minfree", 0), limits.get("message_size_limit", 10240000) * 3 // 2
        )
        self._read = now

    def _broken(self) -> Iterator[str]:
        for kind, name in self._tables:
            path = name + _FILES[kind]
            try:
                with open(path, "rb") as file:
                    head = file.read(20)
            except OSError as error:
                yield f"{path}: {error.strerror}"
                continue
            if kind == "lmdb" and int.from_bytes(head[16:], sys.byteorder) != _LMDB_MAGIC:
                yield f"{path}: not an LMDB file"
