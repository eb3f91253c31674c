"""What the keeper knows (entrypoint/keeper/answers.py)."""

from __future__ import annotations

import socket

from entrypoint import runtime


def ask(question: str, patience: float, path: str = runtime.KEEPER) -> str:
    """Its answer, waiting `patience` seconds for each step. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(patience)
        connection.connect(path)
        connection.sendall(f"{question}\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode("utf-8", "replace")
