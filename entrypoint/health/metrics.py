"""Numbers for Prometheus: what the keeper counted, what waits, what ends when.

Names that existing dashboards chart are kept where the meaning is the same (postfix_...); the others are postern_...
Counters begin at 0 with the keeper, as Prometheus expects of a program that was started again.
"""

from __future__ import annotations

import json
import os
import time

from entrypoint import runtime
from entrypoint.health import prometheus
from entrypoint.health.asking import ask
from entrypoint.health.prometheus import Counter, Gauge, Histogram
from entrypoint.postfix import SPOOL

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from entrypoint.health.prometheus import Metric

# pathlib would add 0.9 MB.
# ruff: noqa: PTH110, PTH123

KIND = prometheus.KIND
# Seconds for the keeper, which also reads the log and watches files.
_PATIENCE = 3.0
_EDITS = (
    ("postern_config_reloads", "reloads", "Edits of mounted files that took effect."),
    ("postern_config_reload_failures", "reload_failures", "Edits of mounted files that were refused."),
)
# Name, what the keeper calls it, help; then those with a label.
_COUNTERS = (
    (
        "postfix_cleanup_messages_processed",
        "cleaned_up",
        "Messages that entered the queue, the relay's own among them.",
    ),
    ("postfix_qmgr_messages_removed", "removed", "Messages that left the queue."),
    (
        "postern_messages_expired",
        "expired",
        "Messages that went back to their sender after all the time that they may wait.",
    ),
    ("postfix_smtpd_connects", "connects", "Connections of clients."),
    ("postfix_smtpd_disconnects", "disconnects", "Ends of connections of clients."),
    (
        "postfix_smtpd_sasl_authentication_failures",
        "login_failures",
        "Logins that failed: a wrong password, or none could be checked.",
    ),
)
_BY_LABEL = (
    ("postern_messages_received", "source", "received", "Messages taken from clients, by smtp or sendmail."),
    (
        "postfix_smtpd_messages_processed",
        "sasl_method",
        "methods",
        "Messages taken over SMTP, by how the client logged in.",
    ),
    (
        "postfix_smtp_messages_processed",
        "status",
        "smtp",
        "Attempts to deliver by SMTP, one for each recipient.",
    ),
    (
        "postfix_smtp_deferred_messages_by_dsn",
        "dsn",
        "deferral_codes",
        "Attempts that the far side put off, by its code.",
    ),
    ("postern_deferrals", "reason", "deferrals", "Attempts to deliver that were put off, by the reason."),
    ("postfix_smtpd_messages_rejected", "code", "reject_codes", "Refusals of clients' commands, by code."),
)
_BY_TWO = (
    (
        "postern_deliveries",
        ("upstream", "status"),
        "deliveries",
        "Attempts to deliver, one for each recipient, by the way out and what came of them.",
    ),
    (
        "postern_rejects",
        ("reason", "code"),
        "rejects",
        "Refusals of clients' commands, by reason and code.",
    ),
)
_WRONG_PASSWORDS = "Wrong passwords for the page (HEALTH_PAGE_PASSWORD)."
_TLS = ("trust", "protocol", "cipher", "secret_bits", "algorithm_bits")


class Places:
    """Where numbers come from, beside the keeper's state and what it refused."""

    def __init__(self) -> None:
        self.keeper = runtime.KEEPER
        self.certificates = runtime.CERTIFICATES
        self.build = runtime.BUILD
        self.spool = SPOOL


def page(
    state_file: str = runtime.STATE,
    refused_file: str = runtime.REFUSED,
    places: Places | None = None,
    *,
    wrong_passwords: int = 0,
) -> str:
    """All metrics. What only the keeper knows is left out while it is away: 0 would be a statement about mail."""
    at = places or Places()
    return prometheus.text(
        (
            *_configuration(state_file, refused_file),
            _plain(Counter, "postern_page_wrong_passwords", _WRONG_PASSWORDS, wrong_passwords),
            *_of_the_mail(at),
            *_of_the_container(at),
        )
    )


def _configuration(state_file: str, refused_file: str) -> Iterator[Metric]:
    try:
        state = runtime.facts(state_file)
    except OSError:
        # The keeper has not started Postfix yet, or has ended it.
        state = {}
    if state:
        yield from (_plain(Counter, name, about, float(state.get(key, 0))) for name, key, about in _EDITS)
        about = "1 while the relay takes no new mail and empties its queue, to stop then."
        yield _plain(Gauge, "postern_draining", about, float(state.get("stopping", 0)))
    about = "1 while the last edit is refused and the one before is in force."
    yield _plain(Gauge, "postern_config_refused", about, float(os.path.exists(refused_file)))


