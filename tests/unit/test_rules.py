"""Contradictions between settings, each with what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from entrypoint.config import decision
from entrypoint.config.host import Host
from entrypoint.config.problem import MisconfiguredError

LOGIN = {"RELAYHOST": "[smtp.example.com]:587", "RELAYHOST_USERNAME": "u", "RELAYHOST_PASSWORD": "hunter2"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            {"RELAYHOST": "[h]", "RELAYHOST_USERNAME": "u"},
            "RELAYHOST_USERNAME=u: must come with RELAYHOST_PASSWORD",
        ),
        (
            {"RELAYHOST": "[h]", "RELAYHOST_PASSWORD": "p"},
            "RELAYHOST_PASSWORD: must come with RELAYHOST_USERNAME",
        ),
        (
            {"RELAYHOST_USERNAME": "u", "RELAYHOST_PASSWORD": "p"},
            "RELAYHOST_USERNAME=u: must come with RELAYHOST: the login's server",
        ),
        *(
            (
                LOGIN | {"RELAYHOST_TLS_LEVEL": level},
                f"RELAYHOST_TLS_LEVEL={level}: must be encrypt, verify or secure while a login is set: a password is "
                "never sent in clear",
            )
            for level in ("none", "may", "dane")
        ),
        (
            {"RELAYHOST": "[h]:465", "RELAYHOST_TLS_LEVEL": "may"},
            "RELAYHOST_TLS_LEVEL=may: must be encrypt, verify or secure: port 465 speaks TLS only",
        ),
        (
            {"LISTEN": "25:relay 127.0.0.1:25:relay"},
            "LISTEN=127.0.0.1:25:relay: must not open port 25 twice (25)",
        ),
        (
            {"RELAYHOST_TLS_LEVEL": "secure"},
            "RELAYHOST_TLS_LEVEL: must come with RELAYHOST: few of the world's mail servers could be verified, and mail "
            "to others waits",
        ),
        *(
            (
                LOGIN | {f"POSTFIX_{name}": "x"},
                f"POSTFIX_{name}"
                + ("" if "sasl" in name else "=x")
                + ": must not be set together with a login: the "
                "password could travel in clear or end in the log",
            )
            for name in ("smtp_tls_policy_maps", "debug_peer_list", "smtp_sasl_security_options")
        ),
        *(
            (
                LOGIN | {"POSTFIXMASTER_smtp__unix": f"smtp unix - - n - - smtp {arguments}"},
                f"POSTFIXMASTER_smtp__unix='smtp unix - - n - - smtp {arguments}': must not be set together with a "
                "login: the password could travel in clear or end in the log",
            )
            for arguments in ("-v", "-o smtp_tls_security_level=none", "-o { smtp_tls_security_level = may }")
        ),
        ({"LISTEN": "9154:relay"}, "LISTEN=9154:relay: must leave HEALTH_PORT to the health checks"),
        (
            {"MYNETWORKS": "172.18.0.1"},
            "MYNETWORKS=172.18.0.1: is the gateway, and strangers can appear as it behind a published port; if the "
            "port is published on 127.0.0.1 only, set TRUST_GATEWAY=yes",
        ),
        (
            {"MINIMAL_BACKOFF_TIME": "2h", "MAXIMAL_BACKOFF_TIME": "1h"},
            "MINIMAL_BACKOFF_TIME=2h: must not exceed MAXIMAL_BACKOFF_TIME=1h",
        ),
    ],
)
def test_a_contradiction_is_refused(environ: dict[str, str], expected: str, machine: Host) -> None:
    with pytest.raises(MisconfiguredError) as caught:
        decision.make(environ, None, machine)
    assert [str(problem) for problem in caught.value.problems] == [expected]


def test_a_ca_file_that_nothing_checks_with_is_refused(machine: Host, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    with pytest.raises(MisconfiguredError, match="has no effect with RELAYHOST_TLS_LEVEL=encrypt"):
        decision.make({"RELAYHOST_CA_FILE": str(file), "RELAYHOST_TLS_LEVEL": "encrypt"}, None, machine)


@pytest.mark.parametrize(
    "networks",
    [
        "0.0.0.0/0",
        "::/0",
        "8.8.8.8",
        "10.0.0.0/7",
        "172.0.0.0/8",
        "192.168.0.0/15",
        "fc00::/6",
        "2000::/3",
        "128.0.0.0/1",
    ],
)
def test_a_range_with_public_addresses_needs_a_word(networks: str, machine: Host) -> None:
    with pytest.raises(MisconfiguredError, match="ALLOW_PUBLIC_NETWORKS=yes"):
        decision.make({"MYNETWORKS": networks}, None, machine)
    decision.make({"MYNETWORKS": networks, "ALLOW_PUBLIC_NETWORKS": "yes"}, None, machine)


@pytest.mark.parametrize(
    "networks", ["10.0.0.0/8", "172.16.0.0/12", "192.168.1.0/24", "127.0.0.1", "fd00::/8", "100.64.0.0/10"]
)
def test_private_ranges_need_no_word(networks: str, machine: Host) -> None:
    decision.make({"MYNETWORKS": networks}, None, machine)
