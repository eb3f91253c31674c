"""An image as the tree of its files: its layers laid over one another, as the engine hands them out."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from docker.models.images import Image

# image-spec, layer.md: what takes something of the layers below away.
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


class Entry(NamedTuple):
    kind: bytes
    mode: int
    owner: int
    group: int
    modified: int
    target: str
    device: tuple[int, int]
    content: str


Tree = dict[str, Entry]


def tree(image: Image, directory: Path) -> Tree:
    """By path. What a container adds when it is made (/etc/hosts, /dev) is not in it."""
    saved = directory / "image.tar"
    with saved.open("wb") as file:
        file.writelines(image.save())
    found: Tree = {}
    with tarfile.open(saved) as archive:
        for name in json.load(_member(archive, "manifest.json"))[0]["Layers"]:
            with tarfile.open(fileobj=_member(archive, name)) as layer:
                _lay(layer, over=found)
    saved.unlink()
    return found


def differences(first: Tree, second: Tree) -> list[str]:
    return [
        f"{path}: {first.get(path)} and {second.get(path)}"
        for path in sorted({*first, *second})
        if first.get(path) != second.get(path)
    ]


def _lay(layer: tarfile.TarFile, over: Tree) -> None:
    new: Tree = {}
    for member in layer:
        path = PurePosixPath("/", member.name)
        if path.name == _OPAQUE:
            _remove(over, path.parent)
        elif path.name.startswith(_WHITEOUT):
            gone = path.with_name(path.name.removeprefix(_WHITEOUT))
            _remove(over, gone)
            over.pop(str(gone), None)
        else:
            new[str(path)] = _entry(layer, member)
    over |= new


def _remove(tree: Tree, below: PurePosixPath) -> None:
    for path in [path for path in tree if path.startswith(f"{below}/")]:
        del tree[path]


def _entry(layer: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    content = layer.extractfile(member) if member.isreg() else None
    return Entry(
        kind=member.type,
        mode=member.mode,
        owner=member.uid,
        group=member.gid,
        modified=int(member.mtime),
        target=member.linkname,
        device=(member.devmajor, member.devminor),
        content=hashlib.sha256(content.read()).hexdigest() if content else "",
    )


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    return cast("IO[bytes]", archive.extractfile(name))
