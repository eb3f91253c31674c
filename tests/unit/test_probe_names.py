"""How the probe finds hosts, and which certificates are for them: both as Postfix does it, or its verdict is worthless."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest

from entrypoint.probe.certificate import is_for
from entrypoint.probe.resolve import resolve
from entrypoint.probe.upstream import ProbeError, Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator

MX = {
    "two.example.": ["20 127.0.0.2.", "10 127.0.0.1."],
    "null.example.": ["0 ."],
    "plain.example.": [],
}


def upstream(host: str) -> Upstream:
    return Upstream(host, 25, True, False, "may", None, None, None, "relay.example.com")


@pytest.fixture(scope="module", autouse=True)
def nameserver() -> Iterator[None]:
    """Run a DNS server that knows `MX`, refuses broken.example and has no other name."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    thread = threading.Thread(target=_answer, args=(server,), daemon=True)
    thread.start()
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], server.getsockname()[1]
    before, dns.resolver.default_resolver = dns.resolver.default_resolver, resolver
    yield
    dns.resolver.default_resolver = before
    server.sendto(b"", server.getsockname())
    thread.join(2)
    server.close()


def _answer(server: socket.socket) -> None:
    while True:
        data, client = server.recvfrom(2048)
        if not data:
            return
        query = dns.message.from_wire(data)
        response = dns.message.make_response(query)
        name = query.question[0].name.to_text()
        if name == "broken.example.":
            response.set_rcode(dns.rcode.SERVFAIL)
        elif name not in MX:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif MX[name]:
            response.answer.append(dns.rrset.from_text(name, 60, "IN", "MX", *MX[name]))
        server.sendto(response.to_wire(), client)


def _resolved(host: str) -> tuple[list[str], list[str]]:
    said: list[str] = []
    return [f"{target.host}={target.address}" for target in resolve(upstream(host), said.append, 2.0)], said


def test_mx_hosts_are_tried_in_order_of_preference() -> None:
    targets, said = _resolved("two.example")
    assert targets == ["127.0.0.1=127.0.0.1", "127.0.0.2=127.0.0.2"]
    assert said == ["resolve    two.example MX -> 127.0.0.1 (10), 127.0.0.2 (20)"]


@pytest.mark.parametrize("name", ["localhost", "plain.example"])
def test_a_name_without_mx_is_the_host_itself(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo
    numeric = socket.AI_NUMERICHOST

    def lookup(host: str, port: int, *, type: int = 0, flags: int = 0) -> Any:  # noqa: A002
        return real(host if flags & numeric else "127.0.0.1", port, type=type, flags=flags)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    targets, said = _resolved(name)
    assert targets == [f"{name}=127.0.0.1"]
    assert f"{name} has no MX, so the name itself is the host" in said[0]


def test_an_address_is_not_looked_up() -> None:
    assert _resolved("127.0.0.9") == (["127.0.0.9=127.0.0.9"], [])


def test_a_null_mx_is_a_failure() -> None:
    with pytest.raises(ProbeError, match="null MX") as caught:
        _resolved("null.example")
    assert "RELAYHOST=[host]" in caught.value.advice


def test_a_broken_nameserver_is_told_apart_from_a_missing_name() -> None:
    with pytest.raises(ProbeError, match=r"the MX lookup of broken\.example failed") as caught:
        _resolved("broken.example")
    assert "RELAYHOST=[broken.example]" in caught.value.advice
    assert "DNS (/etc/resolv.conf" in caught.value.advice


def fields(*dns_names: str, address: str = "", common_name: str = "") -> dict[str, Any]:
    alternatives = [("DNS", name) for name in dns_names] + ([("IP Address", address)] if address else [])
    return {"subjectAltName": tuple(alternatives), "subject": ((("commonName", common_name),),)}


@pytest.mark.parametrize(
    ("presented", "name", "at_verify", "at_secure"),
    [
        (fields("mail.example.com"), "mail.example.com", True, True),
        (fields("MAIL.example.com"), "mail.EXAMPLE.com", True, True),
        (fields("mx1.example.com"), "example.com", False, True),
        (fields("evilexample.com"), "example.com", False, False),
        (fields("*.example.com"), "mail.example.com", True, True),
        (fields("*.example.com"), "a.b.example.com", False, False),
        (fields("*.example.com"), "example.com", False, True),
        (fields("m*.example.com"), "mail.example.com", False, False),
        (fields("*.com"), "example.com", False, False),
        (fields("other.com", common_name="mail.example.com"), "mail.example.com", False, False),
        (fields(common_name="mail.example.com"), "mail.example.com", True, True),
        (fields("xn--mil-qla.example"), "mäil.example", True, True),
        (fields(address="192.0.2.1"), "192.0.2.1", True, False),
        (fields(address="2001:DB8:0:0:0:0:0:1"), "2001:db8::1", True, False),
        (fields("192.0.2.1"), "192.0.2.1", False, False),
    ],
)
def test_a_certificate_is_for_the_host_that_postfix_would_accept_it_for(
    presented: dict[str, Any], name: str, at_verify: bool, at_secure: bool
) -> None:
    assert is_for(presented, name, or_below=False) == at_verify
    assert is_for(presented, name, or_below=True) == at_secure
