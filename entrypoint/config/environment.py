"""The environment, given as a mapping, becomes Settings, or every problem with it at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from envparse import ConfigurationError, Env

from entrypoint.tls import chain as tls_chain
from entrypoint.tls import directory as tls_directory
from entrypoint.tls.chain import Chain

from . import files, passthrough, secret
from .parsers import simple
from .problem import MisconfiguredError, Problem
from .settings import Row, Settings, row, variables
from .tables.lines import Source
from .values import Certificates
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
    "SMTP_HEADER_CHECKS": "use POSTFIX_header_checks",
    "XOAUTH2_CLIENT_ID": "this version logs in with a password only",
}
# The one place to mount tables at; a file's name is its setting's in small letters.
DIRECTORY = Path("/config")
_CERTIFICATES = "certificates"


@dataclass
class _Reading:
    """One pass over an environment: what is left of it, and what was wrong so far."""

    environ: dict[str, str]
    directory: Path
    problems: list[Problem] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    wrong: set[str] = field(default_factory=set)
    """The settings that could not be read, whatever their spelling was, or the file that a problem is in."""

    def refuse(self, setting: str, value: str | None, rule: str) -> None:
        self.problems.append(Problem(setting, value, rule))


def read(
    environ: Mapping[str, str], vocabulary: Vocabulary | None = None, directory: Path = DIRECTORY
) -> Settings:
    """The settings in `environ`, and the tables in `directory`.

    Without a vocabulary, as on a laptop, the names and types of Postfix's own parameters go unchecked. Raises
    IncompleteError with all problems.
    """
    reading = _Reading(
        {name: value for name, value in environ.items() if value and not _service_link(name, value)},
        directory,
    )
    values = {f.name: _setting(reading, name) for name, f in variables().items()}
    parameters, services = passthrough.read(reading.environ, vocabulary, reading.problems)
    _refuse_unknown(reading)
    _refuse_unknown_files(reading)
    certificate, certificates = _certificate(reading, values), _certificates(reading)
    settings = Settings(
        **values,
        parameters=parameters,
        services=services,
        certificate=certificate,
        certificates=certificates,
        sources=tuple(_sources(reading, values)),
    )
    if reading.problems:
        raise IncompleteError(reading.problems, settings, frozenset(reading.wrong))
    return settings


class IncompleteError(MisconfiguredError):
    """Some settings, `wrong`, could not be read: they have their defaults in `settings`."""

    def __init__(self, problems: list[Problem], settings: Settings, wrong: frozenset[str]) -> None:
        super().__init__(problems)
        self.settings = settings
        self.wrong = wrong


def _spellings(name: str, declared: Row) -> list[str]:
    twin = [f"{name}_FILE"] if declared.secret else []
    other = [f"POSTFIX_{declared.parameter}"] if declared.parameter else []
    return [name, *twin, *other]


def _service_link(name: str, value: str) -> bool:
    return bool(_SERVICE_LINK.match(name) or (name.endswith("_PORT") and _SERVICE_URL.match(value)))


def _setting(reading: _Reading, name: str) -> Any:
    """The value of one setting; where it breaks a rule, the problem is noted and the default returned."""
    declared, before = row(variables()[name]), len(reading.problems)
    spelling, value = _written(reading, name)
    if value is not None:
        try:
            return Env.cast(
                value, cast=partial(_table, spelling, declared) if declared.table else declared.parse
            )
        except ConfigurationError as error:
            hint = "; it counts the quotes around it: write it without quotes" if simple.quoted(value) else ""
            reading.refuse(spelling, None if declared.secret else value, f"{error}{hint}")
        except MisconfiguredError as error:
            reading.problems.extend(error.problems)
    if len(reading.problems) > before:
        reading.wrong.add(name)
    return declared.parse(declared.default) if declared.default else declared.unset


def _written(reading: _Reading, name: str) -> tuple[str, str | None]:
    """Under which of its spellings a setting is given, and its text. Two spellings that differ are a problem."""
    declared = row(variables()[name])
    given = [(s, reading.environ.pop(s)) for s in _spellings(name, declared) if s in reading.environ]
    if (file := _mounted(reading, name, declared)) is not None:
        given.append((str(file), str(file)))
    if len(given) > 1:
        shown = None if declared.secret or given[1][0].startswith("/") else given[1][1]
        reading.refuse(
            given[1][0], shown, f"must not be set together with {given[0][0]}: which one is meant?"
        )
        return name, None
    if not given:
        return name, None
    spelling, value = given[0]
    if spelling.startswith("/"):
        return spelling, _text(reading, Problem(spelling, None, ""), spelling, declared)
    if spelling != f"{name}_FILE":
        return spelling, value
    if declared.table:
        reading.sources.append(value)
        return value, _text(reading, Problem(spelling, value, ""), value, declared)
    return spelling, _secret(reading, spelling, value)


def _mounted(reading: _Reading, name: str, declared: Row) -> Path | None:
    file = reading.directory / name.lower()
    return file if declared.table and declared.mounted and os.path.lexists(file) else None


def _text(reading: _Reading, named: Problem, path: str, declared: Row) -> str | None:
    """The text of a table's file; `named` is how a problem with it begins."""
    try:
        content = files.read(simple.path(path), declared.largest)
        return content.decode(errors="surrogateescape" if declared.secret else "strict")
    except UnicodeDecodeError:
        rule = "must be a text in UTF-8"
    except ValueError as error:
        rule = str(error)
    reading.problems.append(replace(named, rule=rule))
    return None


