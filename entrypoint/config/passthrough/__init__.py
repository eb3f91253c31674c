"""POSTFIX_<parameter> and POSTFIXMASTER_<service>__<type>: Postfix's own names, checked where Postfix does not.

Postfix reads a mistyped restriction, a missing table or a number with a unit only when mail needs it, and then
defers or drops the session. So what can be known before is said before.
"""

from __future__ import annotations

import re

from entrypoint.config.passthrough import parameters as main_cf
from entrypoint.config.passthrough import services as master_cf
from entrypoint.config.problem import Problem
from entrypoint.config.vocabulary import Vocabulary

_PARAMETER = re.compile(r"POSTFIX_([a-z0-9][A-Za-z0-9_.-]*)\Z")
_SERVICE = re.compile(r"POSTFIXMASTER_(.+)__(inet|unix|unix-dgram|fifo|pass)\Z")


def read(
    environ: dict[str, str], vocabulary: Vocabulary | None, problems: list[Problem]
) -> tuple[dict[str, str], dict[str, str]]:
    """Takes both families out of `environ`: parameters by name, master.cf lines by "service/type".

    Without a vocabulary, names and types go unchecked.
    """
    parameters: dict[str, str] = {}
    services: dict[str, str] = {}
    for name in sorted(environ):
        if match := _PARAMETER.match(name):
            parameters[match[1]] = environ.pop(name)
        elif match := _SERVICE.match(name):
            services[f"{match[1]}/{match[2]}"] = environ.pop(name)
        elif name.startswith("POSTFIX"):
            del environ[name]
            rule = "must be POSTFIX_<parameter> or POSTFIXMASTER_<service>__<type>"
            problems.append(Problem(name, None, rule))
    for name, value in parameters.items():
        rules = main_cf.check(name, parameters, services, vocabulary)
        problems += [Problem(variable(name), value, rule) for rule in rules]
    for name, value in services.items():
        problems += [
            Problem(variable(name), value, rule) for rule in master_cf.check(name, value, vocabulary)
        ]
    return parameters, services


def variable(name: str) -> str:
    """The variable of a parameter, or of a service ("name/type")."""
    service, slash, kind = name.rpartition("/")
    return f"POSTFIXMASTER_{service}__{kind}" if slash else f"POSTFIX_{name}"
