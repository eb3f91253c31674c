"""A certificate is judged before anybody connects: what Postfix would refuse, or a client, is said with file and reason."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import trustme

from entrypoint.tls import chain
from tests.image.tls import Pieces
from tests.unit import tls_files
from tests.unit.tls_files import (
    DAY,
    NOW,
    below_two_authorities,
    issue,
    of_its_own,
    openssl,
    write,
)


def refusal(certificate: Path, key: Path | None = None, between: Path | None = None) -> str:
    with pytest.raises(ValueError, match=r"\Amust ") as caught:
        chain.load(certificate, key, between)
    assert "\n" not in str(caught.value)
    assert "PRIVATE KEY-----\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def pieces() -> Pieces:
    return below_two_authorities()


def test_one_file_and_separate_files_give_the_same(tmp_path: Path, pieces: Pieces) -> None:
    whole = chain.load(write(tmp_path / "all.pem", pieces.all))
    leaf = write(tmp_path / "leaf.crt", pieces.leaf)
    key = write(tmp_path / "leaf.key", pieces.key)
    between = write(tmp_path / "chain.crt", "".join(pieces.intermediates))
    parts = chain.load(leaf, key, between)
    assert whole.pem == parts.pem == pieces.all
    assert parts.sources == (leaf, key, between)
    assert parts.warnings == whole.warnings == ()


def test_what_a_certificate_says_is_known(tmp_path: Path) -> None:
    made = issue("mx.example.com", "*.Example.org", "192.0.2.7", "2001:db8::7", ends=NOW + 9 * DAY)
    file = write(tmp_path / "a.pem", made.all)
    loaded = chain.load(file)
    assert loaded.names == ("mx.example.com", "*.example.org", "192.0.2.7", "2001:db8::7")
    assert (NOW + 8 * DAY) < loaded.not_after < (NOW + 10 * DAY)
    assert loaded.not_before < NOW
    printed = openssl("x509", "-noout", "-fingerprint", "-sha256", "-in", str(file))
    assert loaded.fingerprint == printed.strip().partition("=")[2]
    assert "PRIVATE" not in repr(loaded)


@pytest.mark.parametrize(
    ("name", "covered"),
    [
        ("mx.example.com", True),
        ("MX.example.com.", True),
        ("a.example.org", True),
        ("a.b.example.org", False),
        ("example.org", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
    ],
)
def test_a_star_in_a_certificate_stands_for_one_label(tmp_path: Path, name: str, covered: bool) -> None:
    made = issue("mx.example.com", "*.example.org", "192.0.2.7")
    assert chain.load(write(tmp_path / "a.pem", made.all)).covers(name) is covered


def test_a_certificate_without_alternative_names_is_for_its_common_name(tmp_path: Path) -> None:
    key = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    leaf = openssl("req", "-x509", "-key", "/dev/stdin", "-subj", "/O=A, B/CN=mx.example.com", given=key)
    assert chain.load(write(tmp_path / "a.pem", key + leaf)).names == ("mx.example.com",)


@pytest.mark.parametrize(
    "algorithm", [("RSA",), ("EC", "-pkeyopt", "ec_paramgen_curve:P-384"), ("ED25519",)], ids=lambda a: a[0]
)
def test_keys_of_every_kind_are_taken(tmp_path: Path, algorithm: tuple[str, ...]) -> None:
    made = of_its_own(*algorithm)
    assert chain.load(write(tmp_path / "a.pem", made.all)).pem == made.all


def test_what_stands_around_the_parts_is_left_out(tmp_path: Path) -> None:
    """Bag attributes, comments, EC parameters and Windows' line ends, as programs write them."""
    traditional = openssl("ecparam", "-name", "prime256v1", "-genkey")
    leaf = openssl("req", "-x509", "-key", "/dev/stdin", "-subj", "/CN=a.example", given=traditional)
    text = f"Bag Attributes\n  friendlyName: a\n{traditional}\nsubject=CN = a.example\n{leaf}".replace(
        "\n", "\r\n"
    )
    file = tmp_path / "a.pem"
    file.write_bytes(text.encode())
    assert re.findall("-----BEGIN (.*)-----", chain.load(file).pem) == ["EC PRIVATE KEY", "CERTIFICATE"]


