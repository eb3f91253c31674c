"""The recipes of docs/topologies.md, and what of them stands in the files that they name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/topologies.md").read_text()
_TABLES = ("RELAY_DOMAINS", "RELAY_RECIPIENTS", "UPSTREAMS", "SENDER_LOGINS", "TRANSPORT")


def _read() -> tuple[dict[str, str], dict[str, set[str]]]:
    texts, files = {}, {}
    for part in PAGE.split("\n### ")[1:]:
        rows, _, text = part.partition(":")
        for number, recipe in enumerate(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)):
            name = f"{rows.partition(',')[0]}-{number}"
            texts[name] = recipe
            files[name] = set(re.findall(r"\]\(\.\./(deploy/compose/[^)]+\.yml)\)", text))
    return texts, files


RECIPES, FILES = _read()
"""By row and number ("C7-0"): the lines of environment:, and the files that the row names."""


def settings(recipe: str) -> dict[str, str]:
    """As compose would give them to the relay: `$$` is a dollar."""
    given: dict[str, Any] = YAML(typ="safe").load(recipe)
    for value in given.values():
        assert isinstance(value, str), "compose wants text"
        assert "$" not in value.replace("$$", ""), "compose would refuse this, or leave out a part of it"
    return {name: value.replace("$$", "$") for name, value in given.items()}


def recipe(name: str, **servers: str) -> dict[str, str]:
    """The settings of that recipe as a test starts it; of the hosts on the page, each is the next hop that `servers` has
    for the host's first label.
    """
    text = RECIPES[name]
    for label, server in servers.items():
        text, found = re.subn(rf"\[{label}\.[^]]+\]:[0-9]+", server, text)
        assert found, label
    return settings(text)


def stands_in(recipe: str, file: str) -> bool:
    """Whether some service of that file has all of these settings; of a table, all of these lines."""
    services = YAML(typ="safe").load(ROOT / file)["services"].values()
    given = {name: _entries(name, value) for name, value in settings(recipe).items()}
    return any(
        all(
            entries <= _entries(name, each.get("environment", {}).get(name, ""))
            for name, entries in given.items()
        )
        for each in services
    )


def _entries(name: str, value: str) -> set[str]:
    return (
        {entry.strip() for entry in re.split(r"[\n,;]", value) if entry.strip()}
        if name in _TABLES
        else {value}
    )
