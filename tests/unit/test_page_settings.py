"""What the page is told of the settings, and that the password for it is root's alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from entrypoint import apply
from entrypoint.config import decision, render
from entrypoint.config.host import Host
from entrypoint.config.problem import MisconfiguredError
from entrypoint.config.render import File

PASSWORD = "correct horse"


def files(environ: dict[str, str], machine: Host) -> dict[str, File]:
    policy = decision.make(environ, None, machine)
    made = render.files(policy, render.templates(), Path("/run/postern"))
    return {file.path: file.revealed() for file in made}


def about(machine: Host, **environ: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files(environ, machine)[render.ABOUT].text)
    return found


def test_the_password_is_in_a_file_of_roots_and_nowhere_else(machine: Host, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    for environ in (
        {"HEALTH_PAGE_PASSWORD": PASSWORD},
        {"HEALTH_PAGE_PASSWORD_FILE": str(tmp_path / "password")},
    ):
        made = files(environ, machine)
        holders = [path for path, file in made.items() if PASSWORD in file.text]
        assert holders == ["etc/postern/page_password"]
        assert (made[holders[0]].text, made[holders[0]].mode) == (PASSWORD, 0o600)
        assert '"page_password": 1' in made["etc/postern/runtime.json"].text
    assert '"page_password": 0' in files({}, machine)["etc/postern/runtime.json"].text


def test_a_short_password_is_refused(machine: Host) -> None:
    with pytest.raises(MisconfiguredError) as refused:
        decision.make({"HEALTH_PAGE_PASSWORD": "geheim!"}, None, machine)
    [problem] = refused.value.problems
    assert problem.setting == "HEALTH_PAGE_PASSWORD"
    assert "geheim!" not in str(problem)
    assert "at least 8 characters" in problem.rule


def test_a_new_password_needs_no_restart_and_no_reload_of_postfixs() -> None:
    assert render.PAGE_LOGIN in apply._READ_EACH_TIME
    assert render.PAGE_LOGIN not in apply._AT_START
    assert apply._source(render.PAGE_LOGIN) == "HEALTH_PAGE_PASSWORD"


def test_what_the_relay_does_is_told_without_logins_or_secrets(machine: Host) -> None:
    found = about(
        machine,
        MYHOSTNAME="relay.example.com",
        RELAYHOST="[smtp.example.com]:587",
        RELAYHOST_USERNAME="account",
        RELAYHOST_PASSWORD="hunter2",
    )
    assert found == {
        "hostname": "relay.example.com",
        "listeners": [["25", "trusted networks"], ["587", "trusted networks"]],
        "ways": [
            {
                "senders": [],
                "more_senders": 0,
                "to": ["[smtp.example.com]:587"],
                "tls": "over TLS only, certificate verified",
                "login": True,
            }
        ],
        "domains": [],
        "more_domains": 0,
        "password": False,
        "addresses": "full",
    }


def test_every_way_out_is_told(machine: Host) -> None:
    found = about(
        machine, UPSTREAMS="* [a.example]:25; * [b.example]:25 tls=encrypt; @c.example [c.example]:465"
    )
    assert [(way["senders"], way["to"], way["tls"]) for way in found["ways"]] == [
        (["@c.example"], ["[c.example]:465"], "over TLS only, certificate not verified"),
        (
            [],
            ["[a.example]:25", "[b.example]:25"],
            "over TLS where offered, unverified or over TLS only, certificate not verified",
        ),
    ]
    assert about(machine)["ways"][0]["to"] == []


def test_of_many_domains_a_few_are_named(machine: Host) -> None:
    found = about(machine, RELAY_DOMAINS="; ".join(f"{n}.example [inside]" for n in range(8)))
    assert (found["domains"], found["more_domains"]) == ([f"{n}.example" for n in range(5)], 3)
    assert found["listeners"][0] == ["25", "anybody, for listed domains"]
