"""Tables with mistakes: named by file and line before any mail is taken, all at once, and never with a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.conftest import StartRelay
from tests.image.engine import Engine, Result
from tests.image.relay import Relay

EX_CONFIG = 78
PASSWORD = "correct horse"
LOGINS = {"SMTPD_SASL_USERS": f"ann@example.com:{PASSWORD}"}
DOMAINS = {"RELAY_DOMAINS": "example.com [inside]:25"}

Tables = dict[str, str]

# What stands in /config, the settings beside it, and the lines that must come of it: all of them, and no other.
MISTAKES: dict[str, tuple[Tables, dict[str, str], list[str]]] = {
    "plaintext_where_a_hash_must_be": (
        {
            "users": f"# people\nann:$6$salt$IxDD3jeSOb5eB1CX5LBsqZFVkJdido3OUILO5Ifz5iwMuTS4XMS130MTSuDDl3aCI6WouIL9AjRbLCelDCy.g.\nbob:{PASSWORD}\n"
        },
        {},
        [r"/config/users:3: must "],
    ),
    "sender_of_an_unknown_login": (
        {"sender_logins": "ann@example.com sales@example.com\nbob bob@example.com\n"},
        LOGINS,
        [r"/config/sender_logins:2: bob must be a login that exists"],
    ),
    "unknown_transport": (
        {"transport": "example.org smpt:[mail.example.org]:25\n"},
        {},
        [
            r"/config/transport:1: .*must use a transport that exists \(smtp, smtps, relay, error, retry, discard\)"
        ],
    ),
    "relay_domain_that_is_its_own_server": (
        {"relay_domains": "example.com example.com:25\n"},
        {},
        [r"/config/relay_domains:1: example.com:25 must be \[example.com\], in brackets: the MX of"],
    ),
    "two_upstreams_for_one_sender": (
        {
            "upstreams": "a@example.com [one.example]:25\nb@example.com [one.example]:25\nA@example.com [two.example]:25\n"
        },
        {},
        [
            r"/config/upstreams:3: .*must be the only entry for a@example.com, .*\(first at /config/upstreams:1\)"
        ],
    ),
    "relay_domain_without_a_server": (
        {"relay_domains": "example.com [inside]:25\n\nexample.net example.org\n"},
        {},
        [
            r'/config/relay_domains:3: example.net must have a server, as in "example.net \[mail.example.net\]:25"',
            r"/config/relay_domains:3: example.org must have a server",
        ],
    ),
    "relay_domain_that_everything_is_sent_to": (
        {"relay_domains": "example.com [inside]:25\n"},
        {"RELAYHOST": "example.com"},
        [r"RELAYHOST=example.com:25: must not be one of RELAY_DOMAINS without brackets: .* in circles"],
    ),
    "relay_itself_as_the_server": (
        {"relay_domains": "example.com [localhost]:25\n", "transport": "* smtp:[mx.example.com]:587\n"},
        {"MYHOSTNAME": "mx.example.com"},
        [
            r"/config/relay_domains:1: \[localhost\]:25 must not be this relay itself",
            r"/config/transport:1: \[mx.example.com\]:587 must not be this relay itself",
        ],
    ),
    "recipient_at_another_domain": (
        {"relay_recipients": "ann@example.com\n@host.example.com\nbob@example.org\n"},
        DOMAINS,
        [
            r"/config/relay_recipients:2: @host.example.com must be at RELAY_DOMAINS",
            r"/config/relay_recipients:3: @example.org must be at RELAY_DOMAINS",
        ],
    ),
    "recipients_without_domains": (
        {"relay_recipients": "ann@example.com\n"},
        {"VERIFY_RECIPIENTS": "yes"},
        [
            r"RELAY_RECIPIENTS: must come with RELAY_DOMAINS",
            r"VERIFY_RECIPIENTS: must come with RELAY_DOMAINS",
        ],
    ),
    "subdomains_without_a_postmaster": (
        {"relay_domains": ".example.com [inside]:25\n"},
        {},
        [r"/config/relay_domains:1: .example.com must come with POSTMASTER"],
    ),
    "inbound_values": (
        {},
        DOMAINS
        | {
            "DNSBL_SITES": "bl.example=all",
            "POSTMASTER": "ann",
            "POSTSCREEN": "maybe",
            "RELAY_TRANSPORT": "smtp:25",
        },
        [
            r"DNSBL_SITES=bl.example=all: must have an address of 127.0.0.0/8 after =",
            r"POSTMASTER=ann: must be one address",
            r"POSTSCREEN=maybe: must be yes or no",
            r"RELAY_TRANSPORT=smtp:25: must name a host after smtp:",
        ],
    ),
    "everything_at_once": (
        {
            "transport": "example.org\nexample.net smtp:[h]:99999\n",
            "relay_recipients": "ann@example.com\nnot an address\n",
            "virtual": "info@example.com\n",
            "recipients": "ann@example.com\n",
        },
        DOMAINS,
        [
            r"/config/transport:1: example.org must be a pattern and a transport",
            r"/config/transport:2: .*must be a port from 1 to 65535",
            r"/config/relay_recipients:2: 'not an address' must be one address",
            r"/config/virtual:1: info@example.com must name at least one address",
            r"/config/recipients: is not a table; did you mean relay_recipients\?",
        ],
    ),
    "file_and_variable": (
        {"transport": "example.org smtp:[h]:25\n"},
        {"TRANSPORT": "example.net smtp:[h]:25"},
        [r"/config/transport: must not be set together with TRANSPORT: which one is meant\?"],
    ),
}


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("config")
    directory.chmod(0o755)
    return directory


@pytest.fixture(scope="module")
def judge(docker: Engine, mounted: Path) -> Iterator[Relay]:
    """A container of the image with nothing running in it, which sees what a test puts into /config."""
    env: dict[str, str | None] = {"MYHOSTNAME": None, "RELAYHOST": None, "TRUST_GATEWAY": None}
    volumes = {str(mounted): {"bind": "/config", "mode": "ro"}}
    made = Relay(docker, None, env, command=["sleep", "infinity"], volumes=volumes, ports=())
    yield made
    docker.remove(made.container)


def check(judge: Relay, mounted: Path, tables: Tables, env: dict[str, str]) -> Result:
    for old in mounted.iterdir():
        old.rmdir() if old.is_dir() else old.unlink()
    for name, text in tables.items():
        (mounted / name).write_text(text)
        (mounted / name).chmod(0o644)
    return judge.exec("postern", "check", env=env)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_table_is_named_with_its_line(judge: Relay, mounted: Path, mistake: str) -> None:
    tables, env, expected = MISTAKES[mistake]
    result = check(judge, mounted, tables, env)
    assert result.status == EX_CONFIG
    assert len(result.lines) == len(expected), result.output
    for pattern in expected:
        assert any(re.match(pattern, line) for line in result.lines), (pattern, result.output)
    assert PASSWORD not in result.output


def test_a_directory_in_the_place_of_a_table_is_named(judge: Relay, mounted: Path) -> None:
    check(judge, mounted, {}, {})
    (mounted / "transport").mkdir()
    result = judge.exec("postern", "check")
    assert (result.status, result.output.strip()) == (
        EX_CONFIG,
        "/config/transport: must be a file, and this is a directory or something else",
    )


def test_a_file_in_the_place_of_a_directory_is_named(judge: Relay, mounted: Path) -> None:
    result = check(judge, mounted, {"certificates": "-----BEGIN CERTIFICATE-----\n"}, {})
    assert result.status == EX_CONFIG
    assert re.match(r"/config/certificates: must be a readable directory: Not a directory", result.output)


def test_a_file_in_the_place_of_config_is_named(start_relay: StartRelay, tmp_path: Path) -> None:
    """Else the relay would start without the tables that somebody meant to mount."""
    (tmp_path / "relay_domains").write_text("example.com [inside]:25\n")
    relay = start_relay(
        wait=False, volumes={str(tmp_path / "relay_domains"): {"bind": "/config", "mode": "ro"}}
    )
    assert relay.exit_code() == EX_CONFIG
    assert "error: /config: must be a directory, with a file for each table in it" in relay.logs()


def test_a_users_file_of_100_mb_is_refused_without_being_read(judge: Relay, mounted: Path) -> None:
    """As when somebody mounts a disk image: in a small container reading it would end in the kernel's killer."""
    check(judge, mounted, {}, {})
    with (mounted / "users").open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    result = judge.exec("sh", "-c", "ulimit -v 300000; postern check")
    assert (result.status, result.output.strip()) == (
        EX_CONFIG,
        "/config/users: must be a file of at most 16 MB",
    )


def test_a_relay_with_a_wrong_table_does_not_start(start_relay: StartRelay, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "transport").write_text("example.org smpt:[h]:25\n")
    relay = start_relay(wait=False, volumes={str(tmp_path): {"bind": "/config", "mode": "ro"}})
    assert relay.exit_code() == EX_CONFIG
    assert "error: /config/transport:1: " in relay.logs()
    assert "no mail was taken" in relay.logs()
