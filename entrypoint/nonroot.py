"""Running as an ordinary user: chosen by `--user` or `runAsUser`, and by nothing else.

Postfix is started by root and gives root's rights up, program by program. Where there are none, nonroot/nonroot.c lets it
believe so: it is preloaded into Postfix's programs and into nothing of ours, which ask the kernel who they are.
"""

from __future__ import annotations

import os

PRELOADED = "/usr/lib/postern/nonroot.so"
# Instead of /dev/log, which only root can make.
LOG = "/run/postern/log"

# pathlib would add 0.9 MB to each of the long-running programs.
# ruff: noqa: PTH110


def uid() -> int:
    """The user that the relay runs as; 0 is root. Outside of the image, where only files are made for it, it is root's."""
    return os.geteuid() if os.path.exists(PRELOADED) else 0


def log_device() -> str:
    """Where Postfix says why it cannot start."""
    return LOG if uid() else "/dev/log"


def environment() -> dict[str, str]:
    """What a program of Postfix needs; it hands it on to those that it starts (import_environment in main.cf)."""
    return {"LD_PRELOAD": PRELOADED} if uid() else {}


def command(*words: str) -> list[str]:
    """To run a program of Postfix."""
    given = [f"{name}={value}" for name, value in environment().items()]
    return ["env", *given, *words] if given else [*words]
