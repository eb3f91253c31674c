"""Whether the ports are free, asked before Postfix opens them.

Postfix shares a port with whoever else shares it (SO_REUSEPORT): two relays in one Pod, or one beside the host's own
Postfix, would each get half of the connections, and nobody would be told.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator

from .config.values import Listener


def taken(listeners: Iterable[Listener], health_port: int) -> Iterator[str]:
    """One sentence for each port that another program has; whatever else hinders a bind, its owner will say."""
    wanted = [("LISTEN", listener.address, listener.port) for listener in listeners]
    for setting, address, port in (*wanted, ("HEALTH_PORT", "", health_port)):
        if any(_is_taken(one, port) for one in ([address] if address else ["0.0.0.0", "::"])):
            where = f"{address} port {port}" if address else f"port {port}"
            yield f"{where} ({setting}) is taken by another program in this network namespace"


def _is_taken(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            # Connections of an earlier life that linger do not count, a listener does.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address, port))
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False
