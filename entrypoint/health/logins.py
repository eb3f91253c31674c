"""Whether logins can be checked: the logins server's own word about what it asks."""

from __future__ import annotations

import socket

from entrypoint import runtime
from entrypoint.health.checks import Check

_NAME = "logins"
_CONSEQUENCE = "logins are answered 454 until that is over"
# Netstrings, as in socketmap_table(5). The map "status" has one answer, whatever the key.
_QUESTION = b"8:status x,"
_LONGEST = 4096


def check(patience: float, path: str = runtime.LOGINS) -> Check:
    """Ask, waiting `patience` seconds for each step: the server looks at its backend first, for 2.5 s at most."""
    try:
        answer = _ask(path, patience)
    except OSError as error:
        return Check(_NAME, f"the logins server does not answer ({error.strerror or error}): {_CONSEQUENCE}")
    if answer.startswith("OK "):
        return Check(_NAME)
    reason = "".join(c if c.isprintable() else "?" for c in answer.removeprefix("TEMP "))
    return Check(_NAME, f"{reason}: {_CONSEQUENCE}")


def _ask(path: str, patience: float) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(patience)
        connection.connect(path)
        connection.sendall(_QUESTION)
        data = b""
        while more := connection.recv(_LONGEST):
            data += more
            length, _, text = data.partition(b":")
            if not length[:4].isdigit() or int(length[:4]) > _LONGEST:
                break
            if len(text) > int(length):
                return text[: int(length)].decode("utf-8", "replace")
    raise OSError("it ended the connection" if not more else "what it says is no netstring")
