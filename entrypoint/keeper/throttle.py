"""Which program of Postfix cannot be started, as far as master(8) says so in its log; nothing else tells.

A misspelt parameter ends qmgr, cleanup or smtp as soon as it is started. The ports stay open and smtpd may still
take mail, so without this a relay that delivers nothing would look well.
"""

from __future__ import annotations

# The end of master's line, logged at the failure and again each time it has tried once more.
MARK = b": bad command startup -- throttling\n"
# "Nov 20 11:44:00 ", as postlogd(8) writes it.
_STAMP = 16


def program(lines: bytes, master: int) -> str:
    """The last program of which the master with this pid says that it cannot be started, or ""."""
    found = ""
    for line in lines.splitlines(keepends=True):
        if line.endswith(MARK):
            # Only the tag of a line is its writer's. All that follows may repeat what a client said.
            _, _, rest = line[_STAMP:].partition(b" ")
            tag, _, text = rest.partition(b": warning: ")
            if tag.endswith(b"/master[%d]" % master) and b" " not in tag:
                found = _safe(text.removesuffix(MARK).rpartition(b"/")[2]) or "unknown"
    return found


def _safe(name: bytes) -> str:
    """For state.json, whose writer and one of whose readers (runtime.scalar) know no escapes."""
    return "".join(c for c in name.decode("ascii", "ignore") if c.isalnum() or c in "-_.")
