"""The `test` verb: a small mail goes the way of all mail, and each step is told as it happens.

Unlike a probe it uses all that other mail uses: the listener, the queue, Postfix's own client, the upstream's last word.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from entrypoint import trying
from entrypoint.config import decision
from entrypoint.config.problem import MisconfiguredError
from entrypoint.mailtest import following, handing
from entrypoint.postfix import commands
from entrypoint.probe.wire import clean
from entrypoint.start import EX_CONFIG

if TYPE_CHECKING:
    from collections.abc import Mapping


def send_and_follow(environ: Mapping[str, str], arguments: list[str]) -> int:
    """Returns 0 when the next server has taken the mail, 1 when it waits or has failed, 78 for wrong settings."""
    command = argparse.ArgumentParser(
        "postern test", description="send a small mail through the running relay, and say what becomes of it"
    )
    command.add_argument("recipient", metavar="ADDRESS")
    command.add_argument(
        "--from", dest="sender", metavar="ADDRESS", help="default: postmaster at a domain that may send"
    )
    command.add_argument(
        "--timeout", type=_seconds, default=60.0, metavar="SECONDS", help="how long to follow it; default: 60"
    )
    options = command.parse_args(arguments)
    if "@" not in options.recipient:
        command.error("ADDRESS must be a mail address with its domain")
    try:
        policy = decision.make(environ, commands.vocabulary())
    except MisconfiguredError as error:
        print("\n".join(map(str, error.problems)))
        return EX_CONFIG
    sender = (
        trying.sender(policy)
        if options.sender is None
        else options.sender.removeprefix("<").removesuffix(">")
    )
    try:
        # First: what nobody can follow is better not sent.
        following.asked("state")
        handed = handing.hand_over(policy, sender, options.recipient, _say)
    except OSError as error:
        reason = error.strerror or str(error)
        _say(
            "FAILED",
            f"the relay cannot be asked ({reason}): it does not run in this container, or you are not root",
        )
        return 1
    except handing.RefusedError as error:
        _say("FAILED", str(error))
        return 1
    return following.follow(handed, policy, _say, options.timeout)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= 86400:
        raise argparse.ArgumentTypeError("must be a number of seconds, up to 86400")
    return seconds


def _say(step: str, text: str) -> None:
    # At once: somebody looks on.
    print(f"{step:<10} {clean(text)}", flush=True)
