"""Connections as the kernel lists them: a stop waits for clients and deliveries, and for nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoint.keeper import connections

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ROW = "   {}: {}:{} {}:C350 {} 00000000:00000000 00:00000000 00000000  {}        0 2\n"
IPV4, IPV6 = "0100007F", "00000000000000000000000001000000"
LISTEN, ESTABLISHED, TIME_WAIT = "0A", "01", "06"


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    assert connections.LISTS == ("/proc/net/tcp", "/proc/net/tcp6")
    made = {IPV4: tmp_path / "tcp", IPV6: tmp_path / "tcp6"}
    for file in made.values():
        file.write_text(HEAD)
    monkeypatch.setattr(connections, "LISTS", tuple(map(str, made.values())))
    return made


def add(file: Path, address: str, port: str, state: str, user: int = 0) -> None:
    with file.open("a") as rows:
        rows.write(ROW.format(1, address, port, address, state, user))


@pytest.mark.parametrize("address", [IPV4, IPV6], ids=["ipv4", "ipv6"])
def test_who_came_in_and_who_goes_out_is_told_by_the_ports_that_listen(
    lists: dict[str, Path], address: str
) -> None:
    assert connections.seen() == (False, set())
    add(lists[address], address, "0019", LISTEN)
    assert connections.seen() == (False, set())
    add(lists[address], address, "C351", ESTABLISHED, 100)
    assert connections.seen() == (False, {100})
    add(lists[address], address, "0019", ESTABLISHED, 100)
    assert connections.seen() == (True, {100})


def test_what_has_ended_is_nobodys(lists: dict[str, Path]) -> None:
    add(lists[IPV4], IPV4, "0019", LISTEN)
    for port in ("0019", "C351"):
        add(lists[IPV4], IPV4, port, TIME_WAIT)
    assert connections.seen() == (False, set())


def test_a_machine_without_ipv6_has_one_list(lists: dict[str, Path]) -> None:
    lists[IPV6].unlink()
    add(lists[IPV4], IPV4, "C351", ESTABLISHED, 100)
    assert connections.seen() == (False, {100})
