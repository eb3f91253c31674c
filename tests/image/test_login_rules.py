"""What holds for every login, whatever else is set: a sender it must name; and each kind of hash opens the door."""

from __future__ import annotations

import pytest

from tests.image import inside
from tests.image.backends import log_in, login, session
from tests.image.conftest import StartRelay
from tests.image.relay import Relay, letter, someone
from tests.image.sink import Sink

PASSWORD = "no-other-text-is-like-this-one"
# Of "secret".
HASHES = {
    "yescrypt": "$y$j9T$qCEovLI4ej.fxMIFKQOPV/$YV90EAzULYyPuPEmsO/8L0TAx8prehPUNZvMbgtsxi0",
    "sha512": "$6$abc$IdWKNKTJEb8LxY7CGg8YBXlvtfZzFw7Mp/r6niK9YB2mdvgY..TKjv1T..8RadRt2qvUHYRLr/TsVArtr91iR1",
    "bcrypt": "$2b$05$KBCwKxOzLha2MUDgW0PjXeGy8zDyKFegpVV4y0qPBUgij10WNyKY6",
}


@pytest.fixture(scope="module")
def relay(start_shared_relay: StartRelay) -> Relay:
    """Nothing is said of who may send as what."""
    users = "; ".join(f"{name}:{text}" for name, text in HASHES.items())
    return start_shared_relay({"USERS": users}, ports=(25, 587))


@pytest.mark.parametrize("kind", HASHES)
def test_each_kind_of_hash_is_a_password(relay: Relay, kind: str) -> None:
    assert login(relay, kind, "secret").startswith("235 2.7.0 ")
    assert login(relay, kind, "Secret").startswith("535 5.7.8 ")


def test_a_login_names_a_sender_even_where_it_may_send_as_anybody(relay: Relay, sink: Sink) -> None:
    with session(relay) as client:
        assert log_in(client, "sha512", "secret").startswith("235 ")
        client.mail("")
        code, text = client.rcpt(someone())
        assert code == 553
        assert text.startswith(b"5.7.1 ")
        assert b"ALLOW_NULL_SENDER" in text
        client.rset()
        client.send_message(letter(to := someone(), "anybody@example.net"), "anybody@example.net", [to])
    assert sink.mail(to)[0].mail_from == "anybody@example.net"


def test_bounces_of_the_trusted_network_pass(relay: Relay, sink: Sink) -> None:
    """A mail server there, which has no login, must be able to send them."""
    with relay.smtp() as client:
        client.send_message(letter(to := someone()), "", [to])
    assert sink.mail(to)[0].mail_from == ""


def test_the_passwords_of_clients_are_in_no_log_and_in_no_file_that_postfix_or_strangers_can_read(
    start_relay: StartRelay,
) -> None:
    """Found by looking everywhere; that there is something to find is seen by root, who has the capability for it."""
    relay = start_relay({"SMTPD_SASL_USERS": f"ann:{PASSWORD}"}, ports=(587,))
    assert login(relay, "ann", PASSWORD).startswith("235 ")
    search = ["grep", "-rlsaF", "--devices=skip", PASSWORD, "/run", "/var", "/etc", "/tmp"]
    assert relay.exec(*search).lines
    # Not that of the command itself, which the engine gives the container's environment.
    environments = " ".join(f"/proc/{process.pid}/environ" for process in inside.processes(relay))
    for user in ("postfix", "postern", "nobody"):
        assert relay.exec(*search, user=user).lines == []
        assert relay.exec("sh", "-c", f"grep -las {PASSWORD} {environments}", user=user).lines == []
    assert PASSWORD not in relay.logs()
