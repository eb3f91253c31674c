"""What the keeper tells the health program of the relay's circumstances: that decides what it means for readiness."""

from __future__ import annotations

from entrypoint.keeper import standstill
from entrypoint.keeper.deliveries import Deliveries
from entrypoint.keeper.spool_watch import SpoolWatch


class Circumstances:
    def __init__(self) -> None:
        self._spool = SpoolWatch()
        self.deliveries = Deliveries()

    def answer(self, _: str) -> str:
        """A JSON object, flat and without escapes (runtime.flat): SpoolWatch.look's, and those of Deliveries.

        `log_full` is 1 while a program of Postfix that logs has to wait.
        """
        mail = self.deliveries
        found = {
            **self._spool.look(),
            "upstream_failed_at": mail.failed_at,
            "upstream_refused": mail.refusals.told(),
            "taken_at": mail.taken_at,
            "log_full": int(standstill.full()),
        }
        pairs = (
            f'"{name}": {value if isinstance(value, int) else _quoted(value)}'
            for name, value in found.items()
        )
        return f"{{{', '.join(pairs)}}}\n"


def _quoted(text: str) -> str:
    return '"' + "".join(c if c.isprintable() and c not in '",\\' else "?" for c in text) + '"'
