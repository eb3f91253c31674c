"""How much of Postfix fits into the container's memory, so that the kernel never has to end a program of it.

Without a limit, or with a large one, nothing is decided and Postfix's own numbers count.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024
LEAST = 48
"""MiB: the smallest limit that tests/image/test_memory_limit.py sends its load through."""
# MiB, measured with the memory of all programs and the kernel's for them. What always runs, with the file pages that it
# works with and a verb such as `postern queue`; what a client and a delivery take of it, a client's TLS, and the
# notes that are made of a delivery that fails.
_ALWAYS, _LOGINS = 44, 8
_CLIENT, _TLS, _DELIVERY = 3, 1, 4
# Postfix's own numbers.
_PROCESSES, _ACTIVE = 100, 20_000
# Messages in qmgr's memory, each 1.3 kB of it, for each MiB.
_MESSAGES = 30


@dataclass(frozen=True)
class Room:
    """What is allowed at once."""

    limit: int
    """MiB."""
    processes: int
    """Of one kind: clients at each listener, deliveries on each way out."""
    active: int
    """Messages, and recipients, in the queue manager's memory; the others wait on disk."""


def too_little(limit: int | None) -> str:
    """What follows from a `limit` (bytes) that is too small; "" if it is not."""
    mib = LEAST if limit is None else limit // MIB
    if mib >= LEAST:
        return ""
    return (
        f"{mib} MB of memory, the container's limit, are less than the {LEAST} MB that the relay needs: it may start "
        "slowly or not at all, and the kernel may end its programs"
    )


def room(limit: int | None, listeners: int, ways: int, *, tls: bool, logins: bool) -> Room | None:
    """None if everything fits, or if there is no `limit` (bytes).

    All listeners and all ways out may be busy at the same time.
    """
    if limit is None:
        return None
    mib = limit // MIB
    each = listeners * (_CLIENT + _TLS * tls) + ways * _DELIVERY
    processes = (mib - _ALWAYS - _LOGINS * logins) // each
    if processes >= _PROCESSES:
        return None
    return Room(mib, max(processes, 1), min(mib * _MESSAGES, _ACTIVE))
