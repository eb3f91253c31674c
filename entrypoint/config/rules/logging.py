"""What the log is to hide."""

from __future__ import annotations

from collections.abc import Iterator

from entrypoint.config.host import Host
from entrypoint.config.problem import Problem
from entrypoint.config.rules.registry import rule
from entrypoint.config.settings import Settings


@rule("LOG_ADDRESSES", "LOG_ADDRESSES_SALT")
def _hashes_have_a_salt(settings: Settings, _: Host) -> Iterator[Problem]:
    # One of the relay's own making would be another after each start, and on each replica.
    if settings.log_addresses == "hashed" and not settings.log_addresses_salt:
        rule = "must come with LOG_ADDRESSES_SALT, or whose hash it is could be found by trying: openssl rand -hex 16"
        yield Problem("LOG_ADDRESSES", settings.log_addresses, rule)
