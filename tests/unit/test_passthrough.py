"""Postfix's own names: what Postfix itself would find out only when a mail needs it."""

from __future__ import annotations

import pytest

from entrypoint.config import decision
from entrypoint.config.host import Host
from entrypoint.config.passthrough import services
from entrypoint.config.problem import MisconfiguredError
from entrypoint.config.vocabulary import Vocabulary


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        (
            "POSTFIX_smtp_helo_timout",
            "30s",
            "is not a parameter of this Postfix; did you mean smtp_helo_timeout?",
        ),
        ("POSTFIX_max_use", "many", "must be a number"),
        ("POSTFIX_smtp_helo_timeout", "soon", "must be a time: a number and s, m, h, d or w"),
        ("POSTFIX_smtpd_timeout", "abc", "must be a time: a number and s, m, h, d or w"),
        ("POSTFIX_disable_vrfy_command", "ja", "must be yes or no"),
        ("POSTFIX_smtpd_tls_security_level", "maybe", "must be one of none, may, encrypt"),
        (
            "POSTFIX_smtpd_banner",
            "a\nb = c",
            "must be one line; Postfix takes spaces or commas between the parts of a list",
        ),
        (
            "POSTFIX_transport_maps",
            "texthash:/nowhere/t",
            "must name tables that exist, and /nowhere/t does not; mount it",
        ),
        (
            "POSTFIX_smtpd_client_restrictions",
            "permit_mynetwork, reject",
            "must be restrictions of postconf(5), and 'permit_mynetwork' is none; did you mean permit_mynetworks?",
        ),
        (
            "POSTFIX_smtpd_relay_restrictions",
            "permit, reject",
            "must not permit everyone: that is an open relay, which spammers find within hours",
        ),
        (
            "POSTFIX_smtpd_relay_restrictions",
            "permit_mynetworks",
            "must end with reject_unauth_destination: Postfix refuses to work as an open relay",
        ),
        (
            "POSTFIX_smtpd_relay_restrictions",
            "check_client_access static:OK, reject_unauth_destination",
            "must not use check_client_access before reject_unauth_destination, where it could let anybody send",
        ),
        (
            "POSTFIX_smtpd_relay_restrictions",
            "permit_mx_backup, reject_unauth_destination",
            "must not use permit_mx_backup before reject_unauth_destination, where it could let anybody send",
        ),
        (
            "POSTFIX_smtpd_relay_restrictions",
            "permit_mynetworks, $smtpd_client_restrictions, reject_unauth_destination",
            "must not use $smtpd_client_restrictions: who may send has to be seen here",
        ),
        (
            "POSTFIX_smtpd_relay_restrictions",
            "permit_mynetworks, warn_if_reject reject_unauth_destination",
            "must end with reject_unauth_destination: Postfix refuses to work as an open relay",
        ),
        (
            "POSTFIX_smtpd_client_restrictions",
            "reject_unknown_client_hostname",
            "refuses every client (reject_unknown_client_hostname) unless POSTFIX_smtpd_peername_lookup=yes is set too",
        ),
        (
            "POSTFIX_relay_domains",
            "static:all",
            "must begin with the domain, such as: example.com [mail.example.com]:25",
        ),
        (
            "POSTFIX_virtual_alias_domains",
            "static:all",
            "must be domains such as example.com (.example.com for its subdomains), not 'static:all'",
        ),
        (
            "POSTFIX_virtual_mailbox_domains",
            "example.com",
            "must come with POSTFIX_virtual_transport: nothing is delivered locally, and mail for them would wait",
        ),
        (
            "POSTFIX_transport_maps",
            "pcre:/etc/hosts",
            "must use types of tables that this Postfix has, not pcre: cidr hash inline lmdb regexp static texthash",
        ),
        (
            "POSTFIXMASTER_qmgr__unix",
            "qmgr unix n - n 300 1 qmgrr",
            "must name a program of Postfix, and 'qmgrr' is none",
        ),
        (
            "POSTFIXMASTER_2525__inet",
            "2525 inet n - n - - smtpd -o smtpd_upstream_proxy_protocol=haproxy",
            "must not set smtpd_upstream_proxy_protocol: every client could claim any address; LISTEN has :haproxy",
        ),
        (
            "POSTFIXMASTER_2525__inet",
            "2525 inet n - n - - smtpd -o { smtpd_relay_restrictions = permit_mynetworks, permit, reject }",
            "must not permit everyone: that is an open relay, which spammers find within hours",
        ),
        (
            "POSTFIXMASTER_2525__inet",
            "2525 inet n - n - - smtpd -o smtpd_relay_restrictions=permit,reject",
            "must not permit everyone: that is an open relay, which spammers find within hours",
        ),
        (
            "POSTFIXMASTER_2525__inet",
            "2525 inet n - n - - smtpd -o { mynetworks = 0.0.0.0/0 }",
            "must not change who is trusted: that is MYNETWORKS, which is checked",
        ),
        (
            "POSTFIXMASTER_2525__inet",
            "2525 inet smtpd",
            "must be a whole line of master.cf: service type private unpriv chroot wakeup maxproc command",
        ),
        (
            "POSTFIXMASTER_2525__inet",
            "26 inet n - n - - smtpd",
            "must begin with the service and type of its name: 2525 inet",
        ),
        (
            "POSTFIXMASTER_2525__inet",
            "2525 inet n - y - - smtpd",
            "must not use a chroot (fifth word n): the image has none prepared",
        ),
    ],
)
def test_a_mistake_is_named(
    variable: str, value: str, rule: str, machine: Host, vocabulary: Vocabulary
) -> None:
    with pytest.raises(MisconfiguredError) as caught:
        decision.make({variable: value}, vocabulary, machine)
    assert [(problem.setting, problem.rule) for problem in caught.value.problems] == [(variable, rule)]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("POSTFIX_mydestination", "example.com"),
        ("POSTFIX_smtpd_authorized_xclient_hosts", "0.0.0.0/0"),
        ("POSTFIX_smtpd_upstream_proxy_protocol", "haproxy"),
        ("POSTFIX_postscreen_upstream_proxy_protocol", "haproxy"),
        ("POSTFIX_smtpd_data_restrictions", "permit"),
        ("POSTFIX_smtpd_sasl_tls_security_options", "noactive"),
        ("POSTFIXMASTER_postlog__unix-dgram", "postlog unix-dgram n - n - 1 postlogd"),
        ("POSTFIX_maillog_file", "/var/log/mail"),
        ("POSTFIX_queue_directory", "/tmp"),
        ("POSTFIX_inet_interfaces", "loopback-only"),
        ("POSTFIX_smtp_sasl_password_maps", "static:u:p"),
    ],
)
def test_what_holds_the_container_together_stays(variable: str, value: str, machine: Host) -> None:
    with pytest.raises(MisconfiguredError, match="cannot be changed"):
        decision.make({variable: value}, None, machine)


