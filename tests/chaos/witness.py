"""Reads the sink's journal while it grows, and tells the ledger what arrived."""

from __future__ import annotations

import json
import threading
from datetime import datetime
from pathlib import Path
from typing import IO, Self

from tests.chaos.ledger import Ledger

_PAUSE = 0.1


class Witness:
    def __init__(self, journal: Path, ledger: Ledger) -> None:
        self._journal, self._ledger = journal, ledger
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
                self._ledger.arrived(to.partition("@")[0], datetime.fromisoformat(event["time"]).timestamp())
