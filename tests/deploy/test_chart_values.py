"""What the chart takes: values that are described once, and refused when nobody would use them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import helm_python
import pytest

from entrypoint.config.settings import row, variables
from tests.deploy import chart
from tests.deploy.kubernetes import Object

README = chart.CHART / "README.md"
BEGIN, END = "<!-- values: written from values.yaml -->\n", "<!-- values: end -->\n"


@pytest.fixture
def record(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--record", default=False))


@pytest.fixture(scope="module")
def schema() -> Object:
    found: Object = json.loads(chart.SCHEMA.read_text())
    return found


def test_the_readme_shows_the_values_as_they_are_described(record: bool) -> None:
    before, _, rest = README.read_text().partition(BEGIN)
    shown, _, after = rest.partition(END)
    if record:
        shown = chart.table()
        README.write_text(f"{before}{BEGIN}{shown}{END}{after}")
    assert shown == chart.table(), "run: make reference"


@pytest.mark.parametrize("name", ["alerts.yml", "dashboard.json"])
def test_the_charts_rules_and_dashboard_are_those_of_the_project(record: bool, name: str) -> None:
    """Copies, as not every way that a checkout takes keeps a link one, and a package has what is in its folder only."""
    original, copy = chart.ROOT / "deploy/monitoring" / name, chart.CHART / "files" / name
    if record:
        shutil.copyfile(original, copy)
    assert copy.read_bytes() == original.read_bytes(), "run: make reference"


def test_the_schema_has_the_settings_tables_and_secrets_that_exist(record: bool, schema: Object) -> None:
    if record:
        chart.SCHEMA.write_text(chart.written(chart.generated(schema)))
        schema = json.loads(chart.SCHEMA.read_text())
    assert schema == chart.generated(schema), "run: make reference"


def test_every_setting_has_its_one_place_in_the_values(schema: Object) -> None:
    properties = schema["properties"]
    plain = {name for name, kind in properties["settings"]["properties"].items() if kind}
    secret = set(properties["secrets"]["properties"]["settings"]["properties"])
    assert not plain & secret
    assert secret == {name for name, declared in variables().items() if row(declared).secret}
    # What is missing is set by the chart, from `listeners` and `tls`.
    assert variables().keys() - plain - secret == {
        "LISTEN",
        "SMTPD_TLS_CERT_FILE",
        "SMTPD_TLS_KEY_FILE",
        "SMTPD_TLS_CHAIN_FILE",
    }


def test_every_value_is_described_and_in_the_schema_and_the_other_way_round(schema: Object) -> None:
    described = {path for path, _, _ in chart.described()}
    given = helm_python.values_from_yaml((chart.CHART / "values.yaml").read_text())
    # A value whose inside is described by its own comment is not looked into.
    assert set(_leaves(given, described)) == described
    # `global` is Helm's own, for charts inside of others.
    assert set(_paths(schema, described)) - {"global"} == described


def _leaves(given: Any, described: set[str], path: str = "") -> Iterator[str]:
    if path in described or not isinstance(given, dict):
        yield path
        return
    for name, value in given.items():
        yield from _leaves(value, described, f"{path}.{name}".removeprefix("."))


def _paths(schema: Object, described: set[str], path: str = "") -> Iterator[str]:
    if path in described or "properties" not in schema:
        yield path
        return
    for name, inside in schema["properties"].items():
        yield from _paths(inside, described, f"{path}.{name}".removeprefix("."))


def _closed(schema: Any) -> Iterator[bool]:
    """Of each object with names of the chart's own, whether it refuses others."""
    if isinstance(schema, dict):
        if "properties" in schema and schema.get("type") == "object":
            yield schema.get("additionalProperties") is False
        for inside in schema.values():
            yield from _closed(inside)


