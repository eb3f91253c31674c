"""Decisions become files. A template's path below rootfs/ is its file's destination; templates print, nothing more."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from entrypoint.tls.chain import Chain

from .about import about
from .policy import Policy, certificates, logins, routes, upstreams
from .secret import Secret
from .tables.access import Login

_SECRETS = "etc/postfix"
_CA = "etc/postfix/relayhost-ca.pem"
CERTIFICATE = "etc/postfix/tls.pem"
DRAIN = "etc/postfix/drain"
"""Empty until a stop (entrypoint/keeper/refusal.py), when it refuses all clients."""
WATCHED = "watched"
LOG_SALT = "etc/postern/log_salt"
PAGE_LOGIN = "etc/postern/page_password"
ABOUT = "etc/postern/about.json"
UPSTREAMS = "etc/postern/upstreams"
CERTIFICATES = "etc/postern/certificates"
"""For metrics: the ways out, one name a line, and the certificates that clients are shown, with their ends."""
SASLDB_SUM = "etc/postern/sasldb.sha256"
"""Tells whether the sasldb would be another one: two that hold the same are not the same files."""
TEMPLATES = (
    "etc/postfix/main.cf",
    "etc/postfix/master.cf",
    "etc/postern/runtime.json",
    "etc/postern/ways",
    "etc/supervisor/supervisord.conf",
)
LOGINS_GROUP = 104
"""Of the logins server (Dockerfile)."""


@dataclass(frozen=True)
class File:
    """`path` is relative to the root; `mode` as for chmod(1); `group` who may read it beside root."""

    path: str
    text: str
    mode: int = 0o644
    group: int | None = None

    def masked(self) -> File:
        """For the eyes of people."""
        text = f"{self.text}\n" if isinstance(self.text, Secret) else self.text
        return File(self.path, "".join(str(text)), self.mode)

    def revealed(self) -> File:
        text = self.text.reveal() if isinstance(self.text, Secret) else self.text
        return File(self.path, text, self.mode)


@dataclass(frozen=True)
class Table:
    """A lookup table, compiled to lmdb when it is installed; without its ending, as Postfix names it."""

    path: str
    entries: Mapping[str, str]

    def masked(self) -> File:
        return File(self.path, "".join(f"{key} {value}\n" for key, value in self.entries.items()), 0o600)

    def revealed(self) -> File:
        lines = (f"{key} {revealed(value)}\n" for key, value in self.entries.items())
        return File(self.path, "".join(lines), 0o600)


@dataclass(frozen=True)
class Sasldb:
    """Cyrus SASL's password file, made by its own program when it is installed."""

    path: str
    users: tuple[Login, ...]
    hostname: str
    group: int = LOGINS_GROUP

    def masked(self) -> File:
        return File(self.path, "".join(f"{user.name}:{user.secret}\n" for user in self.users), 0o600)

    def revealed(self) -> File:
        lines = (f"{user.name}:{user.secret.reveal()}\n" for user in self.users)
        return File(self.path, "".join(lines), 0o600)


Made = File | Table | Sasldb


def revealed(value: str) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def templates() -> Path:
    """Where the templates are: beside what they become in the image, in rootfs/ of a checkout."""
    checkout = Path(__file__).parents[2] / "rootfs"
    return checkout if checkout.is_dir() else Path("/")


def files(policy: Policy, source: Path, root: Path) -> list[Made]:
    """Every file of the configuration. `root` is where they will be installed: tables are named by their full path."""
    environment = _environment(source)
    context = {"policy": policy, "root": root}
    made: list[Made] = [
        File(name, environment.get_template(f"{name}.j2").render(context)) for name in TEMPLATES
    ]
    made.append(File(UPSTREAMS, "".join(f"{name}\n" for name in upstreams.names(policy.settings))))
    made.append(File(ABOUT, about(policy)))
    if policy.ca_pem:
        made.append(File(_CA, policy.ca_pem))
    if policy.watched:
        made.append(File(WATCHED, "".join(f"{path}\n" for path in policy.watched)))
    if policy.needs_certificate and (chain := certificates.given(policy.settings, policy.hostname)):
        made.append(File(CERTIFICATE, Secret(chain.pem), 0o600))
        made.append(ends([chain, *policy.settings.certificates.values()]))
    if salt := policy.settings.log_addresses_salt:
        made.append(File(LOG_SALT, salt, 0o600))
    if password := policy.settings.health_page_password:
        made.append(File(PAGE_LOGIN, password, 0o600))
    made += _logins(policy, root)
    made.append(Table(DRAIN, {}))
    made += [Table(f"{routes.TABLES}/{name}", entries) for name, entries in policy.tables.items()]
    return made + [Table(f"{_SECRETS}/{name}", entries) for name, entries in policy.password_tables.items()]


