"""`postern test you@example.com`: for somebody who wants to know, at night, whether mail goes out, and if not, why not."""

from __future__ import annotations

import re

import pytest

from tests.image import tls
from tests.image.conftest import StartRelay
from tests.image.engine import Result
from tests.image.relay import HOSTNAME, Environment, Relay, someone
from tests.image.sink import Sink
from tests.image.waiting import until


def run(relay: Relay, *arguments: str) -> Result:
    return relay.exec("postern", "test", *arguments)


def steps(told: Result) -> list[str]:
    return [line[:10].strip() for line in told.lines]


def test_a_mail_that_goes_through_is_told_step_by_step(relay: Relay, sink: Sink) -> None:
    told = run(relay, to := someone())
    assert told.status == 0, told.output
    assert steps(told) == ["hand over", "accepted", "tried", "OK"]
    first, accepted, tried, _ = told.lines
    assert f"from <postmaster@relay.example.com> to <{to}>, to port 25 of this relay" in first
    assert re.search(r"as (\w{10,});", accepted)
    assert re.search(rf"<{to}> at sink\[[\d.]+\]:25 after [\d.]+ s: taken: 250 ", tried)

    [received] = sink.mail(to)
    assert received.mail_from == "postmaster@relay.example.com"
    assert received.header("Subject") == "Test mail from relay.example.com"
    assert received.header("Auto-Submitted") == "auto-generated"
    assert received.header("Date")
    assert received.header("Message-ID").endswith(".relay.example.com>")


def test_each_step_is_told_as_it_happens(relay: Relay, sink: Sink) -> None:
    """Who looks on sees where it hangs, and not a minute later that it hung."""
    sink.behave(hang=["message"])
    to, output = someone(), "/run/told"
    relay.container.exec_run(["sh", "-c", f"postern test {to} >{output}"], detach=True)

    def told() -> list[str]:
        return steps(relay.exec("cat", output))

    until("it says that the relay took it", lambda: "accepted" in told(), state=told)
    assert told() == ["hand over", "accepted"]
    assert sink.received(to) == []
    sink.behave(hang=[])
    until("it says the end", lambda: told()[2:] == ["tried", "OK"], state=told)


@pytest.mark.parametrize("arguments", [(), ("--from", "<>"), ("--from", "j\u00f6rg@example.com")], ids=str)
def test_an_address_in_any_script_and_the_empty_sender_can_be_tested(
    relay: Relay, sink: Sink, arguments: tuple[str, ...]
) -> None:
    told = run(relay, *arguments, to := f"\u091c\u0940.{someone()}")
    assert told.status == 0, told.output
    [received] = sink.mail(to)
    assert received.mail_from == (arguments[1].strip("<>") if arguments else f"postmaster@{HOSTNAME}")


def test_a_mail_that_waits_says_why_what_to_do_when_again_and_how_to_delete_it(
    start_relay: StartRelay, sink: Sink
) -> None:
    sink.behave(replies={"rcpt": "451 4.7.1 try again later"})
    relay = start_relay()
    told = run(relay, "--from", "app@example.com", to := someone())
    assert told.status == 1
    assert steps(told) == ["hand over", "accepted", "tried", "advice", "WAITING", "", ""]
    assert re.search(
        rf"<{to}> at sink\[.*: not now: host sink\[.*said: 451 4\.7\.1 try again later", told.lines[2]
    )
    assert "a temporary refusal, which Postfix retries" in told.lines[3]
    assert f"`postern probe --from app@example.com --to {to}`" in told.lines[3]
    assert re.search(r"is tried again from \d\d:\d\d:\d\d on", told.lines[4])
    [queue_id] = set(re.findall(r"postern queue \w+ (?:--yes )?(\w+)", told.output))
    assert f"{queue_id}  deferred" in relay.queue()
    assert relay.exec("postern", *told.lines[6].split()[1:5]).status == 0
    assert relay.queue() == "0 messages waiting\n"


