"""Who may connect: the chart's NetworkPolicy, asked as a cluster's network would."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest

from tests.deploy import chart
from tests.deploy.chart_pod import relay
from tests.deploy.kubernetes import Object

each_example = pytest.mark.parametrize("example", chart.EXAMPLES, ids=lambda example: example.stem)


class Client(NamedTuple):
    """A Pod, by its namespace and labels, or who comes from outside of the cluster, by the address."""

    namespace: str = ""
    labels: Mapping[str, str] = MappingProxyType({})
    address: str = ""


NEIGHBOUR = Client("mail", {"app": "shop"})
STRANGER = Client(address="203.0.113.99")


def admitted(given: Object, listener: str, client: Client) -> bool:
    [port] = (each["containerPort"] for each in relay(given)["ports"] if each["name"] == listener)
    rules = chart.only("NetworkPolicy", given)["spec"]["ingress"]
    return any(
        _is(peer, client)
        for rule in rules
        for peer in rule["from"]
        if {"port": port, "protocol": "TCP"} in rule["ports"]
    )


def _is(peer: Object, client: Client) -> bool:
    if block := peer.get("ipBlock"):
        assert block.keys() == {"cidr"}
        return bool(client.address) and ip_address(client.address) in ip_network(block["cidr"])
    own = {"matchLabels": {"kubernetes.io/metadata.name": "mail"}}
    namespace = {"kubernetes.io/metadata.name": client.namespace}
    return _selects(peer.get("namespaceSelector", own), namespace) and _selects(
        peer.get("podSelector", {}), client.labels
    )


def _selects(selector: Object, labels: Mapping[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels"}
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def _door(**other: object) -> Object:
    return {"name": "submission", "port": 587, "profile": "submission"} | other


def _balanced(**service: object) -> Object:
    return {"type": "LoadBalancer"} | service


@each_example
def test_the_pod_of_helm_test_may_connect_to_where_it_sends(example: Path) -> None:
    given = chart.values(example)
    [pod] = [each for each in chart.objects(given) if each["kind"] == "Pod"]
    [container] = pod["spec"]["containers"]
    [server] = (each["value"] for each in container["env"] if each["name"] == "SERVER")
    listener = server.partition(".")[0].removeprefix(relay_name(given)).removeprefix("-")
    if given.get("networkPolicy", {}).get("enabled", True):
        assert admitted(given, listener, Client("mail", pod["metadata"]["labels"]))


def relay_name(given: Object) -> str:
    name: str = chart.only(given.get("workload", "StatefulSet"), given)["metadata"]["name"]
    return name


def test_peers_of_a_listeners_own_are_all_who_may_beside_the_pod_of_helm_test() -> None:
    peer = {"podSelector": {"matchLabels": {"sends": "mail"}}}
    given = {
        "listeners": [_door(**{"from": [peer]}), _door(name="other", port=588, **{"from": [peer]})],
        "networkPolicy": {"namespaces": ["shop"]},
    }
    assert admitted(given, "submission", Client("mail", {"sends": "mail"}))
    assert not admitted(given, "submission", NEIGHBOUR)
    assert not admitted(given, "submission", Client("shop"))
    [pod] = [each for each in chart.objects(given) if each["kind"] == "Pod"]
    test = Client("mail", pod["metadata"]["labels"])
    assert admitted(given, "submission", test)
    assert not admitted(given, "submission", test._replace(namespace="shop"))
    assert not admitted(given, "other", test), "nothing is sent there"


def test_whom_a_load_balancer_lets_through_the_network_lets_in_too() -> None:
    ranges = ["192.0.2.0/24", "2001:db8::/32"]
    given = {"listeners": [_door(service=_balanced(loadBalancerSourceRanges=ranges))]}
    for address in ("192.0.2.7", "2001:db8::7"):
        assert admitted(given, "submission", Client(address=address))
    assert not admitted(given, "submission", STRANGER)
    assert admitted(given, "submission", NEIGHBOUR)
    assert "WARNING: the NetworkPolicy" not in chart.texts(given)["NOTES.txt"]


WORLD = {"ipBlock": {"cidr": "0.0.0.0/0"}}
RANGES = {"loadBalancerSourceRanges": ["192.0.2.0/24"]}


@pytest.mark.parametrize(
    ("door", "said"),
    [
        (_door(), ""),
        (_door(service=_balanced()), "service.loadBalancerSourceRanges"),
        (_door(service={"type": "NodePort"}), "until its `from` or\nnetworkPolicy.from names"),
        (_door(service=_balanced(externalTrafficPolicy="Cluster", **RANGES)), "from the load balancer or from nodes"),
        (_door(service=_balanced(**RANGES), proxyProtocol=True), "from the load balancer or from nodes"),
    ],
    ids=["inside", "LoadBalancer", "NodePort", "Cluster", "PROXY"],
)  # fmt: skip
def test_nobody_comes_from_outside_before_somebody_is_named_and_the_notes_say_so(
    door: Object, said: str
) -> None:
    given = {"listeners": [door]}
    assert not admitted(given, "submission", STRANGER)
    notes = chart.texts(given)["NOTES.txt"]
    assert said in notes
    assert ("submission" in notes.partition("WARNING: ")[2]) is bool(said)
    for named in (
        {"listeners": [door | {"from": [WORLD]}]},
        {"listeners": [door], "networkPolicy": {"from": [WORLD]}},
    ):
        assert admitted(named, "submission", STRANGER)
        assert "WARNING" not in chart.texts(named)["NOTES.txt"]


def test_without_a_networkpolicy_nobody_is_said_to_be_refused() -> None:
    given = {"listeners": [_door(service=_balanced())], "networkPolicy": {"enabled": False}}
    assert "WARNING" not in chart.texts(given)["NOTES.txt"]


@each_example
def test_no_example_leads_outside_where_nobody_may_come_unwarned(example: Path) -> None:
    given = chart.values(example)
    if not given.get("networkPolicy", {}).get("enabled", True):
        return
    rules = chart.only("NetworkPolicy", given)["spec"]["ingress"]
    notes = chart.texts(given)["NOTES.txt"]
    for door, rule in zip(given.get("listeners", []), rules, strict=False):
        if door.get("service", {}).get("type", "ClusterIP") != "ClusterIP":
            warned = f"come to {door['name']} from outside" in notes
            assert warned is not any("ipBlock" in peer for peer in rule["from"])
