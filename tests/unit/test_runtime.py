"""The two small files between the programs, read without the json module and yet JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from entrypoint import runtime

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*/etc/postern/runtime.json"))


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.parts[-4])
def test_what_is_read_is_what_json_says(file: Path) -> None:
    assert runtime.facts(str(file)) == {name: str(v) for name, v in json.loads(file.read_text()).items()}


def test_a_missing_name_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": 1}\n')
    assert runtime.scalar(str(tmp_path / "x.json"), "a") == "1"
    with pytest.raises(ValueError, match="has no b"):
        runtime.scalar(str(tmp_path / "x.json"), "b")
