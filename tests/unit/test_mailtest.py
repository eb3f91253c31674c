"""What `postern test` decides before it sends, and makes of the reasons in Postfix's log. The rest is in tests/image."""

from __future__ import annotations

import json
import re
from pathlib import Path
from unittest.mock import Mock

import pytest

from entrypoint import probe, trying, verbs
from entrypoint.config import decision
from entrypoint.config.host import Host
from entrypoint.mailtest import following, handing, meaning
from entrypoint.mailtest.handing import Handed

HINT = "`postern probe --from app@example.com --to you@example.org` goes the way step by step"
HOST = "host smtp.example.net[192.0.2.1]"
HANDED = Handed("app@example.com", "you@example.org", "")
SMARTHOST = {"RELAYHOST": "[smtp.example.net]:587"}


def advice(machine: Host, reason: str, **environ: str) -> str:
    said, found, hint = meaning.advice(
        {"reason": reason}, HANDED, decision.make(SMARTHOST | environ, None, machine)
    ).partition("; `postern probe")
    assert found + hint == f"; {HINT}"
    return said


@pytest.mark.parametrize(
    ("reason", "what_to_do"),
    [
        (f"{HOST} said: 550 5.1.1 nobody (in reply to RCPT TO command)", "check the recipient's address"),
        (f"{HOST} said: 553 no (in reply to MAIL FROM command)", "must allow this host's address to send as"),
        (f"{HOST} said: 530 5.7.0 no (in reply to MAIL FROM command)", "the upstream wants a login"),
        (f"{HOST} said: 550-5.7.1 spam 550 spam (in reply to end of DATA command)", "does not want it"),
        (f"{HOST} said: 451 4.7.1 later (in reply to end of DATA command)", "a temporary refusal"),
        (f"{HOST} refused to talk to me: 554 no", "does not talk to this host's address"),
        ("connect to smtp.example.net[192.0.2.1]:587: Connection refused", "nothing listens on port 587"),
        ("connect to smtp.example.net[192.0.2.1]:25: Connection timed out", "many networks block port 25"),
        ("connect to smtp.example.net[192.0.2.1]:587: Odd", "check the host and the port in RELAYHOST"),
        (f"TLS is required, but was not offered by {HOST}", "587 STARTTLS, 465 TLS"),
        ("Server certificate not trusted", "RELAYHOST_CA_FILE"),
        ("unable to look up host x.invalid: Name or service not known", "check the spelling"),
        (
            "lost connection with smtp.example.net[192.0.2.1] while receiving the initial server greeting",
            "use port 465",
        ),
        (
            "conversation with smtp.example.net[192.0.2.1] timed out while sending message body",
            "is overloaded or delays",
        ),
        (f"SMTPUTF8 is required, but was not offered by {HOST}", "takes only addresses in ASCII"),
        ("mail for smtp.example.net loops back to myself", "the next server is this relay itself"),
        ("mail transport unavailable", "the reason is above"),
        ("", "the reason is above"),
    ],
)
def test_a_reason_in_the_log_comes_with_what_to_do(machine: Host, reason: str, what_to_do: str) -> None:
    assert what_to_do in advice(machine, reason)


FIRST, SECOND = "first.example.net[192.0.2.1]:25", "second.example.net[192.0.2.2]:587"
LOGIN = "user=me password_file={password}"


@pytest.mark.parametrize(
    ("lines", "reason", "what_to_do"),
    [
        (
            "* [first.example.net] {login}; * [second.example.net]:587 {login}",
            f"SASL authentication failed; server {SECOND} said: 535 5.7.8 no",
            "check user= and password_file=; many providers want an app password, .* for the account .UPSTREAMS.",
        ),
        ("* [first.example.net]; * [second.example.net]:587", f"connect to {SECOND}: Connection refused", "port 587"),
        ("* [first.example.net]", f"connect to {FIRST}: Connection refused", "check the port in UPSTREAMS$"),
        (
            "@example.com [first.example.net] tls=secure",
            "Server certificate not trusted",
            "not what tls demands: name it in UPSTREAMS as .* CA in RELAYHOST_CA_FILE",
        ),
        ("@example.com [first.example.net] tls=encrypt", f"TLS is required, but was not offered by host {FIRST}",
         "check the port in UPSTREAMS .* set tls=none"),
        ("@example.com [nowhere.invalid]", "unable to look up host nowhere.invalid: Name or service not known",
         "check the spelling of UPSTREAMS"),
    ],
)  # fmt: skip
def test_advice_names_the_setting_that_the_mail_went_by(
    machine: Host, tmp_path: Path, lines: str, reason: str, what_to_do: str
) -> None:
    (tmp_path / "password").write_text("secret")
    login = LOGIN.format(password=tmp_path / "password")
    said = advice(machine, reason, RELAYHOST="", UPSTREAMS=lines.format(login=login))
    assert re.search(what_to_do, said), said
    assert not re.search("RELAYHOST(?!_CA_FILE)|secret", said)


