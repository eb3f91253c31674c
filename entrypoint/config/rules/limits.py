"""Limits that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator

from entrypoint.config.host import Host
from entrypoint.config.parsers import simple
from entrypoint.config.problem import Problem
from entrypoint.config.rules.registry import rule
from entrypoint.config.settings import Settings


@rule("MINIMAL_BACKOFF_TIME", "MAXIMAL_BACKOFF_TIME")
def _backoff_grows(settings: Settings, _: Host) -> Iterator[Problem]:
    least, most = settings.minimal_backoff_time, settings.maximal_backoff_time
    if simple.seconds(least) > simple.seconds(most):
        yield Problem("MINIMAL_BACKOFF_TIME", least, f"must not exceed MAXIMAL_BACKOFF_TIME={most}")
