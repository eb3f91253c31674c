"""Pods, run by podman in a container: as much of a node as manifests can be tried on without a cluster.

`podman kube play` starts what they say. Of native sidecars, preStop and fsGroup it knows nothing, and of its containers it
stops all at once: there it is led here as a kubelet would do it, by the manifest's own words.
"""

from __future__ import annotations

import json
import secrets
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
# For each thing that is waited for, the 30 s of a preStop among them.
_SECONDS = 90


# No file becomes executable: to Postfix a message that its group may execute is one to be returned (postsuper -e).
_TO_THE_GROUP = """
chgrp -R "$2" "$1"
find "$1" -type d -exec chmod g+rwxs {} + -o -type f -exec chmod g+rw {} +
"""
# What a kubelet does with a volume `$1` of each kind for the fsGroup `$2`. Only what the group has already is a claim
# that was mounted before.
_GIVEN = {
    "emptyDir": f'find "$1" -mindepth 1 -delete; chmod 777 "$1"; {_TO_THE_GROUP}',
    "persistentVolumeClaim": f"""
        if [ "$(stat -c %g "$1")" != "$2" ]; then
            find "$1" -mindepth 1 -delete; chmod 755 "$1"; mkdir -m 700 "$1/lost+found"
        fi
        {_TO_THE_GROUP}""",
    "secret": 'chgrp -R "$2" "$1"; chmod -R g+rX "$1"',
}


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
        file = f"{secrets.token_hex(3)}.yaml"
        given = [*manifest.others, _in_its_group(_without_sidecars(manifest.pod))]
        (self._directory / file).write_text("\n---\n".join(map(json.dumps, given)))
        self.podman("kube", "play", "--start=false", f"{_HERE}/{file}")
        if group := manifest.spec["securityContext"].get("fsGroup"):
            self._give(manifest, group)
        self.podman("pod", "start", manifest.name)
        return Pod(self, manifest, f"{_HERE}/{file}")

    def _give(self, manifest: Manifest, group: int) -> None:
        """To the Pod's fsGroup what the relay mounts: as a kubelet gives it, and not as podman does.

        Podman fills new volumes from the image, and with its modes. Kubernetes' are empty, but for a file system's own
        directory, and everybody's or root's.
        """
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
            [how] = {*_GIVEN} & volume.keys()
            done = engine.execute(self.container, ["sh", "-ec", _GIVEN[how], "give", where, str(group)])
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
