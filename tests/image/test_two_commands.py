"""What a stranger types first: `make up`, and what it says when something is in the way."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.image.engine import Engine

ROOT = Path(__file__).parents[2]

Make = Callable[..., subprocess.CompletedProcess[str]]


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture
def make(docker: Engine) -> Iterator[Make]:
    """Runs make with a stack of its own beside the one that a developer may have running."""
    project = f"postern-test-{os.getpid()}"
    names = ("POSTERN_SMTP_PORT", "POSTERN_HEALTH_PORT", "POSTERN_SINK_PORT")
    own = {"COMPOSE_PROJECT_NAME": project} | dict(zip(names, map(str, free_ports(3)), strict=True))
    # make hands its variables to the tests that it runs, and they would come back as ours.
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }

    def run(target: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "--no-print-directory", target],
            cwd=ROOT,
            env=inherited | own | env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    yield run
    run("down")
    for volume in docker.client.volumes.list(filters={"label": f"com.docker.compose.project={project}"}):
        volume.remove(force=True)


def test_make_up_shows_a_mail_that_travelled_and_works_twice(make: Make) -> None:
    for _ in range(2):
        up = make("up")
        assert up.returncode == 0, up.stderr
        assert "The relay is ready" in up.stdout
        assert "RCPT TO:<bob@example.org>" in up.stdout
        assert "by relay.example.com (Postfix)" in up.stdout
    down = make("down")
    assert down.returncode == 0, down.stderr


def test_make_up_names_a_port_that_is_taken(make: Make) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        up = make("up", POSTERN_SMTP_PORT=port)
    assert up.returncode != 0
    assert f"make up: port {port} on 127.0.0.1 is taken by another program" in up.stderr
    assert "Traceback" not in up.stderr


@pytest.mark.parametrize("target", ["up", "image"])
def test_without_an_engine_one_line_says_so(make: Make, target: str) -> None:
    told = make(target, DOCKER_HOST="unix:///nowhere/docker.sock")
    assert told.returncode != 0
    lines = [line for line in told.stderr.splitlines() if not line.startswith("make: ***")]
    assert len(lines) == 1, told.stderr
    assert "engine" in lines[0]
