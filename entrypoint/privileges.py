"""The rights that the relay needs and a container may lack, each with what fails without it. A user who is not root needs
none but to open the ports.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import nonroot
from .config.values import Listener

_PROC = Path("/proc")
# capabilities(7): bit numbers.
_NEEDED = {
    "DAC_OVERRIDE": (1, "Postfix's queue belongs to its own user, and root must read it"),
    "SETGID": (6, "Postfix's programs give up root's rights"),
    "SETUID": (7, "Postfix's programs give up root's rights"),
    "KILL": (5, "the supervisor must stop programs that run as another user"),
}
_NET_BIND_SERVICE = 10


def lacking(listeners: Iterable[Listener], proc: Path = _PROC) -> Iterator[str]:
    """One sentence for each right that is missing."""
    held = _effective(proc)
    low = [str(listener) for listener in listeners if listener.port < _first_free_port(proc)]
    low = [] if held >> _NET_BIND_SERVICE & 1 else low
    if uid := nonroot.uid():
        if low:
            yield (
                f"uid {uid} may not open {', '.join(low)} (LISTEN): use ports above 1023, such as LISTEN=2525:relay, or set the "
                "sysctl net.ipv4.ip_unprivileged_port_start=0 for the container; a capability has no effect for such a user"
            )
        return
    for name, (bit, reason) in _NEEDED.items():
        if not held >> bit & 1:
            yield f"the capability {name} is missing ({reason}): add it (--cap-add {name})"
    if low:
        yield (
            f"the capability NET_BIND_SERVICE is missing (LISTEN opens {', '.join(low)}): "
            "add it (--cap-add NET_BIND_SERVICE), or use ports above 1023"
        )


def _effective(proc: Path) -> int:
    match = re.search(
        r"^CapEff:\s*([0-9a-f]+)", (proc / "self/status").read_text(encoding="ascii"), re.MULTILINE
    )
    return int(match[1], 16) if match else -1


def _first_free_port(proc: Path) -> int:
    """Ports from here on need no capability; Docker sets 0, Kubernetes leaves 1024."""
    try:
        return int((proc / "sys/net/ipv4/ip_unprivileged_port_start").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 1024