def test_a_chain_in_the_wrong_order_is_put_in_the_right_one(tmp_path: Path, pieces: Pieces) -> None:
    second, first = pieces.intermediates
    file = write(tmp_path / "a.pem", first + second + pieces.leaf + pieces.key)
    assert chain.load(file).pem == pieces.all


def test_certificates_that_are_given_twice_are_shown_once(tmp_path: Path, pieces: Pieces) -> None:
    """From certbot: fullchain.pem together with chain.pem."""
    full = write(tmp_path / "fullchain.pem", pieces.leaf + "".join(pieces.intermediates))
    between = write(tmp_path / "chain.pem", "".join(pieces.intermediates))
    assert chain.load(full, write(tmp_path / "k.pem", pieces.key), between).pem == pieces.all


def test_a_certificate_of_somebody_else_is_left_out_and_said(tmp_path: Path, pieces: Pieces) -> None:
    other = trustme.CA(organization_name="Somebody else").cert_pem.bytes().decode()
    loaded = chain.load(write(tmp_path / "a.pem", pieces.all + other))
    assert loaded.pem == pieces.all
    [warning] = loaded.warnings
    assert "Somebody else" in warning


def test_an_expired_authority_in_the_chain_is_said(tmp_path: Path) -> None:
    authority = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    key = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    write(tmp_path / "ca.key", authority)
    ca = openssl("req", "-x509", "-days", "1", "-key", str(tmp_path / "ca.key"), "-subj", "/CN=Old")
    write(tmp_path / "ca.pem", ca)
    by = ("-CA", str(tmp_path / "ca.pem"), "-CAkey", str(tmp_path / "ca.key"), "-subj", "/CN=a.example")
    leaf = openssl("req", "-x509", "-days", "9", "-key", "/dev/stdin", *by, given=key)
    file = write(tmp_path / "a.pem", key + leaf + ca)
    assert chain.load(file).warnings == ()
    [warning] = chain.load(file, now=NOW + 3 * DAY).warnings
    assert re.search(r"Old, in the chain, ended on \d{4}-", warning)


def test_only_intermediates_of_another_certificate_are_refused(tmp_path: Path, pieces: Pieces) -> None:
    """The classic of a renewal: the new certificate has a new issuer, its chain file is the old one."""
    other = trustme.CA(organization_name="Of last year").cert_pem.bytes().decode()
    leaf, key = write(tmp_path / "a.crt", pieces.leaf), write(tmp_path / "a.key", pieces.key)
    told = refusal(leaf, key, write(tmp_path / "chain.pem", other))
    assert "its issuer" in told
    assert "Second" in told
    assert "Of last year" in told


def test_a_missing_file_is_named(tmp_path: Path, pieces: Pieces) -> None:
    leaf = write(tmp_path / "a.crt", pieces.leaf)
    told = refusal(leaf, tmp_path / "no.key", tmp_path / "no.chain")
    assert f"{tmp_path}/no.key" in told
    assert f"{tmp_path}/no.chain" in told
    assert "No such file" in told


def test_a_directory_in_a_files_place_is_named(tmp_path: Path) -> None:
    """An engine makes one when the file to mount does not exist."""
    (tmp_path / "a.pem").mkdir()
    assert f"{tmp_path}/a.pem is a directory" in refusal(tmp_path / "a.pem")


def test_a_pipe_in_a_files_place_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pem")
    assert f"{tmp_path}/a.pem is a pipe" in refusal(tmp_path / "a.pem")


def test_a_file_without_certificate_is_refused(tmp_path: Path, pieces: Pieces) -> None:
    key = write(tmp_path / "a.key", pieces.key)
    assert "must hold a certificate" in refusal(key, key)
    leaf, empty = write(tmp_path / "a.crt", pieces.leaf), write(tmp_path / "empty", "")
    assert f"{empty} holds none" in refusal(leaf, key, empty)


def test_a_certificate_without_key_is_refused(tmp_path: Path, pieces: Pieces) -> None:
    leaf = write(tmp_path / "a.crt", pieces.leaf)
    assert f"{leaf} holds none, and no other file is given" in refusal(leaf)
    assert f"{leaf} holds none" in refusal(leaf, leaf)


