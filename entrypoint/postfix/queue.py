"""The queue, by the programs of Postfix that show and change it: postqueue(1), postsuper(1), postcat(1)."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Collection, Iterator
from typing import Any

from entrypoint import nonroot
from entrypoint.postfix import spool

Message = dict[str, Any]
"""As postqueue(1) describes it."""
HOLD, RELEASE, DELETE, REQUEUE = "-h", "-H", "-d", "-r"
"""What postsuper(1) does with messages."""
HEADERS, BODY = "-h", "-b"
"""What postcat(1) shows of one."""

# "Placed on hold: 2 messages" is its last word; nothing is said when there were none.
_COUNT = re.compile(r"^postsuper: [A-Z][a-z ]+: (\d+) messages?$", re.MULTILINE)
# Of the queue manager: forget which destinations were dead, then look at what is due and at what has come in.
_RETRY = b"FDI"
_WAKE_UP = b"W"
# Seconds for a program of Postfix that takes one such word at a time; it may be busy.
_PATIENCE = 10.0


def repair_names() -> list[str]:
    """postsuper(1): after a copy or restore of the spool, files no longer bear the name of their inode."""
    result = subprocess.run(nonroot.command("postsuper"), capture_output=True, text=True, check=False)
    return (
        [re.sub(r"^postsuper: ", "", line) for line in result.stderr.splitlines()]
        if result.returncode
        else []
    )


def messages() -> Iterator[Message]:
    """Each waiting message as postqueue(1) -j describes it, while it says so: a long queue is never in memory.

    Raises RuntimeError when the queue cannot be read.
    """
    for line in _lines("postqueue", "-j"):
        yield json.loads(line, strict=False)


def contents(queue_id: str, part: str) -> Iterator[str]:
    """The lines of a message's headers or of its body. Raises RuntimeError when it is no longer there."""
    yield from _lines("postcat", "-q", part, queue_id)


def change(how: str, ids: Collection[str]) -> int:
    """Hold, release, delete or requeue. Returns with how many that was done. Raises RuntimeError or OSError."""
    if not ids:
        return 0
    result = subprocess.run(
        nonroot.command("postsuper", how, "-"),
        input="\n".join(ids),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(_reason("postsuper", result.returncode, result.stderr))
    found = _COUNT.search(result.stderr)
    if how == REQUEUE:
        # Else pickup(8) would find them at its next look, within a minute.
        _tell("pickup", _WAKE_UP)
    return int(found[1]) if found else 0


def retry(ids: Collection[str]) -> int:
    """What is deferred is tried now, and nothing else. Returns how many. Raises OSError.

    Not by postqueue(1), which knows no choice but all, or else one message a run.
    """
    count = spool.make_due(spool.SPOOL, ids)
    if count:
        _tell("qmgr", _RETRY)
    return count


def _tell(service: str, request: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as told:
        told.settimeout(_PATIENCE)
        told.connect(f"{spool.SPOOL}/public/{service}")
        told.sendall(request)


def _lines(*command: str) -> Iterator[str]:
    """What a program prints. A caller that has enough ends it, as it then writes to nobody."""
    with subprocess.Popen(
        nonroot.command(*command), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        if process.stdout and process.stderr:
            # Bytes, as else a carriage return that came with mail would end a line.
            for line in process.stdout:
                yield line.decode("utf-8", "replace").removesuffix("\n")
            complaints = process.stderr.read().decode("utf-8", "replace")
    if process.returncode:
        raise RuntimeError(_reason(command[0], process.returncode, complaints))


def _reason(program: str, status: int, complaints: str) -> str:
    return complaints.strip() or f"{program} failed with status {status}"
