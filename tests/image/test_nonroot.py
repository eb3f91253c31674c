"""Without root: chosen by nothing but the user, with nothing to give, and nothing lost but the walls inside.

That such a relay is one in all else: `make test` runs the tests of what a relay is once more with --nonroot.
"""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from tests.image import inside
from tests.image.conftest import StartRelay
from tests.image.engine import TOOLS, Engine
from tests.image.relay import NONROOT, Relay, letter, someone
from tests.image.sink import Sink
from tests.image.test_hardening import PROTECTED_PORTS

EX_CONFIG = 78
SPOOL, DATA = "/var/spool/postfix", "/var/lib/postern"
NOWHERE = "[192.0.2.1]:25"
USERS = ["1000", "1000:1000", "1000740000:0", "65534", "postfix", "postern"]
# As somebody has it who gave nothing but the user.
PLAIN: dict[str, Any] = {"read_only": False, "tmpfs": {}, "cap_drop": [], "cap_add": [], "security_opt": []}

Mounts = dict[str, dict[str, str]]


@pytest.fixture
def mounts(docker: Engine) -> Iterator[Mounts]:
    spool, data = docker.volume(), docker.volume()
    yield {spool.name: {"bind": SPOOL, "mode": "rw"}, data.name: {"bind": DATA, "mode": "rw"}}
    docker.remove(spool, data)


@pytest.mark.parametrize("user", USERS)
def test_any_user_delivers_with_no_capability_and_is_all_there_is(
    start_relay: StartRelay, sink: Sink, user: str
) -> None:
    relay = start_relay(user=user, cap_add=[])
    relay.send(to := someone())
    sink.mail(to, needs=[relay.container])
    uid = int(relay.exec("id", "-u").output)
    assert uid != 0
    assert {process.uid for process in inside.processes(relay)} == {uid}
    fields = "^(CapInh|CapPrm|CapEff|CapAmb|NoNewPrivs):"
    rights = relay.exec("sh", "-c", f"grep -hE '{fields}' /proc/[0-9]*/status | sort -u").output.split()
    assert rights == [
        *("CapAmb:", "0" * 16, "CapEff:", "0" * 16, "CapInh:", "0" * 16, "CapPrm:", "0" * 16),
        *("NoNewPrivs:", "1"),
    ]


@pytest.mark.parametrize("user", ["1000", "1000:1000"])
def test_nothing_is_needed_but_the_user(start_relay: StartRelay, sink: Sink, user: str) -> None:
    relay = start_relay(user=user, **PLAIN)
    relay.send(to := someone())
    sink.mail(to, needs=[relay.container])
    told = [line for line in relay.logs().splitlines() if "without root" in line]
    assert len(told) == 1
    assert "warning: runs as uid 1000, without root: Postfix's programs are not kept apart" in told[0]


def test_mail_goes_with_its_spool_from_the_one_to_the_other_and_back(
    docker: Engine, start_relay: StartRelay, sink: Sink, mounts: Mounts
) -> None:
    """Root takes what it finds; a user is told what he cannot take, and loses none of it."""
    first = start_relay({"RELAYHOST": NOWHERE}, volumes=mounts, **NONROOT)
    first.send(to := someone())
    first.logged("status=deferred")
    first.container.stop()

    second = start_relay({"RELAYHOST": NOWHERE}, volumes=mounts)
    second.send(another := someone())
    second.queued("2 messages waiting")
    assert second.exec("stat", "-c", "%U %a", f"{SPOOL}/deferred").output == "postfix 700\n"
    second.container.stop()

    refused = start_relay(volumes=mounts, wait=False, **NONROOT)
    assert refused.exit_code() == EX_CONFIG
    assert re.search(rf"error: {SPOOL} cannot be written .* chown -R 1000740000 {SPOOL}", refused.logs())

    for place in (SPOOL, DATA):
        # The second is a habit with volumes for OpenShift, and would make Postfix return what waits.
        command = f"chown -R 1000740000 {place}; chmod -R g=u {place}"
        given = docker.start(TOOLS, volumes=mounts, command=["sh", "-ec", command])
        assert given.wait(timeout=60)["StatusCode"] == 0
        docker.remove(given)
    third = start_relay(volumes=mounts, **NONROOT)
    for each in (to, another):
        assert len(sink.mail(each, needs=[third.container])) == 1
    assert "files in /var/spool/postfix/deferred had become executable for their group" in third.logs()


