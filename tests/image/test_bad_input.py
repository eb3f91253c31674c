"""Every mistake is named before the first mail, all of them at once, and never with a secret in the text.

A relay that starts although it was misunderstood loses mail or takes in strangers' mail, and nobody looks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docker.models.volumes import Volume

from tests.image import tls
from tests.image.conftest import StartRelay
from tests.image.engine import Engine, Result
from tests.image.relay import Relay

EX_CONFIG = 78
PASSWORD = "correct horse battery staple"
LOGIN = {"RELAYHOST": "[smtp.example.com]:587", "RELAYHOST_USERNAME": "me"}

# What the user wrote, and the lines that must come of it: all of them, and no other.
MISTAKES: dict[str, tuple[dict[str, str], list[str]]] = {
    "unknown_setting": (
        {"RELAYHOST_USER": "me"},
        ["RELAYHOST_USER: is not a setting; did you mean RELAYHOST_USERNAME?"],
    ),
    "mistyped_setting": (
        {"MYNETWORK": "10.0.0.0/8"},
        ["MYNETWORK: is not a setting; did you mean MYNETWORKS?"],
    ),
    "mistyped_secret": (
        LOGIN | {"RELAYHOST_PASSWROD": PASSWORD},
        [
            "RELAYHOST_PASSWROD: is not a setting; did you mean RELAYHOST_PASSWORD?",
            "RELAYHOST_USERNAME=me: must come with RELAYHOST_PASSWORD",
        ],
    ),
    "mistyped_postfix_parameter": (
        {"POSTFIX_smtp_helo_timout": "30s"},
        [
            "POSTFIX_smtp_helo_timout=30s: is not a parameter of this Postfix; did you mean smtp_helo_timeout?",
        ],
    ),
    "mistyped_restriction": (
        {"POSTFIX_smtpd_client_restrictions": "permit_mynetwork, reject"},
        [
            "POSTFIX_smtpd_client_restrictions='permit_mynetwork, reject': must be restrictions of postconf(5), and "
            "'permit_mynetwork' is none; did you mean permit_mynetworks?"
        ],
    ),
    "parameter_that_would_break_the_container": (
        {"POSTFIX_queue_directory": "/tmp"},
        ["POSTFIX_queue_directory=/tmp: cannot be changed: is the spool volume, /var/spool/postfix"],
    ),
    "port_70000_of_the_upstream": (
        {"RELAYHOST": "[smtp.example.com]:70000"},
        ["RELAYHOST=[smtp.example.com]:70000: must be a port from 1 to 65535"],
    ),
    "port_70000_to_listen_on": (
        {"LISTEN": "70000:relay"},
        ["LISTEN=70000:relay: must be a port from 1 to 65535"],
    ),
    "port_70000_for_health": (
        {"HEALTH_PORT": "70000"},
        ["HEALTH_PORT=70000: must be a port from 1 to 65535"],
    ),
    "network_with_host_bits": (
        {"MYNETWORKS": "10.0.0.5/8"},
        ["MYNETWORKS=10.0.0.5/8: must be networks without host bits: 10.0.0.5/8 is inside 10.0.0.0/8"],
    ),
    "everybody_trusted": (
        {"MYNETWORKS": "127.0.0.0/8 0.0.0.0/0"},
        [
            "MYNETWORKS=0.0.0.0/0: holds public addresses, and each of them could send anything in your name; "
            "if they are yours, set ALLOW_PUBLIC_NETWORKS=yes"
        ],
    ),
    "everybody_trusted_by_ipv6": (
        {"MYNETWORKS": "[::]/0"},
        [
            "MYNETWORKS=::/0: holds public addresses, and each of them could send anything in your name; "
            "if they are yours, set ALLOW_PUBLIC_NETWORKS=yes"
        ],
    ),
    "password_without_user": (
        {"RELAYHOST": "[smtp.example.com]:587", "RELAYHOST_PASSWORD": PASSWORD},
        ["RELAYHOST_PASSWORD: must come with RELAYHOST_USERNAME"],
    ),
    "login_without_upstream": (
        {"RELAYHOST_USERNAME": "me", "RELAYHOST_PASSWORD": PASSWORD},
        ["RELAYHOST_USERNAME=me: must come with RELAYHOST: the login's server"],
    ),
    "relayhost_with_a_space": (
        {"RELAYHOST": "smtp.example.com 587"},
        [
            "RELAYHOST='smtp.example.com 587': must be one next hop: [host]:port, host:port, [2001:db8::1]:port or "
            "a mail domain"
        ],
    ),
    "password_and_its_file": (
        LOGIN | {"RELAYHOST_PASSWORD": PASSWORD, "RELAYHOST_PASSWORD_FILE": tls.CA},
        ["RELAYHOST_PASSWORD_FILE: must not be set together with RELAYHOST_PASSWORD: which one is meant?"],
    ),
    "missing_password_file": (
        LOGIN | {"RELAYHOST_PASSWORD_FILE": "/run/secrets/none"},
        ["RELAYHOST_PASSWORD_FILE=/run/secrets/none: must be a readable file: No such file or directory"],
    ),
    "password_with_a_line_break": (
        LOGIN | {"RELAYHOST_PASSWORD": f"{PASSWORD}\nrelayhost = evil"},
        ["RELAYHOST_PASSWORD: must not contain a line break or a NUL"],
    ),
    "file_of_what_is_no_secret": (
        {"RELAYHOST_FILE": "/run/secrets/relayhost"},
        ["RELAYHOST_FILE: only secrets are read from files; set RELAYHOST instead"],
    ),
    "missing_ca_file": (
        {"RELAYHOST": "[smtp.example.com]:587", "RELAYHOST_CA_FILE": "/ca.pem"},
        ["RELAYHOST_CA_FILE=/ca.pem: must be a readable file: No such file or directory"],
    ),
    "ca_file_that_is_none": (
        {"RELAYHOST": "[smtp.example.com]:587", "RELAYHOST_CA_FILE": "/etc/passwd"},
        [
            "RELAYHOST_CA_FILE=/etc/passwd: must contain CA certificates in PEM form (-----BEGIN CERTIFICATE-----)"
        ],
    ),
    "listen_without_profile": (
        {"LISTEN": "25"},
        ["LISTEN=25: must be [address:]port:profile, such as 25:relay or [::1]:2525:relay, not '25'"],
    ),
    "listen_with_unknown_profile": (
        {"LISTEN": "25:relays"},
        [
            "LISTEN=25:relays: must use a profile that exists (relay, submission, submissions, inbound), not 'relays'"
        ],
    ),
    "two_listeners_on_one_port": (
        {"LISTEN": "25:relay 127.0.0.1:25:relay"},
        ["LISTEN=127.0.0.1:25:relay: must not open port 25 twice (25)"],
    ),
    "listener_on_the_health_port": (
        {"LISTEN": "2525:relay", "HEALTH_PORT": "2525"},
        ["LISTEN=2525:relay: must leave HEALTH_PORT to the health checks"],
    ),
    "size_that_is_no_size": (
        {"MESSAGE_SIZE_LIMIT": "abc"},
        [
            "MESSAGE_SIZE_LIMIT=abc: must be a number of bytes, or with a unit: 500KB, 25MB, 1GB (0 means no limit)"
        ],
    ),
    "time_without_unit": (
        {"MAXIMAL_QUEUE_LIFETIME": "5"},
        ["MAXIMAL_QUEUE_LIFETIME=5: must be a number and a unit: 30s, 5m, 4h, 3d, 1w"],
    ),
    "tls_level_on": (
        {"RELAYHOST_TLS_LEVEL": "on"},
        ["RELAYHOST_TLS_LEVEL=on: must be one of none, may, encrypt, verify, secure, dane"],
    ),
    "password_in_clear": (
        LOGIN | {"RELAYHOST_PASSWORD": PASSWORD, "RELAYHOST_TLS_LEVEL": "may"},
        [
            "RELAYHOST_TLS_LEVEL=may: must be encrypt, verify or secure while a login is set: a password is never "
            "sent in clear"
        ],
    ),
    "tls_port_without_tls": (
        {"RELAYHOST": "[smtp.example.com]:465", "RELAYHOST_TLS_LEVEL": "none"},
        ["RELAYHOST_TLS_LEVEL=none: must be encrypt, verify or secure: port 465 speaks TLS only"],
    ),
    "switch_that_is_neither_yes_nor_no": (
        {"TRUST_GATEWAY": "ture"},
        ["TRUST_GATEWAY=ture: must be yes or no"],
    ),
    "time_zone_that_does_not_exist": (
        {"TZ": "Europe/Berlln"},
        ["TZ=Europe/Berlln: must be a time zone such as UTC or Europe/Berlin"],
    ),
}

SEVEN = {
    "RELAYHOST": "smtp.example.com 587",
    "RELAYHOST_PASSWORD": PASSWORD,
    "RELAYHOST_TLS_LEVEL": "on",
    "LISTEN": "70000:relay",
    "MYNETWORKS": "10.0.0.5/8",
    "MESSAGE_SIZE_LIMIT": "abc",
    "POSTFIX_smtp_helo_timout": "30s",
}


@pytest.mark.parametrize(("env", "lines"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_named_with_setting_value_and_rule(
    shell: Relay, env: dict[str, str], lines: list[str]
) -> None:
    checked = shell.exec("postern", "check", env=env)
    assert (checked.status, sorted(checked.lines)) == (EX_CONFIG, sorted(lines))
    assert PASSWORD not in checked.output


def test_a_machine_can_read_the_mistakes(shell: Relay) -> None:
    checked = shell.exec("postern", "check", "--json", env=SEVEN)
    answer = json.loads(checked.output)
    assert (checked.status, answer["ok"]) == (EX_CONFIG, False)
    found = {problem["setting"]: problem for problem in answer["problems"]}
    assert found.keys() == SEVEN.keys()
    assert found["MESSAGE_SIZE_LIMIT"]["value"] == "abc"
    assert found["MESSAGE_SIZE_LIMIT"]["rule"].startswith("must be a number of bytes")
    assert found["RELAYHOST_PASSWORD"] == {
        "setting": "RELAYHOST_PASSWORD",
        "value": None,
        "rule": "must come with RELAYHOST_USERNAME",
    }


def test_a_machine_can_read_that_all_is_well(shell: Relay) -> None:
    checked = shell.exec("postern", "check", "--json", env={"RELAYHOST": "[smtp.example.com]:587"})
    assert (checked.status, json.loads(checked.output)) == (0, {"ok": True, "problems": []})


def test_a_good_configuration_is_told_in_words(shell: Relay) -> None:
    checked = shell.exec(
        "postern", "check", env={"RELAYHOST": "[smtp.example.com]:587", "MYHOSTNAME": "r.example.com"}
    )
    assert checked.status == 0
    assert checked.lines[0] == "the settings are good:"
    assert (
        "sends everything to [smtp.example.com]:587 over TLS where offered, unverified (may)" in checked.lines
    )


def test_check_leaves_the_spool_of_a_running_relay_alone(relay: Relay) -> None:
    before = relay.exec("find", "/var/spool/postfix", "/var/lib/postern", "-printf", "%p %U %m\n")
    assert relay.exec("postern", "check").status == 0
    assert relay.exec("find", "/var/spool/postfix", "/var/lib/postern", "-printf", "%p %U %m\n") == before


@pytest.fixture
def volumes(docker: Engine) -> Iterator[dict[str, dict[str, str]]]:
    """The two volumes, as `docker run -v` mounts them."""
    made: list[Volume] = [docker.volume(), docker.volume()]
    places = ("/var/spool/postfix", "/var/lib/postern")
    yield {volume.name: {"bind": place, "mode": "rw"} for volume, place in zip(made, places, strict=True)}
    docker.remove(*made)


@pytest.fixture
def run(start_relay: StartRelay, docker: Engine) -> Callable[..., Result]:
    """`docker run` in the foreground: exit code and everything that the container said."""

    def run(env: dict[str, str | None], **options: object) -> Result:
        relay = start_relay(env, wait=False, **options)
        return Result(relay.exit_code(), relay.logs())

    return run


def test_seven_mistakes_are_seven_lines_and_nothing_is_touched(
    run: Callable[..., Result], volumes: dict[str, dict[str, str]]
) -> None:
    def look() -> list[str]:
        everything = ("find", *(v["bind"] for v in volumes.values()), "-printf", "%p %U:%G %m %s %T@ %C@\n")
        # What a user may not see is named among it, in any order.
        return sorted(run({}, command=list(everything), volumes=volumes).lines)

    before = look()
    started = run(dict(SEVEN), volumes=volumes)
    assert started.status == EX_CONFIG

    said = [re.sub(r"^\w+ +\d+ [\d:]+ \S+ postern\[\d+\]: error: ", "", line) for line in started.lines]
    assert said.pop() == "the relay does not start; no mail was taken"
    assert {line.partition("=")[0].partition(":")[0] for line in said} == SEVEN.keys()
    assert len(said) == len(SEVEN)
    assert PASSWORD not in started.output

    assert look() == before
    assert any(line.startswith("/var/spool/postfix/deferred ") for line in before)


def test_an_unreadable_ca_file_is_refused_at_the_start(run: Callable[..., Result], tmp_path: Path) -> None:
    tmp_path.joinpath("ca.pem").mkdir()
    started = run(
        {"RELAYHOST_CA_FILE": "/ca.pem"},
        volumes={str(tmp_path / "ca.pem"): {"bind": "/ca.pem", "mode": "ro"}},
    )
    assert started.status == EX_CONFIG
    assert (
        "RELAYHOST_CA_FILE=/ca.pem: must be a file, and this is a directory or something else"
        in started.output
    )


def test_what_only_postfix_can_judge_is_blamed_on_the_setting_that_caused_it(
    run: Callable[..., Result],
) -> None:
    started = run({"POSTFIX_smtp_helo_name": "$no_such_parameter"})
    assert started.status == EX_CONFIG
    assert re.search(r"error: POSTFIX_smtp_helo_name.*no_such_parameter", started.output)
