"""A start, step by step: from the environment to a configuration that Postfix has accepted."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from . import log, nonroot, runtime
from .config import passthrough
from .config.problem import MisconfiguredError, Problem
from .config.secret import Secret

if TYPE_CHECKING:
    from .config.policy import Policy
    from .config.render import Made
    from .config.settings import Settings

EX_CONFIG = 78
"""sysexits.h: the configuration is wrong, and a restart would not help. Any other failure is 1."""

CONFIGURATION = Path(runtime.CONFIGURATION)
CERTIFICATES = Path("/var/lib/postern/tls")
# A program in the same Pod connects to one of these.
CERTIFICATE_ALIASES = ("localhost", "127.0.0.1", "::1")


def configure(environ: Mapping[str, str]) -> int:
    """Makes the whole configuration from the environment. Returns 0, or the status to exit with; says why."""
    from .config import host
    from .config.policy import memory

    # Before anything that takes much of it, as this may be the last that is heard.
    if warning := memory.too_little(host.memory_limit()):
        log.write(f"warning: {warning}")
    from . import ports, privileges
    from .config import install, render, summary
    from .config.policy import logins
    from .postfix import commands, compiling, queue, spool

    began = install.now()
    try:
        policy = decide(environ)
    except MisconfiguredError as error:
        return _refuse(map(str, error.problems))
    settings = policy.settings
    log.use(settings.log_format, settings.log_addresses, (settings.log_addresses_salt or Secret()).reveal())
    if lacking := list(privileges.lacking(policy.listeners)):
        return _refuse(lacking)
    if taken := list(ports.taken(policy.listeners, policy.settings.health_port)):
        return _refuse(taken, status=1)
    try:
        repaired = spool.prepare()
        shared = (logins.DIRECTORY, render.LOGINS_GROUP) if policy.logins_backend else None
        made = files(policy, log.write)
        install.close(CONFIGURATION.parent)
        install.claim(CONFIGURATION)
        install.install(made, CONFIGURATION, compiling.compiled, install.LARGE, shared)
        install.note_reading(CONFIGURATION / render.WATCHED, began)
        faults = commands.configuration_faults(CONFIGURATION / "etc/postfix")
        if faults:
            return _refuse(map(str, blame(faults, policy.settings)))
        spool.make_due()
    except (OSError, ValueError, spool.VolumeError) as error:
        return _refuse([_words(error)], 1 if _may_pass(error) else EX_CONFIG)
    for warning in (*repaired, *queue.repair_names(), *summary.warnings(policy)):
        log.write(f"warning: {warning}")
    for line in summary.summary(policy):
        log.write(line)
    return 0


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and not _may_pass(error):
        places = [str(place) for place in (error.filename, error.filename2) if place]
        if any(place.startswith("/run") for place in places):
            who = f" by uid {nonroot.uid()}" if nonroot.uid() else ""
            return (
                f"/run cannot be written{who} ({error.strerror}: {places[-1]}): mount a tmpfs there "
                "(--tmpfs /run:mode=1777; in a Pod an emptyDir)"
            )
    return str(error)


def _may_pass(error: Exception) -> bool:
    """A full disk does, for one, and the settings are not to blame. What is not allowed stays so."""
    return isinstance(error, OSError) and error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS)


def decide(environ: Mapping[str, str]) -> Policy:
    """Raises MisconfiguredError."""
    from .config import decision
    from .postfix import commands

    return decision.make(environ, commands.vocabulary())


def files(policy: Policy, say: Callable[[str], None]) -> list[Made]:
    """All that is to be below CONFIGURATION. Raises OSError or ValueError."""
    from .config import render

    made = render.files(policy, render.templates(), CONFIGURATION)
    if policy.needs_certificate and not any(file.path == render.CERTIFICATE for file in made):
        made += _certificate_of_our_own(policy, say)
    return made


def _certificate_of_our_own(policy: Policy, say: Callable[[str], None]) -> list[Made]:
    """What smtpd shows to clients where the user gave no certificate."""
    from .config import render
    from .tls import authority

    made = authority.ensure(CERTIFICATES, policy.hostname, CERTIFICATE_ALIASES)
    say(
        f"the certificate for {policy.hostname} is of the relay's own making: clients can trust it by the CA in "
        f"{made.ca} (SHA-256 {made.ca_fingerprint})"
    )
    ends = render.ends([made.chain], made.ca_not_after)
    return [render.File(render.CERTIFICATE, Secret(made.chain.pem), 0o600), ends]


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
