"""Networks and gateways from the kernel's tables, as containers really have them."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

from entrypoint.config import host

ROUTE = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth1\t0030A8C0\t00000000\t0001\t0\t0\t0\t00F0FFFF\t0\t0\t0
"""
FIB_TRIE = """\
Local:
  +-- 172.17.0.0/16 2 0 2
     |-- 172.17.0.2
        /32 host LOCAL
     |-- 192.168.48.2
        /32 host LOCAL
"""
IF_INET6 = """\
00000000000000000000000000000001 01 80 10 80       lo
fd000000000000000000000000000002 0a 40 00 80     eth0
fe80000000000000004204fffe420002 0a 40 20 80     eth0
"""
IPV6_ROUTE = (
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
    "fd000000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n"
    "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 "
    "00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n"
)


def proc(root: Path, **tables: str) -> Path:
    (root / "net").mkdir()
    for name, text in tables.items():
        (root / "net" / name).write_text(text)
    return root


def test_connected_networks_and_every_address_that_may_be_a_gateway(tmp_path: Path) -> None:
    found = host.read(
        proc(tmp_path, route=ROUTE, fib_trie=FIB_TRIE, if_inet6=IF_INET6, ipv6_route=IPV6_ROUTE)
    )
    assert found.networks == (
        ip_network("172.17.0.0/16"),
        ip_network("192.168.48.0/20"),
        ip_network("fd00::/64"),
    )
    assert set(found.gateways) == {
        ip_address("172.17.0.1"),
        # The second network has no default route; its bridge has the first address all the same.
        ip_address("192.168.48.1"),
        ip_address("fd00::1"),
        # Rootless port forwarders show every client as the container itself.
        ip_address("172.17.0.2"),
        ip_address("192.168.48.2"),
        ip_address("fd00::2"),
        ip_address("fe80::42:4ff:fe42:2"),
    }


def test_a_machine_without_tables_trusts_no_network(tmp_path: Path) -> None:
    found = host.read(tmp_path)
    assert (found.networks, found.gateways) == ((), ())
    assert found.name
