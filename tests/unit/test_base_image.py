"""scripts/base-image: what is done, and what is said when it cannot be, with a stand-in for Docker's command."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/base-image"


def run(tmp_path: Path, docker: str, mmdebstrap: str = "exit 1") -> subprocess.CompletedProcess[str]:
    for name, text in (("docker", docker), ("mmdebstrap", mmdebstrap)):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    env = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "POSTERN_PULL_TIMEOUT": "1",
        "POSTERN_APT_DIR": str(tmp_path),
    }
    return subprocess.run([SCRIPT], env=env, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "Got permission denied while trying to connect",
            "no rights on Docker's socket: join the group docker, or use sudo",
        ),
        (
            "Cannot connect to the Docker daemon",
            "no Docker engine is running: start it (systemctl start docker)",
        ),
    ],
)
def test_an_engine_that_cannot_be_used_is_one_clear_line(tmp_path: Path, words: str, said: str) -> None:
    told = run(tmp_path, f"echo '{words}' >&2; exit 1")
    assert (told.returncode, told.stderr) == (1, f"base-image: {said}\n")


def test_a_base_that_is_present_is_left_alone(tmp_path: Path) -> None:
    told = run(tmp_path, "exit 0")
    assert (told.returncode, told.stdout) == (0, "base-image: debian:trixie-slim is present\n")


def test_a_base_that_can_be_pulled_is_pulled(tmp_path: Path) -> None:
    told = run(tmp_path, 'case "$1" in image) exit 1 ;; esac')
    assert told.returncode == 0
    assert told.stdout.endswith("debian:trixie-slim pulled\n")


def test_where_nothing_can_be_pulled_it_is_made_from_packages_with_the_security_suite(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(
        "deb http://mirror.example/debian bookworm-updates main\n"
        "deb http://mirror.example/debian-security bookworm-security main\n"
    )
    # The pull hangs, as it does in a network that swallows connections.
    docker = 'case "$1" in image) [ "$3" = --format ] && echo 80000000 || exit 1 ;; pull) sleep 15 ;; esac'
    made = f'echo "$@" >{tmp_path}/asked; for last; do case $last in *.tar) tar -cf "$last" -T /dev/null ;; esac; done'
    told = run(tmp_path, docker, made)
    assert told.returncode == 0, told.stderr
    assert "made, 80 MB" in told.stdout
    asked = (tmp_path / "asked").read_text()
    assert "deb http://mirror.example/debian-security trixie-security main" in asked
    assert "--variant=minbase" in asked
