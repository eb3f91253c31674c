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


def scalar(path: str, name: str) -> str:
    """One top-level number or string of a file that we ourselves rendered.

    The keeper and the `health` verb need a single value each, and the json module costs 0.6 MB and 4 ms, the
    latter at each Docker health check. Raises OSError (no file) or ValueError (no such name).
    """
    with open(path, encoding="utf-8") as file:
        _, found, rest = file.read().partition(f'"{name}":')
    value = rest.strip().partition(",")[0].partition("}")[0].strip().strip('"')
    if not found or not value:
        raise ValueError(f"{path} has no {name}")
    return value
