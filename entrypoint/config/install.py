"""The one writer of configuration: all of it below one directory, each file whole or not at all."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from .render import File, Table

# Postfix re-reads a main.cf younger than two seconds until it has "cooled down": every process of a start would wait.
_AGE = 3600

Compile = Callable[[Path, Table], None]


def install(files: Iterable[File | Table], root: Path, compile_table: Compile) -> None:
    """Replaces what is below `root`, so that nothing of an earlier start remains. Raises OSError."""
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    for old in root.iterdir():
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    for file in files:
        (root / file.path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if isinstance(file, Table):
            compile_table(root / file.path, file)
        else:
            write(root / file.path, file)


def write(path: Path, file: File) -> None:
    """Never readable by more than its mode allows, and never half written."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode), "wb") as out:
        os.fchmod(out.fileno(), file.mode)
        out.write(file.text.encode("utf-8", "surrogateescape"))
    then = time.time() - _AGE
    os.utime(new, (then, then))
    new.rename(path)
