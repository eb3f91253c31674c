"""What this Postfix knows, written down when the image was built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Vocabulary:
    """Every parameter with its default (`postconf -d`), the types of tables (`postconf -m`), the daemons' names."""

    parameters: Mapping[str, str]
    tables: frozenset[str]
    programs: frozenset[str]
