"""Row I4: mail for nobody is refused at RCPT, so that the queue never fills with bounces to forged senders.

Who exists is told by a list, in a variable or in a file (that it may change is in test_live_changes.py), or by the server
inside itself.
Row I5 with such lists: postmaster and abuse exist whatever a list says.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.image.conftest import StartRelay
from tests.image.engine import Engine
from tests.image.inbound import answers, send, stranger_is_told, tables
from tests.image.relay import HOSTNAME, Relay, someone
from tests.image.sink import Sink
from tests.image.stations import Stranger

OK = "250 2.1.5 Ok"
DOMAINS = "example.com [inside]:25; example.net [inside]:25; alias.example"
ASKED = "this domain's mail server was asked"
ALIASES = {"VIRTUAL": "@alias.example @example.com; info@example.com ann@example.com"}
PEOPLE = "ann@example.com\nbob@Example.COM   \n# Everybody here.\n@example.net\n"


def unknown(recipient: str) -> str:
    return f"550 5.1.1 <{recipient}>: Recipient address rejected: User unknown in relay recipient table"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config")


@pytest.fixture(scope="module")
def _with_file(start_shared_relay: StartRelay, config: Path, _inside: Sink) -> Relay:
    mount = tables(config, relay_recipients=PEOPLE)
    env = {"RELAY_DOMAINS": DOMAINS, "POSTMASTER": "boss@example.com"} | ALIASES
    return start_shared_relay(env, volumes=mount)


@pytest.fixture(scope="module")
def _with_variable(start_shared_relay: StartRelay, _inside: Sink) -> Relay:
    env = {
        "RELAY_DOMAINS": f"{DOMAINS}; .example.org [inside]:25",
        "RELAY_RECIPIENTS": "ann@example.com, bob@example.com; @example.net, carl@host.example.org",
        "POSTFIX_smtpd_sender_restrictions": "reject_non_fqdn_sender",
    }
    return start_shared_relay(env | ALIASES)


@pytest.fixture
def with_file(_with_file: Relay, inside: Sink) -> Relay:
    """The list is a file; postmaster is one person, who is not on it."""
    return _with_file


@pytest.fixture
def with_variable(_with_variable: Relay, inside: Sink) -> Relay:
    """The list is a variable; each domain has its own postmaster, who is not on it."""
    return _with_variable


@pytest.fixture(params=["file", "variable"])
def listed(request: pytest.FixtureRequest, with_file: Relay, with_variable: Relay) -> Relay:
    """Either of them."""
    return with_file if request.param == "file" else with_variable


@pytest.fixture(scope="module")
def _asking(start_shared_relay: StartRelay, _inside: Sink) -> Relay:
    env = {
        "RELAY_DOMAINS": "example.com [inside]:25; down.example [inside]:26; away.example [away]:25; alias.example",
        "VERIFY_RECIPIENTS": "yes",
        "VIRTUAL": "@alias.example @example.com",
    }
    return start_shared_relay(env)


@pytest.fixture
def asking(_asking: Relay, inside: Sink) -> Relay:
    """A relay that keeps no list; nothing listens on the inside server's port 26, and of "away" nobody has heard."""
    assert inside
    return _asking


class TestAList:
    def test_who_is_on_it_gets_mail(self, listed: Relay, inside: Sink) -> None:
        send(listed, "ann@example.com", "BOB@example.com")
        [message] = inside.mail("ann@example.com")
        assert sorted(message.rcpt_tos) == ["BOB@example.com", "ann@example.com"]

    def test_who_is_not_on_it_is_unknown_at_once(self, listed: Relay) -> None:
        to = someone("example.com")
        assert answers(listed, to, f"x.{to}", "ann@example.com") == [unknown(to), unknown(f"x.{to}"), OK]
        assert listed.queue() == "0 messages waiting\n"

    def test_a_whole_domain_may_be_on_it(self, listed: Relay, inside: Sink) -> None:
        send(listed, to := someone("example.net"))
        assert inside.mail(to)

    def test_another_domain_is_denied_as_ever(self, listed: Relay) -> None:
        to = "ann@elsewhere.example"
        assert answers(listed, to) == [f"554 5.7.1 <{to}>: Relay access denied"]

    def test_strangers_are_told_the_same(self, docker: Engine, with_file: Relay) -> None:
        stranger = Stranger(docker, with_file.container)
        told = stranger_is_told(stranger, to := someone("example.com"), "ann@example.com")
        docker.remove(stranger.container)
        assert told == [unknown(to), OK]

    def test_an_alias_exists_without_being_on_it(self, listed: Relay, inside: Sink) -> None:
        send(listed, "info@example.com")
        assert inside.mail("ann@example.com")

    def test_another_name_of_a_domain_has_the_same_people_and_no_more(
        self, listed: Relay, inside: Sink
    ) -> None:
        to = someone("alias.example")
        [nobody, *somebody] = answers(listed, to, "bob@alias.example", "info@alias.example")
        assert nobody == f"550 5.1.1 <{to}>: Recipient address rejected: User unknown"
        assert somebody == [OK, OK]
        send(listed, "bob@alias.example")
        assert inside.mail("bob@example.com")

    def test_a_subdomains_people_may_be_on_it(self, with_variable: Relay, inside: Sink) -> None:
        to = someone("host.example.org")
        assert answers(with_variable, to) == [unknown(to)]
        send(with_variable, "carl@host.example.org")
        assert inside.mail("carl@host.example.org")