def _of_the_mail(places: Places) -> Iterator[Metric]:
    up = Gauge("postern_keeper_up", "1 if the keeper answers, which counts what Postfix logs.")
    try:
        found = json.loads(ask("counts", _PATIENCE, places.keeper))
    except (OSError, ValueError):
        found = None
    up.add_metric([], float(found is not None))
    yield up
    if found is not None:
        yield from _counted(found)
        yield from _waiting(found)


def _plain(kind: type[Counter | Gauge], name: str, about: str, value: float) -> Metric:
    metric = kind(name, about)
    metric.add_metric([], value)
    return metric


def _counted(found: Mapping[str, Any]) -> Iterator[Metric]:
    yield from (_plain(Counter, name, about, found[key]) for name, key, about in _COUNTERS)
    for name, label, key, about in _BY_LABEL:
        metric = Counter(name, about, labels=[label])
        for value, number in found[key].items():
            metric.add_metric([value], number)
        yield metric
    for name, labels, key, about in _BY_TWO:
        metric = Counter(name, about, labels=labels)
        for first, numbers in found[key].items():
            for second, number in numbers.items():
                metric.add_metric([first, second], number)
        yield metric
    metric = Counter(
        "postfix_smtpd_tls_connections", "Connections of clients that TLS protects.", labels=_TLS
    )
    for words, number in found["tls"].items():
        values = words.split(" ")
        metric.add_metric(values if len(values) == len(_TLS) else [words] * len(_TLS), number)
    yield metric
    about = "How long attempts to deliver by SMTP took, by stage, as Postfix logs it (delays=a/b/c/d)."
    delays = Histogram("postfix_smtp_delivery_delay_seconds", about, labels=["stage"])
    for stage, (counts, total) in found["delays"].items():
        delays.add_metric([stage], _buckets(found["bounds"], counts), total)
    yield delays
    about = (
        "When a message was last delivered, in seconds since 1970; 0 if none was since the keeper started."
    )
    yield _plain(Gauge, "postern_last_delivery_timestamp_seconds", about, found["last_delivery"])


def _waiting(found: Mapping[str, Any]) -> Iterator[Metric]:
    depth = Gauge("postfix_showq_queue_depth", "Messages that wait, by queue.", labels=["queue"])
    about = "The age of the message that has waited longest, by queue; 0 in an empty one."
    oldest = Gauge("postern_queue_oldest_message_age_seconds", about, labels=["queue"])
    about = "The ages of the messages that wait, by queue."
    ages = Histogram("postfix_showq_message_age_seconds", about, labels=["queue"])
    for name, queue in found["queues"].items():
        depth.add_metric([name], queue["depth"])
        oldest.add_metric([name], queue["oldest"])
        counts, total = queue["ages"]
        ages.add_metric([name], _buckets(found["age_bounds"], counts), total)
    return iter((depth, oldest, ages))


def _buckets(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Each with all that are smaller, too."""
    whole = 0.0
    found: list[tuple[str, float]] = []
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        whole += count
        found.append((bound, whole))
    return found


def _of_the_container(places: Places) -> Iterator[Metric]:
    about = "Until a certificate that clients are shown ends; less than 0 when it has."
    ends = Gauge("postern_certificate_remaining_seconds", about, labels=["certificate"])
    for line in _lines(places.certificates):
        end, _, name = line.partition(" ")
        ends.add_metric([name], float(end) - time.time())
    yield ends
    yield from _of_the_disk(places)
    version, revision = (*_lines(places.build), "unknown", "unknown")[:2]
    build = Gauge(
        "postern_build_info", "1; its labels say which Postern this is.", labels=["version", "revision"]
    )
    build.add_metric([version, revision], 1)
    yield build


def _of_the_disk(places: Places) -> Iterator[Metric]:
    try:
        refusing = runtime.flat(ask("circumstances", _PATIENCE, places.keeper))["spool_refusing_below"]
    except (OSError, KeyError):
        # The keeper is away, and is the one who may read what Postfix is told.
        refusing = ""
    if refusing:
        about = "Below so much free space Postfix takes no new mail (452)."
        yield _plain(Gauge, "postern_spool_refusing_below_bytes", about, float(refusing))
    try:
        space = os.statvfs(places.spool)
    except OSError:
        return
    about = "What Postfix may still write where the queue is."
    yield _plain(Gauge, "postern_spool_free_bytes", about, space.f_bavail * space.f_frsize)
    about = "The size of the file system that the queue is on."
    yield _plain(Gauge, "postern_spool_size_bytes", about, space.f_blocks * space.f_frsize)
    # Some file systems have no such number, and say 0 of 0.
    if space.f_files:
        about = "Files that may still be made where the queue is; each message is one or two."
        yield _plain(Gauge, "postern_spool_free_inodes", about, space.f_favail)


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().split("\n")[:-1]
    except OSError:
        return []
