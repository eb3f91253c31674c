"""The project's own manifests as a node of the tests can run them.

Changed are the names of the images, and the app; on OpenShift, what its admission adds. Podman knows no StatefulSets: of one its first Pod and that Pod's
claims are taken, as the cluster would name them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from tests.deploy import chart, sidecar
from tests.deploy.kubernetes import Object, documents
from tests.deploy.standards import containers
from tests.image import engine

PROGRAM = Path(__file__).parent / "podman/app.py"
PAGE = sidecar.ROOT / "docs/kubernetes.md"
PROVIDER, PORT = "smtp.example.com", 587
USER, PASSWORD = "app@example.com", "in the Secret alone"
_OF_THE_NAMESPACE = 1000680000
_SECRET: Object = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "upstream"},
    "stringData": {"password": PASSWORD},
}
OF_ALL_IN_THE_NETWORK = {
    "MYHOSTNAME": "app.example.com",
    "RELAYHOST": f"[{PROVIDER}]:{PORT}",
    "RELAYHOST_USERNAME": USER,
}
"""The settings of a relay that takes mail from other Pods."""
_VALUES: Object = {
    "settings": OF_ALL_IN_THE_NETWORK | {"MYNETWORKS": "127.0.0.0/8"},
    "secrets": {"existingSecret": "upstream", "settings": {"RELAYHOST_PASSWORD": "password"}},
    "extraContainers": [
        {
            "name": "app",
            "image": "app:1.0.0",
            "env": [
                {"name": "SMTP_HOST", "value": "127.0.0.1"},
                {"name": "SMTP_PORT", "value": "2525"},
            ],
        }
    ],
}


@dataclass(frozen=True)
class Manifest:
    """A Pod of a container `app` and the relay, and what it mounts."""

    name: str
    spec: Object
    others: tuple[Object, ...] = (_SECRET,)

    @property
    def pod(self) -> Object:
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": self.name}, "spec": self.spec}

    @property
    def relay(self) -> Object:
        [found] = [each for each in containers(self.spec) if each["name"] != "app"]
        return found

    def running(self, to: str, *, count: int, last: int) -> Manifest:
        """With an app that sends `count` mails at once, and `last` more when it is stopped."""
        app = sidecar.container(self.spec, "app")
        self.relay["image"] = app["image"] = f"localhost/{engine.RELAY}"
        app["command"] = ["python3", "-c", PROGRAM.read_text()]
        given = {"TO": to, "COUNT": str(count), "LAST": str(last)}
        app["env"] += [{"name": name, "value": value} for name, value in given.items()]
        return self


def of_a_file(file: Path) -> Manifest:
    return Manifest("app", sidecar.pod(file))


def of_a_file_with_a_claim(file: Path = sidecar.NATIVE) -> Manifest:
    """As the page says."""
    shown = [documents(block)[0] for block in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)]
    claim = next(each for each in shown if each.get("kind") == "PersistentVolumeClaim")
    [spool] = next(each["volumes"] for each in shown if "volumes" in each)
    found = of_a_file(file)
    [index] = [n for n, volume in enumerate(found.spec["volumes"]) if volume["name"] == spool["name"]]
    found.spec["volumes"][index] = spool
    return replace(found, others=(_SECRET, claim))


def of_the_chart(**values: object) -> Manifest:
    given = _VALUES | values
    workload = chart.only("StatefulSet", given)
    name = f"{workload['metadata']['name']}-0"
    spec = workload["spec"]["template"]["spec"]
    claims = workload["spec"]["volumeClaimTemplates"]
    for claim in claims:
        template = claim["metadata"]["name"]
        claim["metadata"]["name"] = f"{template}-{name}"
        spec["volumes"].append(
            {"name": template, "persistentVolumeClaim": {"claimName": f"{template}-{name}"}}
        )
    return Manifest(name, spec, (_SECRET, chart.only("ConfigMap", given, "-settings"), *claims))


def first_mail(to: str, server: str) -> Object:
    """The Pod of `helm test`, which asks the relay itself where it would ask its Service."""
    [pod] = [each for each in chart.objects(_VALUES | {"test": {"recipient": to}}) if each["kind"] == "Pod"]
    [container] = pod["spec"]["containers"]
    container["image"] = f"localhost/{engine.RELAY}"
    ports = {each["name"]: str(each["containerPort"]) for each in of_the_chart().relay["ports"]}
    behind = {"SERVER": server, "SERVER_PORT": ports["smtp"]}
    for each in container["env"]:
        each["value"] = behind.get(each["name"], each["value"])
    return pod


def on_openshift(found: Manifest) -> Manifest:
    """With a user and a group from the namespace's range where it names none; such a user is in the group 0."""
    context = found.spec["securityContext"]
    assert not {"runAsUser", "fsGroup"} & context.keys()
    context["fsGroup"] = _OF_THE_NAMESPACE
    for each in containers(found.spec):
        own = each.setdefault("securityContext", {})
        assert "runAsUser" not in own, "refused: it is not of the namespace's range"
        own["runAsUser"] = _OF_THE_NAMESPACE
        own["runAsGroup"] = 0
    return found
