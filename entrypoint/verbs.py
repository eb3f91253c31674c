"""What a person asks at the command line, beside running the relay. Each returns the exit status."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from .config import decision, install, render, summary
from .config.policy import Policy, routes
from .config.problem import MisconfiguredError, Problem
from .config.secret import Secret
from .config.tables.upstreams import Upstream
from .config.values import Relayhost
from .postfix import commands, spool
from .start import CONFIGURATION, EX_CONFIG, blame


def check(environ: Mapping[str, str], arguments: list[str]) -> int:
    """Every problem with the settings, and Postfix's own opinion of what they become. Nothing is started."""
    command = argparse.ArgumentParser("postern check", description="every problem with the settings at once")
    command.add_argument(
        "--json", action="store_true", help="for programs: {ok, problems: [{setting, value, rule}]}"
    )
    as_json = command.parse_args(arguments).json
    status = EX_CONFIG
    try:
        policy = decision.make(environ, commands.vocabulary())
        problems = list(_opinion(policy))
    except MisconfiguredError as error:
        problems = error.problems
    except (OSError, spool.VolumeError) as error:
        status = 1
        rule = f"are good, but Postfix could not be asked, for which /run or /tmp must be writable: {error}"
        problems = [Problem("the settings", None, rule)]
    if as_json:
        found = [{"setting": p.setting, "value": p.value, "rule": p.rule} for p in problems]
        print(json.dumps({"ok": not problems, "problems": found}))
    elif problems:
        print("\n".join(map(str, problems)))
    else:
        print("\n".join(("the settings are good:", *summary.summary(policy))))
        print("\n".join(f"warning: {text}" for text in summary.warnings(policy)))
    return status if problems else 0


def _policy(environ: Mapping[str, str]) -> Policy | None:
    """The decisions, or None after every problem has been printed."""
    try:
        return decision.make(environ, commands.vocabulary())
    except MisconfiguredError as error:
        print("\n".join(map(str, error.problems)))
        return None


def _opinion(policy: Policy) -> Iterator[Problem]:
    """What Postfix says of the files, read from a place where nothing else uses them."""
    from .postfix import compiling

    # On a read-only root the tmpfs is the one place to write.
    writable = next((place for place in ("/run", "/tmp") if os.access(place, os.W_OK)), None)  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="postern-check-", dir=writable) as name:
        root = Path(name)
        files = [_elsewhere(file, root) for file in render.files(policy, render.templates(), root)]
        install.install(files, root, compiling.compiled)
        # Else `postfix check` makes them, and fails: it sets the mode after the owner, which takes CAP_FOWNER.
        spool.prepare(root / "spool", root / "data")
        directory = root / "etc/postfix"
        faults = commands.configuration_faults(directory) or commands.check(directory)
        yield from blame(faults, policy.settings)


def _elsewhere(file: render.Made, root: Path) -> render.Made:
    """`postfix check` makes directories in the queue: a check must not touch the real one."""
    if not isinstance(file, render.File) or isinstance(file.text, Secret):
        return file
    return replace(file, text=file.text.replace(str(spool.SPOOL), str(root / "spool")))


def render_files(environ: Mapping[str, str], arguments: list[str]) -> int:
    """Writes what a start would write below a directory: no root, no Postfix, secrets as stars."""
    command = argparse.ArgumentParser("postern render", description="write what a start would write")
    command.add_argument("directory", type=Path)
    command.add_argument("--reveal-secrets", action="store_true", help="instead of stars")
    options = command.parse_args(arguments)
    if not (policy := _policy(environ)):
        return EX_CONFIG
    target = options.directory
    for file in render.files(policy, render.templates(), CONFIGURATION):
        shown = file.revealed() if options.reveal_secrets else file.masked()
        (target / shown.path).parent.mkdir(parents=True, exist_ok=True)
        install.write(target / shown.path, shown)
        print(target / shown.path)
    return 0


def probe_upstream(environ: Mapping[str, str], arguments: list[str]) -> int:
    """Tries each upstream of a sender step by step, as Postfix would go there, and ends before any mail."""
    from . import trying
    from .probe import probe
    from .probe.wire import clean

    command = argparse.ArgumentParser("postern probe", description="try the upstream without sending mail")
    command.add_argument(
        "--from", dest="sender", metavar="ADDRESS", help="default: postmaster at a domain that may send"
    )
    command.add_argument("--to", dest="recipient", metavar="ADDRESS", help="default: the sender")
    options = command.parse_args(arguments)
    if not (policy := _policy(environ)):
        return EX_CONFIG
    sender = trying.sender(policy)
    if options.sender:
        sender = options.sender.removeprefix("<").removesuffix(">")
    recipient = options.recipient or sender or f"postmaster@{policy.hostname}"
    direct = Upstream("RELAYHOST", sender, Relayhost(recipient.rpartition("@")[2], 25, mx=True))
    each = policy.way_of(sender).upstreams or (direct,)
    if where := routes.elsewhere(policy.settings, recipient):
        print(f"{'way':<10} {where} sends mail for {clean(recipient)} elsewhere, which this does not try")

    def works(upstream: Upstream) -> bool:
        def say(line: str) -> None:
            print(trying.in_words_of(upstream, line))

        return probe(trying.probed(upstream, policy), sender, recipient, say)

    # All of them: one that nobody needs today is tried before it is needed.
    worked = [works(upstream) for upstream in each]
    return 0 if all(worked) else 1
