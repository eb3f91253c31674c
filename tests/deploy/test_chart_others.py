"""What stands around the Pods: what scales, keeps and watches them, and who makes their certificate."""

from __future__ import annotations

import json
import re

import pytest
from ruamel.yaml import YAML

from tests.deploy import chart
from tests.deploy.chart_pod import relay
from tests.deploy.kubernetes import Object, pod_spec

MONITORING = chart.ROOT / "deploy/monitoring"


def labels(given: Object, kind: str = "StatefulSet") -> dict[str, str]:
    found: dict[str, str] = chart.only(kind, given)["spec"]["template"]["metadata"]["labels"]
    return found


def test_no_more_than_one_replica_goes_by_choice() -> None:
    spec = chart.only("PodDisruptionBudget")["spec"]
    assert spec["maxUnavailable"] == 1
    assert spec["selector"]["matchLabels"].items() <= labels({}).items()


def test_replicas_are_spread_over_zones_and_nodes() -> None:
    spec = pod_spec(chart.only("StatefulSet"))
    assert spec
    spread = spec["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in spread] == [
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    ]
    for each in spread:
        assert each["labelSelector"]["matchLabels"].items() <= labels({}).items()


def test_the_autoscaler_goes_by_cpu() -> None:
    given = chart.values("autoscale-cpu")
    spec = chart.only("HorizontalPodAutoscaler", given)["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "mail-postern"}
    assert spec["metrics"] == [
        {
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
        }
    ]
    # A percentage of nothing would never be reached.
    assert relay(given)["resources"]["requests"]["cpu"]
    assert "replicas" not in chart.only("StatefulSet", given)["spec"], "each upgrade would undo its work"


def test_a_replica_is_full_to_the_autoscaler_at_about_what_is_planned_for_it() -> None:
    """Much sooner, and replicas come that nobody needs; later than a replica can, and none ever comes."""
    given = chart.values("autoscale-cpu")
    [metric] = chart.only("HorizontalPodAutoscaler", given)["spec"]["metrics"]
    target = metric["resource"]["target"]["averageUtilization"]
    request = int(relay(given)["resources"]["requests"]["cpu"].removesuffix("m"))
    page = (chart.ROOT / "docs/scaling.md").read_text()
    [planned] = map(
        int, re.findall(r"^\| what one replica may be planned with .* (\d+) /s \|$", page, re.MULTILINE)
    )
    [each] = map(float, re.findall(r"^\| processor time at the peak.* × ([\d.]+) ms", page, re.MULTILINE))
    full = request * target / 100 / each
    assert planned * 2 / 3 < full < planned * 3 / 2
    [text] = (said for path, _, said in chart.described() if path == "autoscaling.cpuUtilization")
    assert f"{target} % of {request}m are {request * target // 100}m: at {each:g} ms" in text
    assert f"{full:.0f} mails a second" in text


def test_the_processor_that_is_asked_for_is_the_users_choice() -> None:
    scaled: Object = {"autoscaling": {"enabled": True}}
    by_queue: Object = {"autoscaling": {"enabled": True, "metric": "queue"}}
    for given, said in (({}, "50m"), (scaled, "500m"), (by_queue, "50m")):
        assert relay(given)["resources"] == {
            "requests": {"cpu": said, "memory": "256Mi"},
            "limits": {"memory": "256Mi"},
        }
    [text] = (said for path, _, said in chart.described() if path == "resources")
    assert "not set: 50m" in text
    assert "500m with an autoscaler" in text
    own: Object = {"resources": {"requests": {"cpu": "1"}}}
    for given in (own, own | scaled):
        assert relay(given)["resources"]["requests"]["cpu"] == "1"


def test_the_autoscaler_goes_by_the_queue() -> None:
    given = chart.values("autoscale-queue")
    spec = chart.only("HorizontalPodAutoscaler", given)["spec"]
    [metric] = spec["metrics"]
    assert metric == {
        "type": "Pods",
        "pods": {
            "metric": {
                "name": "postfix_showq_queue_depth",
                "selector": {"matchLabels": {"queue": "active"}},
            },
            "target": {"type": "AverageValue", "averageValue": "2000000"},
        },
    }
    assert metric["pods"]["metric"]["name"] in (chart.ROOT / "README.md").read_text()
    assert spec["scaleTargetRef"]["kind"] == "Deployment"
    assert "replicas" not in chart.only("Deployment", given)["spec"]


def test_replicas_go_one_by_one_and_only_after_their_drain() -> None:
    given = chart.values("full")
    spec = pod_spec(chart.only("StatefulSet", given))
    assert spec
    [policy] = chart.only("HorizontalPodAutoscaler", given)["spec"]["behavior"]["scaleDown"]["policies"]
    assert policy == {
        "type": "Pods",
        "value": 1,
        "periodSeconds": spec["terminationGracePeriodSeconds"],
    }


def test_prometheus_scrapes_each_replica_as_the_rules_expect_it() -> None:
    given = chart.values("monitoring")
    found = chart.only("ServiceMonitor", given)
    headless = chart.only("Service", given, "-headless")
    assert found["apiVersion"] == "monitoring.coreos.com/v1"
    assert found["metadata"]["labels"]["release"] == "prometheus"
    assert found["spec"]["selector"]["matchLabels"].items() <= headless["metadata"]["labels"].items()
    doors = [
        each
        for each in chart.objects(given)
        if each["kind"] == "Service" and each["metadata"]["name"] != headless["metadata"]["name"]
    ]
    wanted = found["spec"]["selector"]["matchLabels"].items()
    assert not [each for each in doors if wanted <= each["metadata"]["labels"].items()], "scraped twice"
    assert found["spec"]["endpoints"] == [
        {
            "port": "health",
            "path": "/metrics",
            "interval": "30s",
            "relabelings": [{"targetLabel": "job", "replacement": "postern"}],
        }
    ]
    assert 'up{job="postern"}' in (MONITORING / "alerts.yml").read_text()
    [health] = [port for port in headless["spec"]["ports"] if port["name"] == "health"]
    assert health["port"] == 8080


def test_the_alert_rules_are_those_of_the_project() -> None:
    found = chart.only("PrometheusRule", chart.values("monitoring"))
    assert found["spec"] == YAML(typ="safe").load(MONITORING / "alerts.yml")
    assert found["metadata"]["labels"]["release"] == "prometheus"


def test_the_dashboard_is_that_of_the_project() -> None:
    found = chart.only("ConfigMap", chart.values("monitoring"), "-dashboard")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    shown = json.loads(found["data"]["postern.json"])
    assert shown == json.loads((MONITORING / "dashboard.json").read_text())


def test_cert_manager_makes_the_certificate_that_is_mounted() -> None:
    given = chart.values("cert-manager")
    found = chart.only("Certificate", given)
    assert found["apiVersion"] == "cert-manager.io/v1"
    assert found["spec"] == {
        "secretName": "mail-postern-tls",
        "issuerRef": {"name": "letsencrypt", "kind": "ClusterIssuer"},
        "dnsNames": ["relay.example.com"],
        "duration": "2160h",
        "renewBefore": "720h",
        "privateKey": {"rotationPolicy": "Always"},
    }
    [volume] = [each for each in relay(given)["volumes"] if each["name"] == "certificate"]
    assert volume["secret"]["secretName"] == found["spec"]["secretName"]


def test_names_of_certificates_may_be_given_without_a_host_name() -> None:
    issued = {"enabled": True, "issuerRef": {"name": "corp"}, "dnsNames": ["a.example.com"]}
    found = chart.only("Certificate", {"tls": {"certManager": issued}})
    assert found["spec"]["dnsNames"] == ["a.example.com"]


@pytest.mark.parametrize(
    "kind", ["ServiceMonitor", "PrometheusRule", "Certificate", "HorizontalPodAutoscaler"]
)
def test_what_needs_something_of_the_cluster_is_there_only_by_choice(kind: str) -> None:
    assert kind not in {each["kind"] for each in chart.objects()}


def test_the_users_own_parts_of_the_pod_are_there() -> None:
    given = chart.values("full")
    spec = pod_spec(chart.only("StatefulSet", given))
    assert spec
    assert [each["name"] for each in spec["containers"]] == ["postern", "watcher"]
    assert [each["name"] for each in spec["initContainers"]] == ["wait"]
    assert given["extraVolumes"][0]["name"] in [each["name"] for each in spec["volumes"]]
    container = relay(given)
    assert given["extraVolumeMounts"][0] in container["volumeMounts"]
    assert container["env"] == given["extraEnv"]
    assert labels(given)["team"] == "mail"
    for name in ("nodeSelector", "tolerations", "affinity", "priorityClassName", "imagePullSecrets"):
        assert spec[name] == given[name]
    assert container["image"] == f"mirror/postern:0.1.0@{given['image']['digest']}"


def test_a_user_namespace_of_its_own_is_a_choice() -> None:
    for given, said in ((chart.values("bare"), False), ({}, None)):
        spec = pod_spec(chart.only("StatefulSet", given))
        assert spec
        assert spec.get("hostUsers") is said
