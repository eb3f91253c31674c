"""The README says what the table of settings says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from entrypoint.config import reference
from entrypoint.config.settings import SECTIONS, row, variables

ROOT = Path(__file__).parents[2]


def test_the_readme_shows_the_settings_as_they_are(request: pytest.FixtureRequest) -> None:
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text().partition(f"{reference.BEGIN}\n")
    shown, _, after = rest.partition(reference.END)
    if request.config.getoption("record"):
        shown = reference.markdown()
        readme.write_text(f"{before}{reference.BEGIN}\n{shown}{reference.END}{after}")
    assert shown == reference.markdown(), "run: make reference"


def test_every_setting_is_in_a_section_that_is_shown() -> None:
    assert {row(declared).section for declared in variables().values()} == set(SECTIONS)


def test_the_compose_file_uses_only_settings_that_exist() -> None:
    lines = (
        (ROOT / "docker-compose.yml")
        .read_text()
        .partition("  sink:")[0]
        .partition("environment:")[2]
        .splitlines()
    )
    used = [
        line.split(":")[0].strip()
        for line in lines
        if line.startswith("      ") and line.strip()[:1].isupper()
    ]
    assert used
    assert set(used) <= set(variables())


def test_the_readmes_recipes_use_only_settings_that_exist() -> None:
    used = set(re.findall(r"-e ([A-Z][A-Z_]+)=", (ROOT / "README.md").read_text()))
    assert {"RELAYHOST", "TRUST_GATEWAY"} <= used <= set(variables())