def test_unknown_names_are_refused_everywhere(schema: Object) -> None:
    found = list(_closed(schema))
    assert len(found) > 20
    assert all(found)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"replica": 2}, "additional properties 'replica' not allowed"),
        ({"image": {"repo": "x"}}, "at '/image': additional properties 'repo' not allowed"),
        ({"settings": {"RELAY_HOST": "x"}}, "at '/settings': additional properties 'RELAY_HOST' not allowed"),
        ({"settings": {"RELAYHOST_PASSWORD": "x"}}, "additional properties 'RELAYHOST_PASSWORD' not allowed"),
        ({"settings": {"LISTEN": "25:relay"}}, "additional properties 'LISTEN' not allowed"),
        ({"settings": {"POSTFIX_relayhost": "x"}}, "at '/settings/POSTFIX_relayhost': false schema"),
        ({"settings": {"RELAYHOST": ["x"]}}, "at '/settings/RELAYHOST': got array"),
        ({"settings": {"DRAIN_TIMEOUT": "5 minutes"}}, "at '/settings/DRAIN_TIMEOUT': '5 minutes' does not match"),
        ({"settings": {"DRAIN_TIMEOUT": 300}}, "at '/settings/DRAIN_TIMEOUT': got number, want string"),
        ({"settings": {"HEALTH_PORT": "http"}}, "at '/settings/HEALTH_PORT'"),
        ({"tables": {"transports": "x"}}, "at '/tables': additional properties 'transports' not allowed"),
        ({"tables": {"users": "x"}}, "at '/tables': additional properties 'users' not allowed"),
        ({"tables": {"virtual": {"a": "b"}}}, "at '/tables/virtual': got object, want string"),
        ({"secrets": {"settings": {"RELAYHOST": "x"}}}, "at '/secrets/settings': additional properties 'RELAYHOST'"),
        ({"secrets": {"settings": {"USERS": "a b"}}}, "at '/secrets/settings/USERS': 'a b' does not match"),
        ({"secrets": {"settings": {"USERS": "users"}}}, "name it in secrets.existingSecret"),
        ({"replicas": "2"}, "at '/replicas': got string, want integer"),
        ({"workload": "DaemonSet"}, "at '/workload': value must be one of 'StatefulSet', 'Deployment'"),
        ({"resources": {"limits": {"memory": None}}}, "at '/resources/limits': missing property 'memory'"),
        ({"listeners": []}, "at '/listeners': minItems: got 0, want 1"),
        ({"listeners": [{"name": "a", "port": 25}]}, "at '/listeners/0': missing property 'profile'"),
        ({"listeners": [{"name": "a", "port": 25, "profile": "smtp"}]}, "at '/listeners/0/profile'"),
        ({"listeners": [{"name": "health", "port": 25, "profile": "relay"}]}, "at '/listeners/0/name'"),
        ({"listeners": [{"name": "A_b", "port": 25, "profile": "relay"}]}, "at '/listeners/0/name'"),
        ({"listeners": [{"name": "a", "port": 70000, "profile": "relay"}]}, "at '/listeners/0/port'"),
        ({"networkPolicy": {"dns": []}}, "at '/networkPolicy/dns': minItems: got 0, want 1"),
        ({"autoscaling": {"enabled": True, "minReplicas": 7}}, "minReplicas 7 is more than maxReplicas 6"),
        ({"networkPolicy": {"upstreamPorts": ["25"]}}, "at '/networkPolicy/upstreamPorts/0': got string"),
        ({"runAsUser": -1}, "at '/runAsUser': minimum: got -1, want 0"),
        ({"runAsUser": "10025"}, "at '/runAsUser': value must be 'assigned'"),
        ({"podLabels": {"a": 1}}, "at '/podLabels/a': got number, want string"),
        ({"test": {"recipient": "nobody"}}, "at '/test/recipient': 'nobody' does not match"),
        ({"test": {"listener": "smtps"}}, "test.listener: there is no listener smtps"),
        ({"tls": {"certManager": {"enabled": True}}}, "say in dnsNames, or by settings.MYHOSTNAME"),
        (
            {"settings": {"MYHOSTNAME": "a.example"}, "tls": {"certManager": {"enabled": True}}},
            "say in issuerRef who signs",
        ),
    ],
    ids=lambda given: "" if isinstance(given, str) else json.dumps(given)[:60],
)  # fmt: skip
def test_a_mistake_is_refused_by_name(given: Object, said: str) -> None:
    assert said in chart.refusal(given)


def test_two_certificates_are_refused() -> None:
    given = chart.values("cert-manager")
    given["tls"]["existingSecret"] = "mail-tls"
    assert "tls: the certificate is in existingSecret, or certManager makes one: not both" in chart.refusal(
        given
    )


def test_proxy_protocol_is_refused_where_networks_are_trusted() -> None:
    door = {"name": "smtp", "port": 25, "profile": "relay", "proxyProtocol": True}
    assert "proxyProtocol is not for the profile relay" in chart.refusal({"listeners": [door]})


@pytest.mark.parametrize("kind", ["LoadBalancer", "NodePort"])
def test_a_relay_port_is_not_opened_to_clients_whose_address_a_node_hides(kind: str) -> None:
    door = {"name": "smtp", "port": 25, "profile": "relay", "service": {"type": kind}}
    assert chart.only("Service", {"listeners": [door]}, "-smtp")["spec"]["externalTrafficPolicy"] == "Local"
    door["service"] = {"type": kind, "externalTrafficPolicy": "Cluster"}
    assert "externalTrafficPolicy Cluster gives strangers a node's address" in chart.refusal(
        {"listeners": [door]}
    )


def _door(**other: object) -> Object:
    return {"name": "smtp", "port": 25, "containerPort": 2525, "profile": "relay"} | other


@pytest.mark.parametrize(
    ("doors", "said"),
    [
        ([_door(), _door(containerPort=2526)], "listeners: smtp: there are two of this name"),
        ([_door(), _door(name="other")], "listeners: other: containerPort 2525 is that of smtp, too"),
        ([_door(containerPort=9154)], "listeners: smtp: containerPort 9154 is that of the health port, too"),
    ],
)
def test_two_listeners_share_neither_name_nor_port(doors: list[Object], said: str) -> None:
    assert said in chart.refusal({"listeners": doors})


def test_what_only_root_can_open_is_refused_without_it() -> None:
    low = {"runAsUser": 10025, "listeners": [_door(containerPort=25)]}
    assert "smtp: containerPort 25 is root's alone" in chart.refusal(low)
    assert chart.refusal(low | {"runAsUser": 0}) == ""
    health = {"runAsUser": "assigned", "settings": {"HEALTH_PORT": 80}}
    assert "settings.HEALTH_PORT 80 is root's alone" in chart.refusal(health)


def test_values_of_a_chart_around_this_one_are_passed_over() -> None:
    assert chart.refusal({"global": {"anything": 1}}) == ""
