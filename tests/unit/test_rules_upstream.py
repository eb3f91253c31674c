"""The ways out: logins that are whole, passwords that stay in TLS, and no way that leads back here."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from tests.unit.rule_cases import Case, accepted, elsewhere, holds, refused

LOGIN = {"RELAYHOST": "[h]:587", "RELAYHOST_USERNAME": "u", "RELAYHOST_PASSWORD": "hunter2"}
IN_TLS = "must be encrypt, verify or secure"
ITSELF = "must not be this relay itself: mail would go in circles"
WORLD = "must come with RELAYHOST: few of the world's mail servers could be verified"
AWAY = "must not be set together with a login: the password could travel in clear or end in the log"

CASES = {
    "half_a_login": Case(
        {"RELAYHOST": "[h]", "RELAYHOST_USERNAME": "u"},
        ["RELAYHOST_USERNAME=u: must come with RELAYHOST_PASSWORD"],
        LOGIN,
    ),
    "the_other_half": Case(
        {"RELAYHOST": "[h]", "RELAYHOST_PASSWORD": "hunter2"},
        ["RELAYHOST_PASSWORD: must come with RELAYHOST_USERNAME"],
        LOGIN,
    ),
    "a_login_for_nobody": Case(
        {"RELAYHOST_USERNAME": "u", "RELAYHOST_PASSWORD": "hunter2"},
        ["RELAYHOST_USERNAME=u: must come with RELAYHOST: the login's server"],
        LOGIN,
    ),
    "a_login_beside_the_upstreams": Case(
        {"UPSTREAMS": "* [h]", "RELAYHOST_USERNAME": "u", "RELAYHOST_PASSWORD": "hunter2"},
        ["RELAYHOST_USERNAME=u: must come with RELAYHOST: the login's server"],
        LOGIN | {"UPSTREAMS": "@example.com [i]"},
    ),
    "a_password_in_clear": Case(
        LOGIN | {"RELAYHOST_TLS_LEVEL": "dane"},
        [f"RELAYHOST_TLS_LEVEL=dane: {IN_TLS} while a login is set: a password is never sent in clear"],
        LOGIN | {"RELAYHOST_TLS_LEVEL": "encrypt"},
    ),
    "465_in_clear": Case(
        {"RELAYHOST": "[h]:465", "RELAYHOST_TLS_LEVEL": "may"},
        [f"RELAYHOST_TLS_LEVEL=may: {IN_TLS}: port 465 speaks TLS only"],
        {"RELAYHOST": "[h]:465"},
    ),
    "the_name_of_an_address": Case(
        {"RELAYHOST": "[192.0.2.1]", "RELAYHOST_TLS_LEVEL": "secure"},
        ["RELAYHOST_TLS_LEVEL=secure: must be verify while RELAYHOST is an address and not a name"],
        {"RELAYHOST": "[192.0.2.1]", "RELAYHOST_TLS_LEVEL": "verify"},
    ),
    "the_world_verified": Case(
        {"RELAYHOST_TLS_LEVEL": "verify"},
        [f"RELAYHOST_TLS_LEVEL: {WORLD}"],
        {"RELAYHOST_TLS_LEVEL": "encrypt"},
    ),
    "the_rest_of_the_world_verified": Case(
        {"RELAYHOST_TLS_LEVEL": "secure", "UPSTREAMS": "@example.com [h]"},
        [f"RELAYHOST_TLS_LEVEL: {WORLD}"],
        {"UPSTREAMS": "@example.com [h] tls=secure"},
    ),
    "weaker_for_a_relayhost": Case(
        LOGIN | {"POSTFIX_smtp_tls_policy_maps": "static:none"},
        [f"POSTFIX_smtp_tls_policy_maps=static:none: {AWAY}"],
        {"RELAYHOST": "[h]", "POSTFIX_smtp_tls_policy_maps": "static:none"},
    ),
    "another_name_to_verify": Case(
        LOGIN | {"POSTFIX_smtp_cname_overrides_servername": "yes"},
        [f"POSTFIX_smtp_cname_overrides_servername=yes: {AWAY}"],
        {"RELAYHOST": "[h]", "POSTFIX_smtp_cname_overrides_servername": "yes"},
    ),
    "weaker_in_a_service": Case(
        LOGIN | {"POSTFIXMASTER_smtp__unix": "smtp unix - - n - - smtp -o smtp_tls_security_level=may"},
        ["POSTFIXMASTER_smtp__unix='smtp unix - - n - - smtp -o smtp_tls_security_level=may': must not"],
        LOGIN | {"POSTFIXMASTER_smtp__unix": "smtp unix - - n - - smtp -o smtp_helo_timeout=5s"},
    ),
    "everybody_twice": Case(
        {"RELAYHOST": "[h]", "UPSTREAMS": "* [i]"},
        ["RELAYHOST=[h]:25: must not be set together with UPSTREAMS for *: which one is meant?"],
        {"RELAYHOST": "[h]", "UPSTREAMS": "@example.com [i]; ann@example.com [h]"},
    ),
    "upstreams_465_in_clear": Case(
        {"UPSTREAMS": "* [a]:465 tls=none; @example.com [b]:465 tls=dane"},
        [
            "UPSTREAMS=[a]:465: must have tls=encrypt, verify or secure: port 465 speaks TLS only",
            "UPSTREAMS=[b]:465: must have tls=encrypt, verify or secure: port 465 speaks TLS only",
        ],
        {"UPSTREAMS": "* [a]:465 tls=encrypt; @example.com [b]:465"},
    ),
    "upstreams_name_of_an_address": Case(
        {"UPSTREAMS": "* [192.0.2.1] tls=secure"},
        ["UPSTREAMS=[192.0.2.1]:25: must have tls=verify: it is an address and not a name"],
        {"UPSTREAMS": "* [192.0.2.1] tls=verify"},
    ),
    "dane_for_some": Case(
        {"UPSTREAMS": "* [a]; @example.com example.net tls=dane"},
        ["UPSTREAMS=example.net:25: must not have tls=dane unless mail of everybody goes by it"],
        {"UPSTREAMS": "* example.org tls=dane; @example.com example.net tls=dane"},
    ),
    "two_kinds_of_tls": Case(
        {"UPSTREAMS": "* [a]:465; * [b]:587"},
        ["UPSTREAMS='[a]:465, [b]:587': must all be on port 465, or none"],
        {"UPSTREAMS": "* [a]:25; * [b]:587; @example.com [a]:465"},
    ),
    "upstreams_that_lead_back": Case(
        {"UPSTREAMS": "* [h]; * [172.18.0.5]; @example.com [LocalHost]:587"},
        [f"UPSTREAMS=[172.18.0.5]:25: {ITSELF}", f"UPSTREAMS=[LocalHost]:587: {ITSELF}"],
        {"UPSTREAMS": "* [h]; * [172.18.0.5]:26; @example.com [localhost]:588"},
    ),
    "a_relayhost_that_leads_back": Case(
        {"RELAYHOST": "[mx.example.com]:2525", "MYHOSTNAME": "MX.example.com", "LISTEN": "2525:relay"},
        [f"RELAYHOST=[mx.example.com]:2525: {ITSELF}"],
        {"RELAYHOST": "[mx.example.com]:25", "MYHOSTNAME": "MX.example.com", "LISTEN": "2525:relay"},
    ),
    "a_source_that_is_elsewhere": Case(
        {"SMTP_BIND_ADDRESS": "172.18.0.6"},
        ["SMTP_BIND_ADDRESS=172.18.0.6: must be an address of this container: 172.18.0.5"],
        {"SMTP_BIND_ADDRESS": "172.18.0.5"},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_contradicts_itself_is_refused_and_what_does_not_is_taken(case: Case) -> None:
    holds(case)
    assert "hunter2" not in "".join(refused(case.wrong))


@pytest.fixture
def account(tmp_path: Path) -> str:
    """The options of an upstream with a login."""
    (tmp_path / "password").write_text("hunter2\n")
    return f"user=u password_file={tmp_path}/password"


class TestUpstreamsWithALogin:
    @pytest.mark.parametrize("level", ["none", "may", "dane"])
    def test_it_is_never_sent_in_clear(self, account: str, level: str) -> None:
        said = "UPSTREAMS=[h]:587: must have tls=encrypt, verify or secure: a password is never sent in clear"
        for who in ("*", "@example.com"):
            line = f"{who} [h]:587 {account}"
            holds(Case({"UPSTREAMS": f"{line} tls={level}"}, [said], {"UPSTREAMS": line}))
        # The level that is everybody's is that of those lines that have none of their own.
        everybodys = {"RELAYHOST_TLS_LEVEL": level}
        good = everybodys | {"UPSTREAMS": f"{line} tls=secure"}
        holds(Case(everybodys | {"UPSTREAMS": line}, [said], good))

    def test_nothing_of_postfix_gives_it_away(self, account: str) -> None:
        """One account of one sender is enough."""
        lines = {"UPSTREAMS": f"* [h]; @example.com [i]:587 {account}"}
        options = {"POSTFIX_debug_peer_list": "h"}
        holds(Case(lines | options, [f"POSTFIX_debug_peer_list=h: {AWAY}"], {"UPSTREAMS": "* [h]"} | options))


class TestCaFile:
    @pytest.fixture
    def ca(self, tmp_path: Path) -> dict[str, str]:
        trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        return {"RELAYHOST_CA_FILE": f"{tmp_path}/ca.pem"}

    def test_one_that_nothing_checks_with_is_refused(self, ca: dict[str, str]) -> None:
        path = ca["RELAYHOST_CA_FILE"]
        with_relayhost = ca | {"RELAYHOST": "[h]"}
        said = (
            f"RELAYHOST_CA_FILE={path}: has no effect with RELAYHOST_TLS_LEVEL=encrypt; use verify or secure"
        )
        holds(Case(with_relayhost | {"RELAYHOST_TLS_LEVEL": "encrypt"}, [said], with_relayhost))
        said = f"RELAYHOST_CA_FILE={path}: has no effect with these levels in UPSTREAMS; use verify or secure"
        lines = "* [h] tls=encrypt; @example.com [i] tls=may"
        holds(Case(ca | {"UPSTREAMS": lines}, [said], ca | {"UPSTREAMS": f"{lines}; @example.org [j]"}))

    def test_it_alone_cannot_verify_the_world(self, ca: dict[str, str]) -> None:
        holds(Case(ca, [f"RELAYHOST_CA_FILE: {WORLD}"], ca | {"RELAYHOST": "[h]"}))

    def test_one_for_the_upstream_of_some_leaves_the_world_as_it_is(self, ca: dict[str, str]) -> None:
        some = ca | {"UPSTREAMS": "@example.com [h]"}
        holds(Case(some | {"RELAYHOST_TLS_LEVEL": "secure"}, [f"RELAYHOST_TLS_LEVEL: {WORLD}"], some))


def test_a_machine_whose_addresses_are_unknown_may_send_from_any() -> None:
    accepted({"SMTP_BIND_ADDRESS": "172.18.0.6"}, elsewhere())
    accepted({"SMTP_BIND_ADDRESS": "127.0.0.9"})
