"""Samples to a table. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .stats import Spread, noise, ratios, spread

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"

# Bare that differs from itself by more than this shows a machine too busy for a verdict.
NOISY = 0.1

Values = Mapping[str, Mapping[str, Sequence[float]]]


@dataclass(frozen=True)
class Goal:
    """`of` is what is held to the limit: the ratio to bare, our own value, or the difference to bare."""

    of: str
    at_most: float | None = None
    at_least: float | None = None

    def text(self, unit: str) -> str:
        sign, limit = ("≥", self.at_least) if self.at_most is None else ("≤", self.at_most)
        return f"{sign} {limit:g}{' ×' if self.of == 'ratio' else ' ' + unit}"

    def judge(self, seen: Spread) -> str:
        """`about` when the limit lies between the quartiles on the wrong side: more turns may show either."""
        limit = self.at_least if self.at_most is None else self.at_most
        assert limit is not None
        met = seen.median >= limit if self.at_most is None else seen.median <= limit
        return "yes" if met else "about" if seen.holds(limit) else "no"


@dataclass(frozen=True)
class Metric:
    key: str
    section: str
    title: str
    unit: str
    digits: int
    goal: Goal | None = None


# What a few pages of a process that happens to run more make of it is no growth; a table of a million is 100 MB.
_THE_SAME = Goal("ratio", at_most=1.1)
# README.md promises that a container with a limit of 256 MB starts and takes any change.
_LITTLE = Goal("value", at_most=240)

METRICS = (
    Metric(
        "start", "start", "cold start, `docker run` to the 220 banner", "s", 2, Goal("ratio", at_most=1.5)
    ),
    Metric("ready", "start", "cold start, to `/readyz` (bare: the banner again)", "s", 2),
    Metric(
        "throughput-delivered", "throughput", "delivered per second", "/s", 0, Goal("ratio", at_least=1.15)
    ),
    Metric("throughput-accepted", "throughput", "accepted per second", "/s", 0, Goal("ratio", at_least=1.3)),
    Metric("throughput-cpu", "throughput", "CPU per message", "ms", 2),
    Metric(
        "tls-delivered", "tls", "delivered per second, TLS, 40 ms away", "/s", 0, Goal("ratio", at_least=1.6)
    ),
    Metric("tls-cpu", "tls", "CPU per message, TLS, 40 ms away", "ms", 2),
    Metric("latency-250", "latency", "single message to its 250, p50", "ms", 1, Goal("ratio", at_most=1.0)),
    Metric("latency-sink", "latency", "single message to the sink, p50", "ms", 1, Goal("ratio", at_most=1.0)),
    Metric("memory-pss", "memory", "memory idle, all processes (PSS)", "MB", 1, Goal("value", at_most=36)),
    Metric("memory-anonymous", "memory", "memory idle, anonymous part", "MB", 1, Goal("value", at_most=36)),
    Metric(
        "cpu-healthcheck",
        "cpu",
        "CPU in 30 s idle, HEALTHCHECK every 10 s",
        "s",
        3,
        Goal("value", at_most=0.1),
    ),
    Metric("cpu-http", "cpu", "CPU in 30 s idle, HTTP probe every 10 s", "s", 3, Goal("value", at_most=0.1)),
    Metric("stop", "stop", "`docker stop`, empty queue", "s", 2, Goal("value", at_most=2)),
    Metric(
        "size",
        "size",
        "image; the goal is for what it has over bare",
        "MB",
        0,
        Goal("difference", at_most=60),
    ),
)

OF_RECIPIENTS = (
    Metric("list-ready", "recipients", "cold start, to `/readyz`", "s", 2, Goal("difference", at_most=5)),
    Metric("list-memory-anonymous", "recipients", "memory idle, anonymous part", "MB", 1, _THE_SAME),
    Metric("asked-memory-anonymous", "recipients", "the same after lookups", "MB", 1, _THE_SAME),
    Metric("changed-memory-anonymous", "recipients", "the same after changes", "MB", 1, _THE_SAME),
    Metric("list-memory-pss", "recipients", "memory idle, all processes (PSS)", "MB", 1, _THE_SAME),
    # The kernel takes these pages back when it needs them, as those of any file.
    Metric(
        "asked-memory-pss", "recipients", "the same after lookups, with pages of the table's file", "MB", 1
    ),
    Metric("changed-memory-pss", "recipients", "the same after changes", "MB", 1),
    Metric("lookup", "recipients", "RCPT, taken", "µs", 0, Goal("ratio", at_most=1.1)),
    Metric(
        "one-effect",
        "recipients",
        "edit of the file to its effect: one more",
        "s",
        1,
        Goal("value", at_most=5),
    ),
    Metric(
        "all-effect",
        "recipients",
        "edit of the file to its effect: all others",
        "s",
        1,
        Goal("value", at_most=5),
    ),
    Metric("list-peak", "recipients", "most anonymous memory during the start", "MB", 0, _LITTLE),
    Metric("one-peak", "recipients", "during the change of one", "MB", 0, _LITTLE),
    Metric("all-peak", "recipients", "during the change of all", "MB", 0, _LITTLE),
    Metric("list-size", "recipients", "table on the data volume", "MB", 1),
    Metric("changed-size", "recipients", "table after the changes, until the next start", "MB", 1),
)

# Issue 4 of the project, "Cost".
OF_SEEING = (
    Metric("cost-delivered", "cost", "delivered per second", "/s", 0, Goal("ratio", at_least=0.97)),
    Metric("cost-accepted", "cost", "accepted per second", "/s", 0, Goal("ratio", at_least=0.97)),
    Metric("cost-cpu", "cost", "CPU per message", "ms", 2),
    Metric("cost-share", "cost", "of it, the agent's", "%", 1, Goal("value", at_most=5)),
    Metric(
        "cost-memory", "cost", "the agent's memory after the load (PSS)", "MB", 1, Goal("value", at_most=24)
    ),
)


@dataclass(frozen=True)
class Comparison:
    """One table: names of candidates, of whom `control` is the same as `base`."""

    metrics: tuple[Metric, ...]
    base: str
    control: str
    subject: str
    headings: tuple[str, str, str]


COMPARISONS = (
    Comparison(METRICS, "bare", "control", "ours", ("bare Postfix", "Postern", "bare to itself")),
    Comparison(
        OF_SEEING,
        "plain",
        "control",
        "seen",
        ("plain logs, nobody asks", "JSON, metrics and page", "plain to itself"),
    ),
    Comparison(
        OF_RECIPIENTS,
        "few",
        "control",
        "million",
        ("1,000 recipients", "1,000,000 recipients", "1,000 to 1,000"),
    ),
)


def row(
    metric: Metric, by: Mapping[str, Sequence[float]], between: Comparison = COMPARISONS[0]
) -> tuple[str, ...]:
    base, subject = spread(by[between.base]), spread(by[between.subject])
    to_base = _ratio(by[between.subject], by[between.base])
    control = _ratio(by[between.control], by[between.base])
    difference = _difference(by[between.subject], by[between.base])
    shown = {"ratio": to_base, "value": subject, "difference": difference}
    compared, noisy = _with_quartiles(to_base), _with_quartiles(control)
    goal, met = "", ""
    if metric.goal:
        judged = shown[metric.goal.of]
        goal, met = metric.goal.text(metric.unit), metric.goal.judge(judged) if judged else "?"
        if metric.goal.of == "ratio" and control and abs(control.median - 1) > NOISY:
            met += ", but noisy"
        if metric.goal.of == "difference":
            compared, noisy = f"{difference.median:+.{metric.digits}f} {metric.unit}", ""
    return (metric.title, _value(base, metric), _value(subject, metric), compared, noisy, goal, met)


def table(values: Values, sections: Sequence[str]) -> str:
    """A table for each comparison of which anything was measured."""
    found = (_table(values, sections, between) for between in COMPARISONS)
    return "\n".join(text for text in found if text)


def _table(values: Values, sections: Sequence[str], between: Comparison) -> str:
    rows = [
        row(metric, values[metric.key], between)
        for metric in between.metrics
        if metric.section in sections and metric.key in values
    ]
    base, subject, noise = between.headings
    headings = ("", base, subject, "ratio", noise, "goal", "met")
    lines = [headings, ("---", "---:", "---:", "---:", "---:", "---:", "---"), *rows] if rows else []
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def how_noisy(values: Values, sections: Sequence[str]) -> str:
    """One sentence: what the same image measured against itself in the same turns."""
    timed = [
        m.key
        for m in METRICS
        if m.section in sections and m.section not in ("size", "cpu") and m.key in values
    ]
    controls = [found for key in timed if (found := _ratio(values[key]["control"], values[key]["bare"]))]
    extremes = noise(controls)
    if extremes is None:
        return ""
    low, high = extremes
    return (
        f"Bare Postfix measured against itself in the same turns gave medians of {low:.2f} to {high:.2f}: "
        "a ratio no further than that from 1 says nothing.\n"
    )


def between_markers(document: str, block: str) -> str:
    """`document` with what stands between the bench's markers replaced by `block`. Raises ValueError without markers."""
    pattern = re.compile(re.escape(BEGIN) + r".*?" + re.escape(END), re.DOTALL)
    if not pattern.search(document):
        raise ValueError(f"has no {BEGIN} ... {END}")
    return pattern.sub(lambda _: f"{BEGIN}\n{block.strip()}\n{END}", document, count=1)


def _ratio(of: Sequence[float], to: Sequence[float]) -> Spread | None:
    found = ratios(of, to)
    return spread(found) if found else None


def _difference(of: Sequence[float], to: Sequence[float]) -> Spread:
    return spread([a - b for a, b in zip(of, to, strict=True)])


def _value(seen: Spread, metric: Metric) -> str:
    return f"{seen.median:.{metric.digits}f} {metric.unit}"


def _with_quartiles(seen: Spread | None) -> str:
    if seen is None:
        return ""
    if seen.low == seen.high:
        return f"{seen.median:.2f}"
    return f"{seen.median:.2f} [{seen.low:.2f}–{seen.high:.2f}]"