def replaced(policy: Policy, source: Path) -> list[str]:
    """The user's parameters in whose place main.cf would have another value."""
    if not policy.parameters:
        return []
    template = _environment(source).get_template("etc/postfix/main.cf.j2")
    own = template.render(policy=replace(policy, parameters={}), root=Path("/"))
    return [name for name in policy.parameters if re.search(rf"^{re.escape(name)}\s*=", own, re.MULTILINE)]


def _environment(source: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(source),
        undefined=StrictUndefined,
        finalize=_printed,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701  # escaping for HTML would corrupt what is no HTML
    )
    environment.filters["without"] = _without
    environment.filters["without_services"] = _without_services
    return environment


def ends(chains: Iterable[Chain], own_ca: datetime | None = None) -> File:
    """Seconds since 1970 at which a certificate ends, and the first of its names, in each line."""
    found = {"own CA": own_ca.timestamp()} if own_ca else {}
    for chain in chains:
        name, end = next(iter(chain.names), "-"), chain.not_after.timestamp()
        found[name] = min(end, found.get(name, end))
    return File(CERTIFICATES, "".join(f"{end:.0f} {name}\n" for name, end in found.items()))


def _logins(policy: Policy, root: Path) -> Iterable[Made]:
    """What the logins server reads; it runs as a user of its own, and nobody else may read it."""
    backend = policy.logins_backend
    if not backend:
        return
    configuration = _revealed(logins.configuration(policy.settings, policy.hostname, str(root)))
    yield File("etc/postern/logins.json", Secret(json.dumps(configuration)), 0o640, LOGINS_GROUP)
    if pem := logins.ca_pem(policy.settings):
        yield File(f"{logins.DIRECTORY}/{logins.CA}", pem)
    if backend == "users":
        yield File(f"{logins.DIRECTORY}/users", logins.password_lines(policy.settings), 0o640, LOGINS_GROUP)
    if backend == "sasldb":
        database = Sasldb(f"{logins.DIRECTORY}/sasldb2", policy.settings.smtpd_sasl_users, policy.hostname)
        text = revealed(database.revealed().text).encode("utf-8", "surrogateescape")
        yield File(SASLDB_SUM, Secret(hashlib.sha256(text).hexdigest()), 0o600)
        yield database


def _revealed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _revealed(part) for name, part in value.items()}
    return revealed(value) if isinstance(value, str) else value


def _printed(value: Any) -> Any:
    """How every value in every template is written: Postfix's words for truth and lists, and never a second line."""
    if isinstance(value, Secret):
        raise TypeError("a secret belongs in a table, not in a template")
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(_printed(part)) for part in value)
    if re.search(r"[\r\n\0]", shown := str(value)):
        raise ValueError(f"a value with a line break would forge configuration: {shown!r}")
    return value


def _without(text: str, names: Collection[str]) -> str:
    """main.cf's lines but for the named parameters: written twice, each Postfix process would warn about them."""
    return "".join(_kept(text.splitlines(keepends=True), names))


def _without_services(text: str, services: Collection[str]) -> str:
    """master.cf's lines but for the given services ("name/type"); a port and its name are one service."""
    replaced = {_service(*service.rsplit("/", 1)) for service in services}
    kept, dropping = [], False
    for line in text.splitlines(keepends=True):
        if line.strip() and line[0] != "#" and not line[0].isspace():
            dropping = _service(*line.split()[:2]) in replaced
        if not dropping or line[0] == "#" or not line.strip():
            kept.append(line)
    return "".join(kept)


def _service(name: str, kind: str) -> tuple[str, str]:
    ports = {"smtp": "25", "submission": "587", "submissions": "465", "smtps": "465"}
    return (ports.get(name, name) if kind == "inet" else name), kind


def _kept(lines: Iterable[str], names: Collection[str]) -> Iterable[str]:
    dropping = False
    for line in lines:
        if match := re.match(r"(\S+)\s*=", line):
            dropping = match[1] in names
        elif not line[:1].isspace() or not line.strip():
            dropping = False
        if not dropping:
            yield line
