"""What Postfix and Cyrus SASL do not read as text, put into their forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from entrypoint.config.render import Sasldb, Table


def compiled(path: Path, made: Table | Sasldb) -> None:
    """Makes the file at `path`, or replaces what it holds. Raises OSError."""
    with prepared(path, made) as (_, put):
        put()


@contextmanager
def prepared(path: Path, made: Table | Sasldb) -> Iterator[tuple[str, Callable[[], object]]]:
    """What compiled() would change, or "", and what does it then in one step, for which there is room. Raises OSError."""
    if isinstance(made, Table):
        from entrypoint.postfix import tables

        with tables.prepared(path, made) as (change, put):
            yield str(change) if change else "", put
        return
    # Few relays have a sasldb, and libsasl2 takes 5 ms to load.
    from entrypoint.postfix import sasl

    new = path.with_name(f".{path.name}.new")
    try:
        sasl.compile_sasldb(new, made)
        yield f"{len(made.users)} users", lambda: new.rename(path)
    finally:
        new.unlink(missing_ok=True)
