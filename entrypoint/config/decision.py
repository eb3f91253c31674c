"""The way from an environment to a policy, or to every problem with it. Shared by all verbs."""

from __future__ import annotations

from collections.abc import Mapping

from . import environment, host, policy, rules
from .environment import IncompleteError
from .problem import MisconfiguredError, Problem
from .vocabulary import Vocabulary


def make(
    environ: Mapping[str, str], vocabulary: Vocabulary | None, machine: host.Host | None = None
) -> policy.Policy:
    """The decisions for this environment on this machine. Raises MisconfiguredError with every problem."""
    machine = machine or host.read()
    problems, wrong = list[Problem](), frozenset[str]()
    try:
        settings = environment.read(environ, vocabulary)
    except IncompleteError as error:
        settings, problems, wrong = error.settings, error.problems, error.wrong
    problems = problems + rules.check(settings, machine, wrong)
    if problems:
        raise MisconfiguredError(problems)
    return policy.decide(settings, machine)
