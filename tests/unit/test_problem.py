"""A value that breaks a rule is shown, as it is what its author looks for, unless it is a secret in the wrong place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trustme

from entrypoint.config.problem import MisconfiguredError, Problem
from entrypoint.config.tables import access, routing
from entrypoint.config.tables.lines import Source

HASH = "$y$j9T$abc.def/ghi$0123456789abcdefghijk"
LINE = "/config/transport:3"
ORDINARY = [
    "example.org smtp",
    "example.net [sink]:25",
    "example.com:25",
    "example.com:smtp:[sink]:25",
    "smtp:[mail.example.com]:587",
    "example.com: smtp:[sink]:25",
    "nonsense",
    "a-very-long-word-without-any-dots-in-it",
    "AB:CD:EF:01 app",
]
SECRETS = [
    f"ann:{HASH}",
    f"ann@example.com:{HASH} x",
    f"example.com {HASH}",
    "ann:$2b$12$abcdefghijklmnopqrstuv",
    "ann $argon2id$v=19$m=65536",
    "ann:{SSHA}abcdef",
    "ann {PLAIN}hunter2",
    "ann:hunter2",
    "ann@example.com:hunter2 and more",
    "-----BEGIN PRIVATE KEY-----",
    "eyJhbGciOiJIUzI1NiIsInR5cCI6",
]


@pytest.mark.parametrize("value", ORDINARY)
def test_an_ordinary_mistake_is_shown_as_it_is_written(value: str) -> None:
    shown = value if " " not in value else repr(value)
    assert str(Problem(LINE, value, f"must not be {value!r}")) == f"{LINE}: {shown} must not be {value!r}"


@pytest.mark.parametrize("value", ["$myhostname$mydomain", "lmdb:${data_directory}/x", "25:relay", "a:b"])
def test_what_only_postfix_writes_so_is_no_secret_in_a_variable(value: str) -> None:
    assert str(Problem("POSTFIX_x", value, "must not")) == f"POSTFIX_x={value}: must not"


@pytest.mark.parametrize("value", SECRETS)
def test_what_looks_like_a_secret_is_not_shown_and_not_in_the_rule_either(value: str) -> None:
    for word in (value, *value.lower().split()):
        assert (
            str(Problem(LINE, value, f"must not be {word!r}, as it is"))
            == f"{LINE}: must not be this, as it is"
        )


def test_who_must_see_no_value_sees_the_rule_without_it() -> None:
    problem = Problem(LINE, "example.org smtp", "must name 'a transport', not 'smtp'")
    assert str(problem.hidden()) == f"{LINE}: must name 'a transport', not this"


KEY = trustme.CA().private_key_pem.bytes().decode()
FILES = {
    "key": (KEY, KEY.splitlines()[1:-1]),
    "hashes": (f"ann:{HASH}\nbob:{HASH}\n", [HASH]),
    "passwords": ("ann:hunter2\nann@example.com:hunter2 hunter2\n", ["hunter2"]),
}
TABLES = [
    access.client_certificates,
    access.sender_logins,
    routing.relay_domains,
    routing.relay_recipients,
    routing.transport,
    routing.virtual,
]


@pytest.mark.parametrize("table", TABLES, ids=[table.__name__ for table in TABLES])
@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_secrets_in_the_place_of_any_table_is_refused_without_them(
    table: Callable[[Source], object], kind: str
) -> None:
    text, secrets = FILES[kind]
    with pytest.raises(MisconfiguredError) as error:
        table(Source("/config/t", text))
    told = str(error.value)
    assert "/config/t:1: must" in told
    assert not [secret for secret in secrets if secret.lower() in told.lower()]
