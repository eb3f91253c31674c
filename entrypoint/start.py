"""A start, step by step: from the environment to a configuration that Postfix has accepted."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from . import log

EX_CONFIG = 78
"""sysexits.h: the configuration is wrong, and a restart would not help. Any other failure is 1."""

CONFIGURATION = Path("/run/postern")
HOOKS = Path("/docker-entrypoint.d")


def run_hooks(directory: Path = HOOKS) -> bool:
    """Runs the user's executables in the order of their names; the first that fails ends the start."""
    for hook in sorted(directory.iterdir()) if directory.is_dir() else ():
        if not hook.is_file() or not os.access(hook, os.X_OK):
            log.write(f"warning: {hook} is not executable and was not run")
            continue
        log.write(f"running {hook}")
        if status := subprocess.run([str(hook)], check=False).returncode:
            log.write(f"error: {hook} ended with status {status}: the relay does not start")
            return False
    return True


def configure(environ: Mapping[str, str]) -> int:
    """Makes the whole configuration from the environment. Returns 0, or the status to exit with; says why."""
    from . import privileges
    from .config import decision, install, render, summary
    from .config.problem import MisconfiguredError
    from .postfix import commands, spool, tables

    try:
        policy = decision.make(environ, commands.known_parameters())
    except MisconfiguredError as error:
        return _refuse(map(str, error.problems))
    if lacking := list(privileges.lacking(policy.listeners)):
        return _refuse(lacking)
    files = render.files(policy, render.templates(), CONFIGURATION)
    try:
        install.install(files, CONFIGURATION, tables.compile_table)
        faults = commands.configuration_faults(CONFIGURATION / "etc/postfix")
        if faults:
            return _refuse(blame(faults, policy.settings.parameters, policy.settings.services))
        repaired = spool.prepare()
    except (OSError, spool.VolumeError) as error:
        return _refuse([str(error)])
    for warning in (*repaired, *commands.repair_queue_names(), *summary.warnings(policy)):
        log.write(f"warning: {warning}")
    for line in summary.summary(policy):
        log.write(line)
    return 0


def blame(faults: list[str], parameters: Mapping[str, str], services: Mapping[str, str]) -> Iterator[str]:
    """Postfix's complaints, each behind the user's variable that caused it, where one is named in it."""
    variables = {name: f"POSTFIX_{name}" for name in parameters}
    variables |= {name.split("/")[0]: f"POSTFIXMASTER_{name.replace('/', '__')}" for name in services}
    for fault in faults:
        named = [
            v for name, v in variables.items() if re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", fault)
        ]
        yield f"{', '.join(named) or 'configuration'}: Postfix does not accept it: {fault}"


def _refuse(reasons: Iterator[str] | list[str] | map[str]) -> int:
    for reason in reasons:
        log.write(f"error: {reason}")
    log.write("error: the relay does not start; no mail was taken")
    return EX_CONFIG
