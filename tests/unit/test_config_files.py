"""Where tables come from: the directory /config, variables, and files that variables name.

What is wrong with such a file is said of it, and what was read is watched.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import trustme

from entrypoint.config import environment, rules
from entrypoint.config.environment import IncompleteError
from entrypoint.config.host import Host
from entrypoint.config.settings import Settings

SHA512 = "$6$salt$" + "a" * 86
USERS = f"ann:{SHA512}\n"


def refused(config: Path, **environ: str) -> list[str]:
    with pytest.raises(IncompleteError) as error:
        environment.read(environ, directory=config)
    return [str(problem) for problem in error.value.problems]


def read(config: Path, **environ: str) -> Settings:
    return environment.read(environ, directory=config)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    made = tmp_path / "config"
    made.mkdir()
    return made


def test_a_table_is_read_from_its_file_or_its_variable(config: Path) -> None:
    (config / "relay_domains").write_text("example.com [inside]:25\n")
    settings = read(config, RELAY_RECIPIENTS="ann@example.com, bob@example.com")
    assert [str(domain.route) for domain in settings.relay_domains] == ["relay:[inside]:25"]
    assert settings.relay_recipients == ("ann@example.com", "bob@example.com")


def test_without_the_directory_there_are_no_files(tmp_path: Path) -> None:
    settings = read(tmp_path / "config")
    assert (settings.transport, settings.sources) == ((), ())


def test_a_link_into_a_mount_of_kubernetes_is_a_file(config: Path) -> None:
    (config / "..2026_11_21").mkdir()
    (config / "..2026_11_21/users").write_text(USERS)
    (config / "..data").symlink_to("..2026_11_21")
    (config / "users").symlink_to("..data/users")
    assert [login.name for login in read(config).users] == ["ann"]


@pytest.mark.parametrize(
    ("given", "other"), [({"USERS": USERS}, "USERS"), ({"USERS_FILE": "/run/secrets/users"}, "USERS_FILE")]
)
def test_two_places_for_one_table_are_a_question(config: Path, given: dict[str, str], other: str) -> None:
    (config / "users").write_text(USERS)
    assert refused(config, **given) == [
        f"{config}/users: must not be set together with {other}: which one is meant?"
    ]


class TestFilesThatAreNone:
    def test_a_directory(self, config: Path) -> None:
        (config / "users").mkdir()
        assert refused(config) == [
            f"{config}/users: must be a file, and this is a directory or something else"
        ]

    def test_a_pipe_holds_nobody_up(self, config: Path) -> None:
        os.mkfifo(config / "transport")
        assert refused(config) == [
            f"{config}/transport: must be a file, and this is a directory or something else"
        ]

    def test_a_link_that_leads_nowhere(self, config: Path) -> None:
        (config / "transport").symlink_to("gone")
        assert refused(config) == [f"{config}/transport: must be a readable file: No such file or directory"]

    @pytest.mark.parametrize(
        ("name", "size", "most"),
        [("users", 100, 16), ("transport", 17, 16), ("relay_recipients", 257, 256)],
    )
    def test_one_that_is_far_too_large_is_not_read(
        self, config: Path, name: str, size: int, most: int
    ) -> None:
        with (config / name).open("wb") as file:
            file.truncate(size << 20)
        assert refused(config) == [f"{config}/{name}: must be a file of at most {most} MB"]

    @pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
    def test_one_in_another_encoding(self, config: Path, encoding: str) -> None:
        (config / "virtual").write_text("ä@example.com b@example.com\n", encoding=encoding)
        assert refused(config) == [f"{config}/virtual: must be a text in UTF-8"]

    def test_a_password_may_be_in_any_encoding(self, config: Path, tmp_path: Path) -> None:
        (tmp_path / "users").write_bytes(b"ann:p\xe4ss\n")
        [ann] = read(config, SMTPD_SASL_USERS_FILE=str(tmp_path / "users")).smtpd_sasl_users
        assert ann.secret.reveal().encode(errors="surrogateescape") == b"p\xe4ss"


class TestNames:
    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("recipients", "relay_recipients"),
            ("transports", "transport"),
            ("transport.txt", "transport"),
            ("user", "users"),
            ("upstream", "upstreams"),
            ("senders_logins", "sender_logins"),
            ("certificate", "certificates"),
            ("Users", "users"),
        ],
    )
    def test_one_that_looks_like_a_table_is_refused_with_what_was_meant(
        self, config: Path, name: str, meant: str
    ) -> None:
        (config / name).touch()
        assert refused(config) == [f"{config}/{name}: is not a table; did you mean {meant}?"]

    def test_one_without_an_ending_is_refused_with_the_tables_that_there_are(self, config: Path) -> None:
        (config / "blacklist").touch()
        [found] = refused(config)
        assert found.startswith(f"{config}/blacklist: is not a table: the tables are upstreams, ")
        assert "smtpd_sasl_users" not in found

    @pytest.mark.parametrize(
        "name", ["..data", ".transport.swp", "transport~", "ca.pem", "README.md", "lost+found"]
    )
    def test_what_editors_mounts_and_users_put_beside_them_is_nothing(self, config: Path, name: str) -> None:
        (config / name).touch()
        read(config)

    def test_the_users_of_cyrus_have_no_file_of_their_own(self, config: Path) -> None:
        (config / "smtpd_sasl_users").touch()
        assert refused(config)


class TestFilesThatVariablesName:
    def test_a_table_of_secrets_may_be_anywhere_and_large(self, config: Path, tmp_path: Path) -> None:
        text = "".join(f"user{number}:{SHA512}\n" for number in range(1000))
        assert len(text) > 64 * 1024
        (tmp_path / "users").write_text(text)
        assert len(read(config, USERS_FILE=str(tmp_path / "users")).users) == 1000

    def test_a_mistake_in_it_is_named_by_its_line_and_not_shown(self, config: Path, tmp_path: Path) -> None:
        (tmp_path / "users").write_text(f"# mine\n{USERS}bob:hunter2\n")
        [found] = refused(config, USERS_FILE=str(tmp_path / "users"))
        assert found.startswith(f"{tmp_path}/users:3: must be a hash")
        assert "hunter2" not in found

    @pytest.mark.parametrize("text", ["ann:one,bob:two", "ann:one,bob:two\n", "ann:one\nbob:two\n"])
    def test_one_line_of_users_means_what_it_means_in_the_variable(
        self, config: Path, tmp_path: Path, text: str
    ) -> None:
        """Else the first user's password would end in the others, and nobody would know why he cannot log in."""
        (tmp_path / "users").write_text(text)
        by_file = read(config, SMTPD_SASL_USERS_FILE=str(tmp_path / "users")).smtpd_sasl_users
        by_variable = read(config, SMTPD_SASL_USERS=text).smtpd_sasl_users
        for found in (by_file, by_variable):
            assert {login.name: login.secret.reveal() for login in found} == {"ann": "one", "bob": "two"}

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            ("/none", "USERS_FILE=/none: must be a readable file: No such file or directory"),
            ("/", "USERS_FILE=/: must be a file, and this is a directory or something else"),
            ("ann:hunter2", "USERS_FILE: must be the full path of a file, beginning with /"),
        ],
    )
    def test_one_that_cannot_be_read_is_named_by_its_variable(
        self, config: Path, value: str, said: str
    ) -> None:
        assert refused(config, USERS_FILE=value) == [said]

    def test_what_is_no_secret_has_no_such_variable(self, config: Path) -> None:
        assert refused(config, TRANSPORT_FILE="/x") == [
            "TRANSPORT_FILE: only secrets are read from files; set TRANSPORT instead"
        ]


