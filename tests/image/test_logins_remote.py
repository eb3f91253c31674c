"""Logins that others check (rows C7, C8, C9): each by the real server, which may be away, and whose word is taken."""

from __future__ import annotations

import base64
import smtplib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from docker.models.networks import Network

from tests.image import backends
from tests.image.backends import ELSEWHERE, JOHN, MARY, MARYS_PASSWORD, OTHER_CA, PASSWORD, Asked, Servers
from tests.image.conftest import StartRelay
from tests.image.engine import Engine
from tests.image.impostor import Impostor
from tests.image.relay import Environment, Relay, letter, someone
from tests.image.sink import Sink
from tests.image.test_live_changes import in_time
from tests.image.test_live_secrets import seconds_until
from tests.image.waiting import until
from tests.topologies import recipe

SENDERS_QUERY = "SELECT login FROM sender_logins WHERE address IN (%s, %d, '*')"
ALL = [*backends.SETTINGS]
DATABASES = ["postgresql", "mysql"]
ON_THE_PAGE = {
    "ldap": recipe("C7-0"),
    "imap": recipe("C7-1"),
    "pam": recipe("C7-2"),
    "sql": recipe("C8-0"),
    "dovecot": recipe("C9-0"),
}
ACCEPTED, REFUSED, LATER = "235 2.7.0 ", "535 5.7.8 ", "454 4.7.0 "


