"""What Postfix and Cyrus SASL do not read as text, put into their forms."""

from __future__ import annotations

from pathlib import Path

from entrypoint.config.render import Sasldb, Table


def compiled(path: Path, made: Table | Sasldb) -> str:
    """Makes the file at `path`, or replaces what it holds. Returns what that changed, or "". Raises OSError."""
    if isinstance(made, Table):
        from entrypoint.postfix import tables

        change = tables.compile_table(path, made)
        return str(change) if change else ""
    # Few relays have a sasldb, and libsasl2 takes 5 ms to load.
    from entrypoint.postfix import sasl

    sasl.compile_sasldb(path, made)
    return f"{len(made.users)} users"
