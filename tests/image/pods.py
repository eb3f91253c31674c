"""Pods, run by podman in a container: as much of a node as manifests can be tried on without a cluster.

`podman kube play` starts what they say. Of native sidecars, preStop and fsGroup it knows nothing, its volumes come with what
the image has there, and of its containers it stops all at once: there it is led here as a kubelet would do it, by the
manifest's own words.
"""

from __future__ import annotations

import json
import secrets
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from docker.models.containers import Container
from docker.models.networks import Network

from tests.deploy.kubernetes import Object
from tests.image import engine
from tests.image.engine import Engine, Result
from tests.image.manifests import Manifest
from tests.image.tls import Certificates
from tests.image.waiting import until

_HERE = "/node"
# What podman needs to make namespaces, mounts and networks, and to enter those of a container that is not root's.
# `privileged` would be more, and is more than an engine can give that itself runs in a sandbox.
_RIGHTS: dict[str, Any] = {
    "cap_add": ["NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"],
    "security_opt": ["apparmor=unconfined", "seccomp=unconfined"],
}
# The kubelet's, where a Pod does not say.
_GRACE_SECONDS = 30
_OF_ENDED = (
    "{{.State.Status}} {{.State.ExitCode}} {{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.EffectiveCaps}}"
)
# For each thing that is waited for, the 30 s of a preStop among them.
_SECONDS = 90


# What a kubelet mounts from a volume `$1` of each kind; Kubernetes' are empty, but for a file system's own directory, and
# everybody's or root's. A claim that has that directory was mounted before.
_MADE = {
    "emptyDir": 'find "$1" -mindepth 1 -delete; chown 0:0 "$1"; chmod 777 "$1"',
    "persistentVolumeClaim": """
        if [ ! -d "$1/lost+found" ]; then
            find "$1" -mindepth 1 -delete; chown 0:0 "$1"; chmod 755 "$1"; mkdir -m 700 "$1/lost+found"
        fi""",
    "secret": "",
}
# No file becomes executable: to Postfix a message that its group may execute is one to be returned (postsuper -e).
_TO_THE_GROUP = """
chgrp -R "$2" "$1"
find "$1" -type d -exec chmod g+rwxs {} + -o -type f -exec chmod g+rw {} +
"""
# And what it does with it for the fsGroup `$2`.
_GIVEN = {
    "emptyDir": _TO_THE_GROUP,
    "persistentVolumeClaim": _TO_THE_GROUP,
    "secret": 'chgrp -R "$2" "$1"; chmod -R g+rX "$1"',
}


class Ended(NamedTuple):
    """A container that ended by itself, and as what it ran: user, whether its root was read-only, capabilities."""

    status: int
    log: str
    ran_as: str


class Node:
    """podman with the relay's image in it; all that it runs takes the tests' CA for the public ones."""

    def __init__(self, docker: Engine, network: Network, directory: Path, certificates: Certificates) -> None:
        self._docker = docker
        self._directory = directory
        # Images are overlays, and overlays cannot be laid on the container's own.
        self._storage = docker.volume()
        self.container: Container = docker.start(
            engine.PODMAN,
            network,
            init=True,
            volumes={
                self._storage.name: {"bind": "/var/lib/containers", "mode": "rw"},
                str(directory): {"bind": _HERE, "mode": "ro"},
            },
            **_RIGHTS,
        )
        shutil.copy(certificates.directory / "ca.pem", directory)
        self._load(docker, engine.RELAY)

    def play(self, manifest: Manifest) -> Pod:
        file = self._written(*manifest.others, _in_its_group(_without_sidecars(manifest.pod)))
        self.podman("kube", "play", "--start=false", file)
        self._mount(manifest)
        self.podman("pod", "start", manifest.name)
        return Pod(self, manifest, file)

    def run(self, pod: Object) -> Ended:
        """A Pod of one container that ends by itself; it is gone then."""
        self.podman("kube", "play", file := self._written(pod))
        [container] = pod["spec"]["containers"]
        name = f"{pod['metadata']['name']}-{container['name']}"
        told: list[str] = []

        def ended() -> bool:
            told[:] = self.podman("inspect", "--format", _OF_ENDED, name).split(maxsplit=2)
            return told[0] == "exited"

        until(f"{name} has ended", ended, deadline=_SECONDS, needs=[self.container], state=told.copy)
        found = Ended(int(told[1]), self.podman("logs", name), told[2].strip())
        self.podman("kube", "down", file)
        return found

    def _written(self, *objects: Object) -> str:
        file = f"{secrets.token_hex(3)}.yaml"
        (self._directory / file).write_text("\n---\n".join(map(json.dumps, objects)))
        return f"{_HERE}/{file}"

    def _mount(self, manifest: Manifest) -> None:
        """What the relay mounts, as a kubelet gives it: podman fills new volumes from the image, and with its modes."""
        group = str(manifest.spec["securityContext"].get("fsGroup", ""))
        relay = f"{manifest.name}-{manifest.relay['name']}"
        # Mounted, and not running yet.
        self.podman("init", relay)
        pid = self.podman("inspect", "--format", "{{.State.Pid}}", relay).strip()
        inside = {each["name"]: each["mountPath"] for each in manifest.relay["volumeMounts"]}
        for volume in manifest.spec["volumes"]:
            if volume.get("emptyDir", {}).get("medium") == "Memory":
                where = f"/proc/{pid}/root{inside[volume['name']]}"
            else:
                shown = ["volume", "inspect", "--format", "{{.Mountpoint}}", _called(volume)]
                where = self.podman(*shown).strip()
            [kind] = {*_MADE} & volume.keys()
            script = f"{_MADE[kind]}\n{_GIVEN[kind] if group else ''}"
            done = engine.execute(self.container, ["sh", "-ec", script, "mount", where, group])
            assert done.status == 0, done.output

    def podman(self, *arguments: str) -> str:
        done = engine.execute(self.container, ["podman", *arguments])
        assert done.status == 0, f"podman {shlex.join(arguments)}: {done.output}"
        return done.output

    def remove(self) -> None:
        self._docker.remove(self.container, self._storage)

    def _load(self, docker: Engine, image: str) -> None:
        file = self._directory / "image.tar"
        with file.open("wb") as opened:
            opened.writelines(docker.client.images.get(image).save(named=image))
        self.podman("load", "--quiet", "--input", f"{_HERE}/{file.name}")
        file.unlink()


