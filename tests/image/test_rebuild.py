"""Who builds a commit gets the image that everybody else gets from it, and can read what it is made of."""

from __future__ import annotations

import calendar
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import BuildError
from docker.models.images import Image
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from tests.image import engine, trees
from tests.image.engine import Engine
from tests.image.relay import Relay

PROJECT = Path(__file__).parents[2]
BILL = "/usr/share/postern/sbom.spdx.json"
# Nobody's checkout is from then.
_OTHER_TIME = 1_000_000_000


@pytest.fixture(scope="module")
def image(docker: Engine) -> Image:
    return docker.client.images.get(engine.RELAY)


@pytest.fixture(scope="module")
def bill(shell: Relay) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(shell.exec("cat", BILL).output)
    return read


def test_the_bill_of_materials_is_valid_spdx(bill: dict[str, Any], tmp_path: Path) -> None:
    assert bill["spdxVersion"] == "SPDX-2.3"
    (file := tmp_path / "sbom.spdx.json").write_text(json.dumps(bill))
    assert validate_full_spdx_document(parse_file(str(file))) == []


def test_the_bill_of_materials_lists_every_package_as_dpkg_does(bill: dict[str, Any], shell: Relay) -> None:
    form = "${Package} ${Version} pkg:deb/debian/${Package} arch=${Architecture}\n"
    installed = shell.exec("dpkg-query", "--show", f"--showformat={form}").lines
    listed = []
    for package in bill["packages"]:
        for reference in package.get("externalRefs", ()):
            location, _, query = reference["referenceLocator"].partition("?")
            kind = location.partition("@")[0].replace("%2B", "+")
            listed.append(f"{package['name']} {package['versionInfo']} {kind} {query.partition('&')[0]}")
    assert sorted(listed) == sorted(installed)
    contained = {relation["relatedSpdxElement"] for relation in bill["relationships"]}
    assert contained == {package["SPDXID"] for package in bill["packages"]}


def test_the_bill_of_materials_names_this_build_and_a_label_says_where_it_is(
    bill: dict[str, Any], image: Image
) -> None:
    [postern] = [package for package in bill["packages"] if package["name"] == "postern"]
    assert postern["versionInfo"] == image.labels["org.opencontainers.image.version"]
    assert postern["sourceInfo"].endswith(f" {image.labels['org.opencontainers.image.revision']}")
    assert image.labels["org.postern.sbom"] == BILL


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The same commit on the machine of somebody who has another umask, at another time."""
    copy = tmp_path / "checkout"
    copy.mkdir()
    for name in ("Dockerfile", ".dockerignore", "rootfs", "entrypoint", "nonroot", "scripts"):
        _copy(PROJECT / name, copy / name)
    for path in copy.rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)
        os.utime(path, (_OTHER_TIME, _OTHER_TIME))
    return copy


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


@pytest.fixture
def built_again(docker: Engine, image: Image, bill: dict[str, Any], checkout: Path) -> Iterator[Image]:
    created = time.strptime(bill["creationInfo"]["created"], "%Y-%m-%dT%H:%M:%SZ")
    arguments = {
        name.upper(): image.labels[f"org.opencontainers.image.{name}"]
        for name in ("version", "revision", "source")
    }
    try:
        built, _ = docker.client.images.build(
            path=str(checkout),
            tag=f"postern-test-again:{os.getpid()}",
            nocache=True,
            rm=True,
            forcerm=True,
            buildargs=arguments | {"SOURCE_DATE_EPOCH": str(calendar.timegm(created))},
            # The tests beside this one have the processor first.
            container_limits={"cpushares": 64},
        )
    except BuildError as error:
        said = "".join(str(line.get("stream", "")) for line in error.build_log if isinstance(line, dict))
        pytest.fail(f"the second build failed:\n{said[-2000:]}")
    yield built
    docker.client.images.remove(str(built.id), force=True)


def test_a_second_build_of_the_same_commit_has_the_same_files(
    image: Image, built_again: Image, tmp_path: Path
) -> None:
    """Path by path: kind, mode, owner, time and content."""
    first, second = trees.tree(image, tmp_path), trees.tree(built_again, tmp_path)
    assert len(first) > 1000
    assert first[BILL].content == second[BILL].content, (
        f"Debian has updated packages since {engine.RELAY} was built, so nothing can be said about it: build it anew "
        "with `docker build --no-cache`"
    )
    assert trees.differences(first, second) == [], (
        f"was {engine.RELAY} built from this checkout (`make image`)?"
    )
