"""What Kubernetes' schemas, the Pod Security Standards and checkov say of the Pods of deploy/kubernetes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.deploy import kubernetes, standards
from tests.deploy.kubernetes import Object
from tests.deploy.sidecar import (
    DIRECTORY,
    FILES,
    JOB,
    NATIVE,
    OF_ROOT,
    PLAIN,
    RESTRICTED,
    ROOT,
    each_file,
    each_native,
    each_of_root,
    pod,
    pod_on_openshift,
)

PAGE = (ROOT / "docs/kubernetes.md").read_text()
# Why the relay's Pods fail checks of checkov; docs/kubernetes.md tells the reader what follows from it.
REASONS = {
    "CKV2_K8S_6": "a NetworkPolicy is about the whole app, which we do not know; nobody reaches the mail port anyway",
    "CKV_K8S_11": "a limit of processor time would delay what the app waits for, and the drain; the request is its share",
    "CKV_K8S_15": "the tag names a version: a relay must be able to start on its node while the registry is away",
    "CKV_K8S_21": "whoever applies the file chooses the namespace",
    "CKV_K8S_43": "the digest is that of an image in your own registry",
}
REASONS_OF_ROOT = {
    "CKV_K8S_23": "Postfix's parent process is root; its programs give that up",
    "CKV_K8S_25": "five of the README's six capabilities, each with its reason there",
    "CKV_K8S_40": "as CKV_K8S_23; hostUsers: false makes it a high uid on the node",
}


def test_the_four_kinds_are_there() -> None:
    assert set(FILES) == {*OF_ROOT, RESTRICTED}


@each_file
def test_kubernetes_takes_it_in_every_version(file: Path) -> None:
    versions = kubernetes.KNOWN if file == PLAIN else kubernetes.VERSIONS
    assert kubernetes.mistakes(kubernetes.documents(file), versions) == []


@each_native
def test_before_native_sidecars_the_schemas_refuse_it(file: Path) -> None:
    [mistake] = kubernetes.mistakes(kubernetes.documents(file), ["1.27"])
    assert "'restartPolicy' was unexpected" in mistake


@pytest.mark.parametrize("file", [NATIVE, JOB], ids=lambda file: file.name)
def test_the_commented_line_gives_the_pod_users_of_its_own(file: Path) -> None:
    variant = kubernetes.documents(file.read_text().replace("# hostUsers: false", "hostUsers: false"))
    spec = kubernetes.pod_spec(variant[0])
    assert spec
    assert spec == {**pod(file), "hostUsers": False}
    assert kubernetes.mistakes(variant) == []


def test_checkov_fails_nothing_without_a_written_reason() -> None:
    report = kubernetes.checkov(DIRECTORY)
    for file in FILES:
        reasons = REASONS | (REASONS_OF_ROOT if file in OF_ROOT else {})
        failed = [check for check in report.failed if check.file == file]
        assert [check for check in failed if check.id not in reasons] == []
        # Of an init container it does not ask who runs it.
        if file in (PLAIN, RESTRICTED):
            assert {check.id for check in failed} == reasons.keys(), "a reason that is not needed any more"
    assert report.skipped == []


@each_of_root
def test_the_pod_keeps_to_the_baseline_and_breaks_restricted_only_by_what_root_needs(file: Path) -> None:
    spec = pod(file)
    assert standards.baseline(spec) == []
    assert standards.restricted(spec) == [
        "relay: runAsNonRoot",
        "relay: runAsUser",
        "relay: capabilities.add",
    ]
    assert spec["automountServiceAccountToken"] is False
    for each in standards.containers(spec):
        assert each["securityContext"]["readOnlyRootFilesystem"] is True, each["name"]


@pytest.mark.parametrize("spec", [pod(RESTRICTED), pod_on_openshift()], ids=["restricted", "on OpenShift"])
def test_the_pod_without_root_keeps_to_all_of_restricted(spec: Object) -> None:
    assert standards.baseline(spec) == []
    assert standards.restricted(spec) == []
    assert spec["automountServiceAccountToken"] is False
    for each in standards.containers(spec):
        assert "add" not in each["securityContext"]["capabilities"]
        assert each["securityContext"]["readOnlyRootFilesystem"] is True, each["name"]


def test_relay_and_app_are_two_users() -> None:
    users = [each["securityContext"]["runAsUser"] for each in standards.containers(pod(RESTRICTED))]
    assert len(set(users)) == len(users), "one could end the other's programs"


def test_the_page_shows_objects_that_kubernetes_takes() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    whole = [each for block in blocks for each in kubernetes.documents(block) if "kind" in each]
    assert whole
    assert kubernetes.mistakes(whole) == []


def test_the_pages_table_of_a_stop_has_the_numbers_of_the_files() -> None:
    table = PAGE.partition("| | sidecar.yaml | sidecar-plain.yaml | job.yaml |")[2].partition("\n\n")[0]
    last = table.splitlines()[-1]
    grace = [pod(file)["terminationGracePeriodSeconds"] for file in (NATIVE, PLAIN, JOB)]
    assert last == f"| `terminationGracePeriodSeconds` | {' | '.join(map(str, grace))} |"
    assert pod(RESTRICTED)["terminationGracePeriodSeconds"] == grace[0]


def test_the_page_names_each_file_and_the_lines_that_openshift_wants_left_out() -> None:
    assert [file for file in FILES if f"(../deploy/kubernetes/{file.name})" not in PAGE] == []
    text = RESTRICTED.read_text()
    marked = [line for line in text.splitlines() if line.endswith(" not on OpenShift")]
    assert len(marked) == 4
    said = 'the four lines that end with "not on OpenShift"'
    assert said in text
    assert said in PAGE


def test_what_each_volume_loses_and_when_is_a_table_that_the_readme_leads_to() -> None:
    [section] = re.findall(r"^## What waits, and when it is lost\n(.*?)^## ", PAGE, re.DOTALL | re.MULTILINE)
    head, _, *rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    assert head == ["what happens", "spool is an emptyDir", "spool is a claim"]
    assert [row for row in rows if len(row) != len(head) or not all(row)] == []
    happens = [row[0] for row in rows]
    for what in (
        "container is restarted",
        "rollout",
        "evicted",
        "--force",
        "the node is lost",
        "disk is full",
    ):
        assert any(what in each for each in happens), what
    assert "(docs/kubernetes.md#what-waits-and-when-it-is-lost)" in (ROOT / "README.md").read_text()


def test_the_page_says_of_a_job_that_it_is_complete_when_its_mail_is_out() -> None:
    """A native sidecar is stopped after the program, and the Pod is done when that has ended, too."""
    [said] = re.findall(r"^\*\*A Job\*\* .*?\n\n", PAGE, re.DOTALL | re.MULTILINE)
    assert said.startswith("**A Job** is complete when its mail is out")
    assert "`activeDeadlineSeconds` must have room for the drain" in said
    assert "a Job (or the `jobTemplate` of a CronJob) that is done when its mail is out" in PAGE
    assert "activeDeadlineSeconds" not in JOB.read_text()


def test_the_page_says_that_the_uid_is_what_chooses_and_the_image_names_none() -> None:
    assert not re.search(r"^USER ", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert "with `runAsNonRoot: true` alone a kubelet refuses the Pod" in PAGE
