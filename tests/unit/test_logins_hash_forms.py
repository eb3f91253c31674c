"""What counts as a password's hash, judged by its form."""

from __future__ import annotations

import pytest

from entrypoint.config.crypt import hash_fault
from entrypoint.logins.libcrypt import hashed

# Made by crypt(3) of libcrypt 4.4, of the password "secret".
GOOD = {
    "yescrypt": "$y$j9T$qCEovLI4ej.fxMIFKQOPV/$YV90EAzULYyPuPEmsO/8L0TAx8prehPUNZvMbgtsxi0",
    "sha512": "$6$abc$IdWKNKTJEb8LxY7CGg8YBXlvtfZzFw7Mp/r6niK9YB2mdvgY..TKjv1T..8RadRt2qvUHYRLr/TsVArtr91iR1",
    "sha512_rounds": "$6$rounds=5000$abc$IdWKNKTJEb8LxY7CGg8YBXlvtfZzFw7Mp/r6niK9YB2mdvgY..TKjv1T..8RadRt2qvUHYRLr/TsVArtr91iR1",
    "sha256": "$5$abc$qsg6EHbUzHQzF1POlD7zUwBINSELQxypPaeDcZe6vH0",
    "bcrypt_2b": "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
    "bcrypt_2a": "$2a$12$abcdefghijklmnopqrstuuT1Iwu6o8Wx7BoOyIMHfgVJq6JO/IJhW",
    "bcrypt_2y": "$2y$10$abcdefghijklmnopqrstuuqflPDzB6gcMhKa1rZqKiun2YGL5sa2u",
}
BAD = {
    "plaintext": ("hunter2", "not a password"),
    "plaintext_with_a_dollar": ("$ecret", "not a password"),
    "cut_off": (GOOD["yescrypt"][:-1], "whole yescrypt hash"),
    "more_than_the_hash": (GOOD["yescrypt"] + ":19000:0:99999", "whole yescrypt hash"),
    "space_behind": (GOOD["bcrypt_2b"] + " ", "whole bcrypt hash"),
    "cut_off_sha512": (GOOD["sha512"][:-1], "whole SHA-512 hash"),
    "bcrypt_cost": ("$2b$99$" + "a" * 53, "whole bcrypt hash"),
    "dovecot": ("{SHA512-CRYPT}" + GOOD["sha512"], "{SCHEME}"),
    "compose": (GOOD["sha512"].replace("$", "$$"), "compose"),
    "md5": ("$1$abc$" + "a" * 22, "too weak"),
    "apache": ("$apr1$abc$" + "a" * 22, "too weak"),
    "locked": ("!" + GOOD["sha512"], "not a password"),
    "line_break": (GOOD["sha256"] + "\n", "whole SHA-256 hash"),
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD.keys())
def test_a_hash_is_taken(text: str) -> None:
    assert hashed(b"secret", text.encode()) == text.encode()
    assert hash_fault(text) == ""


@pytest.mark.parametrize(("text", "reason"), BAD.values(), ids=BAD.keys())
def test_anything_else_is_refused_with_a_reason_that_does_not_repeat_it(text: str, reason: str) -> None:
    fault = hash_fault(text)
    assert reason in fault
    assert text.strip() not in fault
