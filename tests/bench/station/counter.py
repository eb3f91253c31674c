"""Counts the messages a sink has taken, and when it took each.

Postfix's smtp-sink rewrites one status line (`sess=1 quit=0 mesg=1` and a carriage return) after every message.
It is by far the cheapest sink there is, and on a machine shared with the relay under test that matters more than comfort.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time

MESSAGES = re.compile(rb"mesg=(\d+)[\r\n]")


class Counter:
    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self._changed = threading.Condition()
        self._arrivals: list[float] = []
        threading.Thread(target=self._follow, daemon=True).start()

    def count(self) -> int:
        with self._changed:
            return len(self._arrivals)

    def wait_for(self, count: int, seconds: float) -> float | None:
        """Return the Unix time at which the sink had `count` messages, or None if it has fewer after `seconds`."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._arrivals) >= count, seconds):
                return None
            return self._arrivals[count - 1]

    def _follow(self) -> None:
        with self._process as process:
            assert process.stdout is not None
            rest = b""
            while chunk := os.read(process.stdout.fileno(), 65536):
                now = time.time()
                text = rest + chunk
                rest = text[-64:] if text[-1:] not in (b"\r", b"\n") else b""
                if found := MESSAGES.findall(text):
                    self._reached(int(found[-1]), now)

    def _reached(self, count: int, now: float) -> None:
        with self._changed:
            self._arrivals += [now] * (count - len(self._arrivals))
            self._changed.notify_all()
