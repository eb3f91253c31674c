"""What a person types: `docker exec relay postern ...`, and `docker run postern ...` with another verb."""

from __future__ import annotations

import re

import pytest

from tests.image import tls
from tests.image.conftest import StartRelay
from tests.image.engine import Result
from tests.image.relay import Relay, someone
from tests.image.sink import Sink

PASSWORD = "an-unforgettable-password"
LOGIN = {"RELAYHOST_USERNAME": "me", "RELAYHOST_PASSWORD": PASSWORD, "RELAYHOST_CA_FILE": tls.CA}
UPSTREAM = {"RELAYHOST": "[sink]:25", "MYHOSTNAME": "relay.example.com"}


def test_the_queue_shows_what_waits_for_whom_since_when_and_why(start_relay: StartRelay, sink: Sink) -> None:
    sink.behave(replies={"rcpt": "451 4.7.1 try again later"})
    relay = start_relay()
    assert relay.queue() == "0 messages waiting\n"

    relay.send(to := someone(), "app@example.com")
    shown = relay.queued(rf"to {to}: .*451 4\.7\.1 try again later")
    first, sender, recipient, total = shown.splitlines()
    assert re.fullmatch(
        r"\w{10,}  deferred  \d+ bytes  since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(\d+ s\)", first
    )
    assert sender == "  from app@example.com"
    assert recipient.startswith(f"  to {to}: host sink[")
    assert total == "1 message waiting"

    sink.behave(replies={})
    assert relay.exec("postqueue", "-f").status == 0
    assert sink.mail(to)
    relay.queued(r"\A0 messages waiting$")


def probe(shell: Relay, *arguments: str, **env: str) -> Result:
    probed = shell.exec("postern", "probe", *arguments, env=UPSTREAM | env)
    assert PASSWORD not in probed.output
    return probed


def test_a_probe_goes_all_the_way_but_sends_nothing(shell: Relay, sink: Sink) -> None:
    sink.behave(require_tls=True, require_auth=True, user="me", password=PASSWORD)
    probed = probe(shell, "--from", "app@example.com", "--to", to := someone(), **LOGIN)
    assert probed.status == 0, probed.output
    steps = list(dict.fromkeys(line.split()[0] for line in probed.lines))
    assert steps == ["resolve", "connect", "greeting", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "OK"]
    assert "DATA" not in sink.commands()
    assert not sink.received(to)


FAILURES: dict[str, tuple[dict[str, str], dict[str, object], str]] = {
    "name": ({"RELAYHOST": "[nowhere.invalid]:25"}, {}, "resolve: .*check the spelling of RELAYHOST"),
    "port": ({"RELAYHOST": "[sink]:26"}, {}, "connect: .*connection refused: .*check the port in RELAYHOST"),
    "greeting": ({}, {"replies": {"connect": "554 5.7.1 go away"}}, "greeting: .*554 5.7.1 go away"),
    "no_starttls": (LOGIN, {"starttls": False}, "STARTTLS: .*does not offer STARTTLS"),
    "ca": (LOGIN | {"RELAYHOST_CA_FILE": tls.OTHER_CA}, {}, "(TLS|STARTTLS): .*RELAYHOST_CA_FILE"),
    "certificates_name": (
        LOGIN | {"RELAYHOST": f"[{tls.OTHER_NAME}]:25"},
        {},
        rf"(TLS|STARTTLS): .*{tls.OTHER_NAME}",
    ),
    "login": (LOGIN, {"password": "another"}, "AUTH: .*535.*check RELAYHOST_USERNAME and RELAYHOST_PASSWORD"),
    "no_login": ({}, {"require_auth": True}, "MAIL FROM: .*set RELAYHOST_USERNAME and RELAYHOST_PASSWORD"),
    "sender": ({}, {"replies": {"mail": "553 5.7.1 not yours"}}, "MAIL FROM: .*553 5.7.1 not yours"),
    "recipient": ({}, {"replies": {"rcpt": "550 5.1.1 nobody"}}, "RCPT TO: .*550 5.1.1 nobody"),
}


