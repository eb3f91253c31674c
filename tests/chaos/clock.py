"""A clock for the relay alone, which an event can set: clock.c, preloaded into every program of its container."""

from __future__ import annotations

import shutil
import struct
import time
from pathlib import Path

from docker.models.containers import Container

from tests.image import engine
from tests.image.relay import Relay

_INSIDE = "/clock"
_TOLERANCE = 60
_PROOF = 3600


class Clock:
    """`directory` is empty; `mounts` are for the relay, once `build` has made what it preloads."""

    def __init__(self, directory: Path) -> None:
        # Programs of every user of the container.
        directory.chmod(0o755)
        shutil.copy(Path(__file__).with_name("clock.c"), directory)
        (directory / "preload").write_text(f"{_INSIDE}/clock.so\n")
        self._ahead = directory / "ahead"
        self._ahead.write_bytes(struct.pack("l", 0))
        self.seconds = 0
        self.builder_mounts = {str(directory): {"bind": _INSIDE, "mode": "rw"}}
        self.mounts = {
            str(directory): {"bind": _INSIDE, "mode": "ro"},
            str(directory / "preload"): {"bind": "/etc/ld.so.preload", "mode": "ro"},
        }

    def build(self, tools: Container) -> None:
        command = ["tcc", "-shared", "-o", f"{_INSIDE}/clock.so", f"{_INSIDE}/clock.c"]
        done = engine.execute(tools, command)
        assert done.status == 0, done.output

    def jump(self, seconds: int) -> None:
        """For all programs at the same moment; those that are started later see it, too."""
        self.seconds += seconds
        with self._ahead.open("r+b") as file:
            file.write(struct.pack("l", self.seconds))

    def prove(self, relay: Relay) -> None:
        """A clock that nobody sees would let every jump pass. Not by as much as a test's: the relay may tell of it."""
        self.jump(_PROOF)
        ahead = int(relay.exec("date", "+%s").output) - time.time()
        self.jump(-_PROOF)
        assert abs(ahead - _PROOF) < _TOLERANCE, f"the relay's clock is {ahead:.0f} s ahead, not {_PROOF}"
