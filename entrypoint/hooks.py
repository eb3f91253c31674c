"""The user's own executables, run before anything is read. PID 1 imports this, so it stays light."""

from __future__ import annotations

import os
import time

from entrypoint import log

# pathlib would add 0.9 MB to PID 1.
# ruff: noqa: PTH112, PTH113, PTH118, PTH119, PTH123, PTH208

DIRECTORY = "/docker-entrypoint.d"
_NOTHING = "/bin/true"
# Seconds.
_PATIENCE, _GLANCE = 1.0, 0.005


def run(directory: str = DIRECTORY) -> bool:
    """Run them in the order of their names; the first that fails ends the start."""
    try:
        names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    except OSError as error:
        log.write(f"error: {directory} cannot be read ({error.strerror}): the relay does not start")
        return False
    for name in names:
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
    # What it says goes out as it is, unless it would be the one thing in the log that has another form.
    if log.asked() == (None, None):
        return _run(path, None)
    writing, reader = _reader(f"postern/{os.path.basename(path)}")
    status = _run(path, writing)
    os.close(writing)
    # For its last lines, but not for those of a daemon that it left behind.
    deadline = time.monotonic() + _PATIENCE
    while not os.waitpid(reader, os.WNOHANG)[0] and time.monotonic() < deadline:
        time.sleep(_GLANCE)
    return status


def _run(path: str, out: int | None) -> int:
    import subprocess

    try:
        return subprocess.run([path], check=False, stdout=out, stderr=out).returncode
    except OSError as error:
        log.write(f"error: {path} cannot be run: {error.strerror}")
        return 126


def _reader(program: str) -> tuple[int, int]:
    """The writing end of a pipe, and the pid of a process that logs what comes out of it for as long as anybody holds it."""
    reading, writing = os.pipe()
    if not (pid := os.fork()):
        os.close(writing)
        try:
            with open(reading, "rb") as lines:
                for text in lines:
                    log.write(text.decode("utf-8", "replace"), program)
        finally:
            # The end of a copy of PID 1, without what PID 1 would do at its own.
            os.execv(_NOTHING, [_NOTHING])
    os.close(reading)
    return writing, pid
