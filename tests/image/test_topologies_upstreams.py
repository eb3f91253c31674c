"""The rows O6 and O7: which upstream gets whose mail, with which login, and who takes over when one is down.

Two upstreams, `first` and `second`, of one private CA; `first` answers to a second name that is not in its certificate.
A login that reaches the wrong one of them, or reaches it unverified, is lost: every test looks at who was told what.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docker.models.networks import Network

from tests.image import tls
from tests.image.conftest import StartRelay
from tests.image.engine import Engine, Result
from tests.image.inbound import tables
from tests.image.relay import Environment, Relay, someone
from tests.image.sink import Message, Sink
from tests.image.tls import Certificates
from tests.image.waiting import until

EX_CONFIG = 78
MISNAMED = "misnamed.example"
CA = {"RELAYHOST_CA_FILE": tls.CA}
# Any byte but a line break may be part of a password.
PASSWORDS = {
    "ann": "ann's own: #1, {x}$y ",
    "bob": "bob's own",
    "org": "pässwörd",
    "one": "the first's",
    "two": "the second's",
}
BY_SENDER = """
# sender            next hop           login
ann@example.com     [first]:25         user=ann@example.com password_file=/secrets/ann
bob@example.com     [first]:25         user=bob@example.com password_file=/secrets/bob
@example.org\t\t[second]:587\t\tuser=org password_file=/secrets/org
ceo@example.org     [second]:465       user=ceo password_file=/secrets/bob
clear@example.com   [second]:587       tls=none
strict@example.com  [misnamed.example] user=ann@example.com password_file=/secrets/ann
lax@example.com     [misnamed.example] user=ann@example.com password_file=/secrets/ann tls=encrypt
*                   [sink]             tls=may
"""
IN_ORDER = """
* [first]:25 user=one password_file=/secrets/one
* [second]:587 user=two password_file=/secrets/two tls=encrypt
@example.org [second]:587 user=org password_file=/secrets/org
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """The certificates and the passwords, mounted."""
    certificates = Certificates.make(tmp_path_factory.mktemp("certificates"), ("first", "second"))
    secrets = tmp_path_factory.mktemp("secrets")
    for name, password in PASSWORDS.items():
        (secrets / name).write_text(f"{password}\n")
    return {**certificates.mount, str(secrets): {"bind": "/secrets", "mode": "ro"}}


@pytest.fixture(scope="module")
def _upstreams(
    docker: Engine, network: Network, files: dict[str, dict[str, str]]
) -> Iterator[tuple[Sink, Sink]]:
    [certificates] = (Certificates(Path(place)) for place, at in files.items() if at["bind"] == tls.INSIDE)
    first = Sink(docker, network, certificates, "first", MISNAMED)
    second = Sink(docker, network, certificates, "second", port=587)
    yield first, second
    docker.remove(first.container, second.container)


@pytest.fixture
def first(_upstreams: tuple[Sink, Sink]) -> Iterator[Sink]:
    yield _upstreams[0]
    _upstreams[0].restore()


@pytest.fixture
def second(_upstreams: tuple[Sink, Sink]) -> Iterator[Sink]:
    yield _upstreams[1]
    _upstreams[1].restore()


@pytest.fixture(scope="module")
def by_sender(
    start_shared_relay: StartRelay,
    files: dict[str, dict[str, str]],
    _upstreams: object,
    tmp_path_factory: pytest.TempPathFactory,
) -> Relay:
    mount = tables(tmp_path_factory.mktemp("config"), upstreams=BY_SENDER)
    return start_shared_relay({"RELAYHOST": None, **CA}, volumes={**files, **mount})


@pytest.fixture(scope="module")
def in_order(start_shared_relay: StartRelay, files: dict[str, dict[str, str]], _upstreams: object) -> Relay:
    """The same hosts serve a domain inside, which has no login there."""
    env: Environment = {
        "RELAYHOST": None,
        "UPSTREAMS": IN_ORDER,
        "RELAY_DOMAINS": "inside.example [first]:25",
        "LISTEN": "25:relay 587:inbound",
        **CA,
    }
    return start_shared_relay(env, volumes=files)


def sent(relay: Relay, sender: str, upstream: Sink, to: str = "") -> Message:
    """One mail, as the upstream got it."""
    to = to or someone()
    with relay.smtp() as session:
        assert not session.sendmail(sender, [to], f"Subject: A test\n\nFrom {sender}.\n")
    [message] = upstream.mail(to, needs=[relay.container])
    assert message.mail_from == sender
    return message


