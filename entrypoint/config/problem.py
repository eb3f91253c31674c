"""What is wrong with a configuration, said so that its author can mend it."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Where people put passwords by mistake.
_SECRET_NAMES = re.compile(r"sasl|passw", re.IGNORECASE)
# What is a secret wherever it stands: hashes of crypt(5), PEM, and what others write before hashes and passwords.
_SECRET = re.compile(
    r"\$(?:\d[a-z]?|g?y|sm3y?|sha1|md5|argon2(?:id?|d))[$,]|-----BEGIN |(?<![^\s:])\{[A-Z][A-Z0-9.-]+\}\S"
)
# What no line of a table begins with: login:password, and what is too long for a word (a token). A fingerprint is
# neither, nor is a port or a way out of which somebody forgot the domain or the space behind it.
_FINGERPRINT = r"(?:[0-9A-Fa-f]{2}:)+[0-9A-Fa-f]{2}\b"
_WAY = r"(?:smtps?|relay|lmtp|error|retry|discard):"
_LOGIN = re.compile(rf"(?!{_FINGERPRINT}|{_WAY})[^\s:\[]+:(?!\d*(?:\s|\Z)|\[|{_WAY})")
_TOKEN = re.compile(r"(?=\S*[0-9])(?=\S*[a-z])(?=\S*[A-Z])[A-Za-z0-9+/_=-]{24,}(?:\s|\Z)")


@dataclass(frozen=True)
class Problem:
    """One mistake: the setting as the user wrote its name, the value (None for a secret), the rule it breaks."""

    setting: str
    value: str | None
    rule: str

    def __post_init__(self) -> None:
        if self.value is not None and _may_be_secret(self.setting, self.value):
            object.__setattr__(self, "rule", _without(self.value, self.rule))
            object.__setattr__(self, "value", None)

    def hidden(self) -> Problem:
        """The same, for eyes that must not see the value."""
        return Problem(self.setting, None, _without(self.value or "", self.rule))

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
    if _SECRET.search(value) or (setting.startswith("/") and (_LOGIN.match(value) or _TOKEN.match(value))):
        return True
    if setting.endswith("_FILE"):
        return not value.startswith(("/", "./"))
    if setting in ("RELAYHOST", "POSTFIX_relayhost"):
        return "@" in value
    if setting == "RELAYHOST_USERNAME":
        return ":" in value
    return bool(_SECRET_NAMES.search(setting)) or "pass" in value.lower()


def holds_secrets(text: str) -> bool:
    """Of a whole file: one line of a key does not look like one."""
    return bool(_SECRET.search(text))


def _without(value: str, rule: str) -> str:
    """A rule may say again, between quotes, what breaks it."""
    lower = value.lower()
    return re.sub(r"'([^']+)'", lambda quoted: "this" if quoted[1].lower() in lower else quoted[0], rule)


def _quoted(value: str) -> str:
    """A value that cannot be mistaken for the words around it, and cannot break a log line."""
    shown = value if len(value) <= 120 else value[:117] + "..."
    plain = shown.isprintable() and " " not in shown and shown.isascii() and shown
    return shown if plain else ascii(shown)
