"""The relay's own CA: what its clients trust must be valid everywhere, stay the same, and never be half of two."""

from __future__ import annotations

import ssl
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from entrypoint.tls.authority import Authority, ensure
from tests.unit.tls_files import DAY, NAME, NOW, openssl, shake_hands


@pytest.fixture
def where(tmp_path: Path) -> Path:
    return tmp_path / "data" / "tls"


def test_a_strict_client_that_trusts_the_ca_accepts_the_relay(where: Path) -> None:
    made = ensure(where, NAME, ["relay", "192.0.2.7", "2001:db8::7"])
    trusted = made.ca.read_text()
    for name in (NAME, "relay", "192.0.2.7", "2001:db8::7"):
        shake_hands(where / "relay.pem", trusted, name)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        shake_hands(where / "relay.pem", trusted, "other.example.com")


def test_the_certificates_say_what_clients_insist_on(where: Path) -> None:
    ensure(where, NAME)
    ca = openssl("x509", "-noout", "-text", "-in", str(where / "ca.pem"))
    for part in (
        "CA:TRUE",
        "X509v3 Key Usage: critical\n                Certificate Sign",
        "Key Identifier",
        "prime256v1",
    ):
        assert part in ca
    relay = openssl("x509", "-noout", "-text", "-in", str(where / "relay.pem"))
    for part in ("CA:FALSE", "TLS Web Server Authentication", f"DNS:{NAME}\n", "Authority Key Identifier"):
        assert part in relay


def test_only_root_can_read_what_is_secret(where: Path) -> None:
    ensure(where, NAME)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in [where, *where.iterdir()]}
    assert modes == {
        "tls": 0o700,
        "ca.pem": 0o644,
        "authority.pem": 0o600,
        "relay.pem": 0o600,
        ".lock": 0o600,
    }
    assert "PRIVATE" not in (where / "ca.pem").read_text()


def test_its_fingerprint_is_the_one_that_openssl_shows(where: Path) -> None:
    made = ensure(where, NAME)
    printed = openssl("x509", "-noout", "-fingerprint", "-sha256", "-in", str(made.ca))
    assert made.ca_fingerprint == printed.strip().partition("=")[2]


def test_a_second_start_changes_nothing(where: Path) -> None:
    first = ensure(where, NAME, ["relay"])
    assert first.made == ("CA", "certificate")
    before = {file: file.stat().st_mtime_ns for file in where.iterdir()}
    again = ensure(where, NAME.upper() + ".", ["relay"], now=NOW + 500 * DAY)
    assert again.made == ()
    assert again.chain == first.chain
    assert {file: file.stat().st_mtime_ns for file in where.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "alias", "later"),
    [
        pytest.param("new.example.com", "relay", timedelta(), id="another hostname"),
        pytest.param(NAME, "smtp", timedelta(), id="another alias"),
        pytest.param(NAME, "relay", 600 * DAY, id="a third of its life left"),
        pytest.param(NAME, "relay", 1000 * DAY, id="expired"),
    ],
)
def test_the_certificate_is_renewed_below_the_same_ca(
    where: Path, name: str, alias: str, later: timedelta
) -> None:
    first = ensure(where, NAME, ["relay"])
    trusted = first.ca.read_text()
    again = ensure(where, name, [alias], now=NOW + later)
    assert again.made == ("certificate",)
    assert again.chain.fingerprint != first.chain.fingerprint
    assert again.ca_fingerprint == first.ca_fingerprint
    shake_hands(where / "relay.pem", trusted, name)


def test_a_certificate_does_not_outlive_its_ca(where: Path) -> None:
    made = ensure(where, NAME)
    late = ensure(where, NAME, now=made.ca_not_after - 100 * DAY)
    assert late.chain.not_after - late.chain.not_before < 101 * DAY


def test_an_expired_ca_is_replaced(where: Path) -> None:
    first = ensure(where, NAME)
    again = ensure(where, NAME, now=first.ca_not_after + DAY)
    assert again.made == ("CA", "certificate")
    assert again.ca_fingerprint != first.ca_fingerprint


def test_a_public_copy_that_was_lost_is_written_again(where: Path) -> None:
    first = ensure(where, NAME)
    first.ca.unlink()
    assert ensure(where, NAME).made == ()
    shake_hands(where / "relay.pem", first.ca.read_text())


def test_a_certificate_that_is_not_the_cas_is_replaced(where: Path, tmp_path: Path) -> None:
    """As from a backup of which one file was restored."""
    ensure(where, NAME)
    ensure(tmp_path / "other", NAME)
    (tmp_path / "other" / "relay.pem").rename(where / "relay.pem")
    assert ensure(where, NAME).made == ("certificate",)
    shake_hands(where / "relay.pem", (where / "ca.pem").read_text())


def test_a_damaged_certificate_is_replaced(where: Path) -> None:
    ensure(where, NAME)
    (where / "relay.pem").write_text("")
    assert ensure(where, NAME).made == ("certificate",)


@pytest.mark.parametrize(
    "damage", ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_damaged_ca_is_not_replaced_in_silence(where: Path, damage: str) -> None:
    """Every client that trusts it would be locked out: that is its owner's decision."""
    ensure(where, NAME)
    (where / "authority.pem").write_text(damage)
    with pytest.raises(ValueError, match=r"\Amust .*authority\.pem"):
        ensure(where, NAME)


def test_a_name_longer_than_a_common_name_may_be_is_served(where: Path) -> None:
    long = ".".join(["a" * 60] * 4)
    made = ensure(where, long)
    shake_hands(where / "relay.pem", made.ca.read_text(), long)


def test_relays_that_start_at_once_on_one_volume_share_one_ca(where: Path) -> None:
    together = threading.Barrier(8)

    def start(number: int) -> Authority:
        together.wait()
        return ensure(where, f"relay{number}.example.com")

    with ThreadPoolExecutor(together.parties) as pool:
        found = list(pool.map(start, range(together.parties)))
    assert len({made.ca_fingerprint for made in found}) == 1
    assert sum("CA" in made.made for made in found) == 1
    trusted = found[0].ca.read_text()
    for number, made in enumerate(found):
        file = where.parent / "served.pem"
        file.write_text(made.chain.pem)
        shake_hands(file, trusted, f"relay{number}.example.com")
