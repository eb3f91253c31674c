"""The files of deploy/compose, started as they are but for what a test machine lacks or must not be given."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any

from docker.models.containers import Container
from docker.models.networks import Network
from ruamel.yaml import YAML

from tests.image import engine
from tests.image.engine import Engine
from tests.image.relay import Relay
from tests.image.tls import Certificates

FILES = Path(__file__).parents[2] / "deploy/compose"
PASSWORD = "change-me"
USER = "app@example.com"
_IMAGES = {"postern:latest": engine.RELAY, "haproxy:lts": engine.CLIENTS}
_PUBLIC_CAS = "/etc/ssl/certs/ca-certificates.crt"

Described = dict[str, Any]


class Stack:
    """One such file, started.

    The secrets are written for it. Another image stands for HAProxy's, the tests' CA for the public ones; ports are not
    published, and everything has the tests' labels.
    """

    def __init__(self, docker: Engine, name: str, directory: Path, certificates: Certificates) -> None:
        self._docker = docker
        self._project = f"postern-test-{secrets.token_hex(3)}"
        shutil.copytree(FILES, directory, dirs_exist_ok=True)
        described: Described = YAML(typ="safe").load(FILES / name)
        _write_secrets(directory, described, certificates)
        altered = directory / "altered.yml"
        altered.write_text(json.dumps(_altered(described, docker.labels, certificates)))
        command = [*_command(), "-p", self._project, "-f", str(altered), "up", "-d"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        self.services: dict[str, Container] = docker.adopt(self._project)
        assert done.returncode == 0, done.stderr

    def network(self, name: str = "default") -> Network:
        [found] = self._docker.client.networks.list(names=[f"{self._project}_{name}"])
        return found

    def relay(self, service: str = "relay") -> Relay:
        """One of its relays, once it is ready."""
        started = _Started(self.services[service])
        started.wait_until_ready()
        return started

    def remove(self) -> None:
        mine = {"label": f"com.docker.compose.project={self._project}"}
        client = self._docker.client
        self._docker.remove(*self.services.values())
        self._docker.remove(*client.networks.list(filters=mine), *client.volumes.list(filters=mine))


class _Started(Relay):
    """A relay of compose's; none of its ports is published."""

    def __init__(self, container: Container) -> None:
        self.container = container

    def readiness(self) -> str:
        asked = self.exec("postern", "health")
        return f"{503 if asked.status else 200} {asked.output}"


def _command() -> list[str]:
    """Compose v2 where the engine's command line has it, as in the Makefile."""
    plugin = subprocess.run(["docker", "compose", "version"], check=False, capture_output=True)
    return ["docker-compose"] if plugin.returncode else ["docker", "compose"]


def _write_secrets(directory: Path, described: Described, certificates: Certificates) -> None:
    content = {
        "users": f"{USER}:{PASSWORD}\nother@example.org:{PASSWORD}\n",
        "relay.pem": "".join(
            (certificates.directory / f"sink.{part}").read_text() for part in ("pem", "key")
        ),
    }
    for name, secret in described.get("secrets", {}).items():
        file = directory / secret["file"]
        file.parent.mkdir(exist_ok=True)
        file.write_text(content.get(name, f"{PASSWORD}\n"))


def _altered(described: Described, labels: dict[str, str], certificates: Certificates) -> Described:
    services: dict[str, Described] = described["services"]
    for service in services.values():
        if service["image"] == "haproxy:lts":
            service["command"] = "haproxy -W -db -f /usr/local/etc/haproxy/haproxy.cfg"
        service["image"] = _IMAGES[service["image"]]
        service["volumes"].append(f"{certificates.directory}/ca.pem:{_PUBLIC_CAS}:ro")
        service |= {"labels": labels, "restart": "no", "healthcheck": {"disable": True}}
        service.pop("ports", None)
    described["networks"] = described.get("networks") or {"default": {}}
    for kind in ("networks", "volumes"):
        described[kind] = {
            name: {**(each or {}), "labels": labels} for name, each in described.get(kind, {}).items()
        }
    return described
