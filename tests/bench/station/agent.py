"""The station's control port: one line of JSON in, one line of JSON out, one connection at a time.

The clock of everything measured under load runs here, beside the source and the sinks, so that the engine's `exec` (a tenth
of a second, and not always the same) is in no figure.
"""

from __future__ import annotations

import json
import socketserver
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from . import recipients
from .counter import Counter
from .source import LoadError, burst, single

CONTROL_PORT = 9000
SINK_PORT = 25
FAR_PORT = 26
TLS_PORT = 2526
ROUND_TRIP = "0.040"


class Station:
    def __init__(self) -> None:
        certificate, key = _self_signed(Path(tempfile.mkdtemp()))
        # The backlog is deep enough for any concurrency; a refused connection would be retried a minute later.
        self._sinks = {
            SINK_PORT: Counter(["smtp-sink", "-c", "-u", "nobody", f"inet::{SINK_PORT}", "1024"]),
            FAR_PORT: Counter(["python3", "-m", "station.tls_sink", str(TLS_PORT), certificate, key]),
        }
        self._wire = subprocess.Popen(
            ["python3", "-m", "station.delay", str(FAR_PORT), str(TLS_PORT), ROUND_TRIP]
        )

    def burst(
        self, *, host: str, sink: int, sessions: int, count: int, size: int, seconds: float
    ) -> dict[str, Any]:
        """Durations (seconds) until the last 250 and until the last message was at the sink."""
        counter = self._sinks[sink]
        before = counter.count()
        sent = burst(host, sessions, count, size, seconds)
        last = counter.wait_for(before + sent.accepted, seconds)
        if last is None:
            raise LoadError(_lost(sent.accepted, counter.count() - before, seconds))
        return {"accepted": sent.ended - sent.started, "delivered": last - sent.started}

    def singles(self, *, host: str, sink: int, count: int, size: int, seconds: float) -> dict[str, Any]:
        """For each message, one after the other: seconds until the 250 and until it was at the sink."""
        counter = self._sinks[sink]
        accepted, delivered = [], []
        for _ in range(count):
            before = counter.count()
            started, taken = single(host, size, seconds)
            last = counter.wait_for(before + 1, seconds)
            if last is None:
                raise LoadError(_lost(1, 0, seconds))
            accepted.append(taken - started)
            delivered.append(last - started)
        return {"accepted": accepted, "delivered": delivered}

    def recipients(
        self, *, host: str, population: int, begin: int, count: int, seconds: float
    ) -> dict[str, Any]:
        """Seconds for `count` RCPT."""
        return {"seconds": recipients.ask(host, recipients.scattered(population, begin, count), seconds)}

    def taken(self, *, sink: int) -> dict[str, Any]:
        return {"count": self._sinks[sink].count()}


def _lost(accepted: int, arrived: int, seconds: float) -> str:
    return f"LOST MAIL: gave a 250 for {accepted}, of which {arrived} reached the sink within {seconds:.0f} s"


def _self_signed(directory: Path) -> tuple[str, str]:
    certificate, key = str(directory / "cert.pem"), str(directory / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", "/CN=far.bench.test", "-days", "2", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def answer(station: Station, request: dict[str, Any]) -> dict[str, Any]:
    try:
        reply: dict[str, Any] = getattr(station, request.pop("op"))(**request)
    except (LoadError, OSError) as problem:
        return {"error": str(problem)}
    return reply


def main() -> None:
    station = Station()

    class Control(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                self.wfile.write(json.dumps(answer(station, json.loads(line))).encode() + b"\n")

    with socketserver.TCPServer(("", CONTROL_PORT), Control) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
