"""Questions to the keeper, by root in the container, and `postern reload`, which is one."""

from __future__ import annotations

import argparse
import json

from entrypoint import runtime
from entrypoint.health import asking
from entrypoint.start import EX_CONFIG

# Seconds. What the keeper knows it says at once; an apply that reads a million lines takes half a minute.
_PATIENCE, _RELOAD_PATIENCE = 10.0, 330.0


def ask(question: str, patience: float = _PATIENCE, path: str = runtime.KEEPER) -> str:
    """The keeper's answer (entrypoint/keeper/answers.py). Raises OSError if it cannot be asked."""
    answer = asking.ask(question, patience, path)
    if not answer:
        raise ConnectionAbortedError("it ended before it answered")
    return answer


def printable(text: str) -> str:
    """In one line of a terminal: with "?" for what could drive it, as it may be a stranger's text; a tab, with which folded
    headers go on, as a space.
    """
    return "".join(letter if letter.isprintable() else "?" for letter in text.replace("\t", " "))


def reload(arguments: list[str], path: str = runtime.KEEPER) -> int:
    """Takes over changed files now. Returns 0 (taken, or nothing to do), 78 (refused), 1 (failed); says which."""
    argparse.ArgumentParser(
        "postern reload", description="take over changed files now, and say what changed"
    ).parse_args(arguments)
    try:
        answer = json.loads(ask("reload", _RELOAD_PATIENCE, path))
        result, lines = str(answer["result"]), [printable(str(line)) for line in answer["lines"]]
    except OSError as error:
        print(
            f"the keeper cannot be asked ({error.strerror or error}): is the relay running, and are you root?"
        )
        return 1
    except (ValueError, KeyError, TypeError):
        print("the keeper gave an answer that is none: the log says what became of the change")
        return 1
    if result == "nothing":
        print("nothing has changed")
        return 0
    print("\n".join(lines or ["the log says what"]))
    if result == "changed":
        return 0
    if result != "partly":
        print("the change has no effect; what was in force before it stays")
    return EX_CONFIG if result == "refused" else 1
