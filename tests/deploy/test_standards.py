"""What judges the Pods has teeth: each field of "restricted", changed in a Pod that keeps to it, is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.deploy import standards
from tests.deploy.kubernetes import Object
from tests.deploy.sidecar import RESTRICTED, container, pod

Change = Callable[[Object, Object], object]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda spec, _: spec.update(hostNetwork=True), "Pod: hostNetwork"),
        (lambda spec, _: spec["volumes"].append({"name": "nfs", "nfs": {}}), "Pod: volume nfs"),
        (lambda spec, _: spec["securityContext"].update(runAsUser=0), "Pod: runAsUser"),
        (lambda _, own: own.update(runAsUser=0), "relay: runAsUser"),
        (lambda _, own: own.update(runAsNonRoot=False), "relay: runAsNonRoot"),
        (lambda _, own: own.pop("allowPrivilegeEscalation"), "relay: allowPrivilegeEscalation"),
        (lambda _, own: own["capabilities"].pop("drop"), "relay: capabilities.drop"),
        (lambda _, own: own["capabilities"].update(add=["CHOWN"]), "relay: capabilities.add"),
        (lambda _, own: own.update(seccompProfile={"type": "Other"}), "relay: seccompProfile"),
        (lambda _, own: own.update(privileged=True), "relay: privileged"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_each_broken_rule_is_named(change: Change, said: str) -> None:
    spec = pod(RESTRICTED)
    change(spec, container(spec, "relay")["securityContext"])
    assert [*standards.baseline(spec), *standards.restricted(spec)] == [said]


@pytest.mark.parametrize("name", ["runAsNonRoot", "seccompProfile"])
def test_what_the_pod_says_for_all_is_missed_in_each(name: str) -> None:
    spec = pod(RESTRICTED)
    del spec["securityContext"][name]
    assert standards.restricted(spec) == [f"relay: {name}", f"app: {name}"]