def login(sink: Sink, message: Message) -> tuple[str | None, str | None] | None:
    """What the client said in the session that brought a message: login and password."""
    [session] = [each for each in sink.sessions() if message.rest["id"] in each["messages"]]
    said = [(auth["login"], auth["password"]) for auth in session["auth"]]
    return said[0] if said else None


class TestO6UpstreamOfASender:
    def test_each_upstream_gets_its_senders_mail_alone_with_their_login(
        self, by_sender: Relay, first: Sink, second: Sink, sink: Sink
    ) -> None:
        """Two accounts at the same host, too: neither's mail goes out in the other's name."""
        expected = {
            "ann@example.com": (first, ("ann@example.com", PASSWORDS["ann"])),
            "bob@example.com": (first, ("bob@example.com", PASSWORDS["bob"])),
            "anybody@example.org": (second, ("org", PASSWORDS["org"])),
            "Ann@Example.COM": (first, ("ann@example.com", PASSWORDS["ann"])),
            "ceo@example.org": (second, ("ceo", PASSWORDS["bob"])),
            "carl@example.com": (sink, None),
            "ann@sub.example.org": (sink, None),
            "": (sink, None),
        }
        for sender, (upstream, credentials) in expected.items():
            message = sent(by_sender, sender, upstream)
            assert (sender, login(upstream, message)) == (sender, credentials)
            others = {first, second, sink} - {upstream}
            assert not any(other.received(message.rcpt_tos[0]) for other in others)
        assert sink.logins() == []

    def test_port_465_is_tls_from_the_first_byte_for_that_sender(
        self, by_sender: Relay, second: Sink
    ) -> None:
        assert sent(by_sender, "ceo@example.org", second).rest["listener"] == "smtps"
        assert sent(by_sender, "anybody@example.org", second).rest["listener"] == "smtp"

    def test_with_a_login_the_certificate_is_verified(
        self, by_sender: Relay, first: Sink, second: Sink
    ) -> None:
        assert sent(by_sender, "ann@example.com", first).tls
        by_sender.logged(r"Verified TLS connection established to first\[")
        assert sent(by_sender, "anybody@example.org", second).tls
        by_sender.logged(r"Verified TLS connection established to second\[")

    def test_a_certificate_for_another_name_gets_no_login_and_the_mail_waits(
        self, by_sender: Relay, first: Sink
    ) -> None:
        by_sender.send(to := someone(), "strict@example.com")
        by_sender.queued(rf"to {to}: Server certificate not verified")
        assert first.logins() == []
        assert not first.received(to)

    def test_a_senders_tls_level_is_his_own(self, by_sender: Relay, first: Sink, second: Sink) -> None:
        message = sent(by_sender, "lax@example.com", first)
        assert (message.tls is not None, login(first, message)) == (
            True,
            ("ann@example.com", PASSWORDS["ann"]),
        )
        assert sent(by_sender, "clear@example.com", second).tls is None

    def test_the_start_says_whose_mail_goes_where_and_no_password(self, by_sender: Relay) -> None:
        log = by_sender.logs()
        assert "sends mail of @example.org to [second]:587 as org over TLS only, certificate verified" in log
        assert not [password for password in PASSWORDS.values() if password.strip() in log]

    @pytest.mark.parametrize(
        ("sender", "step"),
        [
            ("bob@example.com", "AUTH       PLAIN as bob@example.com: 235"),
            ("carl@example.com", ""),
        ],
    )
    def test_a_probe_goes_the_way_of_the_sender_that_it_is_given(
        self, by_sender: Relay, first: Sink, sink: Sink, sender: str, step: str
    ) -> None:
        probed = by_sender.exec("postern", "probe", "--from", sender)
        assert probed.status == 0, probed.output
        assert ("\nAUTH" in probed.output, step in probed.output) == (bool(step), True)
        assert ("MAIL" in first.commands(), "MAIL" in sink.commands()) == (bool(step), not step)

    def test_a_ca_that_signed_nobody_keeps_every_login_at_home(
        self, start_relay: StartRelay, files: dict[str, dict[str, str]], first: Sink, second: Sink
    ) -> None:
        """Also for those who send mail of everybody: the second is as wrong as the first."""
        relay = start_relay(
            {"RELAYHOST": None, "RELAYHOST_CA_FILE": tls.OTHER_CA}
            | {"UPSTREAMS": IN_ORDER.replace(" tls=encrypt", "")},
            volumes=files,
        )
        for sender in ("anybody@example.org", "carl@example.com"):
            relay.send(to := someone(), sender)
            relay.queued(rf"to {to}: Server certificate not verified")
        assert "AUTH" not in [*first.commands(), *second.commands()]


