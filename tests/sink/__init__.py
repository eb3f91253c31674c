"""The upstream that the dev stack and the tests deliver to: an aiosmtpd server that records and misbehaves on demand.

A test tool, never part of the product: it keeps, and shows, the passwords it is given, because tests must
compare them character by character.

    with Sink(Behaviour(require_tls=True), Listen(host="127.0.0.1", smtp=0), certificate=(cert, key)) as sink:
        ...
        [message] = sink.store.wait_for(lambda: sink.store.messages(to="bob@example.org"), deadline=5)

As a program: `python3 -m sink --help`. Over HTTP (JSON): see `web`. What can be changed while it runs: see `behaviour`.
"""

from .behaviour import STAGES, Behaviour
from .records import Store
from .server import Listen, Sink

__all__ = ["STAGES", "Behaviour", "Listen", "Sink", "Store"]
