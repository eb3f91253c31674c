"""What the chart makes of values is what the relay itself starts with."""

from __future__ import annotations

import re
from pathlib import Path

import helm_python
import pytest

from entrypoint.config.policy import Policy, memory
from entrypoint.config.settings import row, variables
from tests.deploy import chart
from tests.deploy.chart_pod import decided, environ, relay

each_example = pytest.mark.parametrize("example", chart.EXAMPLES, ids=lambda example: example.stem)


@pytest.fixture
def policy(example: Path, tmp_path: Path) -> Policy:
    return decided(chart.values(example), tmp_path)


@each_example
def test_the_relay_would_start_with_it(example: Path, policy: Policy) -> None:
    container = relay(chart.values(example))
    listening = [listener.port for listener in policy.listeners]
    assert [*listening, policy.settings.health_port] == [port["containerPort"] for port in container["ports"]]


@each_example
def test_no_variable_holds_a_secret(example: Path) -> None:
    secrets = {name for name, declared in variables().items() if row(declared).secret}
    given = chart.values(example)
    assert not environ(given).keys() & secrets
    rendered = "\n".join(chart.texts(given).values())
    assert "secretKeyRef" not in rendered
    assert "secretRef" not in rendered
    for name, key in given.get("secrets", {}).get("settings", {}).items():
        assert environ(given)[f"{name}_FILE"] == f"/secrets/{key}"


def test_the_relay_would_start_with_the_values_that_the_documentation_shows(tmp_path: Path) -> None:
    text = (chart.ROOT / "docs/kubernetes.md").read_text()
    [shown] = re.findall(r"```yaml\n(# values.yaml\n.*?)```", text, re.DOTALL)
    given = helm_python.values_from_yaml(shown)
    assert decided(given, tmp_path).logs_in
    [key] = given["secrets"]["settings"].values()
    assert f"create secret generic {given['secrets']['existingSecret']} --from-file={key}=" in text


def test_the_memory_serves_as_many_clients_as_its_description_says() -> None:
    [text] = (text for path, _, text in chart.described() if path == "resources")
    said = {int(mib): int(clients) for mib, clients in re.findall(r"(\d+)Mi (?:serve )?(\d+)", text)}
    assert said.keys() == {64, 256}
    for mib, clients in said.items():
        found = memory.room(mib * memory.MIB, 1, 1, tls=False, logins=False)
        assert found
        assert found.processes == clients
    assert relay({})["resources"]["limits"]["memory"] == f"{max(said)}Mi"


def test_the_documentation_names_only_values_that_exist() -> None:
    text = (chart.ROOT / "docs/kubernetes.md").read_text().partition("## One for many")[2]
    values = {path for path, _, _ in chart.described()}
    values |= {path.rpartition(".")[0] for path in values}
    tops = {path.split(".")[0] for path in values - {""}}
    named = {
        word for word in re.findall(r"`([a-z][A-Za-z]*\.[A-Za-z.]+)`", text) if word.split(".")[0] in tops
    }
    assert len(named) > 4
    assert {word for word in named - values if not word.startswith("settings.")} == set()