TRIED_BY_TWO = "* [mail.example.net]:25; * [backup-mail.example.net]:25; * [mail.example.net]:587"


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("relay=mail.example.net[192.0.2.1]:587 said: 535", "mail.example.net:587"),
        ("relay=none connect to backup-mail.example.net[192.0.2.1]:25: no", "backup-mail.example.net:25"),
        ("host backup-mail.example.net[192.0.2.1] said: 450", "backup-mail.example.net:25"),
        ("Name service error for name=backup-mail.example.net type=A", "backup-mail.example.net:25"),
        ("nobody knows", "mail.example.net:25"),
    ],
)
def test_of_several_upstreams_the_one_that_failed_is_meant(machine: Host, text: str, port: str) -> None:
    policy = decision.make({"UPSTREAMS": TRIED_BY_TWO}, None, machine)
    hop = meaning._named(text, policy.way.upstreams).relayhost
    assert f"{hop.host}:{hop.port}" == port


@pytest.mark.parametrize(
    ("environ", "where"),
    [
        ({"TRANSPORT": "example.org smtp:[inside]:25"}, "TRANSPORT"),
        ({"TRANSPORT": "you@example.org smtp:[inside]:25"}, "TRANSPORT"),
        ({"TRANSPORT": ".org smtp:[inside]:25"}, "TRANSPORT"),
        ({"RELAY_DOMAINS": "example.org [inside]:25"}, "RELAY_DOMAINS"),
        ({"RELAY_DOMAINS": "example.org", "RELAY_TRANSPORT": "[inside]:25"}, "RELAY_TRANSPORT"),
        ({"TRANSPORT": "example.com smtp:[inside]:25"}, None),
    ],
)
def test_where_mail_goes_past_the_upstream_the_line_that_sends_it_is_named(
    machine: Host, environ: dict[str, str], where: str | None
) -> None:
    reason = f"{HOST} said: 550 5.1.1 nobody (in reply to RCPT TO command)"
    said = advice(machine, reason, **environ)
    assert said.startswith(
        f"{where} sends it there: check that line" if where else "check the recipient's address"
    )


