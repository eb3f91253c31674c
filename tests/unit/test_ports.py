"""A port that another program has is named before Postfix would share it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from entrypoint import ports
from entrypoint.config.values import Listener


@pytest.fixture(params=[False, True], ids=["plain", "shared_by_its_owner"])
def busy(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port on 127.0.0.1 with a listener, as other programs and as Postfix itself opens one."""
    with socket.socket() as server:
        if request.param:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def free() -> int:
    with socket.socket() as server:
        server.bind(("", 0))
        return int(server.getsockname()[1])


def test_a_taken_port_is_named_with_its_setting(busy: int) -> None:
    listener = Listener("127.0.0.1", busy, "relay")
    assert list(ports.taken([listener], free())) == [
        f"127.0.0.1 port {busy} (LISTEN) is taken by another program in this network namespace"
    ]
    assert list(ports.taken([], busy)) == [
        f"port {busy} (HEALTH_PORT) is taken by another program in this network namespace"
    ]


def test_free_ports_are_free() -> None:
    assert not list(ports.taken([Listener("", free(), "relay"), Listener("::1", free(), "relay")], free()))


def test_what_is_not_a_conflict_is_left_to_postfix_to_say() -> None:
    assert not list(ports.taken([Listener("203.0.113.77", 25, "relay")], free()))
