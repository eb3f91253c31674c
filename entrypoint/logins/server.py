"""The logins server: between Postfix and whatever knows the passwords.

Threads instead of asyncio, which would cost 5 MB for as long as the container lives.
"""

from __future__ import annotations

import threading

from entrypoint import log, processes, runtime
from entrypoint.logins import sockets
from entrypoint.logins.availability import PROGRAM, Availability
from entrypoint.logins.configured import Configured
from entrypoint.logins.conversation import Service
from entrypoint.logins.maps import Maps
from entrypoint.logins.throttle import Throttle

CONFIGURATION = f"{runtime.CONFIGURATION}/etc/postern/logins.json"
DIRECTORY = f"{runtime.CONFIGURATION}/logins"


def serve(configuration_file: str = CONFIGURATION, directory: str = DIRECTORY) -> int:
    """Answers on the sockets `auth` and `maps` of a directory, for ever; 1, with a line logged, if it cannot."""
    processes.rename("logins")
    try:
        backend = Configured(configuration_file)
        auth = sockets.inherited() or sockets.listen(f"{directory}/auth")
        maps = sockets.listen(f"{directory}/maps")
    except OSError as error:
        log.write(f"error: logins cannot be checked: {error}", PROGRAM)
        return 1
    availability = Availability(backend.ping)
    throttle = Throttle(int(backend.facts["failures"]))
    service = Service(backend, list(backend.facts["mechanisms"]), throttle, availability)
    asked = Maps(availability, backend.senders)
    threading.Thread(target=sockets.serve, args=(maps, asked.converse), daemon=True).start()
    sockets.serve(auth, service.converse)
    return 0
