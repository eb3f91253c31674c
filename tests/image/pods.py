"""Pods, run by podman in a container: as much of a node as manifests can be tried on without a cluster.

`podman kube play` starts what they say. Of native sidecars and preStop it knows nothing, and of its containers it stops
all at once: there it is led here as a kubelet would do it, by the manifest's own words.
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
# What podman needs to make namespaces, mounts and networks. `privileged` would be more, and is more than an engine
# can give that itself runs in a sandbox.
_RIGHTS: dict[str, Any] = {
    "cap_add": ["NET_ADMIN", "SYS_ADMIN"],
    "security_opt": ["apparmor=unconfined", "seccomp=unconfined"],
}
# The kubelet's, where a Pod does not say.
_GRACE_SECONDS = 30
# For each thing that is waited for, the 30 s of a preStop among them.
_SECONDS = 90


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
        given = [*manifest.others, _without_sidecars(manifest.pod)]
        (self._directory / file).write_text("\n---\n".join(map(json.dumps, given)))
        self.podman("kube", "play", f"{_HERE}/{file}")
        return Pod(self, manifest, f"{_HERE}/{file}")

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


def _without_sidecars(pod: Object) -> Object:
    """The same with them as ordinary containers, the first."""
    spec = pod["spec"]
    sidecars = _sidecars(spec)
    others = [each for each in spec.get("initContainers", []) if each not in sidecars]
    first = [{key: value for key, value in each.items() if key != "restartPolicy"} for each in sidecars]
    return pod | {"spec": spec | {"initContainers": others, "containers": [*first, *spec["containers"]]}}
