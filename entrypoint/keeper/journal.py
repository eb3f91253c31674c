"""Every line of the log passes here once: what it says is taken by those who add up and remember, and it goes out in
the form that was asked for.
"""

from __future__ import annotations

import time

from entrypoint import log
from entrypoint.maillog import lines as maillog

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import Protocol

    from entrypoint.maillog.lines import Line

    class Reader(Protocol):
        """Takes the lines of some kinds (Line.kind); may give one of its own, which follows it in the log."""

        @property
        def kinds(self) -> Collection[str]: ...

        def read(self, line: Line) -> Line | None: ...

    Form = Callable[[Line], str]
    Mask = Callable[[str], str]

# Seconds between two lines of the log about mistakes.
_QUIET = 60.0


class Journal:
    """`form` makes what is written of a line, with its line break; None writes it as it came.

    `mask` hides what nobody is to see, from the readers too: what they remember is shown.
    """

    def __init__(
        self, readers: Sequence[Reader] = (), form: Form | None = None, mask: Mask | None = None
    ) -> None:
        self._readers: dict[str, list[Callable[[Line], Line | None]]] = {}
        self._form = form
        self._mask = mask
        self._quiet_until = float("-inf")
        for reader in readers:
            self.read_by(reader)

    def read_by(self, reader: Reader) -> None:
        """From now on, too."""
        for kind in reader.kinds:
            self._readers.setdefault(kind, []).append(reader.read)

    def take(self, text: bytes) -> bytes:
        """Complete lines in; what is to be written out."""
        if not self._readers and self._form is None and self._mask is None:
            return text
        whole = text.decode("utf-8", "backslashreplace")
        if self._mask:
            whole = self._mask(whole)
        form, readers, out = self._form or _as_it_came, self._readers, []
        # Not splitlines(), for which U+2028 ends a line too: a stranger's address could begin a line of its own.
        for raw in whole.split("\n")[:-1]:
            line = maillog.parse(raw)
            out.append(form(line))
            for read in readers.get(line.kind, ()):
                # A generator or a function for each line would take a tenth of all the time.
                try:
                    own = read(line)
                except Exception as error:  # noqa: BLE001
                    own = self._mistake(error)
                if own:
                    out.append(form(own))
        return "".join(out).encode("utf-8", "backslashreplace")

    def _mistake(self, error: Exception) -> Line | None:
        """A reader's, who misses this line: Postfix, which ends with the keeper, must not stop for a number."""
        if time.monotonic() < self._quiet_until:
            return None
        self._quiet_until = time.monotonic() + _QUIET
        told = f"error: a mistake in Postern: {type(error).__name__}: {error}; told once a minute"
        return maillog.parse(log.line(told, "postern/keeper").decode().rstrip("\n"))


def _as_it_came(line: Line) -> str:
    return f"{line.whole}\n"
