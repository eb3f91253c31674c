"""The Pods of the chart: what they may do, what they keep, how they end, and what restarts them."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path

import pytest

from entrypoint.config.parsers.simple import seconds
from entrypoint.config.settings import row, variables
from entrypoint.health import server
from tests.deploy import chart, standards
from tests.deploy.chart_pod import environ, relay
from tests.deploy.kubernetes import Object, named, pod_spec

README = (chart.ROOT / "README.md").read_text()
AFTER_DRAIN = 3
"""Seconds that a stop takes beyond DRAIN_TIMEOUT, as the README says."""

each_example = pytest.mark.parametrize("example", chart.EXAMPLES, ids=lambda example: example.stem)
each_of_root = pytest.mark.parametrize("example", chart.OF_ROOT, ids=lambda example: example.stem)


def workload(given: Object) -> Object:
    return chart.only(given.get("workload", "StatefulSet"), given)


def spec(given: Object) -> Object:
    found = pod_spec(workload(given))
    assert found
    return found


@each_example
def test_the_statefulset_names_a_headless_service_that_exists(example: Path) -> None:
    given = chart.values(example)
    headless = chart.only("Service", given, "-headless")
    assert headless["spec"]["clusterIP"] == "None"
    labels = workload(given)["spec"]["template"]["metadata"]["labels"]
    assert headless["spec"]["selector"].items() <= labels.items()
    if workload(given)["kind"] == "StatefulSet":
        assert workload(given)["spec"]["serviceName"] == headless["metadata"]["name"]


@each_example
def test_every_service_leads_to_its_listener(example: Path) -> None:
    given = chart.values(example)
    container = relay(given)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    labels = workload(given)["spec"]["template"]["metadata"]["labels"]
    assert workload(given)["spec"]["selector"]["matchLabels"].items() <= labels.items()
    listening = {int(word.split(":")[0]) for word in environ(given)["LISTEN"].split()}
    doors = [
        each
        for each in chart.objects(given)
        if each["kind"] == "Service" and not each["metadata"]["name"].endswith("-headless")
    ]
    assert {ports[port["targetPort"]] for door in doors for port in door["spec"]["ports"]} == listening
    assert all(door["spec"]["selector"].items() <= labels.items() for door in doors)


@each_example
def test_no_two_objects_have_one_name(example: Path) -> None:
    names = [named(each) for each in chart.objects(chart.values(example))]
    assert len(set(names)) == len(names)


def test_the_longest_names_are_still_names() -> None:
    door = {"name": "a23456789012345", "port": 25, "profile": "relay"}
    given = {"fullnameOverride": "a" * 63, "listeners": [door], "tables": {"virtual": "a@b.c d@e.f"}}
    assert all(len(each["metadata"]["name"]) <= 63 for each in chart.objects(given))


@each_of_root
def test_the_pods_keep_to_baseline_and_break_restricted_only_by_what_root_needs(example: Path) -> None:
    given = chart.values(example)
    for each in chart.objects(given):
        if not (pod := pod_spec(each)):
            continue
        assert standards.baseline(pod) == []
        broken = standards.restricted({**pod, "containers": pod["containers"][:1], "initContainers": []})
        of_root = ["postern: runAsNonRoot", "postern: capabilities.add"]
        assert broken == ([] if each["kind"] == "Pod" else of_root)
        assert pod["automountServiceAccountToken"] is False
        assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
        assert pod["containers"][0]["resources"]["limits"]["memory"]


@each_example
@pytest.mark.parametrize("who", [10025, "assigned"])
def test_without_root_all_pods_keep_to_all_of_restricted(example: Path, who: int | str) -> None:
    given = chart.values(example) | {"runAsUser": who}
    pods = [pod for each in chart.objects(given) if (pod := pod_spec(each))]
    assert len(pods) == 2, "the relay's, and that of `helm test`"
    for pod in pods:
        assert standards.baseline(pod) == []
        assert standards.restricted(pod) == []
        assert pod["automountServiceAccountToken"] is False
        for each in standards.containers(pod):
            assert each["securityContext"]["readOnlyRootFilesystem"] is True
            assert "add" not in each["securityContext"]["capabilities"]


def users(pod: Object) -> Object:
    """What a Pod and its first container say of who runs it."""
    named = ("runAsNonRoot", "runAsUser", "runAsGroup", "fsGroup", "fsGroupChangePolicy")
    context = pod["securityContext"] | pod["containers"][0]["securityContext"]
    return {name: context[name] for name in named if name in context}


def test_the_relay_runs_as_whom_the_values_say() -> None:
    anybody = {"runAsNonRoot": True, "fsGroupChangePolicy": "OnRootMismatch"}
    # As large as OpenShift's are: YAML's numbers are floating ones to Helm.
    for uid in (1000, 1000680000):
        given = {"runAsUser": uid}
        assert users(spec(given)) == anybody | {"runAsUser": uid, "runAsGroup": uid, "fsGroup": uid}
    assert users(spec({"runAsUser": "assigned"})) == anybody
    # The image's own, which is root.
    assert users(spec({"runAsUser": 0})) == users(spec({})) == {}


def test_a_user_that_the_cluster_assigns_is_that_of_helm_test_too() -> None:
    given = chart.values("openshift")
    [test] = [each for each in chart.objects(given) if each["kind"] == "Pod"]
    assert users(test["spec"]) == {"runAsNonRoot": True}
    assert test["spec"]["volumes"], "a Secret, which its fsGroup opens"


def test_without_root_the_relay_listens_above_1023_behind_the_same_services() -> None:
    given = chart.values("restricted")
    doors = {"smtp": (25, 10025), "submission": (587, 10587), "submissions": (465, 2465)}
    for name, (outside, inside) in doors.items():
        [port] = chart.only("Service", given, f"postern-{name}")["spec"]["ports"]
        assert (port["port"], port["targetPort"]) == (outside, name)
        # Without a cluster address nothing stands between who connects and the relay.
        headless = chart.only("Service", given, "-headless")["spec"]["ports"]
        assert {each["name"]: each["port"] for each in headless}[name] == inside
    ports = {port["name"]: port["containerPort"] for port in relay(given)["ports"]}
    assert ports == {name: inside for name, (_, inside) in doors.items()} | {"health": 9154}


@each_of_root
def test_the_relay_has_the_readmes_capabilities_and_the_one_for_low_ports_only_with_one(
    example: Path,
) -> None:
    given = chart.values(example)
    table = README.partition("| capability | why |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
    documented = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    low = any(port["containerPort"] < 1024 for port in relay(given)["ports"])
    added = relay(given)["securityContext"]["capabilities"]["add"]
    assert set(added) == documented - (set() if low else {"NET_BIND_SERVICE"})


@each_example
def test_the_queue_and_what_is_remembered_have_their_places(example: Path) -> None:
    given = chart.values(example)
    mounted = {each["name"]: each["mountPath"] for each in relay(given)["volumeMounts"]}
    assert (mounted["spool"], mounted["data"]) == ("/var/spool/postfix", "/var/lib/postern")
    volumes = {each["name"]: each for each in spec(given)["volumes"]}
    if workload(given)["kind"] == "Deployment":
        # Not with a sizeLimit: who exceeds one is evicted, and the mail is gone.
        assert volumes["spool"] == {"name": "spool", "emptyDir": {}}
    else:
        claims = [each["metadata"]["name"] for each in workload(given)["spec"]["volumeClaimTemplates"]]
        assert claims == ["spool", "data"]
        kept = workload(given)["spec"]["persistentVolumeClaimRetentionPolicy"]
        assert kept == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert mounted.keys() - {"spool", "data"} <= volumes.keys()


CHANGEABLE = {"replicas", "template", "updateStrategy", "persistentVolumeClaimRetentionPolicy"}
"""Of a StatefulSet's spec, what Kubernetes lets an upgrade change, as far as the chart sets it."""


