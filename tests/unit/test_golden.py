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
    "inbound": {
        "RELAYHOST": "[smtp.example.com]:25",
        "RELAY_DOMAINS": "example.com [inside]:25; .example.org smtps:[other]:465; example.net",
        "RELAY_RECIPIENTS": "ann@example.com, @host.example.org",
        "TRANSPORT": "gone@example.com error:5.1.6 has left; * smtp:[smtp.example.com]:25",
        "VIRTUAL": "@example.net @example.com; info@example.com ann@example.com",
        "POSTMASTER": "ann@example.com",
        "SMTP_BIND_ADDRESS": "192.0.2.1",
    },
    "inbound-guarded": {
        "RELAY_DOMAINS": "example.com [inside]:25",
        "VERIFY_RECIPIENTS": "yes",
        "DNSBL_SITES": "bl.example, list.example=127.0.0.[2..11]",
        "POSTSCREEN": "yes",
        "LISTEN": "25:inbound 2525:inbound:haproxy 587:relay",
        "RELAY_TLS_LEVEL": "encrypt",
    },
    "postfix-own": {
        "POSTFIX_max_use": "5",
        "POSTFIX_smtpd_recipient_restrictions": "reject_unknown_recipient_domain",
        "POSTFIXMASTER_smtp__inet": "smtp inet n - n - 20 smtpd -o smtpd_banner=hello",
        "POSTFIXMASTER_2525__inet": "2525 inet n - n - - smtpd -o smtpd_client_restrictions=permit_mynetworks,reject",
    },
}


def rendered(environ: dict[str, str], machine: Host) -> dict[str, str]:
    policy = decision.make(environ, None, machine)
    files = render.files(policy, render.templates(), Path("/run/postern"))
    # Where this checkout is does not matter.
    return {file.path: str(file.masked().text).replace(str(CA), "/ca.pem") for file in files}


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
    found = {table.path: table.revealed() for table in tables}
    assert {path: file.text for path, file in found.items() if file.text} == {
        "etc/postfix/sasl_passwd": "[h]:587 user@example.com:hunter2\n"
    }
    assert {file.mode for file in found.values()} == {0o600}
    assert not any("hunter2" in file.text for file in files if isinstance(file, File))