def test_an_encrypted_key_is_refused_with_the_command_that_decrypts_it(
    tmp_path: Path, pieces: Pieces
) -> None:
    modern = openssl("pkcs8", "-topk8", "-passout", "pass:x", given=pieces.key)
    old = openssl("ec", "-aes128", "-passout", "pass:x", given=pieces.key)
    for text in (modern, old):
        key = write(tmp_path / "a.key", text)
        told = refusal(write(tmp_path / "a.crt", pieces.leaf), key)
        command = told.partition(": ")[2]
        assert command.startswith(f"openssl pkey -in {key} -out ")
        openssl(*command.split()[1:], "-passin", "pass:x")
        chain.load(tmp_path / "a.crt", Path(command.split()[-1]))


def test_a_key_of_another_certificate_is_refused(tmp_path: Path, pieces: Pieces) -> None:
    leaf = write(tmp_path / "a.crt", pieces.leaf)
    for other in (issue(), of_its_own("RSA")):
        key = write(tmp_path / "other.key", other.key)
        assert f"the key in {key} is not that of the certificate in {leaf}" in refusal(leaf, key)


def test_an_expired_certificate_is_refused_with_its_date(tmp_path: Path) -> None:
    made = issue(begins=NOW - 30 * DAY, ends=NOW - 2 * DAY)
    told = refusal(write(tmp_path / "a.pem", made.all))
    assert f"{tmp_path}/a.pem ended on {NOW - 2 * DAY:%Y-%m-%d}" in told


def test_a_certificate_of_tomorrow_is_refused_with_its_date(tmp_path: Path) -> None:
    made = issue(begins=NOW + 2 * DAY, ends=NOW + 30 * DAY)
    told = refusal(write(tmp_path / "a.pem", made.all))
    assert f"{tmp_path}/a.pem begins on {NOW + 2 * DAY:%Y-%m-%d}" in told


@pytest.mark.parametrize("form", ["x509", "pkcs12"])
def test_binary_files_are_refused_with_the_command_that_converts_them(
    tmp_path: Path, pieces: Pieces, form: str
) -> None:
    source, binary = write(tmp_path / "source", pieces.all), tmp_path / "a.der"
    options = {"x509": ["-outform", "DER"], "pkcs12": ["-export", "-passout", "pass:"]}
    openssl(form, *options[form], "-in", str(source), "-out", str(binary))
    told = refusal(binary)
    command = told[told.index("openssl") :].split()
    openssl(*command[1:], *(["-passin", "pass:"] if form == "pkcs12" else []))
    if form == "pkcs12":
        chain.load(Path(command[-1]))
    else:
        chain.load(Path(command[-1]), source)


def test_a_damaged_certificate_is_refused(tmp_path: Path, pieces: Pieces) -> None:
    lines = pieces.leaf.splitlines(keepends=True)
    missing = "".join(lines[:3] + lines[4:])
    garbled = pieces.leaf.replace("M", "?", 3)
    for leaf in (missing, garbled, "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"):
        assert str(tmp_path / "a.pem") in refusal(write(tmp_path / "a.pem", pieces.key + leaf))


def test_a_damaged_intermediate_is_refused(tmp_path: Path, pieces: Pieces) -> None:
    lines = pieces.intermediates[0].splitlines(keepends=True)
    missing = "".join(lines[:3] + lines[4:])
    assert str(tmp_path / "a.pem") in refusal(write(tmp_path / "a.pem", pieces.key + pieces.leaf + missing))


def test_a_key_that_clients_refuse_is_refused(tmp_path: Path) -> None:
    weak = of_its_own("RSA", "-pkeyopt", "rsa_keygen_bits:1024")
    assert "larger key" in refusal(write(tmp_path / "a.pem", weak.all))


def test_two_keys_are_one_too_many(tmp_path: Path, pieces: Pieces) -> None:
    assert "holds 2" in refusal(write(tmp_path / "a.pem", pieces.all + issue().key))


def test_a_chain_is_what_a_strict_client_accepts(tmp_path: Path) -> None:
    root = trustme.CA()
    made = issue(by=root.create_child_ca().create_child_ca())
    second, first = made.intermediates
    shuffled = write(tmp_path / "a.pem", first + made.leaf + second + made.key)
    served = write(tmp_path / "served.pem", chain.load(shuffled).pem)
    tls_files.shake_hands(served, root.cert_pem.bytes().decode())
