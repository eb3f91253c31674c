"""The environment as a whole: every problem at once, nothing guessed, no secret shown."""

from __future__ import annotations

import errno
from pathlib import Path
from unittest.mock import Mock

import pytest

from entrypoint import nonroot
from entrypoint.config import decision, environment
from entrypoint.config.host import Host
from entrypoint.config.problem import MisconfiguredError
from entrypoint.config.secret import Secret
from entrypoint.config.settings import row, variables
from entrypoint.config.vocabulary import Vocabulary


def problems(environ: dict[str, str], machine: Host, vocabulary: Vocabulary | None = None) -> list[str]:
    with pytest.raises(MisconfiguredError) as caught:
        decision.make(environ, vocabulary, machine)
    return [str(problem) for problem in caught.value.problems]


def test_every_default_survives_its_own_parser() -> None:
    for name, declared in variables().items():
        if default := row(declared).default:
            row(declared).parse(default)
        else:
            assert row(declared).shown_default, (
                f"{name}: the reference must say what happens when it is not set"
            )


def test_nothing_set_is_a_working_relay(machine: Host) -> None:
    policy = decision.make({"PATH": "/bin", "HOSTNAME": "abc", "HOME": "/"}, None, machine)
    assert policy.hostname == "relay.example.com"


def test_seven_mistakes_are_seven_lines(machine: Host, vocabulary: Vocabulary) -> None:
    environ = {
        "RELAYHOST": "a b",
        "RELAYHOST_PASSWORD": "hunter2",
        "RELAYHOST_TLS_LEVEL": "on",
        "HEALTH_PORT": "70000",
        "LISTEN": "25:relay 25:relay",
        "MYNETWORKS": "0.0.0.0/0",
        "POSTFIX_smtp_helo_timout": "30s",
    }
    assert sorted(problems(environ, machine, vocabulary)) == [
        "HEALTH_PORT=70000: must be a port from 1 to 65535",
        "LISTEN=25:relay: must not open port 25 twice (25)",
        "MYNETWORKS=0.0.0.0/0: holds public addresses, and each of them could send anything in your name; if they "
        "are yours, set ALLOW_PUBLIC_NETWORKS=yes",
        "POSTFIX_smtp_helo_timout=30s: is not a parameter of this Postfix; did you mean smtp_helo_timeout?",
        "RELAYHOST='a b': must be one next hop: [host]:port, host:port, [2001:db8::1]:port or a mail domain",
        "RELAYHOST_PASSWORD: must come with RELAYHOST_USERNAME",
        "RELAYHOST_TLS_LEVEL=on: must be one of none, may, encrypt, verify, secure, dane",
    ]


@pytest.mark.parametrize("name", ["MESSAGE_SIZE_LIMIT", "POSTFIX_message_size_limit"])
def test_a_limit_that_refuses_every_mail_is_refused_in_both_spellings(name: str, machine: Host) -> None:
    assert problems({name: "25"}, machine) == [
        f"{name}=25: must be at least 10KB, or 0 for no limit: no mail fits into 25 bytes; did you mean 25MB?"
    ]


def test_a_value_in_quotes_that_is_refused_for_them_says_so(machine: Host) -> None:
    [told] = problems({"RELAYHOST": '"[smtp.example.com]:587"'}, machine)
    assert told.endswith("; it counts the quotes around it: write it without quotes")
    [told] = problems({"HEALTH_PAGE_PASSWORD": "'abc'"}, machine)
    assert told.endswith("write it without quotes")
    assert "abc" not in told


