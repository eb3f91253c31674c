"""A second relay in one container or on one spool is refused; what a killed one leaves behind refuses nobody."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from entrypoint import alone


@pytest.mark.parametrize(
    ("shared", "told"),
    [("run", "a relay is already running here"), ("spool", "another relay works on this spool")],
)
def test_the_first_holds_the_place_until_it_is_killed(tmp_path: Path, shared: str, told: str) -> None:
    for name in ("run", "spool", "another"):
        (tmp_path / name).mkdir()
    second = [str(tmp_path / (name if name == shared else "another")) for name in ("run", "spool")]
    ready, says = os.pipe()
    if not (first := os.fork()):
        os.write(says, b"1" if alone.trouble(str(tmp_path / "run"), str(tmp_path / "spool")) else b"0")
        signal.pause()
    assert os.read(ready, 1) == b"0"
    assert told in alone.trouble(*second)
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    assert alone.trouble(str(tmp_path / "run"), str(tmp_path / "spool")) == ""
    assert not any((tmp_path / "spool").iterdir())


def test_where_nothing_can_be_locked_the_start_goes_on(tmp_path: Path) -> None:
    assert alone.trouble(str(tmp_path / "missing"), str(tmp_path / "missing")) == ""
