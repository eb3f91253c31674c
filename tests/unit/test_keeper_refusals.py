"""A way out that greets and takes no mail is known from the mail that met it, and for no longer than it is true."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from entrypoint import runtime
from entrypoint.keeper import refusals
from entrypoint.keeper.circumstances import Circumstances
from entrypoint.keeper.refusals import Refusals
from entrypoint.maillog.lines import parse

if TYPE_CHECKING:
    from pathlib import Path

A, B, C = "a.example[192.0.2.1]:587", "b.example[192.0.2.2]:587", "c.example[192.0.2.3]:465"
LOGIN = "SASL authentication failed; server a.example[192.0.2.1] said: 535 5.7.8 no, not you"
SAID = "[a.example]:587 SASL authentication failed; server a.example[192.0.2.1] said: 535 5.7.8 no not you"
OFFERED = "TLS is required, but was not offered by host b.example[192.0.2.2]"


class Relay:
    """Two upstreams for everybody, the second for when the first is away; another for some; and a server inside."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.configure(
            "from 192.0.2.9\nsmtp:[a.example]:587 smtp:[b.example]:587\nsmtps:[c.example]:465\n",
            "a.example:587 b.example:587 c.example:465 inside.example:25",
        )
        self.refusals = Refusals(*(str(directory / name) for name in ("ways", "upstreams", "applied")))

    def configure(self, ways: str, names: str) -> None:
        (self._directory / "ways").write_text(ways)
        (self._directory / "upstreams").write_text(names.replace(" ", "\n"))

    def apply(self) -> None:
        (self._directory / "applied").unlink(missing_ok=True)
        (self._directory / "applied").write_text("the password\n")

    def delivery(
        self,
        reason: str,
        relay: str = A,
        status: str = "deferred",
        queue_id: str = "5C1A2B3D4F",
        by: str = "smtp",
    ) -> str:
        return self._log(
            f"{by}[9]: {queue_id}: to=<a@example.org>, relay={relay}, delay=1, delays=0/0/1/0, dsn=4.7.8, "
            f"status={status} ({reason})"
        )

    def removed(self, queue_id: str, by: str = "qmgr") -> str:
        return self._log(f"{by}[9]: {queue_id}: removed")

    def _log(self, text: str) -> str:
        line = parse(f"Nov 20 11:44:00 relay postfix/{text}")
        assert line.kind in ("delivery", "removed")
        self.refusals.read(line)
        return self.refusals.told()


@pytest.fixture
def relay(tmp_path: Path) -> Relay:
    return Relay(tmp_path)


@pytest.mark.parametrize(
    ("reason", "server", "said"),
    [
        (LOGIN, A, SAID),
        (OFFERED, B, "[b.example]:587 TLS is required but was not offered by host b.example[192.0.2.2]"),
        ("Server certificate not verified", C, "[c.example]:465 Server certificate not verified"),
        ("Server certificate not trusted", A, "[a.example]:587 Server certificate not trusted"),
        ("Cannot start TLS: handshake failure", A, "[a.example]:587 Cannot start TLS: handshake failure"),
    ],
)
def test_a_login_or_tls_that_is_refused_is_told_in_postfixs_words(
    relay: Relay, reason: str, server: str, said: str
) -> None:
    assert relay.delivery(reason, server) == said


@pytest.mark.parametrize(
    ("reason", "server", "status", "by"),
    [
        (f"host {A[:-4]} said: 450 4.2.0 later (in reply to RCPT TO command)", A, "deferred", "smtp"),
        (
            f"host {A[:-4]} said: 450 SASL authentication failed (in reply to MAIL FROM command)",
            A,
            "deferred",
            "smtp",
        ),
        ("connect to a.example[192.0.2.1]:587: Connection refused", "none", "deferred", "smtp"),
        (OFFERED, "inside.example[192.0.2.4]:25", "deferred", "smtp"),
        (f"delivery temporarily suspended: {LOGIN}", "none", "deferred", "error"),
        (LOGIN, A, "deferred", "error"),
    ],
    ids=["a recipient", "a stranger's words", "nobody", "inside", "repeated", "not smtp(8)"],
)
def test_what_is_no_refusal_of_the_relay_by_a_way_out_is_not_told(
    relay: Relay, reason: str, server: str, status: str, by: str
) -> None:
    assert relay.delivery(reason, server, status, by=by) == ""


