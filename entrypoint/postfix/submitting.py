"""The only caller of sendmail(1)."""

from __future__ import annotations

import subprocess

from entrypoint import nonroot


def sendmail(message: bytes, sender: str, recipient: str) -> None:
    """Hands a message to Postfix as a program in the container does; no notice follows. Raises RuntimeError."""
    command = nonroot.command("sendmail", "-i", "-N", "never", "-f", sender, "--", recipient)
    result = subprocess.run(command, input=message, capture_output=True, check=False)
    if result.returncode:
        said = result.stderr.decode("utf-8", "replace").strip()
        raise RuntimeError(said or f"sendmail failed with status {result.returncode}")
