"""Which of the configured ways out a line is about."""

from __future__ import annotations

import re

OTHER = "other"
MOST = 50
"""The ways that are told apart; the rest are OTHER."""
_match_relay = re.compile(r"([^\s\[]+)\[[^]]*\](?::(\d+))?").match
# Where Postfix itself names the host in a reason, before any word of the host's.
_match_reason = re.compile(
    r"(?:delivery temporarily suspended: )?(?:connect to|host|conversation with|lost connection with) "
    r"([^\s\[]+)\[[^]]*\](?::(\d+))?"
).match
_match_name = re.compile(
    r"(?:delivery temporarily suspended: )?(?:Host or domain name not found\. Name service error for name=|unable to look up host )"
    r"([^\s;:]+)"
).match


class Upstreams:
    """`names` as host:port, each once. The first is for mail of everybody, or "direct": also what no other explains,
    such as a host that was found by MX.
    """

    def __init__(self, names: list[str]) -> None:
        self._usual = names[0]
        self.labels = names[:MOST] + [OTHER] * (len(names) > MOST)
        """Those that `of` may give."""
        self._by_address: dict[tuple[str, str], str] = {}
        self._by_host: dict[str, str] = {}
        for number, name in enumerate(names):
            host, _, port = name.rpartition(":")
            host = host.strip("[]").lower()
            label = name if number < MOST else OTHER
            self._by_address.setdefault((host, port), label)
            self._by_host.setdefault(host, label)

    def of(self, relay: str, reason: str) -> str:
        """From the values of a delivery's relay= and its reason."""
        found = _match_relay(relay) or _match_reason(reason)
        if found:
            host, port = found[1].lower(), found[2]
            if port is None:
                return self._by_host.get(host, self._usual)
            return self._by_address.get((host, port), self._usual)
        name = _match_name(reason)
        return self._by_host.get(name[1].lower(), self._usual) if name else self._usual


def read(path: str) -> Upstreams:
    """From a file that has one in each line. Without one all mail is "direct"."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123  # pathlib would add 0.9 MB
            names = file.read().split()
    except OSError:
        names = []
    return Upstreams(names or ["direct"])