def _table(spelling: str, declared: Row, text: str) -> Any:
    """The entries of a table. Raises MisconfiguredError with the problems of all its lines."""
    # Where the variable is what has always been known, its _FILE may hold what it could.
    separated = not spelling.startswith("/") or not declared.mounted
    source = Source(
        spelling,
        text,
        declared.separators if separated else "",
        secret=declared.secret,
        exact=declared.exact,
    )
    assert declared.table is not None  # noqa: S101  # for the type checker: the caller looked
    return declared.table(source)


def _secret(reading: _Reading, name: str, path: str) -> str | None:
    reading.sources.append(path)
    try:
        return secret.read(path).reveal()
    except ValueError as error:
        reading.refuse(name, path, str(error))
        return None


def _certificate(reading: _Reading, values: Mapping[str, Any]) -> Chain | None:
    certificate, key, chain = (values[f"smtpd_tls_{part}_file"] for part in ("cert", "key", "chain"))
    if certificate is None:
        for part, path in (("KEY", key), ("CHAIN", chain)):
            if path:
                reading.refuse(f"SMTPD_TLS_{part}_FILE", path, "must come with SMTPD_TLS_CERT_FILE")
        return None
    try:
        return tls_chain.load(Path(certificate), Path(key) if key else None, Path(chain) if chain else None)
    except ValueError as error:
        reading.refuse("SMTPD_TLS_CERT_FILE", certificate, str(error))
        reading.wrong.add("SMTPD_TLS_CERT_FILE")
        return None


def _certificates(reading: _Reading) -> Mapping[str, Chain]:
    """Those for further names, from a directory."""
    where = reading.directory / _CERTIFICATES
    if not os.path.lexists(where):
        return {}
    try:
        return tls_directory.load(where)
    except tls_directory.FaultsError as error:
        for path, rule in error.faults:
            reading.refuse(str(path), None, rule)
        return {}


def _sources(reading: _Reading, values: Mapping[str, Any]) -> Iterator[str]:
    """What to look at for changes: the directory as a whole, and every file that a variable names."""
    if reading.directory.is_dir():
        yield str(reading.directory)
    yield from reading.sources
    for name in ("smtpd_tls_cert_file", "smtpd_tls_key_file", "smtpd_tls_chain_file"):
        if values[name]:
            yield values[name]
    yield from (value.path for value in values.values() if isinstance(value, Certificates))
    yield from (upstream.password_file for upstream in values["upstreams"] if upstream.password_file)


def _refuse_unknown_files(reading: _Reading) -> None:
    """A table with a wrong name would be passed over in silence, and so would be what it should do.

    Tables have no ending; what has one, such as ca.pem, is somebody's own unless it looks like a table with one.
    """
    if not reading.directory.is_dir():
        if os.path.lexists(reading.directory):
            reading.refuse(
                str(reading.directory), None, "must be a directory, with a file for each table in it"
            )
        return
    tables = [name.lower() for name, f in variables().items() if row(f).table and row(f).mounted]
    try:
        files = sorted(reading.directory.iterdir())
    except OSError as error:
        reading.refuse(str(reading.directory), None, f"must be a readable directory: {error.strerror}")
        return
    for file in files:
        # Kubernetes mounts are full of names that begin with two dots; editors and file systems leave others.
        passed = (*tables, _CERTIFICATES, "lost+found")
        if file.name.startswith(".") or file.name.endswith("~") or file.name in passed:
            continue
        near = get_close_matches(file.name.partition(".")[0], [*tables, _CERTIFICATES], n=1, cutoff=0.7)
        if near or "." not in file.name:
            meant = f"; did you mean {near[0]}?" if near else f": the tables are {', '.join(tables)}"
            reading.refuse(str(file), None, f"is not a table{meant}")


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
