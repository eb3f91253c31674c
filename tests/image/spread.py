"""Programs that know relays by one name only. Run beside the relays: `python3 -m tests.image.spread NAME PROGRAMS`.

Each session looks the name up anew. What the relay said of each message is a line of output; a file at ENOUGH ends it.
"""

from __future__ import annotations

import itertools
import json
import smtplib
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from tests.chaos.ledger import Outcome
from tests.chaos.sender import hand_over

ENOUGH = Path("/tmp/enough")
_TEXT = b"Subject: spread\r\n\r\nOne line.\r\n"
_SECONDS = 20.0
_MESSAGES = 5
# Between two messages of a program: some dozens a second in all, which relays on a busy machine can take as well.
_PAUSE = 0.05


def main() -> None:
    name, programs = sys.argv[1], int(sys.argv[2])
    threads = [threading.Thread(target=_program, args=(name, number)) for number in range(programs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _program(name: str, number: int) -> None:
    ids = (f"p{number}m{count}" for count in itertools.count(1))
    while not ENOUGH.exists():
        relay = ""
        try:
            # In the name server's order. getaddrinfo(3), where there is IPv6, may always prefer the same address.
            relay = socket.gethostbyname_ex(name)[2][0]
            session = smtplib.SMTP(relay, 25, "client.example", timeout=_SECONDS)
            session.ehlo_or_helo_if_needed()
        except (OSError, smtplib.SMTPException) as error:
            _say(next(ids), Outcome.UNSENT, repr(error), relay)
            time.sleep(_PAUSE)
            continue
        for message in itertools.islice(ids, _MESSAGES):
            outcome, answer = hand_over(session, message, _TEXT)
            _say(message, outcome, answer, relay)
            time.sleep(_PAUSE)
            if outcome is not Outcome.ACCEPTED:
                break
        with suppress(OSError, smtplib.SMTPException):
            session.quit()
        session.close()


def _say(message: str, outcome: Outcome, answer: str, relay: str) -> None:
    line = {
        "message": message,
        "outcome": outcome.name,
        "moment": time.time(),
        "answer": answer,
        "relay": relay,
    }
    # One write, so that the lines of two threads do not mix.
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
