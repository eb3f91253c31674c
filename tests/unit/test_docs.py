"""What the pages in docs/ tell people to type is what the tests run."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import trustme

from entrypoint.__main__ import VERBS
from entrypoint.config import decision, summary
from entrypoint.config.host import Host
from entrypoint.config.settings import row, variables
from entrypoint.health import metrics
from tests import topologies

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
_SHOWN = re.compile(r"<!-- file: (?P<path>\S+) -->\n(?P<fence>.*?)<!-- end -->\n", re.DOTALL)
_LANGUAGE = {
    ".env": "sh",
    ".go": "go",
    ".java": "java",
    ".py": "python",
    ".sh": "sh",
    ".yml": "yaml",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_shows_its_files_as_they_are(page: Path, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("record"):
        page.write_text(_SHOWN.sub(_fenced, page.read_text()))
    text = page.read_text()
    assert _SHOWN.sub(_fenced, text) == text, "run: make reference"
    assert text.count("<!-- file:") == len(_SHOWN.findall(text))


def test_every_recipe_of_a_client_is_shown() -> None:
    clients = ROOT / "tests/image/clients"
    recipes = {
        str(file.relative_to(ROOT))
        for file in clients.rglob("*")
        if file.is_file()
        and file.parent.name != "__pycache__"
        and file.name not in ("Dockerfile", ".dockerignore")
    }
    shown = {found["path"] for found in _SHOWN.finditer((ROOT / "docs/clients.md").read_text())}
    # How the compiled ones and Python's are called is in their first lines.
    assert recipes - shown == {f"tests/image/clients/{name}/send.sh" for name in ("go", "java", "smtplib")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_only_settings_that_exist(page: Path) -> None:
    used = set(re.findall(r"(?:-e |^\s{6})([A-Z][A-Z_]+)[=:]", page.read_text(), re.MULTILINE))
    assert used <= set(variables())


def test_the_alert_rules_name_only_settings_that_exist() -> None:
    used = set(re.findall(r"\b[A-Z]{3,}_\w+", (ROOT / "deploy/monitoring/alerts.yml").read_text()))
    assert used
    assert used <= set(variables())


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """The files that recipes name."""
    authority = trustme.CA()
    issued = authority.issue_cert("relay.example.com")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "relay.pem")
    issued.private_key_pem.write_to_path(tmp_path / "privkey.pem")
    for number, part in enumerate(issued.cert_chain_pems):
        part.write_to_path(tmp_path / "fullchain.pem", append=number > 0)
    for name in ("smarthost", "first", "second", "example-com", "example-org", "ldap", "sql", "a", "b"):
        (tmp_path / name).write_text("a password\n")
    (tmp_path / "users").write_text("app@example.com:a password\n")
    return tmp_path


@pytest.mark.parametrize("recipe", topologies.RECIPES.values(), ids=topologies.RECIPES.keys())
def test_the_relay_takes_a_topologys_settings(recipe: str, machine: Host, mounted: Path) -> None:
    decision.make(topologies.settings(recipe.replace("/run/secrets", str(mounted))), None, machine)


def test_each_recipe_is_started_by_a_test_in_the_file_it_names_or_as_it_stands_on_the_page() -> None:
    """The files are started by tests/image/test_compose_topologies.py and test_scaling.py."""
    whole = {
        name
        for name, recipe in topologies.RECIPES.items()
        if any(topologies.stands_in(recipe, file) for file in topologies.FILES[name])
    }
    tests = "".join(file.read_text() for file in (ROOT / "tests/image").glob("test_*.py"))
    alone = set(re.findall(r'recipe\("([A-Z0-9]+-[0-9])"', tests))
    assert whole | alone == topologies.RECIPES.keys()
    assert not whole & alone, "nobody needs to start these once more"


_README_RECIPES = re.findall(
    r"```sh\n(.*?)```", README.read_text().partition("\n## Recipes\n")[2].partition("\n## ")[0], re.DOTALL
)


@pytest.mark.parametrize("recipe", _README_RECIPES)
def test_the_relay_takes_the_settings_of_a_readme_recipe(recipe: str, machine: Host, mounted: Path) -> None:
    """As one pastes it: a line that is not continued would be a command of its own."""
    [line] = recipe.replace("\\\n", " ").splitlines()
    for place in ("/run/secrets", "/certificates"):
        line = line.replace(f"{place}/", f"{mounted}/")
    words = shlex.split(line)
    given = [words[at + 1] for at, word in enumerate(words) if word == "-e"]
    decision.make(dict(setting.split("=", 1) for setting in given), None, machine)


def test_the_relay_takes_the_readmes_tables_of_your_own_and_its_milter(machine: Host, tmp_path: Path) -> None:
    told = README.read_text().partition("**DKIM, milters,")[2].partition("\n## ")[0]
    [block] = re.findall(r"```sh\n(.*?)```", told, re.DOTALL)
    for name in ("header_checks", "senders"):
        (tmp_path / name).touch()
    words = shlex.split(block.replace("\\\n", " ").replace("/tables/", f"{tmp_path}/"))
    given = [words[at + 1] for at, word in enumerate(words) if word == "-e"]
    assert len(given) == 4
    decision.make(dict(setting.split("=", 1) for setting in given), None, machine)
    assert "`pcre:` is not" in told
    assert "postfix-pcre" not in (ROOT / "Dockerfile").read_text()


def test_the_readmes_chown_gives_both_volumes_to_the_user() -> None:
    volumes = re.search(r"^VOLUME (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    given = re.search(r"--user 0 (.*?) postern chown -R 1000 ([^`]*)`", README.read_text())
    assert volumes
    assert given
    assert given[2].split() == json.loads(volumes[1])
    assert re.findall(r"-v [\w-]+:(\S+)", given[1]) == json.loads(volumes[1])


def test_the_log_words_by_which_the_pages_tell_that_587_takes_logins_are_the_starts(machine: Host) -> None:
    without, users = {"RELAYHOST": "[smtp.example.com]:25"}, {"SMTPD_SASL_USERS": "app@example.com:secret"}
    said = [summary.summary(decision.make(given, None, machine))[0] for given in (without, without | users)]
    assert " listens on " in said[0]
    assert "587 (relay)" in said[0]
    assert "587 (submission)" in said[1]
    page = (ROOT / "docs/clients.md").read_text()
    assert "`listens on ... 587 (relay)`, not `587 (submission)`" in page


def test_a_compose_files_relay_comes_back_after_a_reboot_and_however_often_it_crashed() -> None:
    """With a number Docker gives up for good: it counts restarts as long as the container is not started anew."""
    for file in (ROOT / "docker-compose.yml", *(ROOT / "deploy/compose").glob("*.yml")):
        assert set(re.findall(r"^ +restart: *([^ #\n]+)", file.read_text(), re.MULTILINE)) == {
            "unless-stopped"
        }, file


def test_each_row_has_a_recipe_and_each_file_is_there() -> None:
    rows = {
        f"{kind}{number}" for kind, last in {"O": 7, "I": 7, "C": 13}.items() for number in range(1, last + 1)
    }
    headings = re.findall(r"^### ([A-Z0-9, ]+):", topologies.PAGE, re.MULTILINE)
    assert {row for heading in headings for row in heading.split(", ")} == rows
    files = set(re.findall(r"\]\(\.\./([^)]+)\)", topologies.PAGE))
    assert all((ROOT / file).exists() for file in files)
    assert {file.name for file in (ROOT / "deploy/compose").glob("*.yml")} <= {Path(f).name for f in files}


def test_the_readme_names_every_table_verb_and_metric() -> None:
    text = README.read_text()
    tables = {name for name, declared in variables().items() if row(declared).table and row(declared).mounted}
    shown = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \|", text.partition("\n## Tables")[2].partition("\n## ")[0], re.MULTILINE
    )
    assert {variable for _, variable in shown} == tables
    assert all(file.upper() == variable for file, variable in shown)
    started_by_others = {
        "keeper",
        "apply",
        "queue-sums",
        "health-server",
        "upstream-greeting",
        "page",
        "logins",
    }
    internal = started_by_others | {"help", "--help"}
    verbs = text.partition("| verb | what it does |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([a-z]+)", verbs, re.MULTILINE)) == VERBS.keys() - internal
    counted = set(re.findall(r"^(postern_\w+) ", _metrics(), re.MULTILINE))
    assert len(counted) > 2
    assert counted <= set(re.findall(r"`(postern_\w+)`", text))


def _metrics() -> str:
    """With the counters, which need a keeper: its state is any file."""
    return metrics.page("/dev/null")


@pytest.mark.parametrize("page", [README, ROOT / "CHANGELOG.md", *PAGES], ids=lambda page: page.name)
def test_every_row_of_a_table_has_its_columns(page: Path) -> None:
    """A bar in a cell would cut it, even between backticks."""
    tables = re.findall(r"(?:^\|.*\n)+", page.read_text(), re.MULTILINE)
    for table in tables:
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(counts) == 1, table


def test_the_commands_of_the_pages_are_verbs_of_the_relay() -> None:
    used = {verb for page in (README, *PAGES) for verb in re.findall(r"postern ([a-z]+)\b", page.read_text())}
    assert {"check", "hash", "probe"} <= used
    assert used - {"postern"} <= VERBS.keys(), "the image's name behind a volume's is none of them"


def _fenced(found: re.Match[str]) -> str:
    file = ROOT / found["path"]
    text = file.read_text()
    assert "```" not in text
    language = _LANGUAGE.get(file.suffix, "")
    return f"<!-- file: {found['path']} -->\n```{language}\n{text}```\n<!-- end -->\n"


def test_the_readme_says_of_both_modes_in_five_lines_what_they_give_and_take() -> None:
    told = README.read_text().partition("**Without root.**")[2].partition("\n\n**")[0]
    lines = [line for line in told.splitlines() if line.startswith("- ")]
    assert len(lines) == 5
    assert told.rstrip().endswith(lines[-1]), "each is one line"
    assert lines[0].startswith("- *As root*, the default")
    assert lines[1].startswith("- *Without*")
    for lost in ("mail", "keys", "passwords", "authors do not support"):
        assert any(lost in line for line in lines[1:3])
