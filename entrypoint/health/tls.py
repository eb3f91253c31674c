"""TLS for the probe's sessions. A module of its own, imported when the first listener needs it: ssl costs 3.5 MB."""

from __future__ import annotations

import socket
import ssl

# The relay talks to itself, and nothing secret is said. Whether clients can trust the certificate depends on what
# they call the relay and whom they trust; that its key belongs to it is proved even so.
_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_CONTEXT.check_hostname = False
_CONTEXT.verify_mode = ssl.CERT_NONE


def wrap(connection: socket.socket) -> socket.socket:
    """The same connection in TLS, which the argument must not be used for any more. Raises OSError.

    Never a resumed session: that would work without the certificate.
    """
    return _CONTEXT.wrap_socket(connection)