class TestPostmasterWhoIsNotOnTheList:
    @pytest.mark.parametrize(
        "at", ["", f"@{HOSTNAME}", "@[203.0.113.77]", "@example.com", "@example.net", "@alias.example"]
    )
    def test_is_the_one_person_who_was_named(self, with_file: Relay, inside: Sink, at: str) -> None:
        send(with_file, f"postmaster{at}")
        send(with_file, f"abuse{at}")
        assert [m.rcpt_tos for m in inside.mail("boss@example.com", count=2)] == [["boss@example.com"]] * 2

    @pytest.mark.parametrize(
        ("at", "place"),
        [
            ("", "example.com"),
            (f"@{HOSTNAME}", "example.com"),
            ("@[203.0.113.77]", "example.com"),
            ("@example.com", "example.com"),
            ("@example.net", "example.net"),
            ("@alias.example", "example.com"),
            ("@host.example.org", "host.example.org"),
        ],
    )
    def test_is_known_to_the_server_inside(
        self, with_variable: Relay, inside: Sink, at: str, place: str
    ) -> None:
        send(with_variable, f"postmaster{at}", f"abuse{at}")
        assert inside.mail(f"postmaster@{place}")
        assert inside.mail(f"abuse@{place}")


def test_a_users_own_sender_restrictions_hold_for_strangers_mail_too(with_variable: Relay) -> None:
    [told] = answers(with_variable, "ann@example.com", sender="eve@nowhere")
    assert told == "504 5.5.2 <eve@nowhere>: Sender address rejected: need fully-qualified address"


def test_an_empty_list_takes_everybody(start_relay: StartRelay, tmp_path: Path, inside: Sink) -> None:
    mount = tables(tmp_path, relay_recipients="# Nobody yet.\n")
    relay = start_relay({"RELAY_DOMAINS": "example.com [inside]:25"}, volumes=mount)
    send(relay, to := someone("example.com"))
    assert inside.mail(to)


class TestAskingTheServerInside:
    def test_whom_it_knows_gets_mail_and_whom_it_does_not_is_refused(
        self, asking: Relay, inside: Sink
    ) -> None:
        gone = someone("example.com")
        inside.behave(recipients={gone: "550 5.1.1 no such user here"})
        [told] = answers(asking, gone)
        assert told == f"550 5.1.1 <{gone}>: Recipient address rejected: undeliverable address: {ASKED}"
        asking.logged(rf"to=<{gone}>, relay=inside\[.*status=undeliverable \(.*no such user here")
        assert not any(command.startswith("DATA") for command in inside.commands())
        send(asking, known := someone("example.com"))
        assert inside.mail(known)

    def test_another_name_of_a_domain_is_asked_for_under_the_first(self, asking: Relay, inside: Sink) -> None:
        gone = someone("example.com")
        inside.behave(recipients={gone: "550 5.1.1 no such user here"})
        [told] = answers(asking, gone.replace("@example.com", "@alias.example"))
        assert told.startswith("550 5.1.1 ")

    @pytest.mark.parametrize(
        ("domain", "why"),
        [
            ("down.example", "Connection refused"),
            # A container that is stopped has no name either: Postfix would call its people unknown, and return their mail.
            ("away.example", "unable to look up host away"),
        ],
    )
    def test_while_it_does_not_answer_mail_is_asked_to_come_back(
        self, asking: Relay, domain: str, why: str
    ) -> None:
        """Strangers are not told what the servers inside are called and where they are."""
        [told] = answers(asking, to := someone(domain))
        assert told == f"450 4.1.1 <{to}>: Recipient address rejected: unverified address: {ASKED}"
        asking.logged(rf"to=<{to}>, .*{why}")

    def test_its_answers_are_kept_across_a_restart(self, asking: Relay, inside: Sink) -> None:
        known, gone = someone("example.com"), someone("example.com")
        inside.behave(recipients={gone: "550 5.1.1 no such user here"})
        assert [told[:3] for told in answers(asking, known, gone)] == ["250", "550"]
        asking.container.restart(timeout=10)
        asking.wait_until_ready()
        asked = len(inside.commands())
        assert [told[:3] for told in answers(asking, known, gone)] == ["250", "550"]
        assert len(inside.commands()) == asked

    def test_nobody_is_asked_about_mail_that_would_be_denied_anyway(
        self, asking: Relay, inside: Sink
    ) -> None:
        [told] = answers(asking, someone("elsewhere.example"))
        assert told.startswith("554 5.7.1 ")
        assert not inside.commands()
