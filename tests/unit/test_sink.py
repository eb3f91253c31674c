"""The sink is the witness in most image tests: what it says it saw, and what it refuses, must be exactly so."""

import base64
import json
import smtplib
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.sink import Behaviour, Listen, Sink

HOST = "127.0.0.1"
FREE = Listen(HOST, smtp=0, smtps=0, http=0)
MESSAGE = b"Subject: hello\r\nX-Folded: one\r\n two\r\n\r\nBody\r\n.dot\r\n"
DEADLINE = 5.0

StartSink = Callable[..., Sink]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certificate(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    issued, folder = authority.issue_cert(HOST), tmp_path_factory.mktemp("tls")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture(scope="module")
def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


@pytest.fixture
def start(certificate: tuple[Path, Path]) -> Iterator[StartSink]:
    started: list[Sink] = []

    def start_sink(**behaviour: Any) -> Sink:
        sink = Sink(Behaviour().changed(behaviour), FREE, certificate)
        started.append(sink)
        return sink.__enter__()

    yield start_sink
    for sink in started:
        sink.__exit__()


def client(sink: Sink) -> smtplib.SMTP:
    return smtplib.SMTP(HOST, sink.ports["smtp"], "relay.example", timeout=DEADLINE)


def send(smtp: smtplib.SMTP, *recipients: str, sender: str = "alice@example.com") -> None:
    smtp.sendmail(sender, recipients or ["bob@example.org"], MESSAGE)


def http(sink: Sink, method: str, path: str, body: object = None) -> Any:
    request = urllib.request.Request(
        f"http://{HOST}:{sink.ports['http']}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
    )
    with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
        content = answer.read()
        return json.loads(content) if answer.headers["Content-Type"] == "application/json" else content


def greet_and_send(sink: Sink) -> None:
    with client(sink) as smtp:
        smtp.ehlo_or_helo_if_needed()
        send(smtp)


def code_of(error: pytest.ExceptionInfo[smtplib.SMTPResponseException]) -> int:
    return error.value.smtp_code


def test_a_message_is_shown_with_envelope_headers_and_exact_bytes(start: StartSink) -> None:
    sink = start()

    with client(sink) as smtp:
        smtp.sendmail("alice@example.com", ["bob@example.org", "eve@example.org"], MESSAGE, ["BODY=8BITMIME"])

    [shown] = http(sink, "GET", "/messages")
    assert shown["mail_from"] == "alice@example.com"
    assert shown["rcpt_tos"] == ["bob@example.org", "eve@example.org"]
    assert shown["mail_options"] == [f"SIZE={len(MESSAGE)}", "BODY=8BITMIME"]
    assert shown["helo"] == "relay.example"
    assert shown["peer"] == HOST
    assert shown["tls"] is None
    assert shown["user"] is None
    assert shown["headers"] == [["Subject", "hello"], ["X-Folded", "one\r\n two"]]
    assert http(sink, "GET", f"/messages/{shown['id']}/raw") == MESSAGE


def test_messages_are_found_by_recipient_and_by_sender(start: StartSink) -> None:
    sink = start()
    with client(sink) as smtp:
        send(smtp, "bob@example.org")
        send(smtp, "eve@example.org", sender="")

    assert [found["id"] for found in http(sink, "GET", "/messages?to=bob@example.org")] == [1]
    assert [found["mail_from"] for found in http(sink, "GET", "/messages?from=")] == [""]
    assert http(sink, "GET", "/messages?to=nobody@example.org") == []


def test_whoever_waits_for_a_message_is_answered_when_it_comes(start: StartSink) -> None:
    sink = start(delay={"message": 0.05})
    with client(sink) as smtp:
        send(smtp)

    assert len(http(sink, "GET", f"/messages?count=1&wait={DEADLINE}")) == 1
    assert sink.store.wait_for(lambda: sink.store.messages(to="nobody@example.org"), 0.01) == []


def test_a_reset_forgets_messages_and_never_reuses_their_numbers(start: StartSink) -> None:
    sink = start()
    with client(sink) as smtp:
        send(smtp)
    sink.store.wait_for(lambda: sink.store.sessions()[0].ended, DEADLINE)

    http(sink, "DELETE", "/messages")

    assert http(sink, "GET", "/messages") == http(sink, "GET", "/sessions") == []
    with client(sink) as smtp:
        send(smtp)
    assert [found["id"] for found in http(sink, "GET", "/messages")] == [2]


def test_a_demand_for_tls_is_met_by_starttls_only(start: StartSink, trust: ssl.SSLContext) -> None:
    sink = start(require_tls=True)

    with client(sink) as smtp:
        with pytest.raises(smtplib.SMTPSenderRefused) as refused:
            send(smtp)
        assert code_of(refused) == 530
        smtp.starttls(context=trust)
        send(smtp)

    [message] = sink.store.messages()
    assert message.tls == "TLSv1.3"
    [session] = sink.store.sessions()
    assert [
        (seen.command, seen.tls) for seen in session.commands if seen.command in ("STARTTLS", "DATA")
    ] == [
        ("STARTTLS", None),
        ("DATA", "TLSv1.3"),
    ]


def test_the_implicit_tls_port_is_encrypted_from_the_first_byte(
    start: StartSink, trust: ssl.SSLContext
) -> None:
    sink = start(require_tls=True, require_auth=True)

    with smtplib.SMTP_SSL(HOST, sink.ports["smtps"], context=trust, timeout=DEADLINE) as smtp:
        smtp.login("bob", "secret")
        send(smtp)
        assert not smtp.has_extn("starttls")

    [message] = sink.store.messages()
    assert (message.listener, message.tls, message.user) == ("smtps", "TLSv1.3", "bob")


def test_a_client_that_distrusts_the_certificate_is_seen_to_give_up(start: StartSink) -> None:
    sink = start(auth="always")
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    with client(sink) as smtp:
        with pytest.raises(ssl.SSLCertVerificationError):
            smtp.starttls(context=stranger)
        smtp.close()

    sink.store.wait_for(lambda: sink.store.sessions()[0].ended, DEADLINE)
    [session] = sink.store.sessions()
    assert session.ended is not None
    assert [seen.command for seen in session.commands] == ["EHLO", "STARTTLS"]
    with client(sink) as smtp:
        send(smtp)
    assert len(sink.store.messages()) == 1


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize(
    "password",
    ['it\'s "quoted" # : $x {{ \\ ', "пароль-ü-密码", "x" * 1000, "ü" * 500],
    ids=["punctuation", "other scripts", "1,000 characters", "1,000 bytes of UTF-8"],
)
def test_any_password_is_compared_and_recorded_exactly(
    start: StartSink, trust: ssl.SSLContext, mechanism: str, password: str
) -> None:
    sink = start(require_auth=True, user="bob smith", password=password, mechanisms=[mechanism])

    with client(sink) as smtp:
        smtp.starttls(context=trust)
        log_in(smtp, mechanism, "bob smith", password[:-1])
        log_in(smtp, mechanism, "bob smith", password)
        send(smtp)

    [session] = sink.store.sessions()
    assert [(seen.mechanism, seen.login, seen.password, seen.accepted) for seen in session.auth] == [
        (mechanism, "bob smith", password[:-1], False),
        (mechanism, "bob smith", password, True),
    ]
    assert sink.store.messages()[0].user == "bob smith"


def log_in(smtp: smtplib.SMTP, mechanism: str, user: str, password: str) -> int:
    """Like `SMTP.login`, which cannot send what is not ASCII."""
    smtp.ehlo_or_helo_if_needed()
    if mechanism == "PLAIN":
        return smtp.docmd("AUTH", "PLAIN " + encoded(f"\0{user}\0{password}"))[0]
    assert smtp.docmd("AUTH", "LOGIN")[0] == 334
    assert smtp.docmd(encoded(user))[0] == 334
    return smtp.docmd(encoded(password))[0]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_mail_is_refused_until_the_client_has_logged_in(start: StartSink) -> None:
    sink = start(require_auth=True)

    with client(sink) as smtp, pytest.raises(smtplib.SMTPSenderRefused) as refused:
        send(smtp)

    assert code_of(refused) == 530
    assert sink.store.sessions()[0].auth == []


def test_auth_is_offered_in_clear_only_when_told_so(start: StartSink) -> None:
    sink = start()

    with client(sink) as smtp:
        smtp.ehlo()
        assert not smtp.has_extn("auth")
        sink.change({"auth": "always"})
        smtp.ehlo()
        assert smtp.esmtp_features["auth"].split() == ["LOGIN", "PLAIN"]
        smtp.login("bob", "secret")
        send(smtp)

    [message] = sink.store.messages()
    assert (message.user, message.tls) == ("bob", None)


def test_a_refused_login_in_clear_still_shows_what_was_leaked(start: StartSink) -> None:
    sink = start(user="bob")

    with client(sink) as smtp:
        assert log_in(smtp, "PLAIN", "bob", "secret") == 538

    [session] = sink.store.sessions()
    [attempt] = session.auth
    assert (attempt.login, attempt.password, attempt.accepted) == ("bob", "secret", False)
    assert "AUTH" in [seen.command for seen in session.commands]


def test_stripped_starttls_is_neither_offered_nor_accepted_and_the_attempt_is_seen(start: StartSink) -> None:
    sink = start(starttls=False)

    with client(sink) as smtp:
        smtp.ehlo()
        assert not smtp.has_extn("starttls")
        assert smtp.docmd("STARTTLS")[0] == 502

    tried = [seen for seen in sink.store.sessions()[0].commands if seen.command == "STARTTLS"]
    assert [seen.reply for seen in tried] == ["502 5.5.1 STARTTLS not available"]


@pytest.mark.parametrize("stage", ["connect", "ehlo", "mail", "rcpt", "data", "message"])
def test_each_stage_is_refused_with_the_chosen_code_and_text(start: StartSink, stage: str) -> None:
    sink = start(replies={stage: "451 4.7.1 come back later"})

    with pytest.raises((smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused)) as refused:
        greet_and_send(sink)

    assert "451" in str(refused.value)
    assert "come back later" in str(refused.value)
    assert sink.store.messages() == []


def test_one_recipient_of_several_is_refused(start: StartSink) -> None:
    sink = start(recipients={"eve@example.org": "550 5.1.1 no such user"})

    with client(sink) as smtp:
        refused = smtp.sendmail("alice@example.com", ["bob@example.org", "eve@example.org"], MESSAGE)

    assert refused == {"eve@example.org": (550, b"5.1.1 no such user")}
    assert sink.store.messages()[0].rcpt_tos == ["bob@example.org"]


@pytest.mark.parametrize("recorded", [True, False])
def test_the_line_is_cut_after_the_message_which_counts_as_received_or_not(
    start: StartSink, recorded: bool
) -> None:
    sink = start(drop=["message"], record_dropped=recorded)

    with client(sink) as smtp, pytest.raises((smtplib.SMTPServerDisconnected, ConnectionResetError)):
        send(smtp)

    assert len(sink.store.messages()) == int(recorded)


def test_a_message_that_hangs_is_received_once_it_is_released(start: StartSink) -> None:
    sink = start(hang=["message"])
    with client(sink) as smtp:
        smtp.ehlo()
        smtp.mail("alice@example.com")
        smtp.rcpt("bob@example.org")
        smtp.docmd("DATA")
        smtp.send(MESSAGE + b".\r\n")
        sink.store.wait_for(lambda: sink.store.sessions()[0].hanging == "message", DEADLINE)
        assert http(sink, "GET", "/sessions")[0]["hanging"] == "message"
        assert sink.store.messages() == []

        http(sink, "PUT", "/behaviour", {"hang": []})

        assert smtp.getreply()[0] == 250
    assert len(sink.store.messages()) == 1


def test_no_greeting_comes_until_the_connection_is_released(start: StartSink) -> None:
    sink = start(hang=["connect"])

    with socket.create_connection((HOST, sink.ports["smtp"]), DEADLINE) as line:
        assert sink.store.wait_for(lambda: [each.hanging for each in sink.store.sessions()], DEADLINE)
        line.settimeout(0.05)
        with pytest.raises(TimeoutError):
            line.recv(1)
        sink.change({"hang": []})
        line.settimeout(DEADLINE)
        assert line.recv(3) == b"220"


def test_every_command_is_seen_whether_known_or_not(start: StartSink) -> None:
    sink = start()

    with client(sink) as smtp:
        smtp.docmd("XUNKNOWN", "one two")
        smtp.docmd("AUTH")
        smtp.docmd("X" * 70000)

    [session] = sink.store.sessions()
    assert [(seen.command, seen.argument) for seen in session.commands] == [
        ("XUNKNOWN", "one two"),
        ("AUTH", None),
        (None, None),
        ("QUIT", None),
    ]
    assert len(session.auth) == 1


def test_a_behaviour_that_does_not_exist_is_refused_and_changes_nothing(start: StartSink) -> None:
    sink = start()

    with pytest.raises(urllib.error.HTTPError) as refused:
        http(sink, "PUT", "/behaviour", {"require_auth": True, "strip": 1, "replies": {"mail": "abc"}})

    with refused.value as answer:
        assert answer.code == 400
        error = json.load(answer)["error"]
    assert "strip: no such behaviour" in error
    assert "replies: must be an object of stage" in error
    assert http(sink, "GET", "/behaviour")["require_auth"] is False


def test_the_behaviour_of_the_start_can_be_restored(start: StartSink) -> None:
    sink = start(require_auth=True)
    http(sink, "PUT", "/behaviour", {"require_auth": False, "drop": ["rcpt"]})

    restored = http(sink, "DELETE", "/behaviour")

    assert (restored["require_auth"], restored["drop"]) == (True, [])
    assert http(sink, "GET", "/health")["status"] == "ok"
