"""The relay needs no shell: who gets into one of its programs need find none to go on with."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from tests.image import engine, tls
from tests.image.conftest import StartRelay
from tests.image.relay import Relay, letter, someone
from tests.image.sink import Sink
from tests.image.tls import Certificates
from tests.image.waiting import until

SHELLS = ("/usr/bin/dash", "/usr/bin/bash")
# In the place of each shell: does nothing, and tells who wanted it.
TRAP = """#!/usr/bin/python3 -IS
import os, sys
with open("/called/" + str(os.getpid()), "w") as told:
    told.write(" ".join(sys.argv))
sys.exit(127)
"""
LOGIN = ("app@example.com", "secret")
SECOND = 1_000_000_000


@pytest.fixture
def called(tmp_path: Path) -> Path:
    """Where the traps tell."""
    (made := tmp_path / "called").mkdir()
    made.chmod(0o1777)
    return made


@pytest.fixture
def relay_without_shell(
    start_relay: StartRelay, certificates: Certificates, tmp_path: Path, called: Path
) -> Relay:
    """With all that the image can do by itself: logins, a certificate of its own, tables, an upstream with a login."""
    (trap := tmp_path / "trap").write_text(TRAP)
    trap.chmod(0o755)
    (config := tmp_path / "config").mkdir()
    (config / "transport").write_text("elsewhere.example smtp:[sink]:25\n")
    mounts = [f"{trap}:{shell}:ro" for shell in SHELLS]
    mounts += [f"{called}:/called", f"{config}:/config:ro"]
    mounts += [f"{host}:{at['bind']}:{at['mode']}" for host, at in certificates.mount.items()]
    env: dict[str, str | None] = {
        "LISTEN": "25:relay 587:submission",
        "RELAYHOST_USERNAME": "me",
        "RELAYHOST_PASSWORD": "secret",
        "RELAYHOST_CA_FILE": tls.CA,
        "SMTPD_SASL_USERS": ":".join(LOGIN),
        "LOG_FORMAT": "json",
    }
    # The image's own check, only more often.
    return start_relay(env, ports=(25, 587), volumes=mounts, healthcheck={"interval": SECOND})


def health(relay: Relay) -> str:
    relay.container.reload()
    return str(relay.container.attrs["State"]["Health"]["Status"])


def test_the_traps_are_in_the_place_of_every_shell(shell: Relay) -> None:
    known = shell.exec("sh", "-c", "grep -h ^/ /etc/shells | xargs realpath | sort -u").lines
    assert set(known) == set(SHELLS)


def test_the_relay_starts_delivers_reloads_is_healthy_and_drains_without_a_shell(
    relay_without_shell: Relay, sink: Sink, tmp_path: Path, called: Path
) -> None:
    relay = relay_without_shell
    relay.send(to := someone())
    sink.mail(to)
    with relay.smtp(587) as session:
        session.starttls()
        session.login(*LOGIN)
        session.send_message(letter(to := someone()), LOGIN[0], [to])
    sink.mail(to)
    (tmp_path / "config/transport").write_text("shut.example error:5.1.2 closed\n")
    for verb in (["reload"], ["queue"], ["health"], ["probe"], ["test", someone()]):
        done = relay.exec("postern", *verb)
        assert done.status == 0, done.output
    with urllib.request.urlopen(f"http://127.0.0.1:{engine.published(relay.container, 9154)}/") as page:
        assert page.status == 200
    until("the engine calls it healthy", lambda: health(relay) == "healthy", state=lambda: health(relay))

    sink.behave(hang=["mail"])
    relay.send(to := someone())
    until("the relay tries to deliver", lambda: "MAIL" in sink.commands(), needs=[relay.container])
    relay.container.kill(signal="SIGTERM")
    relay.logged("stopping")
    sink.behave(hang=[])
    assert relay.exit_code() == 0
    sink.mail(to)
    assert [file.read_text() for file in called.iterdir()] == []


def test_a_shell_that_is_called_would_be_told(relay_without_shell: Relay, called: Path) -> None:
    for shell in ("/bin/sh", "bash"):
        assert relay_without_shell.exec(shell, "-c", "true").status == 127
    told = [file.read_text() for file in called.iterdir()]
    assert len(told) == len(SHELLS), told
    # A script's interpreter is a shell, too.
    relay_without_shell.exec("/usr/lib/postfix/sbin/postfix-script", "check")
    assert any("postfix-script" in file.read_text() for file in called.iterdir())
