"""What is wrong with a configuration, said so that its author can mend it."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Where people put passwords by mistake.
_SECRET_NAMES = re.compile(r"sasl|passw", re.IGNORECASE)


@dataclass(frozen=True)
class Problem:
    """One mistake: the setting as the user wrote its name, the value (None for a secret), the rule it breaks."""

    setting: str
    value: str | None
    rule: str

    def __post_init__(self) -> None:
        if self.value is not None and _may_be_secret(self.setting, self.value):
            object.__setattr__(self, "value", None)

    def __str__(self) -> str:
        if self.setting.startswith("/"):
            shown = "" if self.value is None else f" {_quoted(self.value)}"
            return f"{self.setting}:{shown} {self.rule}"
        shown = "" if self.value is None else f"={_quoted(self.value)}"
        return f"{self.setting}{shown}: {self.rule}"


class MisconfiguredError(Exception):
    """Raised with every problem found, never with the first one only."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


def _may_be_secret(setting: str, value: str) -> bool:
    """A password in the wrong place is a mistake that must not end in a log: user:password@host, a file's content."""
    if setting.endswith("_FILE"):
        return not value.startswith(("/", "./"))
    if setting in ("RELAYHOST", "POSTFIX_relayhost"):
        return "@" in value
    if setting == "RELAYHOST_USERNAME":
        return ":" in value
    return bool(_SECRET_NAMES.search(setting)) or "pass" in value.lower()


def _quoted(value: str) -> str:
    """A value that cannot be mistaken for the words around it, and cannot break a log line."""
    shown = value if len(value) <= 120 else value[:117] + "..."
    plain = shown.isprintable() and " " not in shown and shown.isascii() and shown
    return shown if plain else ascii(shown)
