"""The two volumes: made, or repaired, into what Postfix expects, whoever filled them before."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Container
from contextlib import suppress
from pathlib import Path

from entrypoint import nonroot, postfix

SPOOL = Path(postfix.SPOOL)
DATA = Path("/var/lib/postern")

# As postfix-files(5) has them: mode, owner, group.
_QUEUES = (
    "active",
    "bounce",
    "corrupt",
    "defer",
    "deferred",
    "flush",
    "hold",
    "incoming",
    "private",
    "saved",
    "trace",
)
# Of these, the ones with messages in them, by which postsuper(1) marks.
_HOLDING = ("active", "deferred", "hold", "incoming")
_DIRECTORIES: dict[str, tuple[int, str, str]] = {
    **dict.fromkeys(_QUEUES, (448, "postfix", "root")),
    "maildrop": (0o1730, "postfix", "postdrop"),
    "public": (0o2710, "postfix", "postdrop"),
    "pid": (0o755, "root", "root"),
}
# In the data volume: Postfix's own, large tables, certificates of the relay's making.
_OF_DATA = ("postfix", "tables", "tls")


class VolumeError(Exception):
    """A volume cannot be used; the message says which and why."""


def prepare(spool: Path = SPOOL, data: Path = DATA) -> list[str]:
    """Makes what is missing, gives to Postfix what belongs to others. Says what it repaired; raises VolumeError.

    Without root nothing can be given away: all is this user's, or is refused.
    """
    said = []
    # Both are named at once: who has given away one would only then hear of the other.
    if faults := [*filter(None, map(_unwritable, (spool, data)))]:
        raise VolumeError("; ".join(faults))
    for volume in (spool, data):
        # Postfix's user must get through to its own, whoever owned a mounted directory; and nobody shall change what
        # is looked at from here on.
        if not nonroot.uid():
            said += _directory(volume, 0o755, "root", "root")
    for path in (*(spool / name for name in _DIRECTORIES), *(data / name for name in _OF_DATA)):
        _no_link(path)
    for name, (mode, owner, group) in _DIRECTORIES.items():
        said += _directory(spool / name, mode, owner, group)
    said += _directory(data / "postfix", 0o700, "postfix", "root")
    return said


def make_due(spool: Path = SPOOL, only: Container[str] | None = None) -> int:
    """Deferred mail is tried at once: whoever restarts a relay has just mended what it waited for.

    qmgr(8) keeps the time of the next try as the file's own, which may be an hour ahead. Returns how many messages that
    is; `only` those with such queue ids, if given.
    """
    count = 0
    for parent, _, names in os.walk(spool / "deferred"):
        for name in names:
            if only is not None and name not in only:
                continue
            with suppress(FileNotFoundError):  # It is on its way already.
                path = os.path.join(parent, name)  # noqa: PTH118  # a Path for each of a million files costs seconds
                os.utime(path, follow_symlinks=False)
                count += 1
    return count


def _unwritable(volume: Path) -> str | None:
    probe = volume / ".writable"
    try:
        volume.mkdir(parents=True, exist_ok=True)
        probe.unlink(missing_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        mend = "mount it writable"
        if nonroot.uid() and error.errno == errno.EACCES:
            mend = f"{_chown(volume)}, or a fsGroup in a Pod"
        return f"{volume} cannot be written ({error.strerror}): mail would be lost; {mend}"
    return None


def _no_link(path: Path) -> None:
    """Whoever could write to a volume, as a relay without root can, must not lead root to another place."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise VolumeError(f"{path} must be a directory, and is a link or a file: remove it")


def _chown(volume: Path) -> str:
    uid = nonroot.uid()
    return f"give the volume to uid {uid}: as root, chown -R {uid} {volume}"


def _own(path: Path, mode: int, uid: int) -> None:
    """Of the user who is all there is."""
    path.mkdir(exist_ok=True)
    owner = path.stat().st_uid
    if owner == uid:
        path.chmod(mode)
    else:
        try:
            # As the image has it, if it is empty: who may write in its parent may make it anew.
            path.rmdir()
            path.mkdir()
            path.chmod(mode)
        except OSError as error:
            raise VolumeError(
                f"{path} belongs to uid {owner} and cannot be made anew ({error.strerror}): {_chown(path.parent)}"
            ) from None


def _unmark(directory: Path) -> list[str]:
    """`chmod -R g=u`, which a volume for OpenShift often gets, is Postfix's mark of mail to send back at its next look.

    postsuper(1) -e and -f give the group the right to execute, and no other.
    """
    count = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(parent, name)  # noqa: PTH118  # a Path for each of a million files costs seconds
            mode = os.lstat(path).st_mode
            if mode & stat.S_IRWXG == stat.S_IRWXG:
                os.chmod(path, stat.S_IMODE(mode) & ~stat.S_IXGRP)  # noqa: PTH101
                count += 1
    mended = f"{count} files in {directory} had become executable for their group: Postfix would have returned them"
    return [mended] if count else []


def _directory(path: Path, mode: int, owner: str, group: str) -> list[str]:
    if me := nonroot.uid():
        _own(path, mode, me)
        return _unmark(path) if path.name in _HOLDING else []
    uid, gid = pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid
    try:
        path.mkdir(exist_ok=True)
        found = path.stat()
        right_owner = (found.st_uid, found.st_gid) == (uid, gid)
        right_mode = found.st_mode & 0o7777 == mode
        if right_owner and right_mode:
            return []
        # The files first: a repair that is interrupted is then repeated, as the directory still has its old owner.
        mended = _give(path, uid) if owner == "postfix" and not right_owner else 0
        if not right_mode:
            # Only its owner may change a mode: root has no CAP_FOWNER here, so it takes the directory for a moment.
            os.chown(path, 0, 0)
            path.chmod(mode)
        os.chown(path, uid, gid)
    except OSError as error:
        raise VolumeError(
            f"{path} cannot be given to {owner} ({error.strerror}): add the capability CHOWN"
        ) from None
    return (
        [f"{path} and {mended} files in it belonged to uid {found.st_uid}, now to {owner}"] if mended else []
    )


def _give(directory: Path, uid: int) -> int:
    count = 0
    for parent, directories, names in os.walk(directory):
        for name in (*directories, *names):
            path = os.path.join(parent, name)  # noqa: PTH118  # a Path for each of a million files costs seconds
            if os.lstat(path).st_uid != uid:
                os.lchown(path, uid, -1)
                count += 1
    return count
