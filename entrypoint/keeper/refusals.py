"""Ways out that greet and yet take no mail of ours: the login is wrong, or TLS is not what it must be.

A greeting, which is all that the health program asks for, shows nothing of that, and a login is not its business: it has no
password. So this is known from mail that met it. It is over when mail gets through, when the configuration changed, and when
the message that met it has left the queue: then perhaps nothing is left that would find out, and the next one tells.
"""

from __future__ import annotations

import os
import time

from entrypoint import runtime
from entrypoint.maillog import reasons, upstreams

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from entrypoint.maillog.lines import Line

# pathlib would add 0.9 MB.
# ruff: noqa: PTH116, PTH123

_REFUSED = frozenset({"authentication", "tls"})
# What a server says only to whom it has let in, whatever it makes of the mail.
_LET_IN = frozenset({"reply_to_recipient", "reply_to_data", "reply_to_message"})
_SENT = frozenset({"sent", "deliverable"})
_NOBODY = "none"
# Seconds. Longer than what waits is left alone by default (MAXIMAL_BACKOFF_TIME): its next try tells again. What somebody
# holds is never tried, and must not keep a relay unready whose upstream is well.
NEWS = 4500.0
_LONGEST = 200


class _Refusal:
    __slots__ = ("at", "queue_id", "words")

    def __init__(self, words: str, queue_id: str) -> None:
        self.words = words
        self.queue_id = queue_id
        self.at = time.monotonic()


class Refusals:
    """Reads deliveries, and what leaves the queue. One refusal is remembered for each way out, the last."""

    def __init__(
        self,
        ways_file: str = runtime.WAYS,
        upstreams_file: str = runtime.UPSTREAMS,
        applied_file: str = runtime.APPLIED,
    ) -> None:
        self._ways_file = ways_file
        self._upstreams_file = upstreams_file
        self._applied_file = applied_file
        self._configuration: tuple[int, ...] | None = None
        self._upstreams = upstreams.Upstreams(["direct"])
        # By label, the number of the way and the upstream's name in it.
        self._ways: dict[str, tuple[int, str]] = {}
        self._refused: dict[int, _Refusal] = {}

    def told(self) -> str:
        """Which upstreams refuse, and in which words, without commas; "" if none does."""
        self._look_at_configuration()
        oldest = time.monotonic() - NEWS
        return "; ".join(refusal.words for refusal in self._refused.values() if refusal.at > oldest)

    def read(self, line: Line) -> None:
        if line.kind == "removed":
            if self._refused:
                self._left(line.queue_id)
            return
        fields = line.fields
        if line.origin.service != "smtp" or fields["relay"] == _NOBODY:
            return
        status = fields["status"]
        if status in _SENT:
            if self._refused:
                self._through(fields["relay"])
            return
        met = reasons.of_deferral(fields.get("reason", ""))
        if status == "deferred" and met in _REFUSED:
            self._note(line)
        elif met in _LET_IN and self._refused:
            self._through(fields["relay"])

    def _note(self, line: Line) -> None:
        self._look_at_configuration()
        relay, reason = line.fields["relay"], line.fields["reason"]
        if way := self._ways.get(self._upstreams.of(relay, "")):
            number, name = way
            words = f"{name} {reason}".replace(",", "")[:_LONGEST]
            self._refused[number] = _Refusal(words, line.queue_id)

    def _through(self, relay: str) -> None:
        if way := self._ways.get(self._upstreams.of(relay, "")):
            self._refused.pop(way[0], None)

    def _left(self, queue_id: str) -> None:
        for number, refusal in list(self._refused.items()):
            if refusal.queue_id == queue_id:
                del self._refused[number]

    def _look_at_configuration(self) -> None:
        """What was met before it changed may be just what was mended."""
        try:
            status = os.stat(self._applied_file)
            now: tuple[int, ...] = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        except OSError:
            now = ()
        if now != self._configuration:
            self._configuration = now
            self._refused.clear()
            self._upstreams = upstreams.read(self._upstreams_file)
            self._ways = _read(self._ways_file)


def _read(path: str) -> dict[str, tuple[int, str]]:
    """By the labels of maillog/upstreams.py: as in a line of that file, without the brackets of a host."""
    found: dict[str, tuple[int, str]] = {}
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.split() for line in file]
    except OSError:
        return found
    for number, specs in enumerate(specs for specs in lines if specs[:1] != ["from"]):
        for name in (spec.partition(":")[2] for spec in specs):
            host, _, port = name.rpartition(":")
            bare = host.strip("[]")
            found.setdefault(f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}", (number, name))
    return found