def test_mail_that_gets_through_by_any_upstream_of_the_way_ends_it(relay: Relay) -> None:
    assert relay.delivery(LOGIN) == SAID
    assert relay.delivery("250 ok", C, "sent") == SAID, "that is another way"
    assert relay.delivery("250 ok", B, "sent") == ""


def test_a_recipient_who_is_refused_after_the_login_ends_it_and_a_refused_sender_does_not(
    relay: Relay,
) -> None:
    """The one proves that the relay was let in; of the other many servers say that a login was wanted."""
    relay.delivery(LOGIN)
    sender = "host a.example[192.0.2.1] said: 550 5.7.1 log in first (in reply to MAIL FROM command)"
    assert relay.delivery(sender, status="bounced") == SAID
    recipient = "host a.example[192.0.2.1] said: 550 5.1.1 nobody (in reply to RCPT TO command)"
    assert relay.delivery(recipient, status="bounced") == ""


def test_each_way_has_its_own(relay: Relay) -> None:
    relay.delivery(LOGIN)
    both = relay.delivery("Server certificate not verified", C)
    assert both == f"{SAID}; [c.example]:465 Server certificate not verified"
    assert relay.delivery("250 ok", A, "sent") == "[c.example]:465 Server certificate not verified"


@pytest.mark.parametrize("by", ["qmgr", "postsuper"])
def test_it_ends_with_the_message_that_met_it(relay: Relay, by: str) -> None:
    """Else a relay that is unready by it, and so gets no mail, would remain so for ever."""
    assert relay.delivery(LOGIN, queue_id="AAAAAAA111") == SAID
    assert relay.removed("BBBBBBB222", by) == SAID
    assert relay.removed("AAAAAAA111", by) == ""
    assert relay.delivery(LOGIN, queue_id="BBBBBBB222") == SAID, "others tell it anew"


def test_it_ends_when_the_configuration_changes(relay: Relay) -> None:
    """Perhaps just that was mended; if not, the next try tells."""
    relay.delivery(LOGIN)
    relay.apply()
    assert relay.refusals.told() == ""
    assert relay.delivery(LOGIN) == SAID
    relay.configure("smtp:[new.example]:25\n", "new.example:25")
    relay.apply()
    new = relay.delivery("Server certificate not verified", "new.example[192.0.2.8]:25")
    assert new == "[new.example]:25 Server certificate not verified"


def test_it_ends_when_nothing_has_told_it_for_long(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that somebody holds is never tried again."""
    relay.delivery(LOGIN)
    monkeypatch.setattr(refusals, "NEWS", -1.0)
    assert relay.refusals.told() == ""


def test_a_server_found_by_its_mail_domain_counts_for_that_and_one_of_the_worlds_for_none(
    relay: Relay,
) -> None:
    relay.configure("smtp:example.com:25\n", "example.com:25")
    mx = "mx7.example.com[192.0.2.7]:25"
    assert (
        relay.delivery("Server certificate not verified", mx)
        == "example.com:25 Server certificate not verified"
    )
    assert relay.delivery("250 ok", "mx8.example.com[192.0.2.8]:25", "sent") == ""
    relay.configure("smtps:[c.example]:465\n", "direct c.example:465")
    relay.apply()
    assert relay.delivery("Server certificate not verified", mx) == ""


def test_an_upstream_by_an_ipv6_address_is_found(relay: Relay) -> None:
    relay.configure("smtp:[2001:db8::1]:587\n", "[2001:db8::1]:587")
    relay.apply()
    told = relay.delivery("Server certificate not verified", "2001:db8::1[2001:db8::1]:587")
    assert told == "[2001:db8::1]:587 Server certificate not verified"


def test_the_health_program_is_told(relay: Relay) -> None:
    around = Circumstances()
    around._spool.look = dict  # type: ignore[method-assign]
    around.deliveries.refusals = relay.refusals
    relay.delivery(LOGIN)
    text = around.answer("")
    assert runtime.flat(text)["upstream_refused"] == json.loads(text)["upstream_refused"] == SAID
