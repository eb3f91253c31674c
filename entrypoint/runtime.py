"""What the start leaves for the long-running programs, and what they leave for each other.

`runtime.json` is rendered once, by the entrypoint; `state.json` is the keeper's, for the health program.
"""

from __future__ import annotations

# pathlib would add 0.9 MB to the keeper, and 4 ms to each Docker health check.
# ruff: noqa: PTH123

# The tmpfs; below it a generated file has the path that it has in rootfs/.
CONFIGURATION = "/run/postern"
RUNTIME = f"{CONFIGURATION}/etc/postern/runtime.json"
SUPERVISORD_CONF = f"{CONFIGURATION}/etc/supervisor/supervisord.conf"
STATE = f"{CONFIGURATION}/state.json"


def facts(path: str) -> dict[str, str]:
    """Every name and value of a file that we ourselves wrote: JSON for its readers, but flat and without escapes.

    The json module costs each of the long-running programs 1 MB, and each Docker health check 4 ms. Raises OSError.
    """
    with open(path, encoding="utf-8") as file:
        pairs = [pair.partition(":") for pair in file.read().strip().strip("{}").split(", ")]
    return {name.strip('" '): value.strip('" ') for name, _, value in pairs}


def scalar(path: str, name: str) -> str:
    """One of them. Raises OSError (no file) or ValueError (no such name)."""
    value = facts(path).get(name)
    if not value:
        raise ValueError(f"{path} has no {name}")
    return value
