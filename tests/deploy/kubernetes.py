"""What judges Kubernetes' objects from outside, without a cluster and without the network."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import kubernetes_validate  # type: ignore[import-untyped]
from kubernetes_validate import utils
from kubernetes_validate.utils import all_versions, major_minor  # type: ignore[import-untyped]
from ruamel.yaml import YAML

Object = dict[str, Any]
CHECKOV = Path(sys.executable).with_name("checkov")

# It reads a version's schemas anew for each object, which is most of the time that it takes.
utils.schema_contents = cache(utils.schema_contents)

KNOWN = tuple(dict.fromkeys(map(major_minor, all_versions())))  # each is there twice, once strict
"""All that kubernetes-validate has schemas of."""
VERSIONS = KNOWN[KNOWN.index("1.29") :]
"""Those in which native sidecars are on."""


def documents(source: Path | str) -> list[Object]:
    """The objects of a file, or of rendered text.

    Read as Kubernetes reads them, by YAML 1.1: 0400 is octal, and a bare `yes` is no text. A key that is there twice is
    an error.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 1)
    text = source.read_text() if isinstance(source, Path) else source
    return [found for found in yaml.load_all(text) if found is not None]


def mistakes(
    objects: Iterable[Object], versions: Collection[str] = VERSIONS, *, without_schema: Collection[str] = ()
) -> list[str]:
    """What the strict schemas of these versions refuse, a line each; unknown fields among it.

    Kinds that Kubernetes itself does not have are such a mistake, too, unless `without_schema` names them
    (`ServiceMonitor`).
    """
    return [
        f"{version}: {named(given)}: {mistake}"
        for given in objects
        if given["kind"] not in without_schema
        for version in versions
        if (mistake := _mistake(given, version))
    ]


def _mistake(given: Object, version: str) -> str:
    try:
        kubernetes_validate.validate(given, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        return str(error.message)
    return ""


def named(given: Object) -> str:
    return f"{given['kind']}/{given['metadata']['name']}"


def pod_spec(given: Object) -> Object | None:
    """Of a Pod, or of what makes Pods: Deployment, StatefulSet, DaemonSet, Job, CronJob. Of anything else, None."""
    spec: Object = given.get("spec") or {}
    if given["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    if given["kind"] == "Pod":
        return spec
    found: Object | None = spec.get("template", {}).get("spec")
    return found


class Check(NamedTuple):
    """A check of checkov, and whom it is about: `Deployment.default.app`. `reason` is that of a skipped one."""

    id: str
    file: Path
    resource: str
    name: str
    reason: str


class Report(NamedTuple):
    failed: list[Check]
    skipped: list[Check]
    """By annotations such as `checkov.io/skip1: CKV_K8S_8=why`."""


def checkov(*files: Path) -> Report:
    """What checkov says of these files and of all files in these directories. Takes about 6 s, however many they are."""
    where = [word for file in files for word in ("-d" if file.is_dir() else "-f", str(file))]
    command = [
        str(CHECKOV),
        "--skip-download",
        "--framework",
        "kubernetes",
        "--compact",
        "-o",
        "json",
        *where,
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode in (0, 1), ran.stderr
    said = json.loads(ran.stdout)
    assert "results" in said, f"checkov found no object: {ran.stdout}"
    assert not said["summary"]["parsing_errors"], said["results"]["parsing_errors"]
    results = said["results"]
    return Report(*(sorted(map(_check, results[f"{kind}_checks"])) for kind in ("failed", "skipped")))


def _check(said: Object) -> Check:
    reason = said["check_result"].get("suppress_comment") or ""
    return Check(said["check_id"], Path(said["file_abs_path"]), said["resource"], said["check_name"], reason)
