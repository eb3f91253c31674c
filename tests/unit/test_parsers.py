"""Text in, value out, or the rule that the text breaks."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest
import trustme

from entrypoint.config.parsers import addresses, simple
from entrypoint.config.values import Listener, Relayhost


@pytest.mark.parametrize(
    ("text", "expected", "in_main_cf"),
    [
        ("[smtp.example.com]:587", Relayhost("smtp.example.com", 587, mx=False), "[smtp.example.com]:587"),
        ("[smtp.example.com]", Relayhost("smtp.example.com", 25, mx=False), "[smtp.example.com]:25"),
        ("smtp.example.com:587", Relayhost("smtp.example.com", 587, mx=True), "smtp.example.com:587"),
        ("example.com", Relayhost("example.com", 25, mx=True), "example.com:25"),
        ("my_sink:1025", Relayhost("my_sink", 1025, mx=True), "my_sink:1025"),
        ("192.0.2.1", Relayhost("192.0.2.1", 25, mx=False), "[192.0.2.1]:25"),
        ("[2001:DB8::1]:465", Relayhost("2001:db8::1", 465, mx=False), "[2001:db8::1]:465"),
        ("[ipv6:2001:db8::1]", Relayhost("2001:db8::1", 25, mx=False), "[2001:db8::1]:25"),
    ],
)
def test_a_next_hop_is_read_as_postfix_reads_it(text: str, expected: Relayhost, in_main_cf: str) -> None:
    assert addresses.relayhost(text) == expected
    assert str(expected) == in_main_cf


@pytest.mark.parametrize(
    "text",
    [
        "a b",
        "[a]:x",
        "host:70000",
        "host:0",
        "[host",
        "host]",
        "a,b",
        "-bad-",
        "x..y",
        "[]:25",
        "2001:db8::1",
    ],
)
def test_a_next_hop_that_postfix_would_misread_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        addresses.relayhost(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("smtp://smtp.example.com:587", "[smtp.example.com]:587"),
        ("smtp://smtp.example.com/", "[smtp.example.com]:25"),
        ("submission://smtp.example.com", "[smtp.example.com]:587"),
        ("SMTPS://smtp.example.com", "[smtp.example.com]:465"),
        ("smtps://[2001:db8::1]:2465", "[2001:db8::1]:2465"),
        ("smtp://u:hunter2@smtp.example.com:587", "[smtp.example.com]:587; the login is given apart"),
    ],
)
def test_a_url_is_refused_with_the_next_hop_that_it_means(text: str, meant: str) -> None:
    with pytest.raises(ValueError, match="must be no URL") as refused:
        addresses.relayhost(text)
    assert str(refused.value) == f"must be no URL, but {meant}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("25:relay", (Listener("", 25, "relay"),)),
        (
            "127.0.0.1:2525:relay [::1]:2525:relay",
            (Listener("127.0.0.1", 2525, "relay"), Listener("::1", 2525, "relay")),
        ),
        ("25:relay,587:relay", (Listener("", 25, "relay"), Listener("", 587, "relay"))),
    ],
)
def test_listeners_name_address_port_and_profile(text: str, expected: tuple[Listener, ...]) -> None:
    assert addresses.listeners(text) == expected


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("25", "address:.port:profile"),
        ("25:open", "profile that exists"),
        ("587:smtps", "profile that exists"),
        ("70000:relay", "1 to 65535"),
        ("localhost:25:relay", "address:.port:profile"),
        ("300.1.1.1:25:relay", "IP address"),
    ],
)
def test_a_listener_says_which_rule_it_breaks(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        addresses.listeners(text)


def test_a_listener_is_named_as_master_cf_names_it() -> None:
    assert [
        str(listener) for listener in addresses.listeners("25:relay 127.0.0.1:26:relay [::1]:27:relay")
    ] == [
        "25",
        "127.0.0.1:26",
        "[::1]:27",
    ]


def test_networks_may_be_written_as_postfix_writes_them() -> None:
    assert addresses.networks("10.0.0.0/8, [2001:db8::]/32 192.0.2.7") == (
        ip_network("10.0.0.0/8"),
        ip_network("2001:db8::/32"),
        ip_network("192.0.2.7/32"),
    )


def test_host_bits_in_a_network_are_refused_and_the_network_is_named() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/8 is inside 10\.0\.0\.0/8"):
        addresses.networks("10.0.0.1/8")


@pytest.mark.parametrize(
    ("text", "octets"),
    [("0", 0), ("1000", 1000), ("500KB", 512000), ("25MB", 26214400), ("1g", 1073741824), ("2 M", 2097152)],
)
def test_sizes_are_powers_of_1024(text: str, octets: int) -> None:
    assert simple.size(text) == octets


@pytest.mark.parametrize(
    ("text", "meant"), [("25", "; did you mean 25MB?"), ("10", "; did you mean 10MB?"), ("9KB", "")]
)
def test_a_size_that_no_mail_fits_into_is_refused_with_what_was_meant(text: str, meant: str) -> None:
    with pytest.raises(ValueError, match=r"at least 10KB.*: no mail fits into \d+ bytes") as refused:
        simple.message_size(text)
    assert str(refused.value).endswith(f"bytes{meant}")


@pytest.mark.parametrize(("text", "octets"), [("0", 0), ("10KB", 10240), ("26214400", 26214400)])
def test_a_message_may_be_of_any_size_or_of_one_that_mail_fits_into(text: str, octets: int) -> None:
    assert simple.message_size(text) == octets


@pytest.mark.parametrize("text", ["abc", "-1", "1.5MB", "25 TB", "25MBit", "999999999999999999GB"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        simple.size(text)


@pytest.mark.parametrize(
    ("text", "length"), [("30s", 30), ("5m", 300), ("4h", 14400), ("3d", 259200), ("1w", 604800)]
)
def test_times_keep_postfix_units(text: str, length: int) -> None:
    assert simple.duration(text) == text
    assert simple.seconds(text) == length


@pytest.mark.parametrize("text", ["5", "5 d", "1y", "-1d", "1h30m", ""])
def test_a_time_without_a_unit_is_refused_as_postfix_would_guess_one(text: str) -> None:
    with pytest.raises(ValueError, match="a number and a unit"):
        simple.duration(text)


@pytest.mark.parametrize("text", ["ture", "on", "1", "ja", "Yes please"])
def test_a_mistyped_yes_is_never_a_no(text: str) -> None:
    with pytest.raises(ValueError, match="yes or no"):
        simple.boolean(text)


@pytest.mark.parametrize("text", ["relay.example.com", "a", "my_relay", "XN--bcher-kva.example"])
def test_host_names_may_hold_what_container_networks_use(text: str) -> None:
    assert addresses.hostname(text) == text


@pytest.mark.parametrize(
    "text", ["a b", "-a.example", "a..b", "x" * 64, "ä.example", "\u212a.example", "a/b", ""]
)
def test_a_name_that_no_server_would_accept_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="host name"):
        addresses.hostname(text)


def test_a_ca_file_is_read_and_must_hold_certificates(tmp_path: Path) -> None:
    good, empty = tmp_path / "ca.pem", tmp_path / "empty.pem"
    trustme.CA().cert_pem.write_to_path(str(good))
    empty.write_text("-----BEGIN NOTHING-----")
    assert "BEGIN CERTIFICATE" in simple.certificates(str(good)).pem
    for path, rule in (
        (empty, "must contain CA certificates"),
        (tmp_path / "no", "No such file"),
        (tmp_path, "directory"),
    ):
        with pytest.raises(ValueError, match=rule):
            simple.certificates(str(path))


def test_domains_may_be_meant_with_their_subdomains() -> None:
    assert addresses.domains("Example.com, .example.org") == ("example.com", ".example.org")
    with pytest.raises(ValueError, match="user@example"):
        addresses.domains("user@example.com")


@pytest.mark.parametrize("text", ["../../etc/passwd", "Mars/Base", "/etc/passwd", "Europe"])
def test_a_time_zone_that_does_not_exist_is_refused(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe/Berlin").touch()
    monkeypatch.setattr(simple, "ZONEINFO", tmp_path)
    assert simple.timezone("Europe/Berlin") == "Europe/Berlin"
    with pytest.raises(ValueError, match="time zone"):
        simple.timezone(text)


@pytest.mark.parametrize(
    "text", ["a$b@example.com", "a${b}@example.com", "a}@example.com", "a b@example.com"]
)
def test_an_address_for_main_cf_means_there_what_it_means_here(text: str) -> None:
    with pytest.raises(ValueError, match="one address"):
        addresses.mail_address(text)


def test_a_login_name_cannot_hold_the_separator_of_postfix() -> None:
    with pytest.raises(ValueError, match="':'"):
        simple.user("a:b")


def test_a_network_cannot_name_an_interface_which_postfix_would_never_match() -> None:
    with pytest.raises(ValueError, match="without an interface"):
        addresses.networks("fe80::1%eth0")