def test_logins_and_a_certificate_of_its_own_work(start_relay: StartRelay, sink: Sink) -> None:
    relay = start_relay({"SMTPD_SASL_USERS": "ann@example.com:a secret"}, ports=(587,), **NONROOT)
    with relay.smtp(587) as session:
        session.starttls(
            context=ssl._create_unverified_context()
        )  # who is verified is test_tls_clients.py's claim
        session.login("ann@example.com", "a secret")
        session.send_message(letter(to := someone()), "ann@example.com", [to])
    sink.mail(to, needs=[relay.container])
    with relay.smtp(587) as session:
        session.starttls(context=ssl._create_unverified_context())
        with pytest.raises(smtplib.SMTPAuthenticationError):
            session.login("ann@example.com", "wrong")


def test_where_low_ports_are_protected_they_are_refused_and_high_ones_work(
    start_relay: StartRelay, sink: Sink
) -> None:
    """As in a Pod, whose sysctl Docker sets otherwise."""
    low = start_relay(wait=False, sysctls=PROTECTED_PORTS, **NONROOT)
    assert low.exit_code() == EX_CONFIG
    assert "error: uid 1000740000 may not open 25, 587 (LISTEN): use ports above 1023" in low.logs()
    high = start_relay({"LISTEN": "2525:relay"}, ports=(2525,), sysctls=PROTECTED_PORTS, **NONROOT)
    high.send(to := someone(), port=2525)
    sink.mail(to, needs=[high.container])


def test_the_verbs_and_programs_in_the_container_hand_in_and_change_mail(
    start_relay: StartRelay, sink: Sink
) -> None:
    """sendmail(1) wants to be told the sender, as a number that has no name is none."""
    relay = start_relay({"RELAYHOST": NOWHERE}, **NONROOT)
    to = someone()
    done = relay.exec("sh", "-c", f"printf 'Subject: cron\n\nDone.\n' | sendmail -f app@example.com {to}")
    assert (done.status, done.output) == (0, "")
    assert to in relay.queued("1 message waiting")
    assert relay.exec("postern", "queue", "hold", "--recipient", to).status == 0
    assert relay.exec("postern", "queue", "delete", "--recipient", to, "--yes").status == 0
    assert relay.queued("^0 messages waiting")


def test_what_is_everybodys_for_such_a_user_is_roots_alone_when_root_starts(relay: Relay) -> None:
    shown = relay.exec("stat", "-c", "%U %a", "/run", "/run/postern", SPOOL, DATA).lines
    assert shown == ["root 755"] * 4


@pytest.mark.parametrize(
    ("place", "target"),
    [(f"{DATA}/postfix", "/run"), (f"{SPOOL}/saved", "/usr/lib/postern"), (f"{DATA}/tls", "/run")],
)
def test_a_link_in_a_volume_does_not_lead_root_elsewhere(
    docker: Engine, start_relay: StartRelay, mounts: Mounts, place: str, target: str
) -> None:
    """Whoever took over a relay without root could have made it, and waits for a start as root."""
    plant = f"rm -rf {place}; ln -sT {target} {place}"
    planted = docker.start(TOOLS, volumes=mounts, command=["sh", "-ec", plant])
    assert planted.wait(timeout=60)["StatusCode"] == 0
    docker.remove(planted)
    relay = start_relay(volumes=mounts, wait=False, read_only=False)
    assert relay.exit_code() == EX_CONFIG
    assert f"error: {place} must be a directory, and is a link or a file: remove it" in relay.logs()


def test_root_who_looks_into_such_a_relay_sees_its_queue_and_changes_it(start_relay: StartRelay) -> None:
    """It is what an operator tries first, and "no message matches" would be a lie."""
    relay = start_relay({"RELAYHOST": NOWHERE}, **NONROOT | {"cap_drop": [], "security_opt": []})
    relay.send(to := someone())
    relay.queued("1 message waiting")
    held = relay.exec("postern", "queue", "hold", "--recipient", to, user="0")
    assert held.status == 0, held.output
    assert relay.exec("postern", "queue", "delete", "--all", "--yes", user="0").status == 0
    assert relay.queued("^0 messages waiting")


def test_root_without_capabilities_is_told_which_user_to_be(start_relay: StartRelay) -> None:
    relay = start_relay(**NONROOT)
    told = relay.exec("postern", "queue", user="0")
    assert told.status == 1
    assert told.output == "postern: this relay runs as uid 1000740000: docker exec --user 1000740000 ...\n"


@pytest.mark.parametrize("tmpfs", [{}, {"/run": "mode=1777", "/run/postern": "mode=755,uid=0"}])
def test_where_run_cannot_be_written_the_start_says_what_to_mount(
    start_relay: StartRelay, tmpfs: dict[str, str]
) -> None:
    relay = start_relay(wait=False, **NONROOT | {"tmpfs": tmpfs})
    assert relay.exit_code() == EX_CONFIG
    assert re.search(
        r"error: /run cannot be written by uid 1000740000 .*: mount a tmpfs there \(--tmpfs", relay.logs()
    )
