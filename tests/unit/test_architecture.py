"""The house's rules, so that they hold without anybody remembering them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "entrypoint"
MODULES = sorted(PACKAGE.rglob("*.py"))
# From which part of the package a part may import. Those not named here are single modules at the top.
ARROWS = {
    "config": {"config", "tls", "nonroot"},
    "tls": {"tls"},
    "logins": {"logins", "config", "postfix", "log", "processes", "runtime"},
    "postfix": {"postfix", "config", "maillog", "nonroot"},
    "probe": {"probe"},
    "maillog": {"maillog"},
    "keeper": {"keeper", "maillog", "config", "nonroot", "postfix", "log", "processes", "runtime"},
    "page": {"page", "health", "maillog", "postfix", "log", "runtime"},
    "queueverbs": {"queueverbs", "asking", "postfix"},
    "health": {"health", "postfix", "log", "processes", "runtime"},
}


def imported_parts(path: Path) -> Iterator[str]:
    """The parts of the package that a module imports, wherever in it."""
    package = ["entrypoint", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = [*base, *(node.module.split(".") if node.module else [])]
            names = [source] if len(source) > 1 else [[*source, alias.name] for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        yield from (name[1] for name in names if name[0] == "entrypoint" and len(name) > 1)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_run_one_way(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0]
    found = set(imported_parts(path))
    assert "__main__" not in found
    if part in ARROWS:
        assert found <= ARROWS[part]


def test_the_environment_is_read_and_the_process_ended_in_one_place() -> None:
    forbidden = ("os.environ", "getenv", "sys.exit", "os._exit")
    found = {p.name for p in MODULES if any(word in p.read_text() for word in forbidden)}
    assert found == {"__main__.py"}
