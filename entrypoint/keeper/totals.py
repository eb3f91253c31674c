"""The answer to "counts": what the log added up to, and what waits in the queue now."""

from __future__ import annotations

from _json import encode_basestring  # JSON's escapes in C; the json package would cost 1 MB

from entrypoint import runtime
from entrypoint.maillog import upstreams
from entrypoint.maillog.counts import Counts
from entrypoint.postfix import SPOOL, queues

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from entrypoint.maillog.lines import Line


class Totals:
    """A reader of the journal's. `upstreams_file` has the ways out by their names, as they are configured now."""

    def __init__(self, upstreams_file: str = runtime.UPSTREAMS, spool: str = SPOOL) -> None:
        self._upstreams_file = upstreams_file
        self._counts = Counts(upstreams.read(upstreams_file))
        self._queues = queues.Queues(spool)
        self.kinds = self._counts.kinds

    def read(self, line: Line) -> None:
        self._counts.read(line)

    def configured(self) -> None:
        """To be called when the configuration may have changed."""
        self._counts.configured(upstreams.read(self._upstreams_file))

    def answer(self, _: str) -> str:
        waiting = {
            name: {"depth": queue.depth, "oldest": queue.oldest, "ages": [queue.ages, queue.total]}
            for name, queue in self._queues.look().items()
        }
        found = {**self._counts.as_mapping(), "queues": waiting, "age_bounds": list(queues.BOUNDS)}
        return f"{_json(found)}\n"


def _json(value: object) -> str:
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{encode_basestring(key)}: {_json(part)}" for key, part in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(_json, value)) + "]"
    return repr(value)  # a number