class TestO7OneAfterTheOther:
    def test_all_goes_to_the_first_while_it_is_up(self, in_order: Relay, first: Sink, second: Sink) -> None:
        message = sent(in_order, "carl@example.com", first)
        assert login(first, message) == ("one", PASSWORDS["one"])
        assert "MAIL" not in second.commands()

    @pytest.mark.parametrize(
        "trouble",
        [
            {"drop": ["connect"]},
            {"replies": {"connect": "421 4.3.2 closing"}},
            {"replies": {"mail": "451 4.3.0 disk full"}},
            {"starttls": False},
            {"require_auth": True, "password": "changed"},
        ],
        ids=["hangs_up", "closing", "cannot", "no_tls", "refuses_the_login"],
    )
    def test_the_second_takes_over_at_once_with_its_own_login_and_tls(
        self, in_order: Relay, first: Sink, second: Sink, trouble: dict[str, object]
    ) -> None:
        first.behave(**trouble)
        message = sent(in_order, "carl@example.com", second)
        assert login(second, message) == ("two", PASSWORDS["two"])
        [to] = message.rcpt_tos
        assert re.search(r"status=sent", in_order.logged(rf"to=<{to}>, relay=second\[.*\]:587"))
        assert not re.search(rf"to=<{to}>.*status=deferred", in_order.logs())
        assert ("two", PASSWORDS["two"]) not in first.logins()
        in_order.logged(r"Trusted TLS connection established to second\[")

    def test_the_first_is_used_again_when_it_returns(
        self, in_order: Relay, first: Sink, second: Sink
    ) -> None:
        first.behave(drop=["connect"])
        sent(in_order, "carl@example.com", second)
        first.restore()

        def goes_to_the_first() -> list[Message]:
            in_order.send(to := someone(), "carl@example.com")
            return until("it has arrived", lambda: first.received(to) or second.received(to)) and (
                first.received(to)
            )

        [message] = until("mail goes to the first", goes_to_the_first)
        assert login(first, message) == ("one", PASSWORDS["one"])

    def test_a_sender_with_an_upstream_of_his_own_does_not_fail_over_to_others(
        self, in_order: Relay, first: Sink, second: Sink
    ) -> None:
        second.behave(replies={"connect": "421 4.3.2 closing"})
        in_order.send(to := someone(), "anybody@example.org")
        in_order.queued(rf"to {to}: .*421 4\.3\.2 closing")
        assert not first.received(to)
        second.restore()
        assert in_order.exec("postqueue", "-f").status == 0
        [message] = second.mail(to)
        assert login(second, message) == ("org", PASSWORDS["org"])
        # Of everybody's mail the same host's certificate is not verified.
        in_order.logged(r"Verified TLS connection established to second\[")

    @pytest.mark.parametrize("sender", ["carl@example.com", "anybody@example.org", ""])
    def test_a_server_inside_never_gets_the_login_of_an_upstream(
        self, in_order: Relay, first: Sink, sender: str
    ) -> None:
        """Even where it is the same host and port."""
        message = sent(in_order, sender, first, someone("inside.example"))
        assert login(first, message) is None
        assert (message.tls is not None, message.user) == (True, None)

    def test_mail_waits_while_none_is_up(self, in_order: Relay, first: Sink, second: Sink) -> None:
        for each in (first, second):
            each.behave(replies={"connect": "421 4.3.2 closing"})
        in_order.send(to := someone(), "carl@example.com")
        in_order.queued(rf"to {to}: .*second\[.*421 4\.3\.2 closing")
        for each in (first, second):
            each.restore()
        assert in_order.exec("postqueue", "-f").status == 0
        assert first.mail(to)

    def test_a_probe_tries_each_of_them(self, in_order: Relay, first: Sink, second: Sink) -> None:
        second.behave(require_auth=True, password="changed")
        probed = in_order.exec("postern", "probe")
        assert probed.status == 1
        ends = [line for line in probed.lines if line.startswith(("OK", "FAILED"))]
        assert ends[0].startswith("OK ")
        assert re.match(r"FAILED +AUTH: .*535.*check user= and password_file=", ends[1])
        assert first.logins() == [("one", PASSWORDS["one"])]

    def test_names_and_ports_where_nobody_answers_are_passed_over(
        self, start_relay: StartRelay, files: dict[str, dict[str, str]], second: Sink
    ) -> None:
        lines = [
            "* [nowhere.invalid]:25",
            "* [second]:2525",
            "* [second]:587 user=two password_file=/secrets/two",
        ]
        relay = start_relay({"RELAYHOST": None, "UPSTREAMS": "; ".join(lines), **CA}, volumes=files)
        message = sent(relay, "carl@example.com", second)
        assert login(second, message) == ("two", PASSWORDS["two"])
        assert "status=deferred" not in relay.logs()


