"""Reads what the engine and the kernel say about a container's memory and CPU. Pure: text or JSON in, numbers out."""

from __future__ import annotations

import re
from typing import Any


def anonymous_bytes(stats: dict[str, Any]) -> int:
    """Anonymous memory of all processes, from one answer of the engine's stats call.

    The engine passes on the control group's memory.stat: `total_rss` on version 1, `anon` on version 2. Page cache is not in
    either: it is the kernel's to take back and depends on what was read, not on what the container needs.
    """
    detail = stats["memory_stats"]["stats"]
    value = detail["total_rss"] if "total_rss" in detail else detail["anon"]
    return int(value)


def memory_stat_file(cgroups: str) -> str:
    """Where the kernel keeps a process's memory.stat, from its /proc/PID/cgroup; "" if it does not say.

    The engine's answer takes up to a second, in which a peak would pass unseen.
    """
    places = dict(line.split(":", 2)[1:] for line in cgroups.splitlines())
    if "memory" in places:
        return f"/sys/fs/cgroup/memory{places['memory']}/memory.stat"
    return f"/sys/fs/cgroup{places['']}/memory.stat" if "" in places else ""


def anonymous_now(memory_stat: str) -> int:
    """As `anonymous_bytes`, from that file."""
    found = dict(line.split() for line in memory_stat.splitlines())
    return int(found["total_rss"] if "total_rss" in found else found["anon"])


def cpu_seconds(stats: dict[str, Any]) -> float:
    """CPU used since the container started: cpuacct.usage on version 1, cpu.stat's usage_usec on version 2."""
    return float(stats["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9


def process_ticks(stat: str) -> int:
    """Clock ticks of CPU of a process and of its children that have ended, from proc(5)'s stat: utime to cstime."""
    # The name before it is in brackets, and may hold anything.
    return sum(map(int, stat.rpartition(")")[2].split()[11:15]))


def pss_bytes(smaps_rollup: str) -> int:
    """Proportional share of memory of one process, from proc(5)'s smaps_rollup: shared pages are divided among their users."""
    found = re.search(r"^Pss:\s+(\d+) kB$", smaps_rollup, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
