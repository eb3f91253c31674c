"""The user's own executables, run before anything is read. PID 1 imports this, so it stays light."""

from __future__ import annotations

import os

from entrypoint import log

# pathlib would add 0.9 MB to PID 1.
# ruff: noqa: PTH112, PTH113, PTH118, PTH208

DIRECTORY = "/docker-entrypoint.d"


def run(directory: str = DIRECTORY) -> bool:
    """Run them in the order of their names; the first that fails ends the start."""
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
        path = os.path.join(directory, name)
        if not os.path.isfile(path) or not os.access(path, os.X_OK):
            log.write(f"warning: {path} is not an executable file and was not run")
            continue
        log.write(f"running {path}")
        status = _status(path)
        if status:
            log.write(f"error: {path} ended with status {status}: the relay does not start")
            return False
    return True


def _status(path: str) -> int:
    import subprocess

    try:
        return subprocess.run([path], check=False).returncode
    except OSError as error:
        log.write(f"error: {path} cannot be run: {error.strerror}")
        return 126
