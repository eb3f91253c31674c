"""When mail last found no way to its next hop, whether one refuses us, and when mail was last taken.

The health program asks the upstreams in the first case, and not all the time; it tells the second; in the last it knows
that ports which let it wait do so because others are served.
"""

from __future__ import annotations

import time

from entrypoint.keeper.refusals import Refusals

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from entrypoint.maillog.lines import Line

# smtp(8) names a server as soon as it is connected to it.
_NOBODY = "none"
_TURNED_AWAY = (" while receiving the initial server greeting", " refused to talk to me: ")


class Deliveries:
    """A reader of the log (keeper/journal.py)."""

    kinds = ("client", "delivery", "removed")

    def __init__(self) -> None:
        self.failed_at = 0
        """time.monotonic() of the last delivery that no server began to talk about; 0: none yet."""
        self.taken_at = 0
        """The same of the last mail that a client began to hand in."""
        self.refusals = Refusals()

    def read(self, line: Line) -> None:
        if line.kind == "client":
            self.taken_at = int(time.monotonic())
            return
        self.refusals.read(line)
        if line.kind != "delivery" or line.fields["status"] != "deferred":
            return
        reason = line.fields.get("reason", "")
        if line.fields["relay"] == _NOBODY or any(words in reason for words in _TURNED_AWAY):
            self.failed_at = int(time.monotonic())