@pytest.fixture(scope="module")
def checked(
    start_shared_relay: StartRelay, files: dict[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Result]:
    """`postern check` with a file of upstreams, and further settings."""
    config = tmp_path_factory.mktemp("config")
    idle = start_shared_relay(
        {"RELAYHOST": None, "TRUST_GATEWAY": None},
        wait=False,
        command=["sleep", "infinity"],
        ports=(),
        volumes={**files, **tables(config)},
    )

    def check(text: str, **env: str) -> Result:
        (config / "upstreams").write_text(text)
        return idle.exec("postern", "check", env=env)

    return check


MISTAKES: dict[str, tuple[str, dict[str, str], list[str]]] = {
    "two_for_one_sender": (
        "# mine\nann@example.com [first]:25\nAnn@example.com [second]:25\n",
        {},
        [
            "/config/upstreams:3: 'ann@example.com [second]:25' must be the only entry for ann@example.com, and there "
            "is another (first at /config/upstreams:2)"
        ],
    ),
    "465_and_587": (
        "* [first]:465\n* [second]:587\n",
        {},
        [
            "/config/upstreams:2: '[first]:465, [second]:587' must all be on port 465, or none: Postfix tries them in "
            "one go, with TLS from the first byte or without"
        ],
    ),
    "missing_password_file": (
        "* [first]:587 user=one password_file=/secrets/none\n",
        {},
        [
            "/config/upstreams:1: '* [first]:587' password_file must be a readable file: No such file or directory"
        ],
    ),
    "directory_for_a_password": (
        "* [first]:587 user=one password_file=/secrets\n",
        {},
        [
            "/config/upstreams:1: '* [first]:587' password_file must be a file, and this is a directory or something else"
        ],
    ),
    "relayhost_too": (
        "* [first]:25\n",
        {"RELAYHOST": "[second]:587"},
        ["RELAYHOST=[second]:587: must not be set together with UPSTREAMS for *: which one is meant?"],
    ),
    "login_in_clear": (
        "* [first]:587 user=one password_file=/secrets/one tls=none\n",
        {},
        [
            "/config/upstreams:1: [first]:587 must have tls=encrypt, verify or secure: a password is never sent in clear"
        ],
    ),
    "itself": (
        "* [relay.example.com]:587\nann@example.com [127.0.0.1]:25\n",
        {},
        [
            "/config/upstreams:1: [relay.example.com]:587 must not be this relay itself: mail would go in circles",
            "/config/upstreams:2: [127.0.0.1]:25 must not be this relay itself: mail would go in circles",
        ],
    ),
    "password_in_the_table": (
        "* [first]:587 user=one password=hunter2\n* one:hunter2@second:587\nhunter2:\n",
        {},
        [
            "/config/upstreams:1: '* [first]:587' must have no options but user=NAME, password_file=/path and tls=LEVEL",
            "/config/upstreams:2: must be one next hop: [host]:port, host:port, [2001:db8::1]:port or a mail domain",
            "/config/upstreams:3: must be a sender (or *) and a next hop, such as: * [smtp.example.com]:587",
        ],
    ),
    "file_and_variable": (
        "* [first]:25\n",
        {"UPSTREAMS": "* [second]:25"},
        ["/config/upstreams: must not be set together with UPSTREAMS: which one is meant?"],
    ),
}


@pytest.mark.parametrize(("text", "env", "lines"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_in_the_upstreams_is_named_with_its_line_and_no_secret(
    checked: Callable[..., Result], text: str, env: dict[str, str], lines: list[str]
) -> None:
    found = checked(text, **env)
    assert (found.status, found.lines) == (EX_CONFIG, lines)
    assert "hunter2" not in found.output
