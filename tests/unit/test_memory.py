"""A container's memory limit becomes how much of Postfix runs at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from entrypoint.config import decision, host, render, summary
from entrypoint.config.host import Host
from entrypoint.config.policy import Policy, memory
from entrypoint.config.policy.memory import LEAST, MIB

LOGINS = {"SMTPD_SASL_USERS": "app:secret"}
# What version 1 says of a container without a limit.
UNLIMITED = 9223372036854771712


def limited(machine: Host, mib: int, environ: dict[str, str] | None = None) -> Policy:
    return decision.make(environ or {}, None, replace(machine, memory=mib * MIB))


def rendered(policy: Policy) -> dict[str, str]:
    made = render.files(policy, render.templates(), Path("/run/postern"))
    return {file.path: str(file.masked().text) for file in made}


@pytest.mark.parametrize(
    ("file", "text", "limit"),
    [
        ("memory.max", "67108864\n", 67108864),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "67108864\n", 67108864),
        ("memory/memory.limit_in_bytes", f"{UNLIMITED}\n", UNLIMITED),
        ("other", "1\n", None),
    ],
)
def test_the_limit_is_read_from_either_version_of_control_groups(
    file: str, text: str, limit: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "cgroup" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert host.read(tmp_path, tmp_path / "cgroup").memory == limit


@pytest.mark.parametrize(
    ("mib", "environ", "processes"),
    [
        (64, {}, 2),
        (128, {}, 8),
        (512, {}, 46),
        # One listener less leaves more for the other; a second way out, TLS and logins take their part.
        (64, {"LISTEN": "25:relay"}, 2),
        (96, {"LISTEN": "25:relay"}, 7),
        (96, {"UPSTREAMS": "* [a.example.com]:25; b@example.com [b.example.com]:25"}, 3),
        (96, LOGINS, 2),
        # Never none at all.
        (64, LOGINS, 1),
        (32, {}, 1),
    ],
)
def test_a_limit_allows_so_many_of_each_program(
    mib: int, environ: dict[str, str], processes: int, machine: Host
) -> None:
    room = limited(machine, mib, environ).room
    assert room
    assert room.processes == processes


@pytest.mark.parametrize("limit", [None, UNLIMITED, 2048 * MIB])
def test_without_a_limit_that_matters_nothing_changes(limit: int | None, machine: Host) -> None:
    policy = decision.make({}, None, replace(machine, memory=limit))
    assert rendered(policy) == rendered(decision.make({}, None, machine))
    assert not [line for line in summary.summary(policy) if "memory" in line]


def services(policy: Policy) -> dict[str, str]:
    """The process limit of each service of master.cf."""
    lines = rendered(policy)["etc/postfix/master.cf"].splitlines()
    fields = [line.split() for line in lines if line[:1].isalnum()]
    return {f"{found[0]}/{found[1]}": found[6] for found in fields}


def test_postfix_gets_the_numbers_and_one_line_of_the_log_says_them(machine: Host) -> None:
    """default_process_limit stays: clients that wait for their turn would be turned away by a short queue."""
    policy = limited(machine, 64, {"UPSTREAMS": "* [a.example.com]:25; b@example.com [b.example.com]:25"})
    main_cf = rendered(policy)["etc/postfix/main.cf"].splitlines()
    assert "qmgr_message_active_limit = 1920" in main_cf
    assert "qmgr_message_recipient_limit = 1920" in main_cf
    assert not [line for line in main_cf if line.startswith("default_process_limit")]
    way = policy.ways[0].service
    clients, deliveries = ("25/inet", "587/inet"), ("smtp/unix", "smtps/unix", "relay/unix", f"{way}/unix")
    found = services(policy)
    assert {
        name: found[name] for name in (*clients, *deliveries, "error/unix", "retry/unix")
    } == dict.fromkeys((*clients, *deliveries, "error/unix", "retry/unix"), "1")
    # tlsproxy(8) refuses to run with any limit.
    assert found["tlsproxy/unix"] == found["cleanup/unix"] == "0"
    assert [line for line in summary.summary(policy) if "memory" in line] == [
        "has 64 MB of memory, by the container's limit: at most 1 at once of the clients at a port, and of the "
        "deliveries on a way out; the others wait (POSTFIX_default_process_limit)"
    ]


def test_what_the_user_says_himself_counts(machine: Host) -> None:
    policy = limited(machine, 64, {"POSTFIX_default_process_limit": "7"})
    assert "default_process_limit = 7" in rendered(policy)["etc/postfix/main.cf"].splitlines()
    assert services(policy)["25/inet"] == services(policy)["smtp/unix"] == "-"
    assert not [line for line in summary.summary(policy) if "memory" in line]


def test_too_little_memory_is_said_in_so_many_words() -> None:
    told = memory.too_little((LEAST - 1) * MIB)
    assert told.startswith(f"{LEAST - 1} MB of memory, the container's limit, are less than the {LEAST} MB")
    assert memory.too_little(LEAST * MIB) == memory.too_little(None) == ""
