"""A log as fast as a thousand messages a second write it: run inside the relay, and imported by who counts what came.

Each writer says what Postfix's programs say of a message, to whom they say it: postlogd(8)'s socket, a line a datagram.
Run as `python3 -c PROGRAM WRITERS MESSAGES SECONDS`; prints how long the slowest writer took, which waits for the log.
"""

from __future__ import annotations

import os
import socket
import sys
import time

SOCKET = "/var/spool/postfix/public/postlog"
DIGITS = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxy"


def queue_id(writer: int, number: int) -> str:
    """A long one, and no other message's."""
    return f"4jWyDY0YgD{DIGITS[writer]}z{''.join(DIGITS[int(digit)] for digit in f'{number:06d}')}"


def texts(writer: int, number: int) -> list[tuple[str, str]]:
    """The lines of one message: program, and what it says."""
    name, name_of_mail = queue_id(writer, number), f"<{number}.{writer}@pace.example.com>"
    client = f"client{number}.example.com[192.0.2.{writer}]"
    sender, recipient = f"from=<app{number}@example.com>", f"to=<user{number}@example.org>"
    return [
        ("smtpd", f"connect from {client}"),
        ("smtpd", f"{name}: client={client}"),
        ("cleanup", f"{name}: message-id={name_of_mail}"),
        ("qmgr", f"{name}: {sender}, size=10321, nrcpt=1 (queue active)"),
        ("smtpd", f"disconnect from {client} ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5"),
        (
            "smtp",
            f"{name}: {recipient}, relay=sink[192.0.2.99]:25, delay=0.27, delays=0.02/0.21/0.03/0.01, dsn=2.0.0, "
            'status=sent (250 2.0.0 Ok: "queued" \\ by the other side)',
        ),
        ("qmgr", f"{name}: removed"),
    ]


def write(writer: int, messages: int, seconds: float) -> None:
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.connect(SOCKET)
    host = os.uname().nodename.partition(".")[0]
    began = time.monotonic()
    for number in range(messages):
        stamp = time.strftime("%b %d %H:%M:%S")
        for program, text in texts(writer, number):
            log.send(f"{stamp} {host} postfix/{program}[{1000000 + writer}]: {text}".encode())
        time.sleep(max(0.0, began + (number + 1) * seconds / messages - time.monotonic()))


def main() -> None:
    writers, messages, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    began = time.monotonic()
    children = []
    for writer in range(writers):
        if not (child := os.fork()):
            write(writer, messages, seconds)
            os._exit(0)
        children.append(child)
    assert {os.waitpid(child, 0)[1] for child in children} == {0}
    print(time.monotonic() - began)


if __name__ == "__main__":
    main()
