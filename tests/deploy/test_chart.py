"""The chart, judged by the real Helm, by Kubernetes' schemas and by checkov."""

from __future__ import annotations

import tomllib
from pathlib import Path

import helm_python
import pytest
from ruamel.yaml import YAML

from tests.deploy import chart
from tests.deploy.kubernetes import VERSIONS, checkov, mistakes

OF_OTHERS = {"Certificate", "ServiceMonitor", "PrometheusRule"}
"""Kinds that Kubernetes does not have itself: test_chart_others.py looks at them."""

FOR_BOTH = {
    "CKV_K8S_11": "a limit of processor time would delay mail, and the drain; the request is its share",
    "CKV_K8S_15": "the tag names a version: a relay must be able to start while the registry is away",
    "CKV_K8S_43": "the digest is that of an image in your own registry: image.digest",
}
OF_ROOT = {
    "CKV_K8S_23": "Postfix's parent process is root; its programs give that up",
    "CKV_K8S_25": "the README's capabilities, each with its reason there",
    "CKV_K8S_40": "as CKV_K8S_23; hostUsers: false makes it a high uid on the node",
}
OF_A_TEST = {
    "CKV2_K8S_6": "the Pod of `helm test` lives for a second, and nobody can connect to it",
    "CKV_K8S_8": "as CKV2_K8S_6: nothing is served",
    "CKV_K8S_9": "as CKV2_K8S_6: nothing is served",
}
ASSIGNED = {"CKV_K8S_40": "the cluster says the uid, and OpenShift's are high"}
REASONS = {
    "root's relay": FOR_BOTH | OF_ROOT,
    "root's test": FOR_BOTH | OF_A_TEST,
    "restricted relay": FOR_BOTH,
    "restricted test": FOR_BOTH | OF_A_TEST,
    "openshift relay": FOR_BOTH | ASSIGNED,
    "openshift test": FOR_BOTH | OF_A_TEST | ASSIGNED,
}
"""Checks of checkov that fail, and why that is right."""

_ids = pytest.mark.parametrize("example", chart.EXAMPLES, ids=lambda example: example.stem)


def test_there_are_at_least_twelve_examples() -> None:
    assert len(chart.EXAMPLES) >= 12


@_ids
def test_helm_lint_is_content(example: Path) -> None:
    report = helm_python.lint(chart.CHART, chart.values(example), strict=True, namespace="mail")
    assert report["errors"] == []
    # An icon would be somebody's address on the web.
    assert {said["error"] for said in report["messages"]} == {"icon is recommended"}


@_ids
def test_every_kubernetes_knows_every_field(example: Path) -> None:
    objects = chart.objects(chart.values(example))
    assert mistakes(objects, VERSIONS, without_schema=OF_OTHERS) == []


def test_checkov_finds_nothing_but_what_has_a_reason(tmp_path: Path) -> None:
    for example in chart.EXAMPLES:
        for name, text in chart.texts(chart.values(example)).items():
            if name.endswith(".yaml"):
                (tmp_path / f"{example.stem}-{Path(name).name}").write_text(text)
    report = checkov(tmp_path)
    failed = {which: set[str]() for which in REASONS}
    for check in report.failed:
        found_in = check.file.name.partition("-")[0]
        who = found_in if found_in in ("restricted", "openshift") else "root's"
        failed[f"{who} {'test' if check.resource.endswith('-first-mail') else 'relay'}"].add(check.id)
    unexplained = {which: found for which in failed if (found := failed[which] - REASONS[which].keys())}
    assert unexplained == {}
    assert failed == {which: set(given) for which, given in REASONS.items()}, "a reason not needed any more"
    assert report.skipped == []


def test_a_package_has_the_rules_and_the_dashboard_in_it(tmp_path: Path) -> None:
    packed = helm_python.package(chart.CHART, destination=tmp_path)
    with helm_python.Chart.load(packed) as loaded:
        files = {file["name"]: file["data"] for file in loaded.files}
    for name in ("alerts.yml", "dashboard.json"):
        assert (chart.ROOT / "deploy/monitoring" / name).read_text() in files[f"files/{name}"]
    given = chart.values("full")
    with helm_python.Chart.load(packed) as loaded:
        rendered = loaded.render(given, name="mail", namespace="mail")
    shown = {name.partition("templates/")[2]: text for name, text in rendered.items() if text.strip()}
    assert shown == chart.texts(given)


def test_the_chart_has_the_projects_version() -> None:
    project = tomllib.loads((chart.ROOT / "pyproject.toml").read_text())["project"]
    about = YAML(typ="safe").load(chart.CHART / "Chart.yaml")
    assert about["version"] == about["appVersion"] == project["version"]
    images = YAML(typ="safe").load(about["annotations"]["artifacthub.io/images"])
    assert [image["image"] for image in images] == [f"postern:{project['version']}"]


def test_it_says_what_the_artifact_hub_shows() -> None:
    annotations = YAML(typ="safe").load(chart.CHART / "Chart.yaml")["annotations"]
    [change] = YAML(typ="safe").load(annotations["artifacthub.io/changes"])
    assert change["kind"] == "added"
    assert annotations["artifacthub.io/license"] == "Apache-2.0"
    assert annotations["artifacthub.io/category"] == "networking"
