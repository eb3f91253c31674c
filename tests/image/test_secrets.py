"""A secret is known to the upstream and to root in the container, and stands in nothing that others read."""

from __future__ import annotations

import pytest

from tests.image import tls
from tests.image.conftest import StartRelay
from tests.image.relay import Relay, someone
from tests.image.sink import Sink
from tests.image.tls import Certificates

PASSWORD = "an-unforgettable-password"


@pytest.fixture
def relay_with_login(start_relay: StartRelay, certificates: Certificates, sink: Sink) -> Relay:
    """It has used its login once, and once in vain, with all that Postfix can say about TLS."""
    env = {
        "RELAYHOST_USERNAME": "me",
        "RELAYHOST_PASSWORD": PASSWORD,
        "RELAYHOST_CA_FILE": tls.CA,
        "SMTP_TLS_LOGLEVEL": "2",
    }
    relay = start_relay(env, volumes=certificates.mount)
    sink.behave(require_auth=True, password=PASSWORD)
    relay.send(to := someone())
    assert sink.mail(to)
    sink.behave(password="another")
    relay.send(to := someone())
    relay.queued(rf"to {to}: SASL authentication failed")
    return relay


def test_a_secret_stands_in_nothing_that_others_read(relay_with_login: Relay) -> None:
    relay = relay_with_login
    assert PASSWORD not in relay.logs()
    assert PASSWORD not in relay.queue()
    assert PASSWORD not in relay.readiness()
    for verb in ("check", "probe", "help"):
        assert PASSWORD not in relay.exec("postern", verb).output

    # The pattern comes from a file, or grep would find its own command line.
    search = 'printf %s "$RELAYHOST_PASSWORD" > /run/.pattern; chmod 600 /run/.pattern; '
    files = relay.exec(
        "sh", "-c", f"{search} grep -rlsFf /run/.pattern / --exclude-dir=proc --exclude-dir=sys"
    )
    holders = {file for file in files.lines if file != "/run/.pattern"}
    assert holders == {"/run/postern/etc/postfix/sasl_passwd.lmdb"}
    assert relay.exec("stat", "-c", "%a %U", *holders).output == "600 root\n"

    arguments = relay.exec("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'").output
    assert "master" in arguments
    assert PASSWORD not in arguments


def test_no_process_but_the_first_has_a_secret_in_its_environment(relay_with_login: Relay) -> None:
    """PID 1's is what the engine gave it, and only root can read that."""
    script = "for p in /proc/[0-9]*; do echo $p $(tr '\\0' ' ' < $p/environ); done 2>/dev/null"
    # The engine gives the container's variables to what is executed in it, too.
    listed = relay_with_login.exec("sh", "-c", script, env={"RELAYHOST_PASSWORD": ""})
    environments = dict(line.partition(" ")[::2] for line in listed.lines)
    assert len(environments) > 5
    assert [process for process, variables in environments.items() if PASSWORD in variables] == ["/proc/1"]
    refused = relay_with_login.exec("cat", "/proc/1/environ", user="postern")
    assert PASSWORD not in refused.output
