"""The host's end of the station's control port."""

from __future__ import annotations

import json
import socket
from typing import Any

from .containers import BenchError, Lab, until
from .station.agent import CONTROL_PORT

ANSWER_SECONDS = 300.0


class Station:
    def __init__(self, lab: Lab, image: str) -> None:
        self._container = lab.run(image, "station")
        lab.alias(self._container, "sink")
        self._address = lab.address(self._container)
        until("the bench's station", 30, self._listens)

    def ask(self, op: str, **what: Any) -> dict[str, Any]:
        """One request to station.agent. Raises BenchError with the station's own words, above all when mail was lost."""
        with socket.create_connection((self._address, CONTROL_PORT), ANSWER_SECONDS) as line:
            line.sendall(json.dumps({"op": op, **what}).encode() + b"\n")
            line.shutdown(socket.SHUT_WR)
            reply: dict[str, Any] = json.loads(line.makefile("rb").readline())
        if "error" in reply:
            raise BenchError(reply["error"])
        return reply

    def _listens(self) -> bool:
        try:
            socket.create_connection((self._address, CONTROL_PORT), 5).close()
        except OSError:
            return False
        return True
