"""The `health` verb: what Docker's HEALTHCHECK runs every few seconds. It imports next to nothing, since starting
it costs more than all it does.
"""

from __future__ import annotations

# What the socket module is made of. Importing that costs 7 ms CPU time, a fifth of the whole health check.
import _socket

from entrypoint import runtime

# Longer than the health program gives a listener (checks.PATIENCE), so that the answer says which one hangs.
_SECONDS = 5.0


def check(runtime_file: str = runtime.RUNTIME) -> int:
    """Print what /readyz says; returns 0 if the relay is ready, else 1."""
    try:
        status, body = ask(int(runtime.scalar(runtime_file, "health_port")))
    except (OSError, ValueError) as error:
        print(f"failed health: {error}: the relay is starting, stopping or broken; see its log")
        return 1
    print(body, end="")
    return 0 if status == "200" else 1


def ask(port: int) -> tuple[str, str]:
    """The status and body of /readyz. Raises OSError or ValueError."""
    connection = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    response = b""
    try:
        connection.settimeout(_SECONDS)
        connection.connect(("127.0.0.1", port))
        connection.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
        while data := connection.recv(65536):
            response += data
    finally:
        connection.close()
    head, _, body = response.decode("utf-8", "replace").partition("\r\n\r\n")
    if not head.startswith("HTTP/1."):
        raise ValueError("the health program closed the connection")
    return head.split(" ", 2)[1], body
