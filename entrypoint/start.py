"""A start, step by step: from the environment to a configuration that Postfix has accepted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from . import log, runtime
from .config import passthrough
from .config.problem import MisconfiguredError, Problem

if TYPE_CHECKING:
    from .config.settings import Settings

EX_CONFIG = 78
"""sysexits.h: the configuration is wrong, and a restart would not help. Any other failure is 1."""

CONFIGURATION = Path(runtime.CONFIGURATION)


def configure(environ: Mapping[str, str]) -> int:
    """Makes the whole configuration from the environment. Returns 0, or the status to exit with; says why."""
    from . import ports, privileges
    from .config import decision, install, render, summary
    from .postfix import commands, spool, tables

    try:
        policy = decision.make(environ, commands.vocabulary())
    except MisconfiguredError as error:
        return _refuse(map(str, error.problems))
    if lacking := list(privileges.lacking(policy.listeners)):
        return _refuse(lacking)
    if taken := list(ports.taken(policy.listeners, policy.settings.health_port)):
        return _refuse(taken, status=1)
    files = render.files(policy, render.templates(), CONFIGURATION)
    try:
        install.install(files, CONFIGURATION, tables.compile_table)
        faults = commands.configuration_faults(CONFIGURATION / "etc/postfix")
        if faults:
            return _refuse(map(str, blame(faults, policy.settings)))
        repaired = spool.prepare()
        spool.make_due()
    except (OSError, spool.VolumeError) as error:
        return _refuse([str(error)])
    for warning in (*repaired, *commands.repair_queue_names(), *summary.warnings(policy)):
        log.write(f"warning: {warning}")
    for line in summary.summary(policy):
        log.write(line)
    return 0


def blame(faults: list[str], settings: Settings) -> Iterator[Problem]:
    """Postfix's complaints, each laid to the user's variable that caused it, where one can be told."""
    given = {passthrough.variable(name): (name, value) for name, value in settings.parameters.items()}
    given |= {
        passthrough.variable(name): (name.split("/")[0], line) for name, line in settings.services.items()
    }
    for fault in faults:
        subject = fault.rpartition("undefined parameter: ")[2]
        variable = next(
            (
                v
                for v, (name, value) in given.items()
                if _word(name, fault) or (subject != fault and subject in value)
            ),
            "the settings",
        )
        yield Problem(variable, given.get(variable, ("", None))[1], f"is not accepted by Postfix: {fault}")


def _word(name: str, text: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", text) is not None


def _refuse(reasons: Iterable[str], status: int = EX_CONFIG) -> int:
    for reason in reasons:
        log.write(f"error: {reason}")
    log.write("error: the relay does not start; no mail was taken")
    return status
