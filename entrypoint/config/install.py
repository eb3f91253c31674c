"""The one writer of configuration: all of it below one directory, each file whole or not at all."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from entrypoint import nonroot

from .render import File, Made, Sasldb, Table, revealed

# Postfix re-reads a main.cf younger than two seconds until it has "cooled down": every process of a start would wait.
_AGE = 3600
_CLOCK_REALTIME_COARSE = 5  # linux/time.h

# Where large things go: memory, which the tmpfs is, has no room for a table of a million entries.
LARGE = ("tables", Path("/var/lib/postern/tables"))

Compile = Callable[[Path, Table | Sasldb], object]


def install(
    files: Iterable[Made],
    root: Path,
    compile_file: Compile,
    large: tuple[str, Path] | None = None,
    shared: tuple[str, int] | None = None,
) -> None:
    """Replaces what is below `root`, so that nothing of an earlier start remains. Raises OSError.

    `large` is a directory of `root` that shall be elsewhere, which is emptied as well; `shared` is one in which a
    group may make its sockets.
    """
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    _empty(root)
    if large:
        name, place = large
        if place.exists():
            # Made anew, for on a volume it may have come from somebody else, who would keep Postfix out.
            shutil.rmtree(place)
        place.mkdir(mode=0o755, parents=True)
        (root / name).symlink_to(place)
    if shared:
        with as_group(shared[1]):
            (root / shared[0]).mkdir()
        (root / shared[0]).chmod(0o775)
    for file in files:
        path = root / file.path
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if isinstance(file, File):
            write(path, file)
        else:
            compile_file(path, file)


def close(directory: Path) -> None:
    """An emptyDir of Kubernetes is everybody's, and so is what the image has for whoever `--user` names: who may rename
    in it could give root another configuration. Without root there is nobody else.

    Raises OSError.
    """
    if not nonroot.uid() and directory.stat().st_mode & stat.S_IWOTH:
        directory.chmod(0o755)


def claim(directory: Path) -> None:
    """The same for one that is the relay's alone, and may be missing: what somebody else put there first goes.

    Raises OSError.
    """
    if nonroot.uid() or not os.path.lexists(directory):
        return
    if directory.is_symlink() or not directory.is_dir():
        directory.unlink()
    elif directory.stat().st_uid != os.geteuid():
        shutil.rmtree(directory)
    else:
        close(directory)


def _empty(directory: Path) -> None:
    for old in directory.iterdir():
        shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()


def now() -> int:
    """Nanoseconds, of the clock by which the kernel dates files."""
    return time.clock_gettime_ns(_CLOCK_REALTIME_COARSE)


def note_reading(watched: Path, when: int) -> None:
    """Dates the list of watched files: what is younger has not been read (entrypoint/keeper/watch.py)."""
    if watched.exists():
        os.utime(watched, ns=(when, when))


def same(path: Path, file: File) -> bool:
    """Whether the file is there already, with this text, mode and group."""
    try:
        status = path.stat()
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    if file.group not in (None, status.st_gid) and not nonroot.uid():
        return False
    return content == _bytes(file) and status.st_mode & 0o7777 == file.mode


def _bytes(file: File) -> bytes:
    return revealed(file.text).encode("utf-8", "surrogateescape")


def write(path: Path, file: File) -> None:
    """Never readable by more than its mode allows, and never half written. Raises OSError."""
    with prepared(path, file) as put:
        put()


@contextmanager
def prepared(path: Path, file: File) -> Iterator[Callable[[], object]]:
    """What write() writes, whole, beside what is there, and what puts it in its place. Raises OSError."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    try:
        with as_group(file.group):
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode)
        with os.fdopen(descriptor, "wb") as out:
            os.fchmod(descriptor, file.mode)
            out.write(_bytes(file))
        then = time.time() - _AGE
        os.utime(new, (then, then))
        yield lambda: new.rename(path)
    finally:
        new.unlink(missing_ok=True)


@contextmanager
def as_group(group: int | None) -> Iterator[None]:
    """What is made meanwhile belongs to that group; None changes nothing. Raises OSError.

    To give a file away afterwards would take CAP_CHOWN, which a relay can do without. Without root there is one user
    for everything, and nobody to share with.
    """
    own = os.getegid()
    if nonroot.uid():
        group = None
    if group is not None:
        os.setegid(group)
    try:
        yield
    finally:
        if group is not None:
            os.setegid(own)
