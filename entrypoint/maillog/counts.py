"""What the lines of the log add up to since the keeper was started.

Every label is one of a few words: those here, those that the operator wrote, or, where Postfix's own may be many, the
first of them and then OTHER. What a stranger says can choose between them, and never becomes one.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_left

from entrypoint.maillog import reasons

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.maillog.lines import Line
    from entrypoint.maillog.upstreams import Upstreams

    Count = dict[str, int]

OTHER = "other"
MOST = 50
"""Values of a label that are not all known beforehand."""
STAGES = ("before_queue_manager", "queue_manager", "connection_setup", "transmission")
"""Of a delivery's time, as Postfix logs them (delays=a/b/c/d)."""
BOUNDS = (0.001, 0.01, 0.1, 0.5, 1, 5, 10, 60, 600, 3600, 86400, 172800)
"""Seconds: the upper bounds of a histogram's buckets."""
_STATUSES = ("sent", "deferred", "bounced")
# How this relay refuses, as the README lists it, with the codes that are its own. Whoever sets others, by POSTFIX_..., has
# them counted beside these.
_REJECTS = {
    "relay_denied": "554",
    "client": "554",
    "sender": "554",
    "sender_not_owned": "553",
    "recipient": "554",
    "unknown_recipient": "550",
    "blocklist": "554",
    "content": OTHER,  # what Postfix logs of it has no code
    "size": "552",
    "disk_full": "452",
    "lookup": "451",
    "stopping": "421",
}
# Those that address verification asks about are no messages.
_PROBES = ("deliverable", "undeliverable")
_match_tls = re.compile(
    r"(\w+) TLS connection established from [^\s\[]+\[[^]]+\](?::\d+)?: ([\w.]+) with cipher ([\w-]+) "
    r"\((\d+)/(\d+) bits\)"
).match


class Histogram:
    """How many values were at most as large as each bound, not counting those at most as large as the bound before."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(BOUNDS, value)] += 1
        self.total += value


class Counts:
    """Takes each line once. Deliveries are counted by recipient, as Postfix logs them: a message may have many."""

    def __init__(self, upstreams: Upstreams, now: Callable[[], float] = time.time) -> None:
        self.upstreams = upstreams
        self._now = now
        self._readers = {
            "": self._tls,
            "client": self._received,
            "pickup": self._picked_up,
            "message_id": self._cleaned_up,
            "delivery": self._delivery,
            "removed": self._removed,
            "expired": self._expired,
            "reject": self._reject,
            "login_failure": self._login_failure,
            "connect": self._connect,
            "disconnect": self._disconnect,
        }
        self.kinds = self._readers.keys()
        # What is known to come begins at 0: from a counter that begins with its first event rate() would take nothing.
        self.received = {"smtp": 0, "sendmail": 0}
        self.methods: Count = {}
        self.cleaned_up = 0
        self.removed = 0
        self.expired = 0
        self.connects = 0
        self.disconnects = 0
        self.login_failures = 0
        self.tls: Count = {}
        self.deliveries: dict[str, Count] = {}
        self.configured(upstreams)
        self.smtp = dict.fromkeys(_STATUSES, 0)
        self.deferrals: Count = {}
        self.deferral_codes: Count = {}
        self.rejects: dict[str, Count] = {reason: {code: 0} for reason, code in _REJECTS.items()}
        self.reject_codes: Count = dict.fromkeys(_REJECTS.values(), 0)
        self.delays = {stage: Histogram() for stage in STAGES}
        self.last_delivery = 0.0

    def read(self, line: Line) -> None:
        """A reader of the journal's."""
        if reader := self._readers.get(line.kind):
            reader(line)

    def configured(self, upstreams: Upstreams) -> None:
        """The ways out are others from now on; what went the former ones stays counted."""
        self.upstreams = upstreams
        for name in upstreams.labels:
            self._of_upstream(name)

    def as_mapping(self) -> dict[str, object]:
        """What the keeper answers, and health/metrics.py reads. Times are seconds since 1970; 0 is never."""
        return {
            "received": self.received,
            "methods": self.methods,
            "cleaned_up": self.cleaned_up,
            "removed": self.removed,
            "expired": self.expired,
            "connects": self.connects,
            "disconnects": self.disconnects,
            "login_failures": self.login_failures,
            "tls": self.tls,
            "deliveries": self.deliveries,
            "smtp": self.smtp,
            "deferrals": self.deferrals,
            "deferral_codes": self.deferral_codes,
            "rejects": self.rejects,
            "reject_codes": self.reject_codes,
            "bounds": list(BOUNDS),
            "delays": {stage: [found.counts, found.total] for stage, found in self.delays.items()},
            "last_delivery": self.last_delivery,
        }

    def _delivery(self, line: Line) -> None:
        fields = line.fields
        status = fields["status"]
        if status in _PROBES:
            return
        if status not in _STATUSES:
            status = OTHER
        reason = fields.get("reason", "")
        _add(self._of_upstream(self.upstreams.of(fields["relay"], reason)), status)
        if status == "sent":
            self.last_delivery = self._now()
        elif status == "deferred":
            _add(self.deferrals, reasons.of_deferral(reason))
        if line.origin.service == "smtp":
            _add(self.smtp, status)
            if status == "deferred":
                _add(self.deferral_codes, fields["dsn"])
            for stage, histogram in self.delays.items():
                histogram.add(float(fields[f"delay_{stage}"]))

    def _of_upstream(self, name: str) -> Count:
        if name not in self.deliveries and len(self.deliveries) >= 2 * MOST:
            name = OTHER
        return self.deliveries.setdefault(name, dict.fromkeys(_STATUSES, 0))

    def _received(self, line: Line) -> None:
        _add(self.received, "smtp")
        _add(self.methods, line.fields.get("sasl_method", ""))

    def _picked_up(self, line: Line) -> None:
        if line.origin.service == "pickup":
            _add(self.received, "sendmail")

    def _cleaned_up(self, line: Line) -> None:
        self.cleaned_up += line.origin.service == "cleanup"

    def _removed(self, line: Line) -> None:
        self.removed += line.origin.service == "qmgr"

    def _expired(self, line: Line) -> None:
        self.expired += line.origin.service == "qmgr"

    def _reject(self, line: Line) -> None:
        fields = line.fields
        action, command = fields["action"], fields["command"]
        if action not in ("reject", "milter-reject"):
            return
        code = fields.get("code", OTHER)
        if action == "milter-reject":
            reason = "milter"
        elif command in ("header", "body"):
            reason = "content"
        else:
            reason = reasons.of_reject(fields["reason"])
        _add(self.rejects.setdefault(reason, {}), code)
        _add(self.reject_codes, code)

    def _login_failure(self, line: Line) -> None:
        self.login_failures += line.origin.service == "smtpd"

    def _connect(self, line: Line) -> None:
        self.connects += line.origin.service == "smtpd"

    def _disconnect(self, line: Line) -> None:
        self.disconnects += line.origin.service == "smtpd"

    def _tls(self, line: Line) -> None:
        if line.origin.service == "smtpd" and (found := _match_tls(line.text)):
            _add(self.tls, " ".join(found.groups()))


def _add(count: Count, value: str) -> None:
    if value not in count and len(count) >= MOST:
        value = OTHER
    count[value] = count.get(value, 0) + 1
