"""The Pods of deploy/kubernetes are what the relay starts with, listens as, and stops in.

That mail goes through them is tests/image/test_pods.py's.
"""

from __future__ import annotations

import re
import tomllib
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from entrypoint.config import decision
from entrypoint.config.host import Host
from entrypoint.config.parsers.simple import seconds
from entrypoint.config.policy import Policy
from entrypoint.config.settings import row, variables
from entrypoint.health import server
from tests.deploy import standards
from tests.deploy.kubernetes import Object
from tests.deploy.sidecar import (
    JOB,
    NATIVE,
    PLAIN,
    RESTRICTED,
    ROOT,
    container,
    each_file,
    each_native,
    each_of_root,
    environment,
    pod,
    pod_on_openshift,
)

README = (ROOT / "README.md").read_text()
MIB = 1024 * 1024


@pytest.fixture
def policy(file: Path, tmp_path: Path) -> Policy:
    """What the relay decides in such a Pod. Raises if the settings are wrong."""
    relay = container(pod(file), "relay")
    [secret] = (mount["mountPath"] for mount in relay["volumeMounts"] if mount.get("readOnly"))
    (tmp_path / "password").write_text("a password\n")
    given = {name: value.replace(secret, str(tmp_path)) for name, value in environment(relay).items()}
    assert given != environment(relay), "no setting names the Secret"
    limit = relay["resources"]["limits"]["memory"]
    machine = Host(
        name="app-6c9f8d7b5-x2x4z",
        networks=(ip_network("10.244.1.0/24"),),
        gateways=(ip_address("10.244.1.1"),),
        memory=int(limit.removesuffix("Mi")) * MIB,
    )
    return decision.make(given, None, machine)


@each_of_root
def test_the_relay_has_the_readmes_capabilities_but_the_one_for_low_ports(file: Path) -> None:
    table = README.partition("| capability | why |")[2].partition("\n\n")[0]
    documented = {
        name
        for cell in re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", cell)
    }
    context = container(pod(file), "relay")["securityContext"]
    assert set(context["capabilities"]["add"]) == documented - {"NET_BIND_SERVICE"}


@each_file
def test_each_variable_is_a_setting_and_no_secret_is_among_them(file: Path) -> None:
    given = environment(container(pod(file), "relay"))
    known, secrets = variables(), {name for name, declared in variables().items() if row(declared).secret}
    assert given.keys() <= known.keys() | {f"{name}_FILE" for name in secrets}
    assert not given.keys() & secrets


@each_file
def test_the_relay_would_start_and_listens_inside_the_pod_only(file: Path, policy: Policy) -> None:
    [listener] = policy.listeners
    assert ip_address(listener.address).is_loopback
    assert listener.port > 1023
    assert all(network.is_loopback for network in policy.trusted)
    assert policy.tls_level == "secure"
    app = environment(container(pod(file), "app"))
    assert (app["SMTP_HOST"], int(app["SMTP_PORT"])) == (listener.address, listener.port)


@each_file
def test_the_probes_ask_the_health_port_for_what_it_answers(file: Path, policy: Policy) -> None:
    relay = container(pod(file), "relay")
    assert relay["ports"] == [{"name": "health", "containerPort": policy.settings.health_port}]
    probes = {name: relay[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/readyz",
        "readiness": "/readyz",
        "liveness": "/livez",
    }
    assert {probe["path"] for probe in probes.values()} <= server.routes(
        {"listeners": "", "probe_source": ""}
    ).keys()
    assert {probe["port"] for probe in probes.values()} == {"health"}


def _preparing(relay: Object) -> int:
    """The seconds of its preStop."""
    if not (hook := relay.get("lifecycle", {}).get("preStop")):
        return 0
    program, length = hook["exec"]["command"]
    assert program == "sleep"
    return int(length)


@each_file
def test_a_stop_may_take_as_long_as_app_and_relay_need(file: Path, policy: Policy) -> None:
    spec, declared = pod(file), row(variables()["DRAIN_TIMEOUT"])
    [longer] = re.findall(r"must wait (\d+) s longer", declared.doc)
    drain = seconds(policy.settings.drain_timeout) + int(longer)
    for_the_app = spec["terminationGracePeriodSeconds"] - drain
    assert for_the_app == 30, "what the comment beside it says, and Kubernetes' own default"
    assert _preparing(container(spec, "relay")) == (for_the_app if file == PLAIN else 0)
    assert drain > seconds(declared.default) + int(longer), "a Pod has more time than docker stop"


@each_native
def test_a_native_sidecar_is_an_init_container_that_always_runs(file: Path) -> None:
    spec = pod(file)
    assert [(each["name"], each["restartPolicy"]) for each in spec["initContainers"]] == [("relay", "Always")]
    assert [each["name"] for each in spec["containers"]] == ["app"], "what a Job waits for"


def test_the_relay_is_the_same_in_each_file() -> None:
    native, plain, job = (container(pod(file), "relay") for file in (NATIVE, PLAIN, JOB))
    assert _without(native, "restartPolicy") == _without(plain, "lifecycle")
    assert pod(NATIVE)["volumes"] == pod(PLAIN)["volumes"] == pod(JOB)["volumes"]
    assert _without(native, "env") == _without(job, "env")
    differing = {name for name, value in environment(native).items() if environment(job)[name] != value}
    assert differing == {"DRAIN_TIMEOUT"}


def test_without_root_only_the_users_and_their_rights_are_others() -> None:
    rights = {"securityContext": None}
    ours, roots = (pod(file) | rights for file in (RESTRICTED, NATIVE))
    for spec in (ours, roots):
        for part in ("initContainers", "containers"):
            spec[part] = [each | rights for each in spec[part]]
    assert ours == roots


def test_the_marked_lines_are_all_that_openshift_chooses_itself() -> None:
    chosen = {"runAsUser", "runAsGroup", "fsGroup"}
    with_users, without = pod(RESTRICTED), pod_on_openshift()
    for spec in (with_users, without):
        for each in (spec, *standards.containers(spec)):
            context = each["securityContext"]
            left = {name: value for name, value in context.items() if name not in chosen}
            assert (left == context) is (spec is without)
            each["securityContext"] = left
    assert with_users == without


def _without(given: Object, name: str) -> dict[str, Any]:
    assert name in given
    return {key: value for key, value in given.items() if key != name}


@each_file
def test_what_the_relay_writes_has_a_volume_and_the_spool_no_limit_that_would_evict_it(file: Path) -> None:
    spec = pod(file)
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container(spec, "relay")["volumeMounts"]}
    [declared] = re.findall(r"^VOLUME (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    written = {path: volumes[mount["name"]] for path, mount in mounts.items() if not mount.get("readOnly")}
    assert written.keys() == {"/run", *re.findall(r'"(.+?)"', declared)}
    assert written["/run"]["emptyDir"]["medium"] == "Memory"
    assert written["/var/spool/postfix"]["emptyDir"] == {}
    assert not any("subPath" in mount for mount in mounts.values()), "a changed Secret would not be seen"
    assert volumes["upstream"]["secret"]["defaultMode"] == 0o400


@each_file
def test_the_relay_has_64_mebibytes_and_no_limit_that_would_evict_its_mail(file: Path) -> None:
    assert container(pod(file), "relay")["resources"]["limits"] == {"memory": "64Mi"}


@each_file
def test_the_image_is_this_version(file: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert container(pod(file), "relay")["image"] == f"postern:{version}"