@pytest.mark.parametrize(
    ("recipient", "told"),
    [
        ("ann@inside.example", "TRANSPORT sends mail for ann@inside.example elsewhere"),
        ("ann@example.org", ""),
    ],
)
def test_a_probe_says_that_a_table_sends_a_recipients_mail_elsewhere(
    recipient: str,
    told: str,
    machine: Host,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    policy = decision.make(SMARTHOST | {"TRANSPORT": "inside.example smtp:[inside]:25"}, None, machine)
    monkeypatch.setattr(verbs, "_policy", lambda _: policy)
    monkeypatch.setattr(probe, "probe", lambda *_: True)
    assert verbs.probe_upstream({}, ["--to", recipient]) == 0
    assert told in (shown := capsys.readouterr().out)
    assert bool(shown) == bool(told)


@pytest.mark.parametrize(
    ("environ", "sender"),
    [
        ({}, "postmaster@relay.example.com"),
        ({"ALLOWED_SENDER_DOMAINS": "a.example b.example"}, "postmaster@a.example"),
    ],
)
def test_a_probe_and_a_test_are_from_one_who_may_send(
    environ: dict[str, str], sender: str, machine: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, tried = decision.make(SMARTHOST | environ, None, machine), Mock()
    monkeypatch.setattr(verbs, "_policy", lambda _: policy)
    monkeypatch.setattr(probe, "probe", tried)
    verbs.probe_upstream({}, [])
    assert tried.call_args.args[1] == sender == trying.sender(policy)


def test_an_alias_is_advised_about_where_it_leads_to(machine: Host) -> None:
    """As far as the log says it, in which addresses may be hidden."""
    policy = decision.make(SMARTHOST | {"TRANSPORT": "inside.example smtp:[inside]:25"}, None, machine)
    for to in ("ann@inside.example", "a***@inside.example"):
        assert meaning.advice({"to": to, "reason": "x"}, HANDED, policy).startswith(
            "TRANSPORT sends it there"
        )
    hidden = {"to": "y***@example.org", "reason": ""}
    exact = decision.make(SMARTHOST | {"TRANSPORT": "you@example.org smtp:[inside]:25"}, None, machine)
    assert meaning.advice(hidden, HANDED, exact).startswith("TRANSPORT sends it there")


@pytest.mark.parametrize(
    ("reason", "what_to_do"),
    [
        (f"{HOST} said: 550 5.7.1 go away (in reply to MAIL FROM command)", "a smarthost in RELAYHOST"),
        ("connect to mx.example.org[192.0.2.1]:25: Connection timed out", "port 25 .* by a server .* port 587 .RELAYHOST."),
        ("Host or domain name not found. Name service error for name=example.org type=MX", "the recipient's domain"),
        ("connect to mx.example.org[192.0.2.1]:25: Connection refused", "the reason is above"),
    ],
)  # fmt: skip
def test_without_an_upstream_the_recipients_own_server_is_meant(
    machine: Host, reason: str, what_to_do: str
) -> None:
    assert re.search(what_to_do, advice(machine, reason, RELAYHOST=""))


@pytest.mark.parametrize(
    ("environ", "port"),
    [
        ({}, 25),
        ({"LISTEN": "587:submission 2525:relay"}, 2525),
        ({"LISTEN": "127.0.0.1:2525:relay"}, 2525),
        ({"LISTEN": "172.18.0.5:25:relay"}, None),
        ({"MYNETWORKS": "10.0.0.0/8"}, None),
        ({"LISTEN": "587:submission"}, None),
    ],
)
def test_the_mail_goes_in_where_a_program_in_the_container_may_send(
    machine: Host, environ: dict[str, str], port: int | None
) -> None:
    users = {"SMTPD_SASL_USERS": "ann:correct horse"} if "submission" in environ.get("LISTEN", "") else {}
    listener = handing._trusting(decision.make(users | environ, None, machine))
    assert (listener.port if listener else None) == port


def test_the_next_step_can_be_typed_as_it_is_shown() -> None:
    handed = Handed("", '"a b$(id)"@example.org', "")
    assert meaning.probing(handed).startswith("""`postern probe --from '<>' --to '"a b$(id)"@example.org'`""")


def test_what_is_no_text_is_no_address(machine: Host) -> None:
    policy = decision.make({}, None, machine)
    with pytest.raises(handing.RefusedError, match="no mail address"):
        handing.hand_over(policy, "a@example.com", "\udcff@example.org", lambda *_: None)


QID = "4jWyDY0YgDz5nFW"
TRIED = {
    "to": "you@example.org",
    "relay": "none",
    "delay": 0.1,
    "reason": "connect to x[192.0.2.1]:25: Connection refused",
}


def follow(
    machine: Host, directory: Path, monkeypatch: pytest.MonkeyPatch, *answers: object
) -> tuple[int, list[str]]:
    """The status, and what was said, when the keeper gives these answers; the last of them again and again."""
    left = list(answers)

    def ask(_: str) -> str:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, OSError):
            raise answer
        return json.dumps(answer)

    monkeypatch.setattr(following, "ask", ask)
    monkeypatch.setattr(following, "_PAUSE", 0.001)
    monkeypatch.setattr(following, "_PATIENCE", 0.01)
    said: list[str] = []
    policy = decision.make(SMARTHOST, None, machine)
    status = following.follow(
        HANDED, policy, lambda step, text: said.append(f"{step}: {text}"), 0.5, directory
    )
    return status, said


def test_a_keeper_too_busy_to_answer_is_asked_again(
    machine: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = {"queue_id": QID, "nrcpt": 1, "outcome": "sent", "recipients": [TRIED | {"status": "sent"}]}
    status, said = follow(machine, tmp_path, monkeypatch, ConnectionAbortedError(), {}, story)
    assert (status, [line.partition(":")[0] for line in said]) == (0, ["accepted", "tried", "OK"])


@pytest.mark.parametrize("error", [ConnectionAbortedError(), FileNotFoundError()], ids=["silent", "gone"])
def test_a_relay_that_ends_meanwhile_is_told(
    machine: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    status, said = follow(machine, tmp_path, monkeypatch, {"queue_id": QID}, error)
    assert status == 1
    assert said[-1].startswith("FAILED: the relay does not answer any more")


def test_the_next_attempt_is_the_time_that_the_queue_manager_has_noted(
    machine: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deferred/4").mkdir(parents=True)
    (tmp_path / "deferred/4" / QID).touch()
    story = {"queue_id": QID, "nrcpt": 1, "recipients": [TRIED | {"status": "deferred"}]}
    status, said = follow(machine, tmp_path, monkeypatch, story)
    assert status == 1
    assert "nothing listens on port 25 there" in said[2]
    assert "WAITING: it stays in the queue and is tried again from " in said[3]


def test_of_several_recipients_all_are_waited_for(
    machine: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alias may lead to more than one."""
    first = {"queue_id": QID, "nrcpt": 2, "recipients": [TRIED | {"status": "deferred"}]}
    second = first | {
        "outcome": "partly sent",
        "recipients": [TRIED | {"status": "bounced"}, TRIED | {"to": "x@example.org", "status": "sent"}],
    }
    status, said = follow(machine, tmp_path, monkeypatch, first, second)
    assert status == 1
    assert [line.partition(":")[0] for line in said] == [
        "accepted",
        "tried",
        "tried",
        "tried",
        "advice",
        "FAILED",
    ]


def test_what_the_log_never_names_is_told(
    machine: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, said = follow(machine, tmp_path, monkeypatch, {})
    assert (status, len(said)) == (1, 1)
    assert said[0].startswith("WAITING: after 0.5 s the log has not named it")
