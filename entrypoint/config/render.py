"""Decisions become files. A template's path below rootfs/ is its file's destination; templates print, nothing more."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .policy import Policy
from .settings import Secret

TABLES = "etc/postfix"
_CA = "etc/postfix/relayhost-ca.pem"
TEMPLATES = (
    "etc/postfix/main.cf",
    "etc/postfix/master.cf",
    "etc/postern/runtime.json",
    "etc/supervisor/supervisord.conf",
)


@dataclass(frozen=True)
class File:
    """`path` is relative to the root; `mode` as for chmod(1)."""

    path: str
    text: str
    mode: int = 0o644


@dataclass(frozen=True)
class Table:
    """A lookup table, compiled to lmdb when it is installed; without its ending, as Postfix names it."""

    path: str
    entries: dict[str, Secret]

    def masked(self) -> File:
        return File(self.path, "".join(f"{key} {value}\n" for key, value in self.entries.items()), 0o600)

    def revealed(self) -> File:
        return File(
            self.path, "".join(f"{key} {value.reveal()}\n" for key, value in self.entries.items()), 0o600
        )


def templates() -> Path:
    """Where the templates are: beside what they become in the image, in rootfs/ of a checkout."""
    checkout = Path(__file__).parents[2] / "rootfs"
    return checkout if checkout.is_dir() else Path("/")


def files(policy: Policy, source: Path, root: Path) -> list[File | Table]:
    """Every file of the configuration. `root` is where they will be installed: tables are named by their full path."""
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
    context = {"policy": policy, "root": root}
    made: list[File | Table] = [
        File(name, environment.get_template(f"{name}.j2").render(context)) for name in TEMPLATES
    ]
    if policy.ca_pem:
        made.append(File(_CA, policy.ca_pem))
    return made + [Table(f"{TABLES}/{name}", entries) for name, entries in policy.tables.items()]


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
    return "".join(
        line
        for line in text.splitlines(keepends=True)
        if line.startswith("#") or not line.strip() or _service(*line.split()[:2]) not in replaced
    )


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
