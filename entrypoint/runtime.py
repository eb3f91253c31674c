"""What the start leaves for the long-running programs, and what they leave for each other.

`runtime.json` is rendered once, by the entrypoint; `state.json` is the keeper's, for the health program.
"""

from __future__ import annotations

# pathlib would add 0.9 MB to the keeper, and 4 ms to each Docker health check.
# ruff: noqa: PTH123

# The tmpfs; below it a generated file has the path that it has in rootfs/.
CONFIGURATION = "/run/postern"
RUNTIME = f"{CONFIGURATION}/etc/postern/runtime.json"
# Root's alone: with it, whose address a hash in the log is could be tried (LOG_ADDRESSES).
LOG_SALT = f"{CONFIGURATION}/etc/postern/log_salt"
# Root's alone: HEALTH_PAGE_PASSWORD.
PAGE_PASSWORD = f"{CONFIGURATION}/etc/postern/page_password"
# For the page (entrypoint/config/about.py).
ABOUT = f"{CONFIGURATION}/etc/postern/about.json"
SUPERVISORD_CONF = f"{CONFIGURATION}/etc/supervisor/supervisord.conf"
STATE = f"{CONFIGURATION}/state.json"
# Exists while the last edit of a mounted file is refused: why, one problem a line.
REFUSED = f"{CONFIGURATION}/refused"
# The ways out, as host:port, and the certificates that clients are shown, each after the second when it ends.
UPSTREAMS = f"{CONFIGURATION}/etc/postern/upstreams"
CERTIFICATES = f"{CONFIGURATION}/etc/postern/certificates"
# Made with the image: its version and the revision of its source.
BUILD = "/usr/lib/postern/build"
# What the last change of mounted files put in force: a line each, without values.
APPLIED = f"{CONFIGURATION}/applied"
# The upstreams that the health program asks: those of one way out in each line (entrypoint/health/greeting.py).
WAYS = f"{CONFIGURATION}/etc/postern/ways"
# Where the keeper answers what it knows (entrypoint/keeper/answers.py).
KEEPER = f"{CONFIGURATION}/keeper"
# Where the logins server answers questions about itself (entrypoint/logins).
LOGINS = f"{CONFIGURATION}/logins/maps"


def facts(path: str) -> dict[str, str]:
    """Every name and value of a file that we ourselves wrote: JSON for its readers, but flat and without escapes.

    The json module costs each of the long-running programs 1 MB, and each Docker health check 4 ms. Raises OSError.
    """
    with open(path, encoding="utf-8") as file:
        return flat(file.read())


def flat(text: str) -> dict[str, str]:
    """The same for a text of this kind."""
    pairs = [pair.partition(":") for pair in text.strip().strip("{}").split(", ")]
    return {name.strip('" '): value.strip('" ') for name, _, value in pairs}


def scalar(path: str, name: str) -> str:
    """One of them. Raises OSError (no file) or ValueError (no such name)."""
    value = facts(path).get(name)
    if not value:
        raise ValueError(f"{path} has no {name}")
    return value
