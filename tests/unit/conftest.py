"""What unit tests share: a machine to configure for, and the switch that records golden files."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from entrypoint.config.host import Host
from entrypoint.config.vocabulary import Vocabulary


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record", action="store_true", help="write tests/unit/golden anew instead of comparing"
    )


class Clock:
    """One that a test sets, in the place of time.time() or time.monotonic()."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def machine() -> Host:
    """A container on an ordinary bridge network."""
    return Host(
        name="relay.example.com",
        networks=(ip_network("172.18.0.0/16"),),
        gateways=(ip_address("172.18.0.1"),),
    )


@pytest.fixture
def vocabulary() -> Vocabulary:
    """A few parameters of each type, as `postconf -d` prints them, and some tables and programs."""
    parameters = {
        "default_process_limit": "100",
        "disable_vrfy_command": "no",
        "virtual_alias_domains": "$virtual_alias_maps",
        "virtual_mailbox_domains": "$virtual_mailbox_maps",
        "virtual_transport": "virtual",
        "max_use": "100",
        "smtp_helo_timeout": "300s",
        "smtpd_banner": "$myhostname ESMTP $mail_name",
        "smtpd_client_restrictions": "",
        "smtpd_recipient_restrictions": "",
        "smtpd_relay_restrictions": "${{$compatibility_level} <level {1} ? {} : {permit_mynetworks}}",
        "relay_domains": "",
        "smtpd_timeout": "${stress?{10}:{300}}s",
        "smtpd_tls_security_level": "",
        "transport_maps": "",
        "virtual_alias_maps": "$virtual_maps",
    }
    return Vocabulary(
        parameters,
        tables=frozenset({"cidr", "hash", "inline", "lmdb", "regexp", "static", "texthash"}),
        programs=frozenset({"cleanup", "qmgr", "smtp", "smtpd"}),
    )
