"""Rules between settings. Each names the settings that it needs, and is left out when one of them is already wrong."""

from __future__ import annotations

from entrypoint.config.rules import inbound, limits, listeners, logging, logins, tables, upstream
from entrypoint.config.rules.registry import check

__all__ = ["check", "inbound", "limits", "listeners", "logging", "logins", "tables", "upstream"]