@pytest.mark.parametrize(
    ("part", "change", "refused"),
    [
        ("retention", {"whenScaled": "Delete"}, set()),
        ("spool", {"size": "20Gi"}, {"volumeClaimTemplates"}),
        ("data", {"storageClass": "fast"}, {"volumeClaimTemplates"}),
    ],
)
def test_the_page_says_which_changes_of_claims_kubernetes_refuses(
    part: str, change: Object, refused: set[str]
) -> None:
    before, after = (workload(given)["spec"] for given in ({}, {"persistence": {part: change}}))
    changed = {name for name in before if before[name] != after[name]}
    assert changed
    assert changed - CHANGEABLE == refused
    page = (chart.ROOT / "docs/kubernetes.md").read_text()
    [row] = re.findall(rf"^\| .*`persistence\.{part}`.* \| (.*) \|$", page, re.MULTILINE)
    assert ("`helm upgrade` fails" in row) is bool(refused)


def test_the_pages_commands_for_a_larger_spool_name_what_there_is() -> None:
    page = (chart.ROOT / "docs/kubernetes.md").read_text()
    name, claim = workload({})["metadata"]["name"], workload({})["spec"]["volumeClaimTemplates"][0]
    assert f"patch pvc {claim['metadata']['name']}-{name}-0 " in page
    assert f"delete statefulset {name} --cascade=orphan" in page


