"""The relay of a rendered chart, started as far as its settings: with all that Kubernetes would mount."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import trustme

from entrypoint.config import environment, policy, rules
from entrypoint.config.host import Host
from entrypoint.config.policy import Policy
from tests.deploy import chart
from tests.deploy.kubernetes import Object, pod_spec

MEMORY = 256 * 1024 * 1024
SECRETS = {
    "users": "app:$6$saltsaltsaltsalt$" + "a" * 86 + "\n",
    "salt": "0123456789abcdef0123456789abcdef",
}
"""What examples keep in a Secret, by its key. Any other is a password."""


def relay(given: Object) -> Object:
    """The relay's container."""
    workload = chart.only(given.get("workload", "StatefulSet"), given)
    spec = pod_spec(workload)
    assert spec
    [found] = [each for each in spec["containers"] if each["name"] == "postern"]
    return {**found, "volumes": spec["volumes"]}


def environ(given: Object) -> dict[str, str]:
    """What its settings are; values from elsewhere are left out."""
    container = relay(given)
    [source] = container["envFrom"]
    settings = chart.only("ConfigMap", given, "-settings")
    assert source == {"configMapRef": {"name": settings["metadata"]["name"]}}
    own = {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}
    return {**settings["data"], **own}


class Files:
    """What Kubernetes would mount, in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.authority = trustme.CA()

    def mount(self, given: Object) -> None:
        container = relay(given)
        places = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
        for volume in container["volumes"]:
            where = self.root / places[volume["name"]].lstrip("/")
            where.mkdir(parents=True, exist_ok=True)
            self._fill(where, volume, given)

    def _fill(self, where: Path, volume: Object, given: Object) -> None:
        if volume["name"] == "secrets":
            for key in {"a", "b", *given["secrets"].get("settings", {}).values()}:
                (where / key).write_text(SECRETS.get(key, "a password\n"))
            if "SMTPD_SASL_USERS" in given["secrets"].get("settings", {}):
                (where / "users").write_text("app@example.com:a password\n")
        if volume["name"] == "certificate":
            self._pair(where, "relay.example.com", "mx.example.com")
        for source in volume.get("projected", {}).get("sources", []):
            if "configMap" in source:
                tables = chart.only("ConfigMap", given, "-tables")
                assert tables["metadata"]["name"] == source["configMap"]["name"]
                for name, lines in tables["data"].items():
                    (where / name).write_text(self.here(lines))
            else:
                [directory] = {(where / item["path"]).parent for item in source["secret"]["items"]}
                directory.mkdir(parents=True)
                self._pair(directory, directory.name)

    def _pair(self, where: Path, *names: str) -> None:
        issued = self.authority.issue_cert(*names)
        issued.private_key_pem.write_to_path(where / "tls.key")
        for number, part in enumerate(issued.cert_chain_pems):
            part.write_to_path(where / "tls.crt", append=number > 0)

    def here(self, text: str) -> str:
        return text.replace("/secrets", f"{self.root}/secrets").replace(
            "/certificates", f"{self.root}/certificates"
        )


def decided(given: Object, root: Path) -> Policy:
    """What the relay decides in such a Pod. Its files are put below `root`; it must find nothing wrong."""
    files = Files(root)
    files.mount(given)
    machine = Host(name="mail-postern-0", networks=(ip_network("10.244.1.0/24"),), memory=MEMORY)
    settings = environment.read(
        {name: files.here(value) for name, value in environ(given).items()}, None, root / "config"
    )
    assert rules.check(settings, machine, frozenset()) == []
    return policy.decide(settings, machine)
