"""One relay in a container: a second start, in a shell of a running one, would write over its configuration. And one on a
spool: another, on the same volume, would put the queue in order while the first delivers from it.
"""

from __future__ import annotations

import fcntl
import os

# pathlib would add 0.9 MB to PID 1.
# ruff: noqa: PTH120
from entrypoint import runtime
from entrypoint.postfix import SPOOL


def trouble(configuration: str = os.path.dirname(runtime.CONFIGURATION), spool: str = SPOOL) -> str:
    """Why no relay may start here; if nothing speaks against it, "", and the place is this process's until it ends."""
    if not _claim(configuration):
        return (
            "a relay is already running here, and is left as it is: `postern check` judges settings, `postern reload` "
            "takes over changed files, other settings take a new container"
        )
    if not _claim(spool):
        return (
            f"another relay works on this spool, {spool}, and two would send its mail twice: give each a volume of its own, or "
            "start this one when the other has ended"
        )
    return ""


def _claim(directory: str) -> bool:
    """Whether no relay lives by this directory. If so, this one does from now on.

    The lock (flock(2)) is on the directory itself: nothing is written, and the kernel takes it back however the process
    ends, which a file with a pid in it would outlive where /run is no tmpfs.
    """
    try:
        # Never closed. Programs that this one becomes the parent of do not inherit it.
        held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # A file system without locks: as good as before there were any.
        return True
    return True
