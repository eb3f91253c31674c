"""A spool that fills up refuses new mail while there is room for what is queued, says so before, and gets well by itself."""

from __future__ import annotations

import itertools
import smtplib
from email.message import EmailMessage

import pytest

from tests.image.conftest import StartRelay
from tests.image.relay import HARDENED, Relay, someone
from tests.image.sink import Sink
from tests.image.test_health import readiness
from tests.image.test_live_changes import metric
from tests.image.waiting import until

SPOOL = "/var/spool/postfix"
_SIZE, _LETTER = "24m", 900_000
# Postfix leaves 16 MB; readiness warns when a fifth of the 8 MB above them is left, which is more than a letter.
_LEFT = 16 << 20
_WARNS_BELOW = _LEFT + (8 << 20) // 5


def small(start_relay: StartRelay, options: str = f"size={_SIZE}", **env: str) -> Relay:
    """A relay whose spool is a file system of its own."""
    tmpfs = {**HARDENED["tmpfs"], SPOOL: options}
    return start_relay({"MESSAGE_SIZE_LIMIT": "1MB", **env}, tmpfs=tmpfs)


def send(relay: Relay, to: str) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "app@example.com", to, "Large"
    message.set_content(("x" * 70 + "\n") * (_LETTER // 71))
    with relay.smtp() as session:
        session.send_message(message, "app@example.com", [to])


def free_bytes(relay: Relay) -> float:
    return metric(relay, "postern_spool_free_bytes")


def test_metrics_show_the_disk_fill_and_readiness_warns_before_new_mail_is_refused(
    start_relay: StartRelay, sink: Sink
) -> None:
    """And what is queued is delivered, after which all is well again."""
    relay = small(start_relay, UPSTREAM_CHECK="off")
    assert "ok spool" in relay.readiness()
    assert metric(relay, "postern_spool_refusing_below_bytes") == _LEFT
    sink.behave(replies={"mail": "451 4.3.0 try later"})
    to, free, warning = someone(), [free_bytes(relay)], ""
    with pytest.raises(smtplib.SMTPSenderRefused) as refused:  # noqa: PT012  # which of them it is, is the disk's word
        while len(free) < 20:
            send(relay, to)
            # What /metrics said is said again for a moment.
            free.append(
                until("there is less", lambda: (now := free_bytes(relay)) < free[-1] - _LETTER and now)
            )
            if not warning and free[-1] < _WARNS_BELOW:
                assert free[-1] > _LEFT
                warning = readiness(relay, "warning spool: ")
    assert (refused.value.smtp_code, refused.value.smtp_error[:5]) == (452, b"4.3.1")
    assert warning.startswith("200 ")
    assert "MB free of 24 MB: new mail is refused below 16 MB" in warning
    taken = len(free) - 1
    assert taken > 4
    assert all(before - after > _LETTER for before, after in itertools.pairwise(free)), free
    assert free[-1] <= _LEFT < free[-2]
    answer = readiness(relay, "failed spool: ")
    assert answer.startswith("503 ")
    assert "free: new mail is refused (452), what is queued is delivered" in answer
    # A refusal to the probe would be a line of the log, every few seconds.
    assert "listener" not in answer
    sink.restore()
    relay.exec("postqueue", "-f")
    assert len(sink.mail(to, count=taken)) == taken
    assert "ok spool" in readiness(relay, "^200 ")
    until("the space is free again", lambda: free_bytes(relay) > free[0] - _LETTER)
    send(relay, to)


def test_a_spool_that_is_nearly_full_is_a_warning_and_mail_is_taken(
    start_relay: StartRelay, sink: Sink
) -> None:
    relay = small(start_relay)
    assert relay.exec("fallocate", "-l", "7200000", f"{SPOOL}/pid/other").status == 0
    answer = readiness(relay, "warning spool: ")
    assert answer.startswith("200 ")
    assert "MB free of 24 MB: new mail is refused below 16 MB" in answer
    to = someone()
    relay.send(to)
    assert sink.mail(to)
    assert relay.exec("rm", f"{SPOOL}/pid/other").status == 0
    readiness(relay, "ok spool")


def test_a_spool_without_inodes_is_a_failure_of_its_own(start_relay: StartRelay) -> None:
    """There is space; without an inode for a file nothing can be written into it."""
    relay = small(start_relay, "size=24m,nr_inodes=60")
    fill = "i=0; while : >/var/spool/postfix/pid/$i; do i=$((i+1)); done 2>/dev/null"
    relay.exec("sh", "-c", fill)
    answer = readiness(relay, "^503 ")
    assert "failed spool: No space left on device: no mail can be taken" in answer
    relay.exec("sh", "-c", "rm /var/spool/postfix/pid/[0-9]*")
    readiness(relay, "^200 ")
