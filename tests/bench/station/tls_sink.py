"""An SMTP upstream that takes mail only under TLS and throws it away; reports its count the way smtp-sink does.

smtp-sink knows no TLS. Run as `python3 -m station.tls_sink PORT CERTIFICATE KEY`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys

LARGEST = 1 << 24
CAPABILITIES = ("PIPELINING", "SIZE 16777216", "8BITMIME", "ENHANCEDSTATUSCODES")


class Sink:
    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._messages = 0

    async def session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            writer.write(b"220 far.bench.test ESMTP\r\n")
            while await self._command(reader, writer):
                pass
        writer.close()

    async def _command(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        verb = (await reader.readuntil(b"\r\n"))[:4].upper().strip()
        secure = writer.get_extra_info("ssl_object") is not None
        if verb == b"EHLO":
            writer.write(_greeting(offer_tls=not secure))
        elif verb == b"STAR" and not secure:
            writer.write(b"220 2.0.0 Go ahead\r\n")
            await writer.start_tls(self._context)
        elif verb == b"QUIT":
            writer.write(b"221 2.0.0 Bye\r\n")
            return False
        elif not secure:
            writer.write(b"530 5.7.0 Must issue STARTTLS first\r\n")
        elif verb == b"DATA":
            writer.write(b"354 End with a dot\r\n")
            await reader.readuntil(b"\r\n.\r\n")
            self._took_one()
            writer.write(b"250 2.0.0 Taken\r\n")
        else:
            writer.write(b"250 2.0.0 Ok\r\n")
        return True

    def _took_one(self) -> None:
        self._messages += 1
        print(f"mesg={self._messages}", flush=True)


def _greeting(*, offer_tls: bool) -> bytes:
    lines = ["far.bench.test", *CAPABILITIES, *(["STARTTLS"] if offer_tls else [])]
    marked = [f"250{' ' if line is lines[-1] else '-'}{line}\r\n" for line in lines]
    return "".join(marked).encode()


async def serve(port: int, certificate: str, key: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    sink = Sink(context)
    server = await asyncio.start_server(sink.session, None, port, limit=LARGEST, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