def test_a_secret_file_that_the_relays_user_may_not_read_is_told_with_how_to_give_it(
    machine: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2")
    closed = PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setattr(Path, "read_bytes", Mock(side_effect=closed))
    monkeypatch.setattr(nonroot, "uid", lambda: 1000)
    found = problems(
        {"RELAYHOST": "[h]", "RELAYHOST_USERNAME": "u", "RELAYHOST_PASSWORD_FILE": str(file)}, machine
    )
    assert found[0] == (
        f"RELAYHOST_PASSWORD_FILE={file}: must be a readable file: Permission denied; "
        f"the relay reads it as uid 1000: as root, chown 1000 {file}"
    )


def test_empty_means_not_set_as_compose_writes_it(machine: Host) -> None:
    environ = dict.fromkeys(variables(), "") | {"RELAYHOST_PASSWORD_FILE": "", "POSTFIX_max_use": ""}
    policy = decision.make(environ, None, machine)
    assert (policy.relayhost, policy.parameters) == (None, {})


def test_kubernetes_service_links_are_no_settings(machine: Host) -> None:
    environ = {
        "POSTFIX_SERVICE_HOST": "10.0.0.1",
        "POSTFIX_SERVICE_PORT": "25",
        "POSTFIX_SERVICE_PORT_SMTP": "25",
        "POSTFIX_PORT": "tcp://10.0.0.1:25",
        "POSTFIX_PORT_25_TCP": "tcp://10.0.0.1:25",
        "POSTFIX_PORT_25_TCP_ADDR": "10.0.0.1",
        "RELAYHOST_PORT": "tcp://10.0.0.2:25",
        "RELAYHOST_SERVICE_HOST": "10.0.0.2",
        "HEALTH_PORT": "tcp://10.0.0.3:80",
    }
    policy = decision.make(environ, None, machine)
    assert policy.settings.health_port == 9154


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("RELAY_HOST", "RELAYHOST"),
        ("RELAYHOST_USER", "RELAYHOST_USERNAME"),
        ("RELAYHOST_PASS", "RELAYHOST_PASSWORD"),
        ("ALLOWED_SENDER_X", "ALLOWED_SENDER_DOMAINS"),
        ("MYNETWORK", "MYNETWORKS"),
        ("MESSAGE_SIZE", "MESSAGE_SIZE_LIMIT"),
        ("ALLOWED_SENDER_DOMAIN", "ALLOWED_SENDER_DOMAINS"),
        ("RELAYHOST_PASSWORD_FIEL", "RELAYHOST_PASSWORD"),
        ("Relayhost", "RELAYHOST"),
    ],
)
def test_a_name_close_to_a_setting_is_refused_with_a_suggestion(name: str, meant: str, machine: Host) -> None:
    assert problems({name: "x"}, machine) == [f"{name}: is not a setting; did you mean {meant}?"]


@pytest.mark.parametrize(
    "name",
    [
        "HOSTNAME",
        "PATH",
        "SMTP_HOST",
        "SMTP_PASSWORD",
        "DATABASE_URL",
        "LISTEN_FDS",
        "LANG",
        "HOST",
        "PORT",
        "TERM",
        "SMTP_TLS",
        "HOST_NAME",
        "VHOSTNAME",
        "NETWORKS",
        "LISTENER",
        "QUEUE_DELAY",
    ],
)
def test_an_application_may_share_its_environment(name: str, machine: Host) -> None:
    decision.make({name: "x"}, None, machine)


