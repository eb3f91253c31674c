"""`postern page`: prints the page, below a line that says which style sheet it may have (Content-Security-Policy)."""

from __future__ import annotations

import base64
import hashlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import BaseLoader, ChoiceLoader, Environment, FileSystemLoader, ModuleLoader, StrictUndefined

from entrypoint.page import hour, messages, verdict, words
from entrypoint.page.facts import Facts

if TYPE_CHECKING:
    from entrypoint.page.facts import Places

_TEMPLATE, _STYLE = "page.html", "page.css"
_PREPARED = "/usr/lib/postern/page/prepared"


def templates() -> Path:
    """In the image, or in rootfs/ of a checkout."""
    checkout = Path(__file__).parents[2] / "rootfs"
    return (checkout if checkout.is_dir() else Path("/")) / "usr/lib/postern/page"


def show(places: Places | None = None) -> int:
    facts = Facts(places)
    style = (templates() / _STYLE).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    page = f"'sha256-{digest}'\n{html(facts, style)}"
    sys.stdout.buffer.write(page.encode("utf-8", "backslashreplace"))
    sys.stdout.flush()
    return 0


def prepare() -> None:
    """For the image: the template as a module, which takes a third off the cost of a view."""
    source = FileSystemLoader(templates())
    _environment(source).compile_templates(_PREPARED, ["html"], zip=None, ignore_errors=False)


def html(facts: Facts, style: str) -> str:
    loader = ChoiceLoader([ModuleLoader(_PREPARED), FileSystemLoader(templates())])
    return _environment(loader).get_template(_TEMPLATE).render(style=style, **_context(facts))


def _environment(loader: BaseLoader) -> Environment:
    environment = Environment(
        loader=loader,
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        each.__name__: each
        for each in (words.age, words.amount, words.clock, words.day, words.iso, words.minute, words.reason)
    }
    return environment


def _context(facts: Facts) -> dict[str, Any]:
    last = hour.Hour(facts.minutes, facts.now) if facts.minutes else None
    notes = verdict.notes(facts, last)
    return {
        "facts": facts,
        "about": facts.about,
        "zone": time.strftime("%Z", time.localtime(facts.now)),
        "since": facts.minutes["since"] if facts.minutes else None,
        "verdict": verdict.verdict(facts, last, notes),
        "notes": notes,
        "waiting": verdict.waiting(facts),
        "hour": last,
        "throughput": hour.throughput(last) if last else None,
        "delay": hour.delay(last) if last else None,
        "messages": [messages.message(story, facts.now) for story in facts.stories],
    }
