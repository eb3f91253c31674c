"""The environment, given as a mapping, becomes Settings, or every problem with it at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from envparse import ConfigurationError, Env

from . import passthrough
from .problem import MisconfiguredError, Problem
from .settings import Row, Settings, row, variables
from .vocabulary import Vocabulary

# What Kubernetes adds to every container for each Service: NAME_SERVICE_HOST, NAME_PORT_25_TCP_ADDR, ... A Service
# called "postfix", "relayhost" or "health" must not look like a setting.
_SERVICE_LINK = re.compile(
    r".*_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)\Z"
)
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://")
# Set by the engine in every container, and one letter pair from a setting of ours.
_NOT_OURS = frozenset({"HOSTNAME"})
# Nothing but a setting of this relay begins so; anything else must resemble one closely to be taken for a mistake.
_OUR_PREFIXES = ("RELAYHOST_", "ALLOWED_SENDER_", "MASQUERADED_")
_RESEMBLANCE = 0.89
_RESEMBLANCE_OF_OURS = 0.8
# Settings of the most-used Postfix image that would be missed if they were passed over in silence.
_ELSEWHERE = {
    "DKIM_AUTOGENERATE": "this version does not sign mail",
    "DKIM_SELECTOR": "this version does not sign mail",
    "MYDESTINATION": "nothing is delivered inside this relay",
    "RELAYHOST_PORT": "the port belongs to RELAYHOST, as in [smtp.example.com]:587",
    "SASL_RELAYHOST": "the login belongs to RELAYHOST",
    "SMTPD_SASL_USERS": "this version has no logins for clients; MYNETWORKS says who may send",
    "SMTP_HEADER_CHECKS": "use POSTFIX_header_checks",
    "XOAUTH2_CLIENT_ID": "this version logs in with a password only",
}
_LARGEST_SECRET_FILE = 65536


@dataclass
class _Reading:
    """One pass over an environment: what is left of it, and what was wrong so far."""

    environ: dict[str, str]
    problems: list[Problem] = field(default_factory=list)

    def refuse(self, setting: str, value: str | None, rule: str) -> None:
        self.problems.append(Problem(setting, value, rule))


def read(environ: Mapping[str, str], vocabulary: Vocabulary | None = None) -> Settings:
    """The settings in `environ`.

    Without a vocabulary, as on a laptop, the names and types of Postfix's own parameters go unchecked. Raises
    IncompleteError with all problems.
    """
    reading = _Reading(
        {name: value for name, value in environ.items() if value and not _service_link(name, value)}
    )
    values = {f.name: _setting(reading, name) for name, f in variables().items()}
    parameters, services = passthrough.read(reading.environ, vocabulary, reading.problems)
    _refuse_unknown(reading)
    settings = Settings(**values, parameters=parameters, services=services)
    if reading.problems:
        raise IncompleteError(reading.problems, settings)
    return settings


class IncompleteError(MisconfiguredError):
    """Some settings could not be read: they have their defaults in `settings`."""

    def __init__(self, problems: list[Problem], settings: Settings) -> None:
        super().__init__(problems)
        self.settings = settings


def setting_of(spelling: str) -> str:
    """The setting's name for any spelling of it: NAME, NAME_FILE or POSTFIX_<its parameter>."""
    for name, declared in variables().items():
        if spelling in _spellings(name, row(declared)):
            return name
    return spelling


def _spellings(name: str, declared: Row) -> list[str]:
    twin = [f"{name}_FILE"] if declared.secret else []
    other = [f"POSTFIX_{declared.parameter}"] if declared.parameter else []
    return [name, *twin, *other]


def _service_link(name: str, value: str) -> bool:
    return bool(_SERVICE_LINK.match(name) or (name.endswith("_PORT") and _SERVICE_URL.match(value)))


def _setting(reading: _Reading, name: str) -> Any:
    """The value of one setting; where it breaks a rule, the problem is noted and the default returned."""
    declared = row(variables()[name])
    spelling, value = _written(reading, name)
    if value is not None:
        try:
            return Env.cast(value, cast=declared.parse)
        except ConfigurationError as error:
            reading.refuse(spelling, None if declared.secret else value, str(error))
    return declared.parse(declared.default) if declared.default else declared.unset


def _written(reading: _Reading, name: str) -> tuple[str, str | None]:
    """Under which of its spellings a setting is given, and its text. Two spellings that differ are a problem."""
    declared = row(variables()[name])
    given = [(s, reading.environ.pop(s)) for s in _spellings(name, declared) if s in reading.environ]
    if len(given) > 1:
        shown = None if declared.secret else given[1][1]
        reading.refuse(
            given[1][0], shown, f"must not be set together with {given[0][0]}: which one is meant?"
        )
        return name, None
    if not given:
        return name, None
    spelling, value = given[0]
    return (spelling, _file(reading, spelling, value)) if spelling == f"{name}_FILE" else (spelling, value)


def _file(reading: _Reading, name: str, path: str) -> str | None:
    """A secret's file without its trailing newline, which editors and `echo` add and no password has."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        reading.refuse(name, path, f"must be a readable file: {error.strerror}")
        return None
    if len(content) > _LARGEST_SECRET_FILE:
        reading.refuse(name, path, "must be a file of at most 64 KB")
        return None
    if not content.strip(b"\r\n"):
        reading.refuse(name, path, "must not be an empty file")
        return None
    # The same bytes that an environment variable would carry, whatever their encoding.
    return content.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "surrogateescape")


def _refuse_unknown(reading: _Reading) -> None:
    """What is left looks like a setting of ours: a typo must not pass for a choice."""
    names = list(variables())
    for name in sorted(reading.environ):
        if name in _NOT_OURS:
            continue
        if name in _ELSEWHERE:
            reading.refuse(name, None, f"is a setting of another image: {_ELSEWHERE[name]}")
        elif name.removesuffix("_FILE") in names:
            reading.refuse(
                name, None, f"only secrets are read from files; set {name.removesuffix('_FILE')} instead"
            )
        elif meant := _meant(name.upper(), names):
            reading.refuse(name, None, f"is not a setting; did you mean {meant}?")


def _meant(name: str, names: list[str]) -> str | None:
    """The setting that an unknown name was probably meant to be."""
    cutoff = _RESEMBLANCE_OF_OURS if name.startswith(_OUR_PREFIXES) else _RESEMBLANCE
    if near := get_close_matches(name, names, n=1, cutoff=cutoff):
        return near[0]
    cut_short = (n for n in names if n.startswith(f"{name}_") and len(name) > len(n) / 2)
    ours = (
        n for n in names for prefix in _OUR_PREFIXES if name.startswith(prefix) and n.startswith(prefix[:-1])
    )
    return next(cut_short, next(ours, None))