@pytest.mark.parametrize(("env", "behaviour", "told"), FAILURES.values(), ids=FAILURES.keys())
def test_a_probe_says_which_step_failed_and_what_to_do(
    shell: Relay, sink: Sink, env: dict[str, str], behaviour: dict[str, object], told: str
) -> None:
    sink.behave(**behaviour)
    probed = probe(shell, **env)
    assert probed.status == 1, probed.output
    assert re.match(rf"FAILED +{told}", probed.lines[-1]), probed.output


def test_a_check_needs_no_root(shell: Relay) -> None:
    checked = shell.exec("postern", "check", user="1000", env=UPSTREAM)
    assert (checked.status, checked.lines[0]) == (0, "the settings are good:")


@pytest.mark.root  # who is root closes /run to others, and the rest is read-only
def test_a_check_that_cannot_ask_postfix_says_so_and_is_not_a_yes(relay: Relay) -> None:
    checked = relay.exec("postern", "check", user="1000")
    assert checked.status == 1
    assert checked.output.startswith("the settings: are good, but Postfix could not be asked")


def test_a_check_that_is_no_yes_needs_no_root_either(shell: Relay) -> None:
    wrong = shell.exec("postern", "check", user="1000", env=UPSTREAM | {"HEALTH_PORT": "0"})
    assert (wrong.status, wrong.output) == (78, "HEALTH_PORT=0: must be a port from 1 to 65535\n")


@pytest.mark.parametrize(
    "words",
    [["check", "--jsn"], ["render"], ["probe", "--from", "a@example.com", "--to"]],
    ids=lambda words: words[0],
)
def test_a_verb_that_is_called_wrongly_shows_how_it_is_called(shell: Relay, words: list[str]) -> None:
    told = shell.exec("postern", *words, env=UPSTREAM)
    assert told.status == 2
    assert told.output.startswith(f"usage: postern {words[0]}")


def test_render_writes_the_configuration_without_the_secret(shell: Relay) -> None:
    rendered = shell.exec("postern", "render", "/run/rendered", env=UPSTREAM | LOGIN)
    assert rendered.status == 0
    assert "/run/rendered/etc/postfix/main.cf" in rendered.lines
    assert "relayhost = [sink]:25" in shell.exec("cat", "/run/rendered/etc/postfix/main.cf").lines
    masked = shell.exec("cat", "/run/rendered/etc/postfix/sasl_passwd").output
    assert masked.startswith("[sink]:25 ")
    assert PASSWORD not in masked

    assert (
        shell.exec("postern", "render", "--reveal-secrets", "/run/revealed", env=UPSTREAM | LOGIN).status == 0
    )
    assert f"me:{PASSWORD}" in shell.exec("cat", "/run/revealed/etc/postfix/sasl_passwd").output
    assert shell.exec("stat", "-c", "%a", "/run/revealed/etc/postfix/sasl_passwd").output == "600\n"


def test_reference_prints_every_setting(shell: Relay) -> None:
    printed = shell.exec("postern", "reference")
    assert printed.status == 0
    for name in ("MYHOSTNAME", "RELAYHOST", "LISTEN", "TRUST_GATEWAY", "MESSAGE_SIZE_LIMIT", "HEALTH_PORT"):
        assert f"| `{name}` |" in printed.output


def test_anything_else_is_run_as_a_command(start_relay: StartRelay) -> None:
    relay = start_relay(command=["sh", "-c", "echo hello; exit 5"], wait=False)
    assert relay.exit_code() == 5
    assert relay.logs() == "hello\n"


def test_a_command_that_does_not_exist_is_told_with_the_way_to_help(start_relay: StartRelay) -> None:
    relay = start_relay(command=["chek"], wait=False)
    assert relay.exit_code() == 127
    assert relay.logs() == "postern: chek: No such file or directory; `postern help` lists the verbs\n"


def test_a_program_in_the_container_sends_with_sendmail(relay: Relay, sink: Sink) -> None:
    message = f"To: {(to := someone())}\nSubject: from within\n\nHello.\n"
    done = relay.exec(
        "sh", "-c", 'printf %s "$MESSAGE" | sendmail -t -f app@example.com', env={"MESSAGE": message}
    )
    assert (done.status, done.output) == (0, "")
    [received] = sink.mail(to)
    assert (received.mail_from, received.header("Subject")) == ("app@example.com", "from within")