def test_a_password_where_a_hash_must_be_is_nowhere_in_what_is_said(config: Path) -> None:
    (config / "users").write_text("ann:hunter2\nhunter2:ann\nhunter2\n")
    assert "hunter2" not in "".join(refused(config))
    assert "hunter2" not in "".join(refused(config / "none", USERS="ann:hunter2;hunter2"))


@pytest.mark.parametrize(
    ("name", "text", "environ"),
    [
        ("users", "ann:hunter2\n", {"LISTEN": "25:relay 587:submission"}),
        ("users", "ann:hunter2\n", {"SENDER_LOGINS": "ann @example.com", "SASL_MECHANISMS": "SCRAM-SHA-256"}),
        ("relay_domains", "example..com\n", {"LISTEN": "25:inbound", "POSTMASTER": "ann@example.org"}),
        ("upstreams", "* [h\n", {"POSTFIX_relayhost": "[h]", "RELAYHOST_CA_FILE": "/none"}),
    ],
)
def test_one_mistake_is_not_told_as_several(
    config: Path, machine: Host, name: str, text: str, environ: dict[str, str]
) -> None:
    """Whoever mends the first line would look for the others in vain."""
    (config / name).write_text(text)
    with pytest.raises(IncompleteError) as error:
        environment.read(environ, directory=config)
    assert name.upper() in error.value.wrong
    assert rules.check(error.value.settings, machine, error.value.wrong) == []


class TestWhatIsWatched:
    def test_the_directory_and_every_file_that_a_variable_names(self, config: Path, tmp_path: Path) -> None:
        for name in ("relayhost", "upstream"):
            (tmp_path / name).write_text("hunter2\n")
        (tmp_path / "users").write_text(USERS)
        (config / "upstreams").write_text(f"a@example.com [h] user=u password_file={tmp_path}/upstream\n")
        settings = read(
            config,
            RELAYHOST="[h]",
            RELAYHOST_USERNAME="u",
            RELAYHOST_PASSWORD_FILE=f"{tmp_path}/relayhost",
            USERS_FILE=f"{tmp_path}/users",
        )
        assert set(settings.sources) == {
            str(config),
            *(str(tmp_path / name) for name in ("relayhost", "users", "upstream")),
        }

    @pytest.mark.parametrize("name", ["RELAYHOST", "SASL_LDAP", "SASL_IMAP", "SASL_SQL"])
    def test_authorities_are_watched_as_they_are_renewed_too(self, tmp_path: Path, name: str) -> None:
        (file := tmp_path / "ca.pem").write_bytes(trustme.CA().cert_pem.bytes())
        assert read(tmp_path / "none", **{f"{name}_CA_FILE": str(file)}).sources == (str(file),)

    def test_variables_alone_leave_nothing_to_watch(self, tmp_path: Path) -> None:
        assert read(tmp_path / "none", RELAYHOST="[h]", USERS=USERS).sources == ()

    def test_what_could_not_be_read_is_watched_too(self, config: Path) -> None:
        """A table that was edited into nonsense while the relay runs will be edited again."""
        (config / "users").write_text("nonsense\n")
        with pytest.raises(IncompleteError) as error:
            read(config, RELAYHOST_PASSWORD_FILE="/none")
        assert set(error.value.settings.sources) == {str(config), "/none"}


def test_a_directory_that_may_not_be_read_is_said_so(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is for a relay without root, if only root may read what was mounted."""

    def iterdir(_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert refused(config) == [f"{config}: must be a readable directory: Permission denied"]
