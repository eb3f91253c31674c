"""The way from an environment to a policy, or to every problem with it. Shared by all verbs."""

from __future__ import annotations

from collections.abc import Mapping

from . import environment, host, policy, rules
from .environment import IncompleteError
from .problem import MisconfiguredError
from .vocabulary import Vocabulary


def make(
    environ: Mapping[str, str], vocabulary: Vocabulary | None, machine: host.Host | None = None
) -> policy.Policy:
    """The decisions for this environment on this machine. Raises MisconfiguredError with every problem."""
    machine = machine or host.read()
    problems = []
    try:
        settings = environment.read(environ, vocabulary)
    except IncompleteError as error:
        settings, problems = error.settings, error.problems
    already_wrong = frozenset(environment.setting_of(problem.setting) for problem in problems)
    problems = problems + rules.check(settings, machine, already_wrong)
    if problems:
        raise MisconfiguredError(problems)
    return policy.decide(settings, machine)
