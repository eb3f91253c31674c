"""What the start says of itself, where a reader sees a mistake before mail shows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from entrypoint.config import decision, summary
from entrypoint.config.host import Host
from entrypoint.config.policy import Policy


def test_the_start_says_who_may_send_and_where_mail_goes(machine: Host) -> None:
    environ = {
        "RELAYHOST": "[smtp.example.com]:587",
        "RELAYHOST_USERNAME": "u",
        "RELAYHOST_PASSWORD": "hunter2",
    }
    said = "\n".join(summary.summary(decision.make(environ, None, machine)))
    assert said == (
        "relay.example.com listens on 25 (relay), 587 (relay)\n"
        "may send: 127.0.0.0/8 ::1/128 172.18.0.0/16, but not 172.18.0.1\n"
        "sends everything to [smtp.example.com]:587 as u over TLS only, certificate verified (secure)"
    )


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"TRUST_GATEWAY": "yes"}, "TRUST_GATEWAY=yes: safe only while"),
        (
            {"MYNETWORKS": "8.8.8.8", "ALLOW_PUBLIC_NETWORKS": "yes"},
            "ALLOW_PUBLIC_NETWORKS=yes: 8.8.8.8/32 may send",
        ),
        ({"MYHOSTNAME": "relay"}, "not a fully qualified name"),
        (
            {
                "RELAYHOST": "[h]",
                "RELAYHOST_USERNAME": "u",
                "RELAYHOST_PASSWORD": "p",
                "RELAYHOST_TLS_LEVEL": "encrypt",
            },
            "RELAYHOST_TLS_LEVEL=encrypt: whoever answers as [h]:25 gets the password",
        ),
        (
            {"SASL_SQL_URL": "mysql://relay@db.example.com/mail", "SASL_SQL_TLS_LEVEL": "may"},
            "SASL_SQL_TLS_LEVEL=may: whoever answers as the database says who may log in",
        ),
        (
            {"SASL_DOVECOT_PATH": "inet:dovecot.example.com:12345"},
            "SASL_DOVECOT_PATH=inet:dovecot.example.com:12345: every client's password goes there in clear",
        ),
        ({"POSTFIX_max_use": "5"}, "POSTFIX_max_use=5 replaces"),
        ({"RELAYHOST": "127.0.0.1:1025"}, "RELAYHOST: [127.0.0.1]:1025 is this container itself"),
        ({"RELAYHOST": "localhost:1025"}, "RELAYHOST: localhost:1025 is this container itself"),
        ({"UPSTREAMS": "@a.example [::1]:1025"}, "UPSTREAMS: [::1]:1025 is this container itself"),
    ],
)
def test_what_lowers_security_is_said_at_every_start(
    environ: dict[str, str], said: str, machine: Host
) -> None:
    warnings = summary.warnings(decision.make(environ, None, machine))
    assert any(said in warning for warning in warnings), warnings


@pytest.mark.parametrize(
    "environ",
    [
        {"SASL_SQL_URL": "mysql://relay@db.example.com/mail"},
        {"SASL_SQL_URL": "mysql://relay@localhost/mail"},
        {"SASL_SQL_URL": "postgresql://relay@[::1]/mail", "SASL_SQL_TLS_LEVEL": "may"},
        {"SASL_DOVECOT_PATH": "inet:127.0.0.1:12345"},
        {"SASL_DOVECOT_PATH": "inet:[::1]:12345"},
        {"SASL_DOVECOT_PATH": "unix:/run/dovecot/auth"},
    ],
    ids=lambda environ: str(next(iter(environ.values()))),
)
def test_where_no_network_can_be_listened_to_nothing_is_warned_of(
    environ: dict[str, str], machine: Host
) -> None:
    assert not [w for w in summary.warnings(decision.make(environ, None, machine)) if "SASL" in w]


@pytest.mark.parametrize(
    "name", ["always_bcc", "header_checks", "smtpd_milters", "smtpd_sender_restrictions", "transport_maps"]
)
def test_a_parameter_that_the_relay_leaves_to_its_user_replaces_nothing(name: str, machine: Host) -> None:
    environ = {f"POSTFIX_{name}": "reject_unknown_sender_domain"}
    assert not [w for w in summary.warnings(decision.make(environ, None, machine)) if "own choice" in w]


LOGIN = {"RELAYHOST": "[smtp.example.com]:587", "RELAYHOST_USERNAME": "u"}


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        (LOGIN | {"RELAYHOST_PASSWORD": '"hunter2"'}, "RELAYHOST_PASSWORD begins and ends with a quote"),
        (LOGIN | {"RELAYHOST_PASSWORD": "hunter2 "}, "RELAYHOST_PASSWORD has a blank at an end"),
        (LOGIN | {"RELAYHOST_PASSWORD": "\thunter2"}, "RELAYHOST_PASSWORD has a blank at an end"),
        (
            LOGIN | {"RELAYHOST_PASSWORD": "hunter2", "RELAYHOST_USERNAME": "'u'"},
            "RELAYHOST_USERNAME begins and ends",
        ),
        ({"HEALTH_PAGE_PASSWORD": "'hunter2'"}, "HEALTH_PAGE_PASSWORD begins and ends with a quote"),
        ({"SMTPD_SASL_USERS": "ann:'hunter2'"}, "SMTPD_SASL_USERS begins and ends with a quote"),
        ({"SMTPD_SASL_USERS": '"ann:hunter2"'}, "SMTPD_SASL_USERS begins and ends with a quote"),
    ],
)
def test_what_looks_like_more_than_a_password_is_said_and_not_shown(
    environ: dict[str, str], said: str, machine: Host
) -> None:
    told = [w for w in summary.warnings(decision.make(environ, None, machine)) if said in w]
    assert len(told) == 1
    assert "hunter2" not in told[0]


@pytest.mark.parametrize("password", ["hunter2", 'hun"ter2', "\"hunter2'", '"', "hun ter2", '"hunter2'])
def test_a_password_may_have_quotes_and_blanks_within(password: str, machine: Host) -> None:
    policy = decision.make(LOGIN | {"RELAYHOST_PASSWORD": password}, None, machine)
    assert not [w for w in summary.warnings(policy) if "counts as a part" in w]


def test_a_secret_file_that_ends_in_a_blank_is_told_of_and_one_that_ends_in_a_newline_is_not(
    of_several: Callable[..., Policy], machine: Host, tmp_path: Path
) -> None:
    (file := tmp_path / "login").write_text("hunter2 \n")
    policy = decision.make(LOGIN | {"RELAYHOST_PASSWORD_FILE": str(file)}, None, machine)
    assert [w for w in summary.warnings(policy) if w.startswith("RELAYHOST_PASSWORD has a blank")]
    assert not [w for w in summary.warnings(of_several("* [h]")) if "counts as a part" in w]


@pytest.mark.parametrize(
    "environ",
    [
        {"TRANSPORT": "example.org smtp:[inside]:25"},
        {"POSTFIX_transport_maps": "inline:{ example.org=discard: }"},
        {"POSTFIX_default_transport": "smtp:[inside]:25"},
        {"RELAY_DOMAINS": "example.org [inside]:25"},
    ],
)
def test_not_everything_goes_to_the_upstream_where_a_table_says_otherwise(
    environ: dict[str, str], machine: Host
) -> None:
    for upstream, where in (({"RELAYHOST": "[h]"}, "to [h]:25"), ({}, "directly to each")):
        said = summary.summary(decision.make(upstream | environ, None, machine))
        assert [line for line in said if line.startswith(f"sends everything else {where}")], said


def test_the_start_says_which_servers_serve_whom(machine: Host) -> None:
    environ = {
        "RELAY_DOMAINS": "a.example [one]:25\nb.example [one]:25\nc.example [two]:25",
        "TRANSPORT": "d.example smtp:[one]:25\nbad.example error:5.1.2 gone\nme.example :",
    }
    said = summary.summary(decision.make(environ, None, machine))
    assert [line for line in said if line.startswith("sends mail for ")] == [
        "sends mail for a.example b.example to relay:[one]:25",
        "sends mail for c.example to relay:[two]:25",
        "sends mail for d.example to smtp:[one]:25",
        "sends mail for bad.example to error:5.1.2 gone",
    ]


def test_servers_without_end_are_put_together(machine: Host) -> None:
    lines = "\n".join(f"d{number}.example smtp:[h{number}]:25" for number in range(9))
    said = summary.summary(decision.make({"TRANSPORT": lines}, None, machine))
    assert said[-1] == "sends mail for d5.example d6.example d7.example d8.example to 4 more servers"


def test_an_mx_that_is_looked_up_stands_behind_its_domain(machine: Host) -> None:
    environ = {
        "RELAYHOST": "smtp.example.com:465",
        "RELAYHOST_USERNAME": "app@example.com",
        "RELAYHOST_PASSWORD": "p",
    }
    assert (
        "sends everything to smtp.example.com:465, whose MX is looked up, as app@example.com over TLS only, "
        "certificate verified (secure)"
    ) in summary.summary(decision.make(environ, None, machine))


@pytest.fixture
def of_several(machine: Host, tmp_path: Path) -> Callable[..., Policy]:
    """The decisions for lines of UPSTREAMS that each have a login."""
    (password := tmp_path / "password").write_text("hunter2\n")

    def make(*lines: str, **rest: str) -> Policy:
        whole = "\n".join(f"{line} user=u password_file={password}" for line in lines)
        return decision.make({"UPSTREAMS": whole, **rest}, None, machine)

    return make


def test_each_upstream_that_is_not_verified_is_named_with_what_made_it_so(
    of_several: Callable[..., Policy],
) -> None:
    gets = "whoever answers as {} gets the password"

    def told(policy: Policy) -> list[str]:
        return [warning for warning in summary.warnings(policy) if "gets the password" in warning]

    lines = ("* [h1]", "* [h2] tls=encrypt", "@a.example [h3]:587 tls=encrypt", "@b.example [h4]:587")
    assert told(of_several(*lines)) == [
        f"UPSTREAMS: tls=encrypt: {gets.format(hop)}" for hop in ("[h2]:25", "[h3]:587")
    ]
    assert told(of_several("* [h1] tls=secure", "* [h2]", RELAYHOST_TLS_LEVEL="encrypt")) == [
        f"RELAYHOST_TLS_LEVEL=encrypt: {gets.format('[h2]:25')}"
    ]


def test_the_start_says_of_each_upstream_how_mail_gets_there(of_several: Callable[..., Policy]) -> None:
    said = summary.summary(of_several("* [h1]", "* [h2]:587 tls=encrypt", "@a.example [h3]"))
    assert said[-2:] == [
        "sends everything else to [h1]:25 as u over TLS only, certificate verified (secure), else to [h2]:587 as u over TLS "
        "only, certificate not verified (encrypt)",
        "sends mail of @a.example to [h3]:25 as u over TLS only, certificate verified (secure)",
    ]


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"SMTPD_SASL_USERS": "ann:one"}, "the users in SMTPD_SASL_USERS, as anybody"),
        (
            {"SMTPD_SASL_USERS": "ann:one", "CLIENT_CERTIFICATES": "AB" * 32},
            "the users in SMTPD_SASL_USERS and clients with a listed certificate, as anybody",
        ),
        (
            {"SMTPD_SASL_USERS": "ann:one", "SENDER_LOGINS": "ann @example.com"},
            "the users in SMTPD_SASL_USERS, each as its own addresses",
        ),
        (
            {
                "SMTPD_SASL_USERS": "ann:one",
                "SENDER_LOGINS": "ann @a.example",
                "CLIENT_CERTIFICATES": "AB" * 32,
            },
            "the users in SMTPD_SASL_USERS, each as its own addresses, and clients with a listed certificate, as anybody "
            "whose address is no login's",
        ),
    ],
    ids=["logins", "certificates", "owners", "both"],
)
def test_the_start_says_as_whom_each_kind_of_login_may_send(
    environ: dict[str, str], said: str, machine: Host
) -> None:
    assert f"may send with a login: {said}" in summary.summary(decision.make(environ, None, machine))


def test_an_alias_that_leads_to_nobody_is_said_at_every_start(machine: Host) -> None:
    lines = [
        "info@example.com ann@example.com",
        "sales@example.com gone@example.com",
        "help@example.com sales@example.com",
        "boss@example.com ben@example.net",
        "web@example.com abuse@example.com",
    ]
    environ = {
        "RELAY_DOMAINS": "example.com [inside]:25",
        "RELAY_RECIPIENTS": "ann@example.com",
        "VIRTUAL": "\n".join(lines),
    }
    [told] = [w for w in summary.warnings(decision.make(environ, None, machine)) if "VIRTUAL" in w]
    assert told.startswith("VIRTUAL leads sales@example.com to gone@example.com, whom RELAY_RECIPIENTS")
