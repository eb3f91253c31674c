"""Text that must not be shown, and the files that it comes from."""

from __future__ import annotations

from entrypoint.config import files

_LARGEST_FILE = 65536


class Secret(str):
    """Text that is never shown: its repr and its str in any message are stars. `reveal` is the one way in."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "********"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def reveal(self) -> str:
        return "".join(self)


def read(path: str) -> Secret:
    """A secret's file without its trailing newline, which editors and `echo` add and no password has.

    Raises ValueError("must be ...").
    """
    content = files.read(path, _LARGEST_FILE)
    if not content.strip(b"\r\n"):
        raise ValueError("must not be an empty file")
    # The same bytes that an environment variable would carry, whatever their encoding.
    return Secret(content.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "surrogateescape"))
