"""What the page is made from: the keeper's word, /readyz's, and what the start left. What cannot be had is None or empty."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

from entrypoint import runtime
from entrypoint.health import asking
from entrypoint.health import check as readiness
from entrypoint.maillog import masking

if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.maillog.masking import Mask

# Seconds for the keeper, and for a count of the queue, which takes longer if that is long: the last one does until then.
_PATIENCE, _QUEUE_PATIENCE = 2.0, 0.8
_ADDRESSES = frozenset({"from", "to", "orig_to", "sasl_username"})
LATEST = 100
"""Messages."""


class Facts:
    """Of one moment, `now` (seconds since 1970). All texts are printable, with addresses hidden as they must be."""

    def __init__(self, places: Places | None = None) -> None:
        at = places or Places()
        self.now = time.time()
        self.about: dict[str, Any] = json.loads(at.read(at.about) or "{}")
        self.version, self.revision = (*at.read(at.build).splitlines(), "", "")[:2]
        self.left: int | None = None
        """During a stop, how many messages are in the spool."""
        self.shortened = not self.about.get("password") and self.about.get("addresses") == "full"
        """Whether the page hides more of an address than the log does: nobody need say who he is to see it."""
        self.certificates = [line.partition(" ")[::2] for line in at.read(at.certificates).splitlines()]
        self._mask = masking.mask("partial") if self.shortened else None
        self._ask_all(at)

    def _ask_all(self, at: Places) -> None:
        found: dict[str, Any] = {}

        def note(name: str, ask: Callable[[], Any]) -> None:
            found[name] = ask()

        # Those that may take a while, beside the others and each other.
        slow = [
            threading.Thread(target=note, args=("checks", at.ready), daemon=True),
            threading.Thread(target=note, args=("queue", lambda: _queue(at)), daemon=True),
        ]
        for thread in slow:
            thread.start()
        self.counts = at.ask("counts")
        self.minutes = at.ask("minutes")
        left, waiting = at.ask("stories") or [], at.ask("stories waiting") or []
        for thread in slow:
            thread.join()
        self.checks: list[tuple[str, str, str]] = self._cleaned(found["checks"])
        self.queue = self._cleaned(found["queue"])
        latest = sorted(left + waiting, key=lambda story: story.get("left") or story["arrived"], reverse=True)
        self.stories: list[dict[str, Any]] = self._cleaned(latest[:LATEST])
        self.stopping = any(name == "running" for _, name, _ in self.checks)
        # Counting takes time: only where it is of use.
        self.left = (at.ask("state", _QUEUE_PATIENCE) or {}).get("left") if self.stopping else None

    def _cleaned(self, value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: self._cleaned(part, key) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [self._cleaned(part, name) for part in value]
        return clean(value, name, self._mask) if isinstance(value, str) else value


def clean(text: str, name: str, mask: Mask | None) -> str:
    """Without what could drive a terminal, hide text or turn its direction round. `name` is the field's."""
    if mask and name in _ADDRESSES:
        # In the log's own form, where it is known to be one, whatever it looks like.
        text = mask(f"to=<{text}>").removeprefix("to=<").removesuffix(">")
    elif mask:
        text = mask(text)
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _queue(at: Places) -> Any:
    return at.ask("queue", _QUEUE_PATIENCE) or at.ask("queue last") or None


class Places:
    """Where all that comes from."""

    def __init__(self) -> None:
        self.about = runtime.ABOUT
        self.build = runtime.BUILD
        self.certificates = runtime.CERTIFICATES
        self.keeper = runtime.KEEPER
        self.runtime = runtime.RUNTIME
        self._silent = False

    def read(self, path: str) -> str:
        try:
            with open(path, encoding="utf-8") as file:  # noqa: PTH123
                return file.read()
        except OSError:
            return ""

    def ask(self, question: str, patience: float = _PATIENCE) -> Any:
        """The keeper's answer, None if there is none; who has been silent once is not waited for again."""
        if self._silent:
            return None
        try:
            return json.loads(asking.ask(question, patience, self.keeper), strict=False)
        except TimeoutError:
            # All but a count of the queue it knows at once.
            self._silent = patience == _PATIENCE
        except (OSError, ValueError):
            pass
        return None

    def ready(self) -> list[tuple[str, str, str]]:
        """Each check's result (ok, warning, failed), name and what it says."""
        try:
            _, text = readiness.ask(int(runtime.scalar(self.runtime, "health_port")))
        except (OSError, ValueError) as error:
            return [("failed", "health", f"/readyz does not answer: {error}")]
        lines = [line.partition(" ") for line in text.splitlines()]
        return [(result, *rest.partition(": ")[::2]) for result, _, rest in lines]
