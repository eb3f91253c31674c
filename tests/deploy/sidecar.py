"""The files of deploy/kubernetes, and what is in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy import kubernetes, standards
from tests.deploy.kubernetes import Object

ROOT = Path(__file__).parents[2]
DIRECTORY = ROOT / "deploy/kubernetes"
NATIVE, RESTRICTED, PLAIN, JOB = (
    DIRECTORY / f"{name}.yaml" for name in ("sidecar", "sidecar-restricted", "sidecar-plain", "job")
)
OF_ROOT = [NATIVE, PLAIN, JOB]
FILES = sorted(DIRECTORY.iterdir())

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
each_native = pytest.mark.parametrize("file", [NATIVE, RESTRICTED, JOB], ids=lambda file: file.name)
each_of_root = pytest.mark.parametrize("file", OF_ROOT, ids=lambda file: file.name)


def pod(file: Path) -> Object:
    [found] = kubernetes.documents(file)
    spec = kubernetes.pod_spec(found)
    assert spec
    return spec


def pod_on_openshift() -> Object:
    """The restricted one, without the lines that the file says to leave out."""
    lines = RESTRICTED.read_text().splitlines()
    [found] = kubernetes.documents("\n".join(line for line in lines if not line.endswith("not on OpenShift")))
    spec = kubernetes.pod_spec(found)
    assert spec
    return spec


def container(spec: Object, name: str) -> Object:
    [found] = [each for each in standards.containers(spec) if each["name"] == name]
    return found


def environment(given: Object) -> dict[str, str]:
    return {each["name"]: each["value"] for each in given["env"]}
