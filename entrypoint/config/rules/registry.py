"""How a rule is declared, and how all are asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from entrypoint.config.host import Host
from entrypoint.config.problem import Problem
from entrypoint.config.settings import Settings
from entrypoint.config.tables.lines import MOST_PROBLEMS

Check = Callable[[Settings, Host], Iterator[Problem]]


class _Rule(NamedTuple):
    needs: frozenset[str]
    check: Check


_RULES: list[_Rule] = []


def rule(*needs: str) -> Callable[[Check], Check]:
    """Declares a check; it is left out when one of the settings that it `needs` is already wrong."""

    def declare(check: Check) -> Check:
        _RULES.append(_Rule(frozenset(needs), check))
        return check

    return declare


def check(settings: Settings, host: Host, already_wrong: frozenset[str] = frozenset()) -> list[Problem]:
    """Every contradiction, of each rule the first of them: one may be broken by every line of a table.

    `already_wrong` are the settings that could not be read and have their defaults.
    """
    asked = (one for one in _RULES if not one.needs & already_wrong)
    return [problem for one in asked for problem in islice(one.check(settings, host), MOST_PROBLEMS)]
