"""What is in the spool at a stop: what is under way, what waits, and how those that stay are told."""

from __future__ import annotations

import os

from entrypoint.postfix import SPOOL, queues

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

POSTCAT = "/usr/sbin/postcat"
UNDER_WAY = ("maildrop", "incoming", "active")
"""In the order in which mail moves on, so that none can pass unseen between two looks."""
QUEUES = (*UNDER_WAY, "deferred", "hold")
# cleanup(8) makes a queue file executable when it is complete, just before the client gets its 250.
_COMPLETE = 0o100
_IDS_A_LINE, _MOST_IDS = 100, 10_000


def holds(queue: str) -> bool:
    """Whether there is anything at all, complete or not."""
    return next(queues.files(f"{SPOOL}/{queue}"), None) is not None


def names(queue: str) -> Iterator[str]:
    """The queue ids of complete messages. A client that was cut off got no 250, and what came of its message is nobody's."""
    return (name for name, found in files(queue) if queue != "incoming" or found.st_mode & _COMPLETE)


def user() -> int:
    """The number of Postfix's user; -1 if the spool is gone."""
    try:
        return os.stat(f"{SPOOL}/active").st_uid  # noqa: PTH116  # pathlib would add 0.9 MB
    except OSError:
        return -1


def being_handed_in() -> bool:
    """Whether a client is just handing over a message."""
    return any(not found.st_mode & _COMPLETE for _, found in files("incoming"))


def files(queue: str) -> Iterator[tuple[str, os.stat_result]]:
    """Each file's name and status, without those that go meanwhile."""
    for file in queues.files(f"{SPOOL}/{queue}"):
        try:
            yield file.name, file.stat()
        except OSError:
            continue


def is_done(queue_id: str) -> bool:
    """Whether all recipients have got it: qmgr, halted, only did not come to remove it, and the next one will."""
    import subprocess  # 1 MB, for those few that are at their end

    shown = subprocess.run([POSTCAT, "-eq", queue_id], capture_output=True, check=False)
    return not shown.returncode and not any(
        line.startswith(b"recipient: ") for line in shown.stdout.splitlines()
    )


def listed(left: Mapping[str, list[str]]) -> Iterator[str]:
    """Lines with the queue ids, by the reason why they stay."""
    for reason, ids in left.items():
        for first in range(0, min(len(ids), _MOST_IDS), _IDS_A_LINE):
            yield f"stay, {reason}: {' '.join(ids[first : first + _IDS_A_LINE])}"
        if len(ids) > _MOST_IDS:
            yield f"stay, {reason}: {len(ids) - _MOST_IDS} more"
