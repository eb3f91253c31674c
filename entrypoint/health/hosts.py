"""Under which names an open page is shown.

A web site of a stranger's can have its own name resolve to the relay's address (DNS rebinding), and its scripts, in the browser
of somebody who reaches the relay, may then read what comes under that name.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Collection


# Names that end so are given by whoever runs the network, and never to a stranger: RFC 6762 and 8375, ICANN's
# reservation of 2024, and Kubernetes' services without their cluster's domain.
_INSIDE = (".local", ".internal", ".home.arpa", ".localhost", ".svc")


def ours(host: str, names: Collection[str]) -> bool:
    """Whether no stranger can have this name: an address, a name without a dot, one of a network's own, one of `names`.

    Those are in small letters. `host` is the header's value; "" is a program that is no browser.
    """
    name = host.partition(":")[0].lower().removesuffix(".")
    return (
        host.startswith("[")
        or "." not in name
        or name.replace(".", "").isdecimal()
        or name.endswith(_INSIDE)
        or name in names
    )
