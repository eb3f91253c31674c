"""Files that settings name. What is no file would be waited for (a pipe) or read for ever (a device)."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

from entrypoint import nonroot


def read(path: str, largest: int) -> bytes:
    """The content of a file of at most `largest` bytes, which are looked at first: a wrong file may be of any size.

    Raises ValueError("must be ...").
    """
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("must be a file, and this is a directory or something else")
        if status.st_size > largest:
            raise ValueError(f"must be a file of at most {_size(largest)}")
        return Path(path).read_bytes()
    except OSError as error:
        mend = _give(path) if error.errno == errno.EACCES else ""
        raise ValueError(f"must be a readable file: {error.strerror}{mend}") from None


def _give(path: str) -> str:
    """Without root, what is another user's own stays closed; engines mount secrets as root's."""
    uid = nonroot.uid()
    return f"; the relay reads it as uid {uid}: as root, chown {uid} {path}" if uid else ""


def _size(count: int) -> str:
    return f"{count >> 20} MB" if count >= 1 << 20 else f"{count >> 10} KB"