def test_a_secret_is_read_from_its_file_without_the_newline_of_the_editor(
    machine: Host, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_bytes(b" p\xc3\xa4ss word \xff\n")
    settings = environment.read(
        {"RELAYHOST_USERNAME": "u", "RELAYHOST": "[h]", "RELAYHOST_PASSWORD_FILE": str(file)}
    )
    assert settings.relayhost_password
    assert (
        settings.relayhost_password.reveal().encode("utf-8", "surrogateescape") == b" p\xc3\xa4ss word \xff"
    )


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (None, "must be a readable file: No such file or directory"),
        (b"", "must not be an empty file"),
        (b"\n", "must not be an empty file"),
        (b"x" * 65537, "must be a file of at most 64 KB"),
    ],
)
def test_a_secret_file_that_holds_no_secret_is_refused(
    content: bytes | None, rule: str, machine: Host, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    found = problems(
        {"RELAYHOST": "[h]", "RELAYHOST_USERNAME": "u", "RELAYHOST_PASSWORD_FILE": str(file)}, machine
    )
    assert f"RELAYHOST_PASSWORD_FILE={file}: {rule}" in found


def test_a_secret_of_two_lines_is_refused_and_not_shown(machine: Host, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2\nhunter3\n")
    found = problems(
        {"RELAYHOST": "[h]", "RELAYHOST_USERNAME": "u", "RELAYHOST_PASSWORD_FILE": str(file)}, machine
    )
    assert found == ["RELAYHOST_PASSWORD_FILE: must not contain a line break or a NUL"]


def test_a_setting_given_twice_is_a_question_not_a_guess(machine: Host, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("b")
    environ = {
        "RELAYHOST_PASSWORD": "hunter2",
        "RELAYHOST_PASSWORD_FILE": str(file),
        "MYHOSTNAME": "a.example",
    }
    environ |= {"RELAYHOST": "[h]", "RELAYHOST_USERNAME": "u", "POSTFIX_myhostname": "b.example"}
    assert problems(environ, machine) == [
        "POSTFIX_myhostname=b.example: must not be set together with MYHOSTNAME: which one is meant?",
        "RELAYHOST_PASSWORD_FILE: must not be set together with RELAYHOST_PASSWORD: which one is meant?",
    ]


def test_postfix_own_spelling_of_a_setting_is_checked_like_ours(machine: Host) -> None:
    policy = decision.make(
        {"POSTFIX_myhostname": "a.example.com", "POSTFIX_relayhost": "[h]:26"}, None, machine
    )
    assert (policy.hostname, str(policy.relayhost), policy.parameters) == ("a.example.com", "[h]:26", {})
    assert problems({"POSTFIX_mynetworks": "0.0.0.0/0"}, machine)[0].startswith(
        "MYNETWORKS=0.0.0.0/0: holds public"
    )


def test_only_secrets_come_from_files(machine: Host) -> None:
    assert problems({"RELAYHOST_FILE": "/x"}, machine) == [
        "RELAYHOST_FILE: only secrets are read from files; set RELAYHOST instead"
    ]


def test_a_secret_shows_in_no_text() -> None:
    secret = Secret("hunter2")
    assert {str(secret), repr(secret), f"{secret}", f"{secret:>3}", "%s" % secret} == {"********"}  # noqa: UP031
    assert secret.reveal() == "hunter2"
    assert type(secret.reveal()) is str


@pytest.mark.parametrize(
    "name", ["DKIM_SELECTOR", "MYDESTINATION", "RELAYHOST_PORT", "SASL_RELAYHOST", "XOAUTH2_CLIENT_ID"]
)
def test_a_setting_of_the_most_used_image_is_never_passed_over_in_silence(name: str, machine: Host) -> None:
    assert problems({name: "x"}, machine)[0].startswith(f"{name}: is a setting of another image: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RELAYHOST", "user:hunter2@smtp.example.com:587"),
        ("RELAYHOST_USERNAME", "me:hunter2"),
        ("RELAYHOST_PASSWORD_FILE", "hunter2"),
        ("POSTFIX_smtp_sasl_password_maps", "static:user:hunter2"),
        ("POSTFIX_relayhost", "user:hunter2@smtp.example.com:587"),
        (
            "POSTFIXMASTER_smtp__unix",
            "smtp unix - - n - - smtp -o smtp_sasl_password_maps=static:u:hunter2 -o x",
        ),
    ],
)
def test_a_password_in_the_wrong_place_is_not_shown(name: str, value: str, machine: Host) -> None:
    found = problems({"RELAYHOST": "[h]", "RELAYHOST_USERNAME": "u"} | {name: value}, machine)
    assert any(line.startswith(f"{name}: ") for line in found)
    assert not any("hunter2" in line for line in found)
