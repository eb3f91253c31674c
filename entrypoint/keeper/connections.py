"""Who is connected, as the kernel lists it: clients that came in, and deliveries that go out."""

from __future__ import annotations

# pathlib would add 0.9 MB.
# ruff: noqa: PTH123

LISTS = ("/proc/net/tcp", "/proc/net/tcp6")
_ESTABLISHED, _LISTENING = "01", "0A"  # linux/include/net/tcp_states.h


def seen() -> tuple[bool, set[int]]:
    """Whether there are any that came in, and the users who have some that go out, by the ports that listen."""
    ends: list[tuple[str, int]] = []
    listening = set()
    for path in LISTS:
        try:
            with open(path, encoding="ascii") as file:
                rows = [line.split() for line in file][1:]
        except OSError:
            # No IPv6.
            continue
        for row in rows:
            port = row[1].rpartition(":")[2]
            if row[3] == _LISTENING:
                listening.add(port)
            elif row[3] == _ESTABLISHED:
                ends.append((port, int(row[7])))
    return any(port in listening for port, _ in ends), {user for port, user in ends if port not in listening}
