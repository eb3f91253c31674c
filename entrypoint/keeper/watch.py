"""The files that the configuration came from, looked at for changes.

By stat(2), once a second: it sees what inotify(7) may miss on network and overlay mounts, and the swap of a symlink
by which Kubernetes changes a ConfigMap or Secret.
"""

from __future__ import annotations

import os
import stat

from entrypoint import runtime

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Iterator

    Signature = tuple[int, int, int, int] | None

# pathlib would add 0.9 MB.
# ruff: noqa: PTH116, PTH123, PTH208

LIST = f"{runtime.CONFIGURATION}/watched"
"""What to look at, one path a line; the time of the file is when what it names was last read."""
# A directory may be a mistake, such as "/": what is deeper or beyond is not seen, and costs nothing.
DEPTH = 3
MOST = 1000
# Looks, two a second, after which what never comes to rest is read as it is: a file that somebody writes to all the
# time, a log for one, must not keep all other changes without effect for ever.
RESTLESS = 120
# What was read, where that is no longer there to be looked at.
_OTHER: dict[str, Signature] = {"": None}


class Watcher:
    """What was there when it was last read, what was seen since."""

    def __init__(self, list_file: str = LIST) -> None:
        self._list = list_file
        self.anything = False
        """Whether there is a list at all; it may name no files."""
        self.paths: list[str] = []
        self._known: dict[str, Signature] | None = None
        self._seen: dict[str, Signature] | None = None
        self._looks = 0
        self.read_list()

    def read_list(self) -> None:
        """The list is written anew when other files count."""
        try:
            with open(self._list, encoding="utf-8", errors="surrogateescape") as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            lines = []
        self.anything = bool(lines)
        self.paths = [line for line in lines if line.startswith("/")]

    @property
    def settling(self) -> bool:
        """Whether something was seen that the next look must confirm."""
        return self._seen is not None

    def look(self) -> bool:
        """Whether something has changed and come to rest: two looks in a row saw the same.

        Else a file would be read of which an editor has written one half. Also if it has not come to rest for a minute.
        """
        found = list(_found(self.paths))
        now = {path: _signature(status) for path, status in found if not _directory(status)}
        if self._known is None:
            self._known = _OTHER if self._younger(found) else now
        if now == self._known:
            self._seen, self._looks = None, 0
            return False
        if now != self._seen and self._looks < RESTLESS:
            self._seen = now
            self._looks += 1
            return False
        self._known, self._seen, self._looks = now, None, 0
        return True

    def _younger(self, found: list[tuple[str, os.stat_result | None]]) -> bool:
        """Whether something changed between the reading and the first look, or while there was no keeper."""
        read = os.stat(self._list).st_mtime_ns
        return any(status is not None and status.st_mtime_ns > read for _, status in found)


def _found(paths: list[str]) -> Iterator[tuple[str, os.stat_result | None]]:
    """Files and directories, these before what is in them; None for what is not there."""
    left = MOST
    for path in paths:
        for found in _below(path, DEPTH):
            yield found
            left -= 1
            if not left:
                return


def _below(path: str, depth: int) -> Iterator[tuple[str, os.stat_result | None]]:
    """Without hidden names: in Kubernetes' mounts the others lead through them."""
    try:
        status = os.stat(path)
        yield path, status
        if not _directory(status) or not depth:
            return
        names = sorted(os.listdir(path))
    except OSError:
        yield path, None
        return
    for name in names:
        if not name.startswith("."):
            yield from _below(f"{path}/{name}", depth - 1)


def _directory(status: os.stat_result | None) -> bool:
    return status is not None and stat.S_ISDIR(status.st_mode)


def _signature(status: os.stat_result | None) -> Signature:
    """What tells a file from its successor: device, inode, modification time in ns, size."""
    return status and (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
