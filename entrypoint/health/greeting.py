"""Asks every upstream for its greeting, as far as a connection goes: no mail, no login.

A program that ends, started by the health program when there is a reason: name resolution cannot be told when to give
up, and what MX and TLS take of memory goes with it.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from contextlib import suppress

from entrypoint import log, runtime
from entrypoint.health import smtp

# ruff: noqa: PTH123  # pathlib takes 10 ms

PATIENCE = 5.0
"""Seconds for all of it."""
UNREACHED = "no answer within 5 s"


class Upstream:
    """As in a line of runtime.WAYS: smtp:[host]:port, smtps:[host]:port, or a domain without brackets (MX)."""

    def __init__(self, spec: str) -> None:
        transport, _, self.name = spec.partition(":")
        host, _, port = self.name.rpartition(":")
        self.tls = transport == "smtps"
        self.host = host.strip("[]")
        self.port = int(port)
        self.mx = not host.startswith("[")
        self.problem = UNREACHED

    def ask(self, source: str, deadline: float) -> None:
        """Notes the problem, "" if there is none."""
        try:
            self.problem = self._reach(source, deadline)
        except OSError as error:
            self.problem = error.strerror or str(error) or "timed out"

    def _reach(self, source: str, deadline: float) -> str:
        addresses: list[tuple[str, int]] = []
        problem = "no address"
        for host in self._hosts(deadline):
            try:
                addresses += _addresses(host, self.port)
            except OSError as error:
                # Of several MX hosts one may be gone for long.
                problem = error.strerror or str(error)
        for number, address in enumerate(addresses):
            now = time.monotonic()
            # One that hangs must leave time for the others.
            until = now + (deadline - now) / (len(addresses) - number)
            try:
                return self._greeting(address, source, until)
            except TimeoutError:
                problem = "timed out"
            except OSError as error:
                problem = error.strerror or str(error)
        return problem

    def _greeting(self, address: tuple[str, int], source: str, deadline: float) -> str:
        own = (source, 0) if source else None
        patience = max(deadline - time.monotonic(), 0.01)
        connection = socket.create_connection(address, patience, own)
        with smtp.Dialogue(connection, deadline) as dialogue:
            if self.tls:
                dialogue.encrypt()
            greeting = dialogue.reply()
            with suppress(OSError):
                dialogue.ask("QUIT")
        return "" if greeting.code == 220 else f'greets with "{greeting}"'

    def _hosts(self, deadline: float) -> list[str]:
        if not self.mx:
            return [self.host]
        import dns.exception
        import dns.resolver

        try:
            found = dns.resolver.resolve(f"{self.host}.", "MX", lifetime=deadline - time.monotonic())
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return [self.host]
        except dns.exception.DNSException as error:
            raise OSError(f"the MX lookup failed ({error})") from None
        ranked = sorted((record.preference, record.exchange.to_text(omit_final_dot=True)) for record in found)
        return [host for _, host in ranked]


def _addresses(host: str, port: int) -> list[tuple[str, int]]:
    # As bytes: a text would be taken through tables for international names.
    found = socket.getaddrinfo(host.encode("ascii", "replace"), port, type=socket.SOCK_STREAM)
    return [(str(where[0]), port) for *_, where in found]


def ask_all(path: str = runtime.WAYS, patience: float = PATIENCE, runtime_file: str = runtime.RUNTIME) -> int:
    """Prints a line for each upstream: the number of its way out, its name and its problem, with tabs between."""
    # Whatever hangs in here, this ends.
    signal.alarm(int(patience) + 3)
    source, ways = read(path)
    deadline = time.monotonic() + patience
    threads = [
        threading.Thread(target=upstream.ask, args=(source, deadline), daemon=True)
        for way in ways
        for upstream in way
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))
    _hide_addresses(runtime_file)
    told = "".join(
        f"{number}\t{upstream.name}\t{' '.join(upstream.problem.split())}\n"
        for number, way in enumerate(ways)
        for upstream in way
    )
    log.pass_on(told.encode("utf-8", "backslashreplace"))
    return 0


def _hide_addresses(runtime_file: str) -> None:
    """As LOG_ADDRESSES wants it of pages, too: a server's words may hold some. What makes hashes is root's alone."""
    try:
        full = runtime.facts(runtime_file).get("log_addresses", "full") == "full"
    except OSError:
        full = False
    log.use("plain", "full" if full else "partial")


def read(path: str) -> tuple[str, list[list[Upstream]]]:
    """The address to ask from ("": any), and the upstreams of each way out."""
    source = ""
    ways = []
    with open(path, encoding="ascii") as file:
        for line in file:
            first, *rest = line.split()
            if first == "from":
                source = rest[0]
            else:
                ways.append([Upstream(spec) for spec in (first, *rest)])
    return source, ways
