"""The chart as the real Helm renders it, and what the settings' table makes of its generated parts."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import helm_python

from entrypoint.config.settings import row, variables
from tests.deploy.kubernetes import Object, documents

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/postern"
SCHEMA = CHART / "values.schema.json"
EXAMPLES = sorted((Path(__file__).parent / "values").glob("*.yaml"))
"""Values as users give them; each renders, and passes all that judges."""
OF_ROOT = [file for file in EXAMPLES if file.stem not in ("openshift", "restricted")]

# What the chart sets from values of its own.
_THE_CHARTS = {"LISTEN", "SMTPD_TLS_CERT_FILE", "SMTPD_TLS_KEY_FILE", "SMTPD_TLS_CHAIN_FILE"}
_COMPUTED_WITH = {"DRAIN_TIMEOUT": "duration", "HEALTH_PORT": "port"}


@cache
def _chart() -> helm_python.Chart:
    return helm_python.Chart.load(CHART)


def values(example: Path | str) -> Object:
    """Of a file, or of one of the examples by name."""
    file = example if isinstance(example, Path) else Path(__file__).parent / f"values/{example}.yaml"
    # As Helm reads it: a bare `no` is no text.
    found: Object = helm_python.values_from_yaml(file.read_text())
    return found


def texts(given: Object | None = None) -> dict[str, str]:
    """What Helm renders, by template, for a release called mail in the namespace mail."""
    return dict(_texts(json.dumps(given or {})))


@cache
def _texts(given: str) -> dict[str, str]:
    rendered = _chart().render(json.loads(given), name="mail", namespace="mail")
    return {name.partition("templates/")[2]: text for name, text in rendered.items() if text.strip()}


def objects(given: Object | None = None) -> list[Object]:
    return deepcopy(_objects(json.dumps(given or {})))


@cache
def _objects(given: str) -> list[Object]:
    return [
        found for name, text in _texts(given).items() if name.endswith(".yaml") for found in documents(text)
    ]


def only(kind: str, given: Object | None = None, ending: str = "") -> Object:
    """The one object of this kind, whose name ends so."""
    [found] = [
        each
        for each in objects(given)
        if each["kind"] == kind
        and each["metadata"]["name"].endswith(ending)
        and each["metadata"]["labels"].get("app.kubernetes.io/component") != "test"
    ]
    return found


def refusal(given: Object) -> str:
    """What Helm says instead of rendering these values; "" if it renders them."""
    try:
        texts(given)
    except helm_python.errors.HelmError as error:
        return str(error)
    return ""


def generated(schema: Object) -> Object:
    """The schema, with those parts as they follow from the table of settings."""
    rows = {name: row(declared) for name, declared in variables().items()}
    plain = {name: _kind(name) for name, each in rows.items() if not each.secret}
    # Their other spelling would pass by what the chart makes of a setting.
    parameters = {f"POSTFIX_{each.parameter}": False for each in rows.values() if each.parameter}
    tables = [name.lower() for name, each in rows.items() if each.table and each.mounted and not each.secret]
    parts: Object = json.loads(json.dumps(schema))
    properties = parts["properties"]
    properties["settings"] = _closed(
        {name: kind for name, kind in plain.items() if name not in _THE_CHARTS} | parameters
    )
    properties["settings"]["patternProperties"] = {
        "^POSTFIX_[a-z][a-z0-9_]*$": {"$ref": "#/$defs/setting"},
        "^POSTFIXMASTER_[A-Za-z0-9_]+__[a-z]+$": {"$ref": "#/$defs/setting"},
    }
    properties["tables"] = _closed({name: {"type": "string"} for name in tables})
    secret = {name: {"$ref": "#/$defs/key"} for name, each in rows.items() if each.secret}
    properties["secrets"]["properties"]["settings"] = _closed(secret)
    return parts


def _kind(name: str) -> Object:
    """Those that the chart computes with are looked at; the relay itself says what is wrong with others."""
    return {"$ref": f"#/$defs/{_COMPUTED_WITH.get(name, 'setting')}"}


def _closed(properties: dict[str, Any]) -> Object:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def written(schema: Object) -> str:
    return json.dumps(schema, indent=2) + "\n"


def described() -> list[tuple[str, str, str]]:
    """Each value of values.yaml that has a comment of the fixed form: its path, default and description."""
    text = (CHART / "values.yaml").read_text()
    given = helm_python.values_from_yaml(text)
    return [(path, _shown(given, path), said) for path, said in _comments(text)]


def _comments(text: str) -> list[tuple[str, str]]:
    found, path, said = [], list[tuple[int, str]](), ""
    for line in text.splitlines():
        if comment := re.match(r"\s*# (-- )?(.*)", line):
            said = comment[2] if comment[1] else f"{said} {comment[2]}" if said else ""
        elif key := re.match(r"( *)([A-Za-z_]+):", line):
            path = [*((depth, name) for depth, name in path if depth < len(key[1])), (len(key[1]), key[2])]
            if said:
                found.append((".".join(name for _, name in path), said))
            said = ""
        else:
            said = ""
    return found


def _shown(value: Any, path: str) -> str:
    for name in path.split("."):
        value = value[name]
    return "" if value in ("", [], {}) else f"`{json.dumps(value) if not isinstance(value, str) else value}`"


def table() -> str:
    """The values as the chart's README shows them."""
    lines = ["| value | default | meaning |", "| --- | --- | --- |"]
    for cells in described():
        path, default, text = (cell.replace("|", r"\|") for cell in cells)
        lines.append(f"| `{path}` | {default} | {text} |")
    return "\n".join(lines) + "\n"