@pytest.mark.parametrize(
    ("option", "preceded"),
    [
        ("-o smtpd_client_restrictions=", "-o { smtpd_client_restrictions = FIRST }"),
        ("-o smtpd_client_restrictions=a,b", "-o { smtpd_client_restrictions = FIRST, a,b }"),
        ("-osmtpd_client_restrictions=$a", "-o { smtpd_client_restrictions = FIRST, $a }"),
        (
            "-o { smtpd_client_restrictions = check_client_access inline:{ { a = OK } }, reject }",
            "-o { smtpd_client_restrictions = FIRST, check_client_access inline:{ { a = OK } }, reject }",
        ),
        ("-o smtpd_sender_restrictions=reject", "-o smtpd_sender_restrictions=reject"),
    ],
)
def test_a_restriction_can_be_put_before_those_of_a_users_own_line(option: str, preceded: str) -> None:
    line = "2525 inet n - n - - smtpd -o max_use=5 {} -v"
    told = services.preceded(line.format(option), "smtpd_client_restrictions", "FIRST")
    assert told == line.format(preceded)


@pytest.mark.parametrize(
    "environ",
    [
        {"POSTFIX_smtp_helo_timeout": "30"},
        {"POSTFIX_relay_domains": "example.com, example.org", "POSTFIX_relay_transport": "relay:[inside]:25"},
        {
            "POSTFIX_ours": "permit_mynetworks",
            "POSTFIX_smtpd_relay_restrictions": "$ours, reject_unauth_destination",
        },
        {
            "POSTFIXMASTER_2525__inet": "2525 inet n - n - - smtpd "
            "-o { smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination }"
        },
        {"POSTFIX_max_use": "$default_process_limit"},
        {"POSTFIX_virtual_mailbox_domains": "example.com", "POSTFIX_virtual_transport": "smtp:[inside]"},
        {"POSTFIX_mine": "reject", "POSTFIX_smtpd_client_restrictions": "permit_mynetworks, $mine"},
        {"POSTFIX_slow_destination_rate_delay": "1s", "POSTFIXMASTER_slow__unix": "slow unix - - n - - smtp"},
        {
            "POSTFIX_smtpd_relay_restrictions": "permit_mynetworks reject_unauth_destination",
            "POSTFIX_smtpd_recipient_restrictions": "check_policy_service { inet:a:10, timeout=1s }, "
            "check_sender_access inline:{ { a@b.c = 550 no } }, reject_rbl_client zen.example, sleep 1, permit",
        },
    ],
)
def test_what_postfix_allows_passes(environ: dict[str, str], machine: Host, vocabulary: Vocabulary) -> None:
    decision.make(environ, vocabulary, machine)


@pytest.mark.parametrize(
    "name", ["POSTFIX", "POSTFIX_", "POSTFIX_FOO", "POSTFIXMASTER_smtp", "POSTFIXMASTER_smtp__tcp"]
)
def test_a_name_of_neither_family_is_refused(name: str, machine: Host) -> None:
    with pytest.raises(MisconfiguredError, match="must be POSTFIX_<parameter>"):
        decision.make({name: "x"}, None, machine)
