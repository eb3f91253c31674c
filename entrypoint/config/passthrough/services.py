"""Lines of master.cf, as their author wrote them (master(5))."""

from __future__ import annotations

import re
from collections.abc import Iterator

from entrypoint.config.passthrough import parameters, restrictions
from entrypoint.config.vocabulary import Vocabulary

# -o name=value or -o { name = value }, where the value may hold groups of its own.
_OPTION = re.compile(r"-o\s*(?:\{\s*(\w+)\s*=((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}|(\w+)\s*=(\S*))")


def check(service: str, entry: str, vocabulary: Vocabulary | None) -> Iterator[str]:
    """The rules that a line breaks: service type private unpriv chroot wakeup maxproc command [argument ...]."""
    fields = entry.split()
    if "\n" in entry or len(fields) < 8:
        yield "must be a whole line of master.cf: service type private unpriv chroot wakeup maxproc command"
        return
    if "/".join(fields[:2]) != service:
        yield f"must begin with the service and type of its name: {service.replace('/', ' ')}"
    if any(flag not in ("y", "n", "-") for flag in fields[2:5]):
        yield "must have y, n or - as its third to fifth word (private, unpriv, chroot)"
    if not re.fullmatch(r"-|[0-9]+\??", fields[5]) or not re.fullmatch(r"-|[0-9]+", fields[6]):
        yield "must have a number or - as its sixth and seventh word (wakeup, maxproc)"
    if fields[4] == "y":
        yield "must not use a chroot (fifth word n): the image has none prepared"
    if service == "postlog/unix-dgram":
        yield "cannot be changed: the log goes to the container's output"
    if vocabulary and fields[7] not in vocabulary.programs:
        yield f"must name a program of Postfix, and {fields[7]!r} is none"
    yield from _open_doors(entry)


def _open_doors(entry: str) -> Iterator[str]:
    for name, value in options(entry):
        if name == "mynetworks":
            yield "must not change who is trusted: that is MYNETWORKS, which is checked"
        elif name in parameters.DECIDES_WHO_MAY_SEND:
            yield f"must not set {name}: {parameters.DECIDES_WHO_MAY_SEND[name]}"
        elif restrictions.LISTS.match(name):
            yield from restrictions.check(name, value, {})


def program(entry: str) -> str:
    """Of Postfix, that the line starts; "" if it is not whole."""
    return next(iter(entry.split()[7:]), "")


def verbose(entry: str) -> bool:
    """Whether the program writes to the log what it says and hears, passwords among it."""
    return any(re.fullmatch("-v+", word) for word in entry.split()[8:])


def preceded(entry: str, name: str, restriction: str) -> str:
    """The line with a restriction before all others, wherever it sets the list of that name."""

    def with_it(option: re.Match[str]) -> str:
        if name not in (option[1], option[3]):
            return option[0]
        own = (option[2] or option[4] or "").strip()
        return f"-o {{ {name} = {restriction}{', ' if own else ''}{own} }}"

    return _OPTION.sub(with_it, entry)


def options(entry: str) -> Iterator[tuple[str, str]]:
    """The parameters that a line sets for its service."""
    for braced, group, plain, word in _OPTION.findall(entry):
        yield (braced or plain), (group or word).strip()
