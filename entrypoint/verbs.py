"""What a person asks at the command line, beside running the relay. Each returns the exit status."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .config import decision, install, render, summary
from .config.parsers import Relayhost
from .config.policy import Policy
from .config.problem import MisconfiguredError, Problem
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
        rule = f"are good, but Postfix could not be asked, for which root and a writable /run are needed: {error}"
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
    from .postfix import tables

    # On a read-only root the tmpfs is the one place to write.
    writable = next((place for place in ("/run", "/tmp") if os.access(place, os.W_OK)), None)  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="postern-check-", dir=writable) as name:
        root = Path(name)
        files = [_elsewhere(file, root) for file in render.files(policy, render.templates(), root)]
        install.install(files, root, tables.compile_table)
        # Else `postfix check` makes them, and fails: it sets the mode after the owner, which takes CAP_FOWNER.
        spool.prepare(root / "spool", root / "data")
        directory = root / "etc/postfix"
        faults = commands.configuration_faults(directory) or commands.check(directory)
        yield from blame(faults, policy.settings)


def _elsewhere(file: render.File | render.Table, root: Path) -> render.File | render.Table:
    """`postfix check` makes directories in the queue: a check must not touch the real one."""
    if isinstance(file, render.Table):
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
        shown = (
            (file.revealed() if options.reveal_secrets else file.masked())
            if isinstance(file, render.Table)
            else file
        )
        (target / shown.path).parent.mkdir(parents=True, exist_ok=True)
        install.write(target / shown.path, shown)
        print(target / shown.path)
    return 0


def queue() -> int:
    """What waits, for whom, since when, and why; the oldest first."""
    try:
        messages = sorted(commands.queue(), key=lambda message: int(message["arrival_time"]))
    except RuntimeError as error:
        print(error)
        return 1
    for message in messages:
        print("\n".join(_told(message)))
    print(f"{len(messages)} message{'' if len(messages) == 1 else 's'} waiting")
    return 0


def _told(message: dict[str, Any]) -> Iterator[str]:
    arrived = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(message["arrival_time"]))
    age = _age(time.time() - message["arrival_time"])
    sender = message["sender"] or "<>"
    yield f"{message['queue_id']}  {message['queue_name']}  {message['message_size']} bytes  since {arrived} ({age})"
    yield f"  from {sender}"
    for recipient in message["recipients"]:
        reason = recipient.get("delay_reason", "")
        yield f"  to {recipient['address']}" + (f": {reason}" if reason else "")


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def probe_upstream(environ: Mapping[str, str], arguments: list[str]) -> int:
    """Tries the way to the upstream step by step, as Postfix would go it, and ends before any mail."""
    from .probe import probe
    from .probe.upstream import Upstream

    command = argparse.ArgumentParser("postern probe", description="try the upstream without sending mail")
    command.add_argument("--from", dest="sender", metavar="ADDRESS", help="default: postmaster at MYHOSTNAME")
    command.add_argument("--to", dest="recipient", metavar="ADDRESS", help="default: the sender")
    options = command.parse_args(arguments)
    if not (policy := _policy(environ)):
        return EX_CONFIG
    sender = options.sender or f"postmaster@{policy.hostname}"
    recipient = options.recipient or sender
    hop = policy.relayhost or Relayhost(recipient.rpartition("@")[2], 25, mx=True)
    ca, login = policy.settings.relayhost_ca_file, policy.credentials
    upstream = Upstream(
        host=hop.host,
        port=hop.port,
        mx=hop.mx,
        implicit_tls=policy.implicit_tls,
        tls_level=policy.tls_level,
        ca_file=ca.path if ca else None,
        username=login.username if login else None,
        password=login.password.reveal() if login else None,
        helo_name=policy.hostname,
    )
    return 0 if probe(upstream, sender, recipient, print) else 1
