"""Whether a viewer of the page knows HEALTH_PAGE_PASSWORD, which the program that shows it may not read."""

from __future__ import annotations

import time

# What hmac.compare_digest and base64 are made of; hmac would bring libcrypto along.
from _operator import _compare_digest
from binascii import a2b_base64

from entrypoint import runtime

# pathlib would add 0.9 MB.
# ruff: noqa: PTH123

_PENALTY = 0.02
"""Seconds after a wrong password in which none is looked at: whoever has taken over the health program can try 50 a second."""


class PagePassword:
    def __init__(self, path: str = runtime.PAGE_PASSWORD) -> None:
        self._path = path
        self._until = float("-inf")

    def answer(self, credentials: str) -> str:
        """Says "yes" or "no" to the user and password of HTTP's Basic scheme (RFC 7617), or "wait"; any user will do."""
        if time.monotonic() < self._until:
            return "wait\n"
        if _right(credentials, self._path):
            return "yes\n"
        self._until = time.monotonic() + _PENALTY
        return "no\n"


def _right(credentials: str, path: str) -> bool:
    """The file is read each time: a new password counts at once. Without one nobody knows it."""
    try:
        given = a2b_base64(credentials.encode("ascii"), strict_mode=True).partition(b":")[2]
        with open(path, "rb") as file:
            wanted = file.read()
    except (OSError, ValueError):
        return False
    return bool(wanted) and _compare_digest(given, wanted)