@pytest.fixture(scope="module")
def servers(docker: Engine, network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    made = Servers(docker, network, tmp_path_factory.mktemp("servers"))
    yield made
    made.remove()


@pytest.fixture(scope="module")
def asked(docker: Engine, network: Network, servers: Servers) -> Iterator[Asked]:
    made = Asked(docker, network, servers)
    yield made
    made.remove(docker)


@pytest.fixture(scope="module")
def relays(start_shared_relay: StartRelay, servers: Servers) -> dict[str, Relay]:
    """One for each backend, started at the same time."""
    return {
        name: start(start_shared_relay, servers, settings, wait=False)
        for name, settings in backends.SETTINGS.items()
    }


@pytest.fixture(params=ALL)
def name(request: pytest.FixtureRequest) -> str:
    """Of each backend in turn."""
    return str(request.param)


@pytest.fixture
def asking(relays: dict[str, Relay], name: str) -> Relay:
    """A relay whose logins that backend checks."""
    relays[name].wait_until_ready()
    return relays[name]


@pytest.fixture(scope="module")
def relays_with_owners(start_shared_relay: StartRelay, servers: Servers) -> dict[str, Relay]:
    query: Environment = {"SASL_SQL_SENDERS_QUERY": SENDERS_QUERY}
    return {
        name: start(start_shared_relay, servers, backends.SETTINGS[name] | query, wait=False)
        for name in DATABASES
    }


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> str:
    """Of each in turn."""
    return str(request.param)


@pytest.fixture
def with_owners(relays_with_owners: dict[str, Relay], database: str) -> Relay:
    """A relay that asks that database who may send as whom."""
    relays_with_owners[database].wait_until_ready()
    return relays_with_owners[database]


def start(starter: StartRelay, servers: Servers, settings: Environment, *, wait: bool = True) -> Relay:
    # What is wrong on purpose here comes from one address.
    env: Environment = {"AUTH_FAILURE_LIMIT": "1000", **settings}
    return starter(env, ports=(587,), volumes=servers.mounts, wait=wait)


def not_ready(relay: Relay, *reasons: str) -> None:
    """Once /readyz is 503, and says why."""

    def told() -> bool:
        answer = relay.readiness()
        return answer.startswith("503 ") and all(reason in answer for reason in reasons)

    until(f"/readyz is 503 and says {reasons}", told, needs=[relay.container], state=relay.readiness)


class TestEveryBackend:
    def test_the_right_password_is_a_login_whose_mail_arrives(self, asking: Relay, sink: Sink) -> None:
        to = someone()
        with backends.session(asking) as client:
            assert backends.log_in(client, JOHN, PASSWORD).startswith(ACCEPTED)
            client.send_message(letter(to, JOHN), JOHN, [to])
        assert sink.mail(to)[0].mail_from == JOHN
        asking.logged(rf"postfix/submission/smtpd\[\d+\]: .*sasl_method=PLAIN, sasl_username={JOHN}")

    @pytest.mark.parametrize(
        ("login", "password"),
        [
            (JOHN, PASSWORD.upper()),
            (JOHN, PASSWORD + "."),
            (JOHN, MARYS_PASSWORD),
            ("nobody@example.com", PASSWORD),
        ],
        ids=["capitals", "longer", "anothers", "unknown_login"],
    )
    def test_any_other_is_refused_for_good_and_in_the_same_words(
        self, asking: Relay, login: str, password: str
    ) -> None:
        reply = backends.login(asking, login, password)
        assert reply.startswith(REFUSED)
        assert reply == backends.login(asking, JOHN, "wrong")

    @pytest.mark.parametrize(
        "login",
        [
            "joh*",
            "*",
            "john)(uid=john",
            "x)(|(mail=john@example.com)",
            "' OR login = 'john@example.com' -- ",
            "\\' OR login = 0x6a6f686e406578616d706c652e636f6d -- ",
            "' UNION SELECT password FROM users WHERE login = 'john@example.com' -- ",
            "john@example.com%00",
            "x" * 2000,
            "jöhn@exämple.com ☃",
            " ",
            "@",
            "/",
            "-",
            "%u%s%d",
        ],
        ids=repr,
    )
    def test_no_login_is_taken_for_more_than_its_letters(self, asking: Relay, login: str) -> None:
        """With John's password, each would be let in where it is read as a part of the question."""
        assert backends.login(asking, login, PASSWORD).startswith(REFUSED)
        # And nobody can make the relay believe that its server is ill.
        assert asking.readiness().startswith("200 ")

    def test_a_login_as_long_as_smtpd_takes_is_refused_and_makes_no_server_look_ill(
        self, asking: Relay
    ) -> None:
        response = base64.b64encode(b"\0" + 9000 * b"x" + b"\0" + b"y").decode()
        before = asking.logs().count("logins cannot be checked")
        with backends.session(asking) as client:
            assert client.docmd("AUTH", "PLAIN")[0] == 334
            assert client.docmd(response)[0] == 535
        assert asking.readiness().startswith("200 ")
        assert asking.logs().count("logins cannot be checked") == before

    def test_while_it_is_away_a_login_may_be_tried_again_later(
        self, asking: Relay, servers: Servers, name: str
    ) -> None:
        if name == "pam":
            return self._without_its_file(asking, servers)
        with servers.without(backends.PROGRAMS[name]):
            assert backends.login(asking, JOHN, PASSWORD).startswith(LATER)
            assert backends.login(asking, JOHN, "wrong").startswith(LATER)
            not_ready(asking, "logins")
            asking.logged("warning: logins cannot be checked: ")
        assert backends.login(asking, JOHN, PASSWORD).startswith(ACCEPTED)
        asking.wait_until_ready()
        return None

    def _without_its_file(self, asking: Relay, servers: Servers) -> None:
        away = servers.pam_users.with_suffix(".away")
        servers.pam_users.rename(away)
        try:
            assert backends.login(asking, JOHN, PASSWORD).startswith(LATER)
            not_ready(asking, f"PAM service {backends.PAM_SERVICE}")
        finally:
            away.rename(servers.pam_users)
        assert backends.login(asking, JOHN, PASSWORD).startswith(ACCEPTED)
        asking.wait_until_ready()


def test_a_server_that_is_not_there_yet_is_named_by_readyz_and_asked_when_it_comes(
    start_relay: StartRelay, servers: Servers
) -> None:
    """Servers come up in any order: a relay that ended would only be started again and again."""
    with (
        servers.without("slapd"),
        servers.without("postgres"),
        servers.without("mysql"),
        servers.without("dovecot"),
    ):
        early = {
            start(start_relay, servers, backends.SETTINGS[name], wait=False): reasons
            for name, reasons in {
                "ldap": ("ldap://servers", "Can't contact LDAP server"),
                "postgresql": ("postgresql server servers:5432", "refused"),
                "mysql": ("mysql server servers:3306", "refused"),
                "imap": ("IMAP server servers:993", "refused"),
                "dovecot_tcp": ("Dovecot (inet:servers:12345)", "refused"),
                "dovecot_unix": (f"Dovecot (unix:{backends.SHARED}/auth)",),
            }.items()
        }
        for relay, reasons in early.items():
            not_ready(relay, *reasons)
            assert backends.login(relay, JOHN, PASSWORD).startswith(LATER)
    for relay in early:
        assert backends.login(relay, JOHN, PASSWORD).startswith(ACCEPTED)
        relay.wait_until_ready()


@pytest.fixture(scope="module")
def on_the_page(start_shared_relay: StartRelay, servers: Servers) -> dict[str, Relay]:
    return {
        name: start_shared_relay(env, ports=(587,), volumes=servers.mounts_with_public_ca, wait=False)
        for name, env in ON_THE_PAGE.items()
    }


@pytest.mark.parametrize("name", ON_THE_PAGE)
def test_the_lines_of_the_page_are_all_that_it_takes(
    on_the_page: dict[str, Relay], sink: Sink, name: str
) -> None:
    """The recipes of docs/topologies.md as they stand; the public CAs are the tests'."""
    relay, to = on_the_page[name], someone()
    relay.wait_until_ready()
    with backends.session(relay) as client:
        assert backends.log_in(client, JOHN, "wrong").startswith(REFUSED)
        assert backends.log_in(client, JOHN, PASSWORD).startswith(ACCEPTED)
        client.send_message(letter(to, JOHN), JOHN, [to])
        assert sink.mail(to)[0].mail_from == JOHN
        client.mail(MARY)
        assert client.rcpt(someone())[0] == (553 if name == "sql" else 250)


@pytest.mark.parametrize("name", ["ldap", "sql"])
def test_a_changed_password_for_the_server_itself_counts_within_5_s(
    on_the_page: dict[str, Relay], servers: Servers, name: str
) -> None:
    """Also where the old one opened a connection that could serve on; and nobody gets a final no meanwhile."""
    relay, file = on_the_page[name], servers.secrets / name
    relay.wait_until_ready()
    right = file.read_text()

    def becomes(password: str, answer: str) -> float:
        (new := file.with_name(".new")).write_text(password)
        new.rename(file)
        return seconds_until(
            f"the answer is {answer}",
            lambda: backends.login(relay, JOHN, PASSWORD).startswith(answer),
            relay,
        )

    assert backends.login(relay, JOHN, PASSWORD).startswith(ACCEPTED)
    in_time(lambda: max(becomes("another\n", LATER), becomes(right, ACCEPTED)))
    assert "another" not in relay.logs()


class TestSendersInADatabase:
    """Row C10, with the owners in SQL."""

    @pytest.mark.parametrize(
        ("login", "password", "sender"),
        [
            (JOHN, PASSWORD, JOHN),
            (JOHN, PASSWORD, "Sales@Example.com"),
            (MARY, MARYS_PASSWORD, "sales@example.com"),
            (MARY, MARYS_PASSWORD, "anybody@example.net"),
            ("admin", MARYS_PASSWORD, "boss@bank.test"),
        ],
        ids=["own", "alias", "shared_alias", "domain", "anything"],
    )
    def test_a_login_sends_as_what_the_database_says(
        self, with_owners: Relay, sink: Sink, login: str, password: str, sender: str
    ) -> None:
        to = someone()
        with backends.session(with_owners) as client:
            assert backends.log_in(client, login, password).startswith(ACCEPTED)
            client.sendmail(sender, [to], letter(to, sender).as_bytes())
        assert sink.mail(to)[0].mail_from == sender

    @pytest.mark.parametrize(
        "sender",
        [MARY, "john@example.net", "boss@bank.test", "x'/**/OR/**/'1'='1@example.com"],
        ids=["anothers", "anothers_domain", "nobodys", "injection"],
    )
    def test_and_as_nothing_else(self, with_owners: Relay, sender: str) -> None:
        with backends.session(with_owners) as client:
            backends.log_in(client, JOHN, PASSWORD)
            with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
                client.sendmail(sender, [to := someone()], "Subject: x\n\nx\n")
        code, text = refused.value.recipients[to]
        wanted = f"5.7.1 <{sender}>: Sender address rejected: not owned by user {JOHN}"
        assert (code, text.decode()) == (553, wanted)

    def test_while_nobody_can_say_whose_an_address_is_the_mail_may_be_tried_again_later(
        self, with_owners: Relay, servers: Servers, database: str
    ) -> None:
        with backends.session(with_owners) as client:
            assert backends.log_in(client, JOHN, PASSWORD).startswith(ACCEPTED)
            with servers.without(backends.PROGRAMS[database]):
                client.mail(JOHN)
                code, text = client.rcpt(someone())
                assert (code, text[:6]) == (451, b"4.3.0 ")
                not_ready(with_owners, f"{database} server")
            client.rset()
            client.mail(JOHN)
            assert client.rcpt(someone())[0] == 250
        with_owners.wait_until_ready()


def assert_told(answer: str, setting: str) -> None:
    assert answer.startswith("UnavailableError ")
    assert setting in answer
    assert backends.SERVICE_PASSWORD not in answer


class TestWhatEachIsTold:
    """Backends without a relay around them: the ways there, and what is said of those that lead nowhere."""

    @pytest.mark.parametrize(
        ("backend", "options"),
        [
            ("ldap", {"url": f"ldaps://{backends.NAME}"}),
            ("ldap", {"url": f"ldapi://{backends.SHARED.replace('/', '%2F')}%2Fldapi"}),
            ("imap", {"port": 143}),
            ("ldap", {"ca_file": None}),
            ("imap", {"ca_file": None}),
            ("postgresql", {"ca_file": None}),
            ("mysql", {"ca_file": None}),
            ("postgresql", {"ca_file": None, "verified": False}),
            ("mysql", {"ca_file": None, "verified": False}),
            ("postgresql", {"password_query": "SELECT password FROM users WHERE login = '%u' AND 5 % 2 = 1"}),
            ("mysql", {"password_query": "SELECT password FROM users WHERE login='%u' AND 5 % 2 = 1"}),
        ],
        ids=[
            "ldaps",
            "ldapi",
            "imap_starttls",
            "ldap_public_ca",
            "imap_public_ca",
            "postgresql_public_ca",
            "mysql_public_ca",
            "postgresql_unverified",
            "mysql_unverified",
            "postgresql_query",
            "mysql_query",
        ],
    )
    def test_other_ways_lead_there_too(self, asked: Asked, backend: str, options: dict[str, Any]) -> None:
        answers = asked.ask(
            backend, ["ping"], ["check", JOHN, PASSWORD], ["check", JOHN, MARYS_PASSWORD], **options
        )
        assert answers == [None, None, "RefusedError "]

    @pytest.mark.parametrize(
        ("backend", "way"),
        [
            ("ldap", {"url": "ldap://{}"}),
            ("ldap", {"url": "ldaps://{}"}),
            ("imap", {"host": "{}"}),
            ("imap", {"host": "{}", "port": 143}),
            ("postgresql", {"url": "postgresql://relay@{}:5432/mail"}),
            ("mysql", {"url": "mysql://relay@{}:3306/mail"}),
        ],
        ids=["ldap", "ldaps", "imaps", "imap", "postgresql", "mysql"],
    )
    def test_a_server_whose_certificate_cannot_be_verified_is_not_asked(
        self, asked: Asked, backend: str, way: dict[str, Any]
    ) -> None:
        def options(host: str) -> dict[str, Any]:
            return {
                key: value.format(host) if isinstance(value, str) else value for key, value in way.items()
            }

        wrong_ca = asked.check(backend, **options(backends.NAME), ca_file=OTHER_CA)
        assert wrong_ca.startswith("UnavailableError ")
        assert "its certificate cannot be trusted" in wrong_ca
        assert "_CA_FILE" in wrong_ca
        for ca_file in (backends.CA, None):
            wrong_name = asked.check(backend, **options(ELSEWHERE), ca_file=ca_file)
            assert wrong_name.startswith("UnavailableError ")
            assert "match" in wrong_name

    @pytest.mark.parametrize(
        ("options", "setting"),
        [
            ({"bind_password": "wrong"}, "SASL_LDAP_BIND_PASSWORD"),
            ({"bind_dn": "cn=nobody,dc=example,dc=com"}, "SASL_LDAP_BIND_DN"),
            ({"bind_dn": "nonsense"}, "SASL_LDAP_BIND_DN"),
            ({"bind_dn": None, "bind_password": None}, "SASL_LDAP_BIND_DN"),
            ({"base": "ou=nowhere,dc=example,dc=com"}, "SASL_LDAP_SEARCH_BASE"),
            ({"base": "nonsense"}, "SASL_LDAP_SEARCH_BASE"),
            ({"filter": "(&(uid=%u)"}, "SASL_LDAP_FILTER"),
            ({"url": f"ldaps://{backends.NAME}:389"}, f"ldaps://{backends.NAME}:389"),
        ],
        ids=["password", "dn", "no_dn", "anonymous", "base", "no_base", "filter", "port"],
    )
    def test_what_is_wrong_with_ldap_is_told_before_the_first_login(
        self, asked: Asked, options: dict[str, Any], setting: str
    ) -> None:
        [answer] = asked.ask("ldap", ["ping"], **options)
        assert_told(answer, setting)

    @pytest.mark.parametrize(
        ("options", "setting"),
        [
            ({"password": "wrong"}, "SASL_SQL_PASSWORD"),
            ({"url": "{}://relay@servers:{}/nowhere"}, "SASL_SQL_URL"),
            ({"url": "{}://nobody@servers:{}/mail"}, "SASL_SQL_URL"),
            ({"password_query": "SELECT password FROM nowhere WHERE login = %u"}, "SASL_SQL_PASSWORD_QUERY"),
            ({"password_query": "SELECT password FROM secrets WHERE login = %u"}, "SASL_SQL_PASSWORD_QUERY"),
            ({"password_query": "SELECT nothing FROM users WHERE login = %u"}, "SASL_SQL_PASSWORD_QUERY"),
            ({"password_query": "SELECT password FROM users"}, "SASL_SQL_PASSWORD_QUERY"),
            ({"password_query": "SELECT password FROM users WHERE login = 'x%u'"}, "SASL_SQL_PASSWORD_QUERY"),
            ({"senders_query": "SELECT login FROM nowhere WHERE a = %s"}, "SASL_SQL_SENDERS_QUERY"),
        ],
        ids=[
            "password",
            "database",
            "user",
            "no_table",
            "no_permission",
            "no_column",
            "no_login",
            "quoted",
            "senders",
        ],
    )
    def test_what_is_wrong_with_sql_is_told_before_the_first_login(
        self, asked: Asked, database: str, options: dict[str, str], setting: str
    ) -> None:
        port = {"postgresql": "5432", "mysql": "3306"}[database]
        filled = {name: value.format(database, port) for name, value in options.items()}
        [answer] = asked.ask(database, ["ping"], **filled)
        assert_told(answer, setting)

    def test_an_entry_that_is_not_alone_or_has_no_password_lets_nobody_in(self, asked: Asked) -> None:
        attempts = [
            ["twin@example.com", MARYS_PASSWORD],
            ["nopassword", "any"],
            ["john", ""],
            ["relay", backends.SERVICE_PASSWORD],
        ]
        answers = asked.ask("ldap", *(["check", *attempt] for attempt in attempts))
        assert answers == ["RefusedError "] * len(attempts)

    def test_a_row_that_is_not_alone_or_holds_no_hash_lets_nobody_in(
        self, asked: Asked, database: str
    ) -> None:
        """A password in the place of its hash is not compared with: one row must not decide what the column holds."""
        attempts = [["plaintext", MARYS_PASSWORD], ["locked", "any"], ["", "any"]]
        answers = asked.ask(database, *(["check", *attempt] for attempt in attempts))
        assert answers == ["RefusedError "] * len(attempts)
        twins = "SELECT password FROM twins WHERE login = %u"
        assert asked.check(database, password_query=twins) == "RefusedError "

    @pytest.mark.parametrize(
        ("kind", "query"),
        [
            ("postgresql", "SELECT password FROM users WHERE length(login) = %u"),
            ("mysql", "SELECT password FROM users WHERE CONVERT(login USING latin1) = %u"),
        ],
        ids=DATABASES,
    )
    def test_a_login_that_the_column_cannot_hold_is_nobodys(
        self, asked: Asked, kind: str, query: str
    ) -> None:
        assert asked.check(kind, "☃", password_query=query) == "RefusedError "

    def test_a_hash_in_dovecots_way_is_understood(self, asked: Asked, database: str) -> None:
        assert asked.check(database, "admin", MARYS_PASSWORD) == "None"

    def test_a_database_that_must_be_verified_is_not_asked_in_clear(
        self, asked: Asked, servers: Servers, database: str
    ) -> None:
        with servers.without_tls(backends.PROGRAMS[database]):
            for ca_file in (backends.CA, None):
                answer = asked.check(database, ca_file=ca_file)
                assert answer.startswith("UnavailableError ")
                assert "SSL" in answer or "TLS" in answer
            assert asked.check(database, ca_file=None, verified=False) == "None"

    @pytest.mark.parametrize("asks_by", ["mysql_clear_password", "dialog", "postgresql"])
    def test_whoever_answers_as_a_database_is_not_told_the_password_in_clear(
        self, asked: Asked, asks_by: str
    ) -> None:
        """Where nobody is verified, he need only ask for it."""
        kind = "postgresql" if asks_by == "postgresql" else "mysql"
        with Impostor(asks_by) as impostor:
            url = f"{kind}://relay@{backends.HOST}:{impostor.port}/mail"
            answer = asked.check(kind, url=url, ca_file=None, verified=False)
        assert answer.startswith("UnavailableError ")
        assert b"relay" in impostor.heard
        assert backends.SERVICE_PASSWORD.encode() not in impostor.heard

    def test_an_account_that_pam_has_locked_is_refused(self, asked: Asked) -> None:
        assert asked.check("pam", MARY, MARYS_PASSWORD) == "RefusedError "
        assert asked.check("pam", JOHN, MARYS_PASSWORD) == "RefusedError "

    @pytest.mark.parametrize("service", [backends.BROKEN_PAM_SERVICE, "nowhere"])
    def test_a_pam_service_that_cannot_be_asked_is_neither_a_yes_nor_a_no(
        self, asked: Asked, service: str
    ) -> None:
        answer = asked.check("pam", service=service)
        assert answer.startswith("UnavailableError ")
        assert service in answer

    def test_a_server_that_says_nothing_is_not_waited_for_longer_than_postfix_waits(
        self, asked: Asked, servers: Servers
    ) -> None:
        """Ten seconds (xsasl_dovecot_server.c)."""
        patience = {"ping": 2.0, "check": 7.0}
        questions = [
            (name, call)
            for name in ("ldap", "imap", *DATABASES)
            for call in (["ping"], ["check", JOHN, PASSWORD])
        ]
        with servers.frozen("slapd", "dovecot", "postgres", "mysql"), ThreadPoolExecutor() as pool:
            answers = [*pool.map(lambda question: asked.timed(*question), questions)]
        for (name, call), [(answer, seconds)] in zip(questions, answers, strict=True):
            assert answer.startswith("UnavailableError "), name
            assert seconds < patience[call[0]], name