class Pod:
    """One that runs, with its containers `app` and relay."""

    def __init__(self, node: Node, manifest: Manifest, file: str) -> None:
        self._node = node
        self._file = file
        self._removed = False
        self._spec = manifest.spec
        self._grace: int = self._spec.get("terminationGracePeriodSeconds", _GRACE_SECONDS)
        self._app = f"{manifest.name}-app"
        self._relay = f"{manifest.name}-{manifest.relay['name']}"
        self._hook = manifest.relay.get("lifecycle", {}).get("preStop")

    def exec(self, *command: str) -> Result:
        return engine.execute(self._node.container, ["podman", "exec", self._relay, *command])

    def address(self) -> str:
        """That other Pods reach it by."""
        shown = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return self._node.podman("inspect", "--format", shown, self._relay).strip()

    def logs(self) -> str:
        """The relay's."""
        return self._node.podman("logs", self._relay)

    def accepted(self) -> list[str]:
        """The Message-IDs of all mails of the app that got their 250."""
        return self._node.podman("logs", self._app).splitlines()

    def wait_for(self, count: int) -> list[str]:
        """The same, once there are so many."""
        self._until(f"{count} mails of the app got their 250", lambda: len(self.accepted()) == count)
        return self.accepted()

    def logged(self, text: str) -> None:
        self._until(f"the relay's log has {text!r}", lambda: text in self.logs())

    def kill_relay(self) -> None:
        """Its container alone."""
        self._node.podman("kill", self._relay)
        self._node.podman("wait", self._relay)

    def start_relay(self) -> None:
        """Again; what it mounts from the Pod is as it was, but for what podman has in memory."""
        self._node.podman("start", self._relay)

    def begin_stop(self) -> None:
        """As a kubelet does it: all at once; a relay with a preStop after that, a native sidecar after the app.

        What is left of a preStop when the app has ended would be a sleep in which nothing happens.
        """
        stop = f"podman stop --time $(({self._grace} - SECONDS))"
        hook = (
            f"podman exec {self._relay} {shlex.join(self._hook['exec']['command'])} &" if self._hook else ""
        )
        first = "wait -n" if self._hook or _sidecars(self._spec) else ":"
        script = f"{stop} {self._app} & {hook}\n{first}; {stop} {self._relay}"
        self._node.container.exec_run(["bash", "-c", script], detach=True)

    def exit_codes(self) -> tuple[int, int]:
        """The app's and the relay's, once they have ended."""
        shown = ["podman", "inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}"]
        told: list[str] = []

        def ended() -> bool:
            told[:] = engine.execute(self._node.container, [*shown, self._app, self._relay]).lines
            return all(line.startswith("exited ") for line in told)

        self._until("the Pod has ended", ended)
        app, relay = (int(line.split()[1]) for line in told)
        return app, relay

    def remove(self, *, claims: bool = True) -> None:
        """Once; without its claims, they are the next Pod's."""
        if not self._removed:
            self._removed = True
            # For the report of a test that failed.
            print(*self.accepted(), self.logs(), sep="\n")
            self._node.podman("kube", "down", self._file)
            if claims:
                self._node.podman("volume", "rm", "--all")

    def _until(self, what: str, condition: Callable[[], bool]) -> None:
        def state() -> str:
            return "\n".join([*self.accepted(), self.logs()])

        until(what, condition, deadline=_SECONDS, needs=[self._node.container], state=state)


def _sidecars(spec: Object) -> list[Object]:
    return [each for each in spec.get("initContainers", []) if each.get("restartPolicy") == "Always"]


def _called(volume: Object) -> str:
    """Podman's name of it."""
    claim, secret = volume.get("persistentVolumeClaim", {}), volume.get("secret", {})
    name: str = claim.get("claimName") or secret.get("secretName") or volume["name"]
    return name


def _in_its_group(pod: Object) -> Object:
    """The same with its fsGroup among its users' groups."""
    context = pod["spec"]["securityContext"]
    groups = [context["fsGroup"]] if "fsGroup" in context else []
    return pod | {"spec": pod["spec"] | {"securityContext": context | {"supplementalGroups": groups}}}


def _without_sidecars(pod: Object) -> Object:
    """The same with them as ordinary containers, the first."""
    spec = pod["spec"]
    sidecars = _sidecars(spec)
    others = [each for each in spec.get("initContainers", []) if each not in sidecars]
    first = [{key: value for key, value in each.items() if key != "restartPolicy"} for each in sidecars]
    return pod | {"spec": spec | {"initContainers": others, "containers": [*first, *spec["containers"]]}}
