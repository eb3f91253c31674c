"""Certificates by name: where each is found, under which key Postfix asks for it, and what is wrong with any of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from entrypoint.tls import directory
from tests.image.tls import Pieces
from tests.unit.tls_files import DAY, NOW, issue, write


@pytest.fixture(scope="module")
def pieces() -> Pieces:
    return issue("mx.example.com", "*.example.org")


def faults(where: Path) -> dict[str, str]:
    with pytest.raises(directory.FaultsError) as caught:
        directory.load(where)
    assert all(rule.startswith("must ") for _, rule in caught.value.faults)
    return {str(path.relative_to(where)): rule for path, rule in caught.value.faults}


def in_one_file(where: Path, pieces: Pieces) -> None:
    write(where / "mx.example.com.pem", pieces.all)


def as_pem_and_key(where: Path, pieces: Pieces) -> None:
    write(where / "mx.example.com.pem", pieces.leaf)
    write(where / "mx.example.com.key", pieces.key)


def as_crt_and_key(where: Path, pieces: Pieces) -> None:
    write(where / "MX.Example.com.crt", pieces.leaf)
    write(where / "MX.Example.com.key", pieces.key)


def as_from_kubernetes(where: Path, pieces: Pieces) -> None:
    """A Secret mounted below: its files are links through a hidden link to a hidden directory."""
    secret = where / "mx.example.com"
    write(secret / "..2026_11_21/tls.crt", pieces.leaf)
    write(secret / "..2026_11_21/tls.key", pieces.key)
    write(secret / "..2026_11_21/ca.crt", pieces.leaf)
    (secret / "..data").symlink_to("..2026_11_21")
    for name in ("tls.crt", "tls.key", "ca.crt"):
        (secret / name).symlink_to(f"..data/{name}")


def as_from_certbot(where: Path, pieces: Pieces) -> None:
    """Its directory "live", with all that lies in it."""
    write(where / "README", "This directory contains your keys and certificates.\n")
    texts = {"cert.pem": pieces.leaf, "fullchain.pem": pieces.leaf, "privkey.pem": pieces.key}
    (where / "mx.example.com").mkdir(parents=True)
    for name, text in texts.items():
        (where / "mx.example.com" / name).symlink_to(write(where.parent / "archive" / name, text))


@pytest.mark.parametrize(
    "form", [in_one_file, as_pem_and_key, as_crt_and_key, as_from_kubernetes, as_from_certbot]
)
def test_a_certificate_is_found_in_each_form(
    tmp_path: Path, pieces: Pieces, form: Callable[[Path, Pieces], None]
) -> None:
    form(tmp_path / "live", pieces)
    [(name, found)] = directory.load(tmp_path / "live").items()
    assert name == "mx.example.com"
    assert found.pem == pieces.all
    assert found.warnings == ()


@pytest.mark.parametrize("entry", ["_.example.org.pem", "*.example.org.pem"])
def test_a_star_is_written_as_postfix_asks_for_it(tmp_path: Path, pieces: Pieces, entry: str) -> None:
    write(tmp_path / entry, pieces.all)
    [(name, found)] = directory.load(tmp_path).items()
    assert name == ".example.org"
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("entry", "shown"), [("www.example.com", "www.example.com"), ("_.example.com", "*.example.com")]
)
def test_a_certificate_for_other_names_is_said(
    tmp_path: Path, pieces: Pieces, entry: str, shown: str
) -> None:
    write(tmp_path / f"{entry}.pem", pieces.all)
    [found] = directory.load(tmp_path).values()
    assert found.warnings == (f"the certificate is not for {shown} but for mx.example.com, *.example.org",)


def test_hidden_entries_are_passed_over(tmp_path: Path, pieces: Pieces) -> None:
    write(tmp_path / ".hidden.example.com.pem", pieces.all)
    (tmp_path / "..data").mkdir()
    assert directory.load(tmp_path) == {}


def test_all_faults_of_all_files_are_told_at_once(tmp_path: Path, pieces: Pieces) -> None:
    old = issue(begins=NOW - 9 * DAY, ends=NOW - 2 * DAY)
    write(tmp_path / "a.example.com.pem", old.all)
    write(tmp_path / "b.example.com.pem", pieces.leaf)
    write(tmp_path / "c.example.com.crt", pieces.leaf)
    write(tmp_path / "c.example.com.key", issue().key)
    write(tmp_path / "d.example.com.key", pieces.key)
    write(tmp_path / "e.example.com/tls.crt", pieces.leaf)
    (tmp_path / "f.example.com").mkdir()
    write(tmp_path / "g.example.com.cer", pieces.all)
    write(tmp_path / "not a name.pem", pieces.all)
    write(tmp_path / "tls.crt", pieces.leaf)
    write(tmp_path / "tls.key", pieces.key)
    (tmp_path / "h.example.com.pem").mkdir()
    write(tmp_path / "well.example.com.pem", pieces.all)
    told = faults(tmp_path)
    expected = {
        "a.example.com.pem": "ended on",
        "b.example.com.pem": "private key",
        "c.example.com.crt": "belong together",
        "d.example.com.key": "a certificate beside it: d.example.com.crt",
        "e.example.com": "tls.key is not: No such file",
        "f.example.com": "either tls.crt and tls.key or",
        "g.example.com.cer": "NAME.pem",
        "h.example.com.pem": "is a directory",
        "not a name.pem": "named after a host",
        "tls.crt": "named after the host: NAME/tls.crt",
    }
    assert {name: part for name, part in expected.items() if part in told.get(name, "")} == expected
    assert set(told) == set(expected)


def test_two_certificates_for_one_name_are_refused(tmp_path: Path, pieces: Pieces) -> None:
    write(tmp_path / "mx.example.com.pem", pieces.all)
    write(tmp_path / "MX.example.com" / "tls.crt", pieces.leaf)
    write(tmp_path / "MX.example.com" / "tls.key", pieces.key)
    [rule] = faults(tmp_path).values()
    assert "only certificate for mx.example.com" in rule


def test_a_directory_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(directory.FaultsError, match="must be a readable directory: No such file"):
        directory.load(tmp_path / "none")
