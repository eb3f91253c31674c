"""Telling clients that the relay stops: a line in a table that Postfix asks at each recipient.

Open sessions see it as well, as the table changes in place, and what is being handed over is finished.
"""

from __future__ import annotations

import os
import signal

from entrypoint import runtime
from entrypoint.keeper import master

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Asked whatever else a listener demands (smtpd_client_restrictions in main.cf); empty until a stop.
TABLE = f"{runtime.CONFIGURATION}/etc/postfix/drain"
POSTMAP = "/usr/sbin/postmap"
# 421 ends the session, too: programs then look for another server, or come back.
_LINE = b"all 421 4.3.2 this relay is stopping, try again later\n"


def begin(environ: Mapping[str, str], wait: Callable[[], bool]) -> str:
    """Returns what is wrong, or "". `wait` waits for a moment and says whether there is time for another."""
    reading, writing = os.pipe()
    os.write(writing, _LINE)
    os.close(writing)
    try:
        postmap = os.posix_spawn(
            POSTMAP,
            [POSTMAP, "-i", f"lmdb:{TABLE}"],
            {name: environ[name] for name in master.PASSED if name in environ},
            file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0)],
        )
    except OSError as error:
        return f"warning: clients are not told of the stop: {POSTMAP}: {error.strerror}"
    finally:
        os.close(reading)
    pid = status = 0
    while not pid:
        pid, status = os.waitpid(postmap, os.WNOHANG)
        if not pid and not wait():
            os.kill(postmap, signal.SIGKILL)
            pid, status = os.waitpid(postmap, 0)
    return "warning: clients are not told of the stop: postmap failed" if status else ""