Failure = tuple[Environment, dict[str, object], str, str]
FAILURES: dict[str, Failure] = {
    "recipient": (
        {},
        {"replies": {"rcpt": "550 5.1.1 nobody here"}},
        "FAILED",
        "said: 550 5.1.1 nobody here .*check the recipient's address",
    ),
    "content": (
        {},
        {"replies": {"message": "554 5.7.1 spam"}},
        "FAILED",
        "said: 554 5.7.1 spam .*does not want it",
    ),
    "greeting": (
        {},
        {"replies": {"connect": "421 4.3.2 too busy"}},
        "WAITING",
        "421 4.3.2 too busy.*if it stays, the upstream does not talk to this host's address",
    ),
    "port": ({"RELAYHOST": "[sink]:26"}, {}, "WAITING", "Connection refused.*check the port in RELAYHOST"),
    "name": ({"RELAYHOST": "[nowhere.invalid]:25"}, {}, "WAITING", "look up host.*check the spelling"),
    "timeout": (
        {"POSTFIX_smtp_helo_timeout": "1s"},
        {"hang": ["connect"]},
        "WAITING",
        "timed out while receiving the initial server greeting.*if that port begins with TLS, use port 465 in RELAYHOST",
    ),
    "transport": (
        {"TRANSPORT": "example.org smtp:[sink]:26"},
        {},
        "WAITING",
        "Connection refused.*TRANSPORT sends it there: check that line",
    ),
    "no_starttls": (
        {"RELAYHOST_TLS_LEVEL": "encrypt"},
        {"starttls": False},
        "WAITING",
        "TLS is required.*RELAYHOST_TLS_LEVEL=encrypt|TLS is required.*587 STARTTLS",
    ),
    "login": (
        {"RELAYHOST_USERNAME": "me", "RELAYHOST_PASSWORD": "wrong-one", "RELAYHOST_CA_FILE": tls.CA},
        {"password": "another"},
        "WAITING",
        "535.*check RELAYHOST_USERNAME and RELAYHOST_PASSWORD",
    ),
    "certificate": (
        {"RELAYHOST_TLS_LEVEL": "secure", "RELAYHOST_CA_FILE": tls.OTHER_CA},
        {},
        "WAITING",
        "ertificate.*RELAYHOST_CA_FILE",
    ),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
def test_what_the_upstream_said_comes_with_what_to_do(
    start_relay: StartRelay,
    sink: Sink,
    certificates: tls.Certificates,
    failure: Failure,
) -> None:
    env, behaviour, end, said = failure
    sink.behave(**behaviour)
    told = run(start_relay(env, volumes=certificates.mount), someone())
    assert told.status == 1
    assert end in steps(told), told.output
    assert re.search(said, told.output, re.DOTALL), told.output
    assert "wrong-one" not in told.output


SECRETS = "/secrets"
LINES = f"""
* [misnamed.example]:26
* [sink]:25 user=all password_file={SECRETS}/password
@example.com [sink]:25 user=com password_file={SECRETS}/password
@example.net [sink]:26 tls=encrypt
@example.org [sink]:25 tls=secure
"""


@pytest.fixture(scope="module")
def by_sender(
    start_shared_relay: StartRelay, certificates: tls.Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Relay:
    """With several upstreams: the first of two does not answer, others are for some senders."""
    secrets = tmp_path_factory.mktemp("secrets")
    (secrets / "password").write_text("wrong-one\n")
    (config := tmp_path_factory.mktemp("config") / "upstreams").write_text(LINES.lstrip())
    mounts = {
        str(secrets): {"bind": SECRETS, "mode": "ro"},
        str(config.parent): {"bind": "/config", "mode": "ro"},
    }
    env: Environment = {
        "RELAYHOST": None,
        "RELAYHOST_CA_FILE": tls.CA,
        # Each is tried as if it were the first of its way.
        "POSTFIX_smtp_destination_concurrency_failed_cohort_limit": "100",
    }
    return start_shared_relay(env, wait=False, volumes=certificates.mount | mounts)


@pytest.mark.parametrize(
    ("sender", "behaviour", "said"),
    [
        (
            "app@elsewhere.example",
            {"password": "another"},
            r"server sink\[.* said: 535.*check user= and password_file=; .* \(/config/upstreams:2\)",
        ),
        (
            "app@example.com",
            {"password": "another"},
            r"535.*check user= and password_file=; .* \(/config/upstreams:3\)",
        ),
        ("app@example.net", {}, "Connection refused.*check the port in /config/upstreams:4"),
        (
            "app@example.org",
            {"starttls": False},
            r"TLS is required.*check the port in /config/upstreams:5 .* set tls=none",
        ),
    ],
    ids=["second_of_two", "login", "port", "no_starttls"],
)
def test_of_several_upstreams_the_line_that_the_mail_went_by_is_named(
    by_sender: Relay, sink: Sink, sender: str, behaviour: dict[str, object], said: str
) -> None:
    by_sender.wait_until_ready()
    sink.behave(**behaviour)
    told = run(by_sender, "--from", sender, someone())
    assert told.status == 1, told.output
    assert re.search(said, told.output, re.DOTALL), told.output
    [advice] = [line for line in told.lines if line.startswith("advice")]
    assert not re.search("RELAYHOST(?!_CA)", advice)
    assert "wrong-one" not in told.output


def test_an_upstream_that_says_nothing_does_not_keep_anybody_waiting(
    start_relay: StartRelay, sink: Sink
) -> None:
    sink.behave(hang=["connect"])
    told = run(start_relay(), "--timeout", "1", someone())
    assert told.status == 1
    assert "WAITING    no end after 1 s: the next server has not answered" in told.output
    assert "postern queue delete --yes " in told.output


@pytest.mark.parametrize("addresses", ["full", "partial", "hashed"])
def test_a_relay_with_logins_only_is_tested_by_sendmail_whatever_the_log_shows_of_addresses(
    start_relay: StartRelay, sink: Sink, addresses: str
) -> None:
    relay = start_relay(
        {
            "LISTEN": "587:submission",
            "SMTPD_SASL_USERS": "ann:correct horse",
            "LOG_ADDRESSES": addresses,
            "LOG_ADDRESSES_SALT": "a salt of many letters" if addresses == "hashed" else None,
        },
        ports=(587,),
    )
    told = run(relay, to := someone())
    assert told.status == 0, told.output
    assert "by sendmail: no relay port here takes mail from the container itself" in told.lines[0]
    assert steps(told) == ["hand over", "accepted", "tried", "OK"]
    assert len(sink.mail(to)) == 1


def test_a_sender_that_may_not_send_is_refused_by_this_relay_and_another_is_chosen_by_itself(
    start_relay: StartRelay, sink: Sink
) -> None:
    relay = start_relay({"ALLOWED_SENDER_DOMAINS": "example.net"})
    refused = run(relay, "--from", "app@example.com", someone())
    assert refused.status == 1
    assert re.search(r"FAILED     this relay itself refuses the \w+: 5\d\d ", refused.output), refused.output
    assert run(relay, to := someone()).status == 0
    assert sink.mail(to)[0].mail_from == "postmaster@example.net"


def test_without_a_running_relay_nothing_is_sent(shell: Relay) -> None:
    told = shell.exec(
        "postern", "test", someone(), env={"RELAYHOST": "[sink]:25", "MYHOSTNAME": "relay.example.com"}
    )
    assert (told.status, steps(told)) == (1, ["FAILED"])
    assert "it does not run in this container" in told.output


@pytest.mark.parametrize("words", [[], ["nobody"], ["a@example.com", "--timeout", "soon"]], ids=str)
def test_called_wrongly_it_says_how_it_is_called(shell: Relay, words: list[str]) -> None:
    told = shell.exec("postern", "test", *words)
    assert told.status == 2
    assert told.output.startswith("usage: postern test")
