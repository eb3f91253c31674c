"""How a rule between settings is tried: what breaks it, what is said of that, and what just does not."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import NamedTuple

import pytest

from entrypoint.config import decision
from entrypoint.config.host import Host
from entrypoint.config.problem import MisconfiguredError

Environ = dict[str, str]

HASH = "$6$salt$" + "a" * 86
USERS = {"USERS": f"ann:{HASH}"}
MACHINE = Host(
    name="relay.example.com",
    networks=(ip_network("172.18.0.0/16"),),
    gateways=(ip_address("172.18.0.1"),),
    own=(ip_address("127.0.0.1"), ip_address("172.18.0.5")),
)


class Case(NamedTuple):
    """`said` are the problems of `wrong`, or how they begin; `right` is accepted as it is."""

    wrong: Environ
    said: list[str]
    right: Environ


def holds(case: Case, machine: Host = MACHINE) -> None:
    problems = refused(case.wrong, machine)
    assert len(problems) == len(case.said), problems
    for problem, said in zip(problems, case.said, strict=True):
        assert problem.startswith(said)
    accepted(case.right, machine)


def accepted(environ: Environ, machine: Host = MACHINE) -> None:
    decision.make(environ, None, machine)


def refused(environ: Environ, machine: Host = MACHINE) -> list[str]:
    with pytest.raises(MisconfiguredError) as error:
        decision.make(environ, None, machine)
    return [str(problem) for problem in error.value.problems]


def elsewhere(*addresses: str) -> Host:
    """The same machine with other addresses."""
    return replace(MACHINE, own=tuple(map(ip_address, addresses)))
