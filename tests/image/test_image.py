"""The image itself: what it says of itself, what it opens and writes, and what it leaves out."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.image import engine, inside
from tests.image.conftest import StartRelay
from tests.image.engine import Engine
from tests.image.relay import Relay, someone
from tests.image.sink import Sink

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MEGABYTE = 1_000_000
# What `make bench` compares with: Debian's Postfix alone.
BARE = "postern-bench-bare:latest"

# Our own; the list of what is in the image; what Python and install-info make of packages' files; and what keeps
# services from starting in a build, which every Debian base image has.
UNOWNED = r"/usr/(lib/postern/|bin/postern$|share/postern/)|/__pycache__/|/usr/share/info/dir$|/usr/sbin/policy-rc.d$"


@pytest.fixture(scope="session")
def image(docker: Engine) -> dict[str, Any]:
    attributes: dict[str, Any] = docker.client.images.get(engine.RELAY).attrs
    return attributes


def test_the_labels_say_what_it_is_and_where_it_comes_from(image: dict[str, Any]) -> None:
    prefix = "org.opencontainers.image."
    labels = {k.removeprefix(prefix): v for k, v in image["Config"]["Labels"].items() if k.startswith(prefix)}
    assert labels["title"] == "Postern"
    assert labels["description"] == PROJECT["description"]
    assert labels["version"] == PROJECT["version"]
    assert labels["licenses"] == PROJECT["license"]["text"]
    assert labels["base.name"] == "debian:trixie-slim"
    # A build without git, from an archive, knows neither of these and says so.
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", labels["revision"])
    assert labels["source"]


def test_without_a_command_it_runs_the_relay(relay: Relay) -> None:
    assert relay.container.attrs["Config"]["Cmd"] == ["run"]
    assert relay.readiness().startswith("200 ")


def test_check_as_the_command_checks_and_ends(start_relay: StartRelay) -> None:
    checked = start_relay(wait=False, command=["check"])
    assert checked.exit_code() == 0
    assert "the settings are good" in checked.logs()


def test_sh_as_the_command_gives_a_shell(start_relay: StartRelay) -> None:
    shell = start_relay(wait=False, command=["sh", "-c", "echo $((6 * 7)); exit 5"])
    assert shell.exit_code() == 5
    assert shell.logs() == "42\n"


def test_the_exposed_ports_are_those_it_listens_on_when_there_are_users(
    image: dict[str, Any], start_relay: StartRelay
) -> None:
    """`docker run -P` then publishes each of them."""
    exposed = {int(port.removesuffix("/tcp")) for port in image["Config"]["ExposedPorts"]}
    assert inside.listening(start_relay({"SMTPD_SASL_USERS": "ann:secret"})) == exposed


def test_nothing_is_written_but_the_volumes_and_run(
    image: dict[str, Any], start_relay: StartRelay, sink: Sink
) -> None:
    """So a read-only root costs nothing, and nothing grows unseen in the container's own layer."""
    relay = start_relay(read_only=False, tmpfs={})
    relay.send(to := someone())
    sink.mail(to)
    volumes = set(image["Config"]["Volumes"])
    assert volumes == {"/var/spool/postfix", "/var/lib/postern"}
    for volume in volumes:
        assert relay.exec("find", volume, "-newer", "/proc/1").output, f"{volume} is never written"
    relay.container.stop()
    written = {str(change["Path"]) for change in relay.container.diff()}
    assert {path for path in written if not re.match(r"/run(/|$)", path)} == set()


@pytest.mark.root
@pytest.mark.parametrize(
    ("what", "find"),
    [
        ("documentation", "/usr/share/doc -type f ! -name copyright"),
        ("man pages", "/usr/share/man /usr/share/info -type f ! -name dir"),
        ("translations", "/usr/share/locale -type f"),
        ("lists of packages", "/var/lib/apt/lists -type f ! -name lock"),
        ("downloaded packages", "/var/cache/apt -type f ! -name lock"),
        ("logs", "/var/log -type f -size +0"),
        ("temporary files", "/tmp /var/tmp /root -mindepth 1 ! -name .bashrc ! -name .profile ! -name .ssh"),
        ("something outside Debian's packages", "/usr/local /opt /srv -type f"),
        ("pip", "/usr -path '*/ensurepip' -o -path '*-packages/pip' -o -name 'pip3*'"),
        ("a compiler", "/usr/bin -name 'gcc*' -o -name cc -o -name 'c++*' -o -name ld -o -name make"),
    ],
    ids=lambda value: "" if value.startswith("/") else value.replace(" ", "_"),
)
def test_the_image_does_not_carry(shell: Relay, what: str, find: str) -> None:
    found = shell.exec("sh", "-c", f"set -f; find {find} 2>&1 | grep -v 'No such file'")
    assert not found.output, f"{what}:\n{found.output}"


def test_every_program_and_library_comes_from_a_debian_package(shell: Relay) -> None:
    """One vendor for security fixes: what no package owns, nobody would mend."""
    owned = "cat /var/lib/dpkg/info/*.list | xargs -d '\\n' realpath -ms | sort -u >/run/owned"
    unowned = shell.exec(
        "sh", "-c", f"{owned}; find /usr -xdev -type f | sort | comm -23 - /run/owned; rm /run/owned"
    )
    strangers = [path for path in unowned.lines if not re.search(UNOWNED, path)]
    assert strangers == []


def test_the_users_have_the_numbers_that_volumes_rely_on(shell: Relay) -> None:
    """A spool that one version wrote belongs to Postfix in the next one, too."""
    passwd = [line.split(":") for line in shell.exec("getent", "passwd", "postfix", "postern").lines]
    assert {name: (uid, gid) for name, _, uid, gid, *_ in passwd} == {
        "postfix": ("100", "101"),
        "postern": ("103", "103"),
    }
    assert shell.exec("getent", "group", "postdrop").output.split(":")[2] == "102"


def test_no_update_is_pending(docker: Engine) -> None:
    """Debian's security fixes of the day of the build are in it."""
    script = (
        "apt-get -o APT::Update::Error-Mode=any update >/tmp/said 2>&1 || { tail -3 /tmp/said; exit 9; }"
        "; apt-get -s dist-upgrade | grep ^Inst || true"
    )
    container = docker.start(engine.RELAY, command=["sh", "-c", script], healthcheck={"test": ["NONE"]})
    status = container.wait(timeout=110)["StatusCode"]
    said = container.logs().decode()
    docker.remove(container)
    if status == 9:
        pytest.skip(f"Debian's archive cannot be asked from here: {said.strip()}")
    assert not said, f"pending; `docker build --no-cache` takes them in:\n{said}"


def test_it_is_at_most_60_megabytes_larger_than_postfix_alone(docker: Engine, image: dict[str, Any]) -> None:
    bare = [found for found in docker.client.images.list() if BARE in found.tags]
    if not bare:
        pytest.skip("nothing to compare with: `make bench` makes the bare image")
    more = (image["Size"] - bare[0].attrs["Size"]) / MEGABYTE
    assert more <= 60, f"{more:.0f} MB more than {shlex.quote(BARE)}"
