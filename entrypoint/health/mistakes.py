"""What Postern itself did wrong is an answer like any other: a check that says nothing would be taken for one that is well."""

from __future__ import annotations

import time

from entrypoint import log

# Seconds between two lines of the log.
_QUIET = 60.0


class _Told:
    until = float("-inf")


def tell(error: Exception) -> str:
    """The error, and where it arose; the log has it, too, once a minute."""
    where = error.__traceback__
    while where and where.tb_next:
        where = where.tb_next
    at = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where else "?"
    text = f"a mistake in Postern: {type(error).__name__}: {error} ({at})"
    if time.monotonic() >= _Told.until:
        _Told.until = time.monotonic() + _QUIET
        log.write(f"error: {text}; told once a minute", "postern/health")
    # One line, whatever the error says.
    return "".join(letter if letter.isprintable() else "?" for letter in text)
