"""What a long queue id tells (enable_long_queue_ids, which main.cf has; Postfix's mail_queue.h).

Seconds since 1970 in base 52, four digits of microseconds, "z", and the number of the file's inode, without any "z".
"""

from __future__ import annotations

from functools import lru_cache

_DIGITS = {digit: value for value, digit in enumerate("0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz")}
_MICROSECONDS = 4


def arrived(queue_id: str) -> float | None:
    """When the message came, in seconds since 1970; None for the short form, which does not tell."""
    seconds = arrived_in(queue_id)
    stamp = queue_id.rpartition("z")[0]
    return None if seconds is None else seconds + (_number(stamp[-_MICROSECONDS:]) or 0) / 1e6


def arrived_in(queue_id: str) -> int | None:
    """The second of it."""
    seconds = queue_id.rpartition("z")[0][:-_MICROSECONDS]
    # In halves, each of which many ids have in common: one of 45 minutes, and one of the seconds in them.
    high, low = _number(seconds[:-2]), _number(seconds[-2:])
    return None if high is None or low is None else high * len(_DIGITS) ** 2 + low


@lru_cache(maxsize=4096)
def _number(text: str) -> int | None:
    if not text or not all(digit in _DIGITS for digit in text):
        return None
    value = 0
    for digit in text:
        value = value * len(_DIGITS) + _DIGITS[digit]
    return value
