"""Reads the sink's journal while it grows, and tells the ledger what arrived."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import IO, Self

from tests.chaos.ledger import Ledger

_PAUSE = 0.1


class Witness:
    def __init__(self, journal: Path, ledger: Ledger, digest: Callable[[str], str] | None = None) -> None:
        """`digest` is that of a message's body, as it was sent; without it any body will do."""
        self._journal, self._ledger, self._digest = journal, ledger, digest
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        with self._journal.open() as lines:
            while not self._ended.wait(_PAUSE):
                self._read_on(lines)
            self._read_on(lines)

    def _read_on(self, lines: IO[str]) -> None:
        """Every whole line there is so far."""
        while True:
            before = lines.tell()
            line = lines.readline()
            if not line.endswith("\n"):
                lines.seek(before)
                return
            event = json.loads(line)
            if event["event"] == "message":
                [to] = event["rcpt_tos"]
                message = to.partition("@")[0]
                moment = datetime.fromisoformat(event["time"]).timestamp()
                whole = self._digest is None or event["body"] == self._digest(message)
                self._ledger.arrived(message, moment, whole=whole)