def test_the_headless_service_is_for_who_wants_one_replica_and_the_page_says_so() -> None:
    headless = chart.only("Service", {}, "-headless")["spec"]
    assert headless["publishNotReadyAddresses"] is True
    page = (chart.ROOT / "docs/scaling.md").read_text()
    assert "headless Service is for Prometheus and for who wants one replica" in page


@each_example
def test_secrets_and_keys_are_files_for_root_alone(example: Path) -> None:
    given = chart.values(example)
    modes = {
        each["name"]: (each.get("secret") or each["projected"])["defaultMode"]
        for each in spec(given)["volumes"]
        if "secret" in each or "projected" in each
    }
    assert set(modes.values()) <= {0o400}
    wanted = {"secrets"} if given.get("secrets") else set()
    assert wanted <= modes.keys()


@each_example
def test_a_pod_may_take_as_long_to_end_as_its_drain(example: Path) -> None:
    given = chart.values(example)
    drain = seconds(environ(given)["DRAIN_TIMEOUT"]) + AFTER_DRAIN
    hook = relay(given).get("lifecycle", {}).get("preStop", {"exec": {"command": ["sleep", "0"]}})
    program, before = hook["exec"]["command"]
    assert program == "sleep"
    assert spec(given)["terminationGracePeriodSeconds"] == int(before) + drain


@pytest.mark.parametrize(
    ("timeout", "grace"),
    [("7s", 10), ("5m", 303), ("6h", 21603), ("1d", 86403), ("1w", 604803), ("090s", 93), ("", 10)],
)
def test_the_drains_arithmetic(timeout: str, grace: int) -> None:
    """Without DRAIN_TIMEOUT the relay has its own default."""
    given = {"preStopSeconds": 0, "settings": {"DRAIN_TIMEOUT": timeout or None}}
    assert spec(given)["terminationGracePeriodSeconds"] == grace
    assert (
        seconds(environ(given).get("DRAIN_TIMEOUT") or row(variables()["DRAIN_TIMEOUT"]).default)
        == grace - AFTER_DRAIN
    )


def test_the_probes_ask_the_health_port_for_what_it_answers() -> None:
    given = chart.values("monitoring")
    container = relay(given)
    asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in asked.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    assert {probe["path"] for probe in asked.values()} <= server.routes(
        {"listeners": "", "probe_source": ""}
    ).keys()
    assert {probe["port"] for probe in asked.values()} == {"health"}
    assert container["ports"][-1] == {"name": "health", "containerPort": 8080}


@pytest.mark.parametrize(
    ("path", "value", "restarts"),
    [
        ("settings.LOG_FORMAT", "plain", True),
        ("settings.DRAIN_TIMEOUT", "11m", True),
        ("secrets.settings.USERS", "others", True),
        ("tables.virtual", "other@example.com ann@example.com", False),
        ("tls.certManager.dnsNames", ["relay.example.com"], False),
        ("monitoring.serviceMonitor.interval", "1m", False),
        ("networkPolicy.namespaces", ["shop"], False),
        ("autoscaling.maxReplicas", 9, False),
        ("test.recipient", "ann@example.com", False),
    ],
    ids=str,
)
def test_only_what_is_read_at_the_start_restarts_the_pods(path: str, value: object, restarts: bool) -> None:
    before = chart.values("full")
    after = deepcopy(before)
    *parents, name = path.split(".")
    inside = after
    for parent in parents:
        inside = inside.setdefault(parent, {})
    inside[name] = value
    assert chart.objects(before) != chart.objects(after)
    pods = [workload(given)["spec"]["template"] for given in (before, after)]
    assert (pods[0] != pods[1]) is restarts
