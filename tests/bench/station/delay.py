"""A wire of a given length: passes bytes on unchanged, each after the time it would need to travel.

The kernel's own network emulation is not to be had everywhere. What this models is the round trip and nothing else: no loss, no
limit of bandwidth, no reordering. Run as `python3 -m station.delay PORT UPSTREAM_PORT ROUND_TRIP_SECONDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CHUNK = 1 << 18

Travel = asyncio.Queue[tuple[float, bytes]]


async def _depart(reader: asyncio.StreamReader, wire: Travel, one_way: float) -> None:
    clock = asyncio.get_running_loop()
    chunk = b"-"
    while chunk:
        # A broken line travels like an orderly end: the far side must learn of it, and one way later.
        try:
            chunk = await reader.read(CHUNK)
        except ConnectionError:
            chunk = b""
        wire.put_nowait((clock.time() + one_way, chunk))


async def _arrive(wire: Travel, writer: asyncio.StreamWriter) -> None:
    clock = asyncio.get_running_loop()
    while True:
        due, chunk = await wire.get()
        await asyncio.sleep(due - clock.time())
        if not chunk:
            break
        writer.write(chunk)
    with contextlib.suppress(OSError):
        writer.write_eof()


async def carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: int, round_trip: float
) -> None:
    # The caller's connect() has returned at once. On a real wire the far side would accept one and a half round trips
    # after the first packet (SYN, SYN-ACK, ACK); opening our side that late puts every later byte at its right time.
    await asyncio.sleep(1.5 * round_trip)
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", upstream)
    out: Travel = asyncio.Queue()
    back: Travel = asyncio.Queue()
    try:
        await asyncio.gather(
            _depart(reader, out, round_trip / 2),
            _arrive(out, far_writer),
            _depart(far_reader, back, round_trip / 2),
            _arrive(back, writer),
        )
    finally:
        for end in (writer, far_writer):
            end.close()
            with contextlib.suppress(OSError):
                await end.wait_closed()


def carrier(
    upstream: int, round_trip: float
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await carry(reader, writer, upstream, round_trip)

    return handle


async def serve(port: int, upstream: int, round_trip: float) -> None:
    server = await asyncio.start_server(carrier(upstream, round_trip), None, port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
