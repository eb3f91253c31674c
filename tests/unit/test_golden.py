"""Whole configurations, kept as files: a change to a template or a default shows as a difference that one can read.

`pytest tests/unit --record` writes them anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoint.config import decision, render
from entrypoint.config.host import Host
from entrypoint.config.render import File, Table

GOLDEN = Path(__file__).parent / "golden"
CA = Path(__file__).parent / "golden/ca.pem"
LOGIN = {"RELAYHOST_USERNAME": "user@example.com", "RELAYHOST_PASSWORD": "hunter2"}

CASES: dict[str, dict[str, str]] = {
    "defaults": {},
    "smarthost": {"RELAYHOST": "[smtp.example.com]:587", **LOGIN},
    "implicit-tls": {"RELAYHOST": "[smtp.example.com]:465", **LOGIN},
    "mail-domain": {"RELAYHOST": "example.com", "RELAYHOST_TLS_LEVEL": "none"},
    "private-ca": {"RELAYHOST": "[smtp.example.com]:587", "RELAYHOST_CA_FILE": str(CA)},
    "dane": {"RELAYHOST_TLS_LEVEL": "dane", "MYHOSTNAME": "mx.example.com"},
    "loopback-only": {"MYNETWORKS": "127.0.0.0/8 ::1", "LISTEN": "127.0.0.1:2525:relay [::1]:2525:relay"},
    "gateway-trusted": {"RELAYHOST": "[192.0.2.25]", "TRUST_GATEWAY": "yes"},
    "public-networks": {"MYNETWORKS": "198.51.100.0/23", "ALLOW_PUBLIC_NETWORKS": "yes"},
    "senders": {"ALLOWED_SENDER_DOMAINS": "example.com .example.org", "MASQUERADED_DOMAINS": "example.com"},
    "limits": {
        "MESSAGE_SIZE_LIMIT": "50MB",
        "MAXIMAL_QUEUE_LIFETIME": "3d",
        "BOUNCE_QUEUE_LIFETIME": "1d",
        "QUEUE_RUN_DELAY": "60s",
        "MINIMAL_BACKOFF_TIME": "1m",
        "MAXIMAL_BACKOFF_TIME": "1h",
        "HEALTH_PORT": "8080",
    },
    "postfix-own": {
        "POSTFIX_max_use": "5",
        "POSTFIX_smtpd_recipient_restrictions": "reject_unknown_recipient_domain",
        "POSTFIXMASTER_smtp__inet": "smtp inet n - n - 20 smtpd -o smtpd_banner=hello",
        "POSTFIXMASTER_2525__inet": "2525 inet n - n - - smtpd",
    },
}


def rendered(environ: dict[str, str], machine: Host) -> dict[str, str]:
    policy = decision.make(environ, None, machine)
    files = render.files(policy, render.templates(), Path("/run/postern"))
    return {file.path: (file.masked() if isinstance(file, Table) else file).text for file in files}


@pytest.mark.parametrize("case", CASES)
def test_the_configuration_is_as_recorded(case: str, machine: Host, request: pytest.FixtureRequest) -> None:
    made = rendered(CASES[case], machine)
    directory = GOLDEN / case
    if request.config.getoption("record"):
        for name, text in made.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text)
    recorded = {str(f.relative_to(directory)): f.read_text() for f in directory.rglob("*") if f.is_file()}
    assert made == recorded


@pytest.mark.parametrize("case", CASES)
def test_no_parameter_is_written_twice(case: str, machine: Host) -> None:
    """Each Postfix process would say so at its start, thirty times for one `postfix check`."""
    lines = rendered(CASES[case], machine)["etc/postfix/main.cf"].splitlines()
    names = [line.partition("=")[0].strip() for line in lines if line[:1].isalpha()]
    assert sorted(names) == sorted(set(names))


def test_there_is_a_golden_file_for_every_template() -> None:
    templates = render.templates()
    found = {str(f.relative_to(templates)).removesuffix(".j2") for f in templates.rglob("*.j2")}
    assert found == set(render.TEMPLATES)


def test_a_login_is_revealed_in_its_table_alone(machine: Host) -> None:
    policy = decision.make({"RELAYHOST": "[h]:587", **LOGIN}, None, machine)
    files = render.files(policy, render.templates(), Path("/run/postern"))
    tables = [file for file in files if isinstance(file, Table)]
    assert [table.revealed().text for table in tables] == ["[h]:587 user@example.com:hunter2\n"]
    assert [table.revealed().mode for table in tables] == [0o600]
    assert not any("hunter2" in file.text for file in files if isinstance(file, File))
