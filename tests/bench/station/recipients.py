"""The names of the bench's recipients, and a relay asked for many of them in one session."""

from __future__ import annotations

import socket
import time

from .source import SENDER, LoadError

DOMAIN = "inside.bench.test"
# In a transaction; each makes and removes a queue file, which shall not be what is measured.
TOGETHER = 100
# A prime: its multiples pass every number below any population that is not a multiple of it, in no order to speak of.
STEP = 7_368_787


def address(number: int, generation: str = "user") -> str:
    return f"{generation}{number:07d}@{DOMAIN}"


def scattered(population: int, begin: int, count: int) -> list[int]:
    """`count` numbers below `population`, none twice before all have been; from another `begin`, others of them."""
    return [number * STEP % population for number in range(begin, begin + count)]


def ask(host: str, numbers: list[int], seconds: float) -> float:
    """Seconds for as many RCPT, all of which must be taken. Raises LoadError or OSError."""
    with socket.create_connection((host, 25), seconds) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = connection.makefile("rb")

        def say(commands: list[str], answers: int) -> None:
            connection.sendall("".join(f"{command}\r\n" for command in commands).encode())
            for _ in range(answers):
                while (reply := lines.readline())[3:4] == b"-":
                    pass
                if not reply.startswith(b"2"):
                    raise LoadError(f"answered {reply.decode(errors='replace').strip()!r} to {commands[0]!r}")

        say([], 1)
        say(["EHLO station.bench.test"], 1)
        began = time.perf_counter()
        for first in range(0, len(numbers), TOGETHER):
            named = [f"RCPT TO:<{address(number)}>" for number in numbers[first : first + TOGETHER]]
            say([f"MAIL FROM:<{SENDER}>", *named, "RSET"], len(named) + 2)
        took = time.perf_counter() - began
        say(["QUIT"], 1)
    return took
