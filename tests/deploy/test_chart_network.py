"""The chart's NetworkPolicy lets through what the relay's own reading of its settings needs, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from entrypoint.config.policy import Policy
from entrypoint.config.tables import routing
from tests.deploy import chart
from tests.deploy.chart_pod import decided
from tests.deploy.kubernetes import Object

each_example = pytest.mark.parametrize("example", chart.EXAMPLES, ids=lambda example: example.stem)

MAIL = 2
"""Which rule is about upstreams: two before it are about DNS."""


@pytest.fixture
def policy(example: Path, tmp_path: Path) -> Policy:
    return decided(chart.values(example), tmp_path)


def _needed(policy: Policy) -> set[int]:
    """The ports of all next hops, as the relay itself reads them."""
    every = [policy.way, *policy.ways]
    ports = {each.relayhost.port for way in every for each in way.upstreams}
    if not policy.way.upstreams:
        ports.add(25)
    settings = policy.settings
    routes = [domain.route for domain in settings.relay_domains if domain.route]
    routes += [*settings.transport, *filter(None, [settings.relay_transport])]
    for route in routes:
        if route.transport in (*routing.SMTP, ""):
            ports |= {hop.port for hop in routing.hops(route)} or {25}
    return ports


@each_example
def test_the_network_lets_out_what_the_settings_need_and_nothing_else(example: Path, policy: Policy) -> None:
    given = chart.values(example)
    if not given.get("networkPolicy", {}).get("enabled", True):
        assert not [each for each in chart.objects(given) if each["kind"] == "NetworkPolicy"]
        return
    dns, openshifts, mail, *_ = chart.only("NetworkPolicy", given)["spec"]["egress"]
    assert _asked(dns) == {(53, "UDP"), (53, "TCP")}
    assert dns["to"]
    # Where a Service leads to is what counts there.
    assert _asked(openshifts) == {(5353, "UDP"), (5353, "TCP")}
    assert openshifts["to"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "openshift-dns"}}}
    ]
    assert {port["protocol"] for port in mail["ports"]} == {"TCP"}
    needed = _needed(policy) | set(given.get("networkPolicy", {}).get("upstreamPorts", []))
    if policy.settings.sasl_ldap_url:
        needed.add(636 if urlsplit(policy.settings.sasl_ldap_url).scheme == "ldaps" else 389)
    assert {port["port"] for port in mail["ports"]} == needed
    assert len(mail["ports"]) == len(needed)


def _asked(rule: Object) -> set[tuple[int, str]]:
    return {(port["port"], port["protocol"]) for port in rule["ports"]}


@each_example
def test_the_network_lets_in_to_the_listeners_and_the_health_port_alone(
    example: Path, policy: Policy
) -> None:
    given = chart.values(example)
    if not given.get("networkPolicy", {}).get("enabled", True):
        return
    spec = chart.only("NetworkPolicy", given)["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    opened = [port["port"] for rule in spec["ingress"] for port in rule["ports"]]
    watched = given.get("networkPolicy", {}).get("monitoringNamespaces", ["monitoring"])
    assert opened == [listener.port for listener in policy.listeners] + [
        policy.settings.health_port for _ in watched[:1]
    ]
    assert all(rule["from"] for rule in spec["ingress"]), "an empty list would let everybody in"


def _egress(settings: Object, tables: Any = None) -> set[int]:
    spec = chart.only("NetworkPolicy", {"settings": settings, "tables": tables or {}})["spec"]
    return {port["port"] for port in spec["egress"][MAIL]["ports"]}


@pytest.mark.parametrize(
    ("settings", "ports"),
    [
        ({}, {25}),
        ({"RELAYHOST": "smtp.example.com"}, {25}),
        ({"RELAYHOST": "[2001:db8::1]:587"}, {587}),
        ({"RELAYHOST": "[2001:db8::1]"}, {25}),
        ({"UPSTREAMS": "* [a.example]:587; * [b.example]:2525"}, {587, 2525}),
        ({"UPSTREAMS": "@example.org [b.example]:2525"}, {25, 2525}),
        ({"RELAYHOST": "[a.example]:587", "RELAY_TRANSPORT": "[b.example]:26, [c.example]"}, {25, 26, 587}),
        ({"RELAYHOST": "[a.example]:587", "TRANSPORT": "x.example discard:"}, {587}),
        ({"RELAYHOST": "[a.example]:587", "TRANSPORT": "x.example smtp:"}, {25, 587}),
        ({"RELAYHOST": "[a.example]:587", "SASL_LDAP_URL": "ldap://l.example"}, {389, 587}),
        ({"RELAYHOST": "[a.example]:587", "SASL_LDAP_URL": "ldapi:///run/ldap"}, {587}),
        ({"RELAYHOST": "[a.example]:587", "SASL_IMAP_HOST": "i.example"}, {587, 993}),
        ({"RELAYHOST": "[a.example]:587", "SASL_IMAP_HOST": "i.example:143"}, {143, 587}),
        ({"RELAYHOST": "[a.example]:587", "SASL_SQL_URL": "mysql://u@d.example/mail"}, {587, 3306}),
        ({"RELAYHOST": "[a.example]:587", "SASL_SQL_URL": "postgresql://u@d.example:5433/m"}, {587, 5433}),
        ({"RELAYHOST": "[a.example]:587", "SASL_DOVECOT_PATH": "inet:d.example:12345"}, {587, 12345}),
        ({"RELAYHOST": "[a.example]:587", "SASL_DOVECOT_PATH": "unix:/run/auth"}, {587}),
    ],
    ids=str,
)
def test_the_ports_out_follow_the_settings(settings: Object, ports: set[int]) -> None:
    assert _egress(settings) == ports


def test_a_comment_in_a_table_opens_no_port() -> None:
    lines = "# * [old.example]:2525\n\n * [a.example]:587 user=a password_file=/secrets/a\n"
    assert _egress({}, {"upstreams": lines}) == {587}


def test_peers_and_further_rules_are_the_users() -> None:
    given = chart.values("network")
    spec = chart.only("NetworkPolicy", given)["spec"]
    [door] = spec["ingress"]
    named = "kubernetes.io/metadata.name"
    assert door["from"] == [
        {"podSelector": {}},
        {"namespaceSelector": {"matchLabels": {named: "shop"}}},
        {"namespaceSelector": {"matchLabels": {named: "billing"}}},
        {"ipBlock": {"cidr": "10.0.0.0/8"}},
    ]
    assert spec["egress"][MAIL]["to"] == given["networkPolicy"]["upstreams"]
    assert spec["egress"][MAIL + 1 :] == given["networkPolicy"]["extraEgress"]
