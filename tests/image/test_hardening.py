"""The relay needs little, says what it lacks, and keeps secrets to itself.

Somebody who tightens a container one turn too far must read which right is missing, not find a relay that takes
mail and never delivers it.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Any

import pytest

from tests.image import inside, tls
from tests.image.conftest import StartRelay
from tests.image.engine import Engine
from tests.image.relay import CAPABILITIES, HARDENED, Relay, someone
from tests.image.sink import Sink
from tests.image.tls import Certificates

EX_CONFIG = 78
PROJECT = Path(__file__).parents[2]
SPOOL, DATA = "/var/spool/postfix", "/var/lib/postern"
# What Kubernetes leaves and Docker sets to 0.
PROTECTED_PORTS = {"net.ipv4.ip_unprivileged_port_start": "1024"}

_BITS = {"CHOWN": 0, "DAC_OVERRIDE": 1, "KILL": 5, "SETGID": 6, "SETUID": 7, "NET_BIND_SERVICE": 10}


def without(*names: str) -> dict[str, Any]:
    return {"cap_add": [name for name in CAPABILITIES if name not in names]}


def assert_delivers(relay: Relay, sink: Sink) -> None:
    relay.send(to := someone())
    sink.mail(to, needs=[relay.container])


def assert_refused(relay: Relay, reason: str) -> None:
    assert relay.exit_code() == EX_CONFIG
    assert re.search(rf"error: {reason}", relay.logs()), relay.logs()
    assert "daemon started" not in relay.logs()


def test_the_relay_runs_read_only_with_six_capabilities_and_no_new_ones(relay: Relay, sink: Sink) -> None:
    status = relay.exec("grep", "-E", "^(CapEff|NoNewPrivs)", "/proc/1/status").output.split()
    assert int(status[1], 16) == sum(1 << _BITS[name] for name in CAPABILITIES)
    assert status[3] == "1"
    assert relay.exec("touch", "/etc/anything").output.strip().endswith("Read-only file system")
    assert_delivers(relay, sink)


def test_the_relay_runs_so_where_low_ports_are_protected(start_relay: StartRelay, sink: Sink) -> None:
    assert_delivers(start_relay(sysctls=PROTECTED_PORTS), sink)


@pytest.mark.parametrize("file", ["README.md", "docker-compose.yml"])
def test_the_examples_give_the_capabilities_that_the_tests_run_with(file: str) -> None:
    text = (PROJECT / file).read_text(encoding="utf-8")
    pattern = r"--cap-add (\w+)" if file == "README.md" else r"^ +- ([A-Z_]{3,})\b"
    found = re.findall(pattern, text, re.MULTILINE)
    assert set(found) - {"ALL"} == set(CAPABILITIES)


@pytest.mark.parametrize("name", ["DAC_OVERRIDE", "KILL", "SETGID", "SETUID"])
def test_without_a_capability_the_start_says_which(start_relay: StartRelay, name: str) -> None:
    assert_refused(start_relay(wait=False, **without(name)), f"the capability {name} is missing")


def test_without_any_capability_the_start_names_all_that_it_needs(start_relay: StartRelay) -> None:
    relay = start_relay(wait=False, cap_add=[], sysctls=PROTECTED_PORTS)
    assert relay.exit_code() == EX_CONFIG
    missing = set(re.findall(r"the capability (\w+) is missing", relay.logs()))
    assert missing == set(CAPABILITIES) - {"CHOWN"}


def test_chown_is_not_needed_for_a_spool_of_our_own(start_relay: StartRelay, sink: Sink) -> None:
    assert_delivers(start_relay(**without("CHOWN")), sink)


def test_without_chown_an_empty_spool_is_refused_with_the_capability_that_fills_it(
    docker: Engine, start_relay: StartRelay
) -> None:
    volumes = {docker.volume().name: {"bind": SPOOL, "mode": "rw,nocopy"}}
    relay = start_relay(wait=False, volumes=volumes, **without("CHOWN"))
    assert_refused(relay, rf"{SPOOL}/\w+ cannot be given to postfix .*: add the capability CHOWN")


def test_net_bind_service_is_not_needed_where_ports_are_not_protected(
    start_relay: StartRelay, sink: Sink
) -> None:
    assert_delivers(start_relay(**without("NET_BIND_SERVICE")), sink)


def test_without_net_bind_service_low_ports_are_refused_where_they_are_protected(
    start_relay: StartRelay,
) -> None:
    """Postfix's own word would be lost: it is said before Postfix's log exists."""
    relay = start_relay(wait=False, sysctls=PROTECTED_PORTS, **without("NET_BIND_SERVICE"))
    assert_refused(relay, r"the capability NET_BIND_SERVICE is missing \(LISTEN opens 25, 587\)")


def test_high_ports_need_no_net_bind_service_anywhere(start_relay: StartRelay, sink: Sink) -> None:
    options = without("NET_BIND_SERVICE") | {"sysctls": PROTECTED_PORTS, "ports": (2525,)}
    relay = start_relay({"LISTEN": "2525:relay"}, **options)
    relay.send(to := someone(), port=2525)
    sink.mail(to)


def test_only_the_start_the_keeper_and_the_master_stay_root(relay: Relay, sink: Sink) -> None:
    assert_delivers(relay, sink)
    running = inside.processes(relay)
    assert {process.name for process in running if process.uid == 0} == {"postern", "keeper", "master"}
    assert inside.the(relay, "health").uid == 103
    assert {process.uid for process in running if process.parent == inside.the(relay, "master").pid} == {100}


@pytest.fixture(scope="module")
def password() -> str:
    return secrets.token_hex(12)


def test_no_process_but_the_first_and_no_open_file_knows_the_password(
    start_relay: StartRelay, sink: Sink, certificates: Certificates, password: str
) -> None:
    """The engine hands secrets to the first process; what listens to a network must not hold them, too."""
    login = {"RELAYHOST_USERNAME": "me", "RELAYHOST_PASSWORD": password, "RELAYHOST_CA_FILE": tls.CA}
    # Reading other users' environments takes a right that the relay itself does not have.
    relay = start_relay(login, volumes=certificates.mount, cap_add=[*CAPABILITIES, "SYS_PTRACE"])
    assert_delivers(relay, sink)
    assert ("me", password) in sink.logins()
    environments = relay.exec("sh", "-c", f"grep -l {password} /proc/[0-9]*/environ /proc/[0-9]*/cmdline")
    assert "Permission denied" not in environments.output
    holders = {int(line.split("/")[2]) for line in environments.lines if line.startswith("/proc/")}
    running = {process.pid for process in inside.processes(relay)}
    assert holders & running == {1}
    held = relay.exec(
        "sh", "-c", f"grep -rl {password} {SPOOL} {DATA} /run /etc | xargs stat -Lc '%a %U %n'"
    ).lines
    assert {line.rsplit(" ", 1)[0] for line in held} == {"600 root"}
    assert password not in relay.logs()


def test_the_hardening_is_what_the_harness_gives_every_relay() -> None:
    """Or the tests would prove less than the README promises."""
    assert HARDENED["read_only"]
    assert HARDENED["cap_drop"] == ["ALL"]
    assert HARDENED["security_opt"] == ["no-new-privileges"]
    assert list(HARDENED["tmpfs"]) == ["/run"]


def test_the_engines_default_seccomp_profile_holds_every_program(relay: Relay) -> None:
    """Nothing that the relay does needs a system call that it forbids, and no program runs without it."""
    assert not any(option.startswith("seccomp") for option in HARDENED["security_opt"])
    modes = relay.exec("sh", "-c", "grep -hE '^(Seccomp|NoNewPrivs):' /proc/[0-9]*/status | sort | uniq -c")
    assert [line.split()[1:] for line in modes.lines] == [["NoNewPrivs:", "1"], ["Seccomp:", "2"]]


def test_the_volumes_belong_to_those_numbers_alone(start_relay: StartRelay) -> None:
    """So a volume outlives an image that was built from nothing, whatever Debian's packages number meanwhile."""
    relay = start_relay({"RELAYHOST": "[sink]:2599", "SMTPD_SASL_USERS": "ann:secret"})
    relay.send(someone())
    relay.queued("1 message waiting")
    found = {tuple(line.split()) for line in relay.exec("find", SPOOL, DATA, "-printf", "%U %G\n").lines}
    assert {user for user, _ in found} == {"0", "100"}
    assert {group for _, group in found} <= {"0", "101", "102"}
