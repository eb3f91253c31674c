"""Backends that ask a server: what needs no real one, and what no real one does when asked. All else is in
tests/image/test_logins_remote.py.
"""

from __future__ import annotations

import base64
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from entrypoint.logins import comparison as comparison_module
from entrypoint.logins.backends import RefusedError, UnavailableError, imap
from entrypoint.logins.backends.sql.database import Server
from entrypoint.logins.backends.sql.query import placed
from entrypoint.logins.comparison import Comparison
from entrypoint.logins.libcrypt import hashed

LOGIN, PASSWORD = "john@example.com", 'päss "w\\rd {1}\r\nx'
PLAIN = base64.b64encode(f"\0{LOGIN}\0{PASSWORD}".encode())


class Talk:
    """The server's side of one IMAP connection."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        self.connection = connection
        self._context = context
        self._lines = connection.makefile("rb")
        self.heard: list[bytes] = []

    def say(self, *lines: str) -> None:
        self.connection.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def hear(self) -> str:
        """The next line; "" at the end."""
        self.heard.append(line := self._lines.readline())
        return line.decode().rstrip("\r\n")

    def read(self, length: int) -> bytes:
        self.heard.append(data := self._lines.read(length))
        return data

    def start_tls(self) -> None:
        self.connection = self._context.wrap_socket(self.connection, server_side=True)
        self._lines = self.connection.makefile("rb")

    def until_tls(self, greeting: str = "* OK ready") -> None:
        self.say(greeting)
        assert self.hear().endswith(" STARTTLS")
        self.say("a1 OK go on")
        self.start_tls()

    def until_login(self, capabilities: str = "IMAP4rev1 AUTH=PLAIN") -> str:
        """The client's login command."""
        self.until_tls()
        assert self.hear() == "a2 CAPABILITY"
        self.say(f"* CAPABILITY {capabilities}", "a2 OK done")
        return self.hear()


Script = Callable[[Talk], object]


class ImapServer:
    """Its scripts run in a thread; the one connection's `talk` is there once it has ended."""

    def __init__(self, ca: trustme.CA, directory: Path) -> None:
        self.ca_file = directory / "ca.pem"
        ca.cert_pem.write_to_path(self.ca_file)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("localhost").configure_cert(self._context)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread: threading.Thread | None = None
        self.heard: list[bytes] = []

    def backend(self, script: Script) -> imap.Backend:
        """One whose server acts by the script."""
        self._thread = threading.Thread(target=self._serve, args=(script,))
        self._thread.start()
        port = self._listener.getsockname()[1]
        return imap.Backend({"host": "localhost", "port": port, "ca_file": str(self.ca_file)})

    def close(self) -> None:
        if self._thread:
            self._thread.join()
        self._listener.close()

    def _serve(self, script: Script) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(5)
        talk = Talk(connection, self._context)
        try:
            script(talk)
            # What the client says when it has heard enough.
            while talk.hear():
                pass
        except OSError:
            pass
        finally:
            talk.connection.close()
            talk._lines.close()
            self.heard = talk.heard


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server(ca: trustme.CA, tmp_path: Path) -> Iterator[ImapServer]:
    made = ImapServer(ca, tmp_path)
    yield made
    made.close()


def answering(*replies: str) -> Script:
    """Takes PLAIN, and then says this."""

    def script(talk: Talk) -> None:
        talk.until_login()
        talk.say("+ ")
        talk.hear()
        talk.say(*replies)

    return script


class TestImap:
    def test_plain_takes_any_password(self, server: ImapServer) -> None:
        server.backend(answering("a3 OK welcome")).check(LOGIN, PASSWORD)
        server.close()
        assert server.heard[2:] == [b"a3 AUTHENTICATE PLAIN\r\n", PLAIN + b"\r\n", b"z LOGOUT\r\n", b""]

    def test_login_takes_any_password_too(self, server: ImapServer) -> None:
        login, password = LOGIN.encode(), PASSWORD.encode()

        def script(talk: Talk) -> None:
            assert talk.until_login("IMAP4rev1") == f"a3 LOGIN {{{len(login)}}}"
            talk.say("+ go on")
            talk.read(len(login))
            talk.hear()
            talk.say("+ go on")
            talk.read(len(password))
            talk.say("a3 OK welcome")

        server.backend(script).check(LOGIN, PASSWORD)
        server.close()
        assert server.heard[3:6] == [login, b" {%d}\r\n" % len(password), password]

    @pytest.mark.parametrize(
        "reply",
        [
            "NO [AUTHENTICATIONFAILED] no",
            "NO no",
            "NO",
            "NO [EXPIRED] old",
            "no [AuthorizationFailed] no",
            "BAD eh?",
        ],
    )
    def test_a_no_is_a_no(self, server: ImapServer, reply: str) -> None:
        with pytest.raises(RefusedError):
            server.backend(answering(f"a3 {reply}")).check(LOGIN, PASSWORD)

    @pytest.mark.parametrize(
        ("replies", "reason"),
        [
            (["a3 NO [UNAVAILABLE] later"], r"answers a login with NO \[UNAVAILABLE\]"),
            (["a3 NO [LIMIT] later"], r"NO \[LIMIT\]"),
            (["* BYE down for maintenance", "a3 NO"], "ends the session"),
            (["* OK wait", "a3 WHAT"], "answers a login with WHAT"),
            ([], "closed the connection|no answer"),
        ],
        ids=["unavailable", "limit", "bye", "nonsense", "silence"],
    )
    def test_anything_else_is_neither_a_yes_nor_a_no(
        self, server: ImapServer, monkeypatch: pytest.MonkeyPatch, replies: list[str], reason: str
    ) -> None:
        monkeypatch.setattr(imap, "PATIENCE", 1.0)
        with pytest.raises(UnavailableError, match=reason) as raised:
            server.backend(answering(*replies)).check(LOGIN, PASSWORD)
        assert str(raised.value).startswith("IMAP server localhost:")

    def test_a_server_that_repeats_what_it_was_sent_does_not_bring_it_into_the_log(
        self, server: ImapServer
    ) -> None:
        script = answering(f"* BYE cannot understand {PLAIN.decode()}", "a3 NO")
        with pytest.raises(UnavailableError) as raised:
            server.backend(script).check(LOGIN, PASSWORD)
        assert PLAIN.decode() not in str(raised.value)

    @pytest.mark.parametrize(
        ("greeting", "starttls", "reason"),
        [
            ("* PREAUTH hello root", "a1 OK", "does not greet a client that has to log in"),
            ("* BYE full", "", "does not greet"),
            ("220 mail.example.com ESMTP", "", "does not greet"),
            ("* OK ready", "a1 BAD unknown command", "refuses STARTTLS: in clear no password is sent"),
            ("* OK ready", "a1 NO not now", "refuses STARTTLS"),
        ],
        ids=["preauth", "bye", "smtp", "no_starttls", "starttls_later"],
    )
    def test_without_tls_nothing_is_given_away(
        self, server: ImapServer, greeting: str, starttls: str, reason: str
    ) -> None:
        def script(talk: Talk) -> None:
            talk.say(greeting)
            if starttls and talk.hear():
                talk.say(starttls)

        with pytest.raises(UnavailableError, match=reason):
            server.backend(script).check(LOGIN, PASSWORD)
        server.close()
        assert {line.split()[1] for line in server.heard if line} <= {b"STARTTLS", b"LOGOUT"}

    def test_what_came_in_clear_does_not_count_in_tls(self, server: ImapServer) -> None:
        """Somebody in between, who cannot speak inside TLS, must not be able to answer for the server."""

        def script(talk: Talk) -> None:
            talk.say("* OK ready")
            talk.hear()
            talk.say("a1 OK go on", "* CAPABILITY IMAP4rev1", "a2 OK done", "+ ", "a3 OK welcome")
            talk.start_tls()
            assert talk.hear() == "a2 CAPABILITY"
            talk.say("* CAPABILITY IMAP4rev1 AUTH=PLAIN", "a2 OK done")
            talk.hear()
            talk.say("a3 NO no")

        with pytest.raises(RefusedError):
            server.backend(script).check(LOGIN, PASSWORD)

    def test_a_server_that_lets_nobody_log_in_is_not_asked(self, server: ImapServer) -> None:
        script = lambda talk: talk.until_login("IMAP4rev1 LOGINDISABLED AUTH=GSSAPI")  # noqa: E731
        with pytest.raises(UnavailableError, match="offers neither AUTH=PLAIN nor LOGIN"):
            server.backend(script).check(LOGIN, PASSWORD)

    def test_a_server_that_answers_a_failure_late_is_waited_for(self, server: ImapServer) -> None:
        def script(talk: Talk) -> None:
            talk.until_login()
            talk.say("+ ")
            talk.hear()
            # Dovecot's auth_failure_delay is two seconds. Readable means that the client has gone.
            gone, _, _ = select.select([talk.connection], [], [], 2.0)
            if gone:
                return
            talk.say("a3 NO [AUTHENTICATIONFAILED] no")

        with pytest.raises(RefusedError):
            server.backend(script).check(LOGIN, PASSWORD)

    def test_a_server_that_goes_on_talking_is_not_listened_to_for_ever(
        self, server: ImapServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each line comes in time: it is the whole that must not take longer than Postfix waits."""
        monkeypatch.setattr(imap, "PATIENCE", 1.0)
        ended = threading.Event()

        def script(talk: Talk) -> None:
            talk.until_login()
            while not ended.wait(0.1):
                talk.say("* OK still thinking")

        began = time.monotonic()
        with pytest.raises(UnavailableError, match="no answer"):
            server.backend(script).check(LOGIN, PASSWORD)
        ended.set()
        assert time.monotonic() - began < 1.0

    @pytest.mark.parametrize(
        ("login", "password"),
        [(LOGIN, ""), (f"{LOGIN}\0{LOGIN}", "x"), (LOGIN, "x\0y"), ("x" * 1025, "x"), (LOGIN, "x" * 1025)],
        ids=["empty", "nul", "nul_in_password", "long", "long_password"],
    )
    def test_what_cannot_be_a_login_is_nobodys(self, login: str, password: str) -> None:
        """Without a connection: there is no server here."""
        backend = imap.Backend({"host": "nowhere.invalid", "port": 993, "ca_file": None})
        with pytest.raises(RefusedError):
            backend.check(login, password)


class TestQueries:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("SELECT p FROM t WHERE l = %u", "SELECT p FROM t WHERE l = %(u)s"),
            ("SELECT p FROM t WHERE l='%u'", "SELECT p FROM t WHERE l=%(u)s"),
            ("SELECT p FROM t WHERE l IN (%u,lower(%u))", "SELECT p FROM t WHERE l IN (%(u)s,lower(%(u)s))"),
            (
                "SELECT p FROM t WHERE l = %u AND a LIKE '50%' AND 5 % 2 = 1",
                "SELECT p FROM t WHERE l = %(u)s AND a LIKE '50%%' AND 5 %% 2 = 1",
            ),
            ("SELECT `p` FROM \"t\" WHERE n = 'it''s' AND l = %u", None),
        ],
    )
    def test_a_login_is_a_value(self, query: str, expected: str | None) -> None:
        assert placed(query, "u") == (expected or query.replace("%u", "%(u)s"))

    @pytest.mark.parametrize(
        ("query", "reason"),
        [
            ("SELECT p FROM t WHERE l = '%u@example.com'", "inside a longer quoted text: '%u@example.com'"),
            ("SELECT p FROM t WHERE l LIKE '%%u%'", "inside a longer quoted text"),
            ('SELECT p FROM t WHERE l = "%u"', "inside a longer quoted text"),
            ("SELECT p FROM t WHERE `%u` = 1", "inside a longer quoted text"),
            ("SELECT p FROM t WHERE l = ''%u''", "beside a quote, a letter or a digit"),
            ("SELECT p FROM t WHERE l = 'a''%u''b'", "beside a quote"),
            ("SELECT p FROM t WHERE l = E'%u'", "beside a quote, a letter"),
            ("SELECT p FROM t WHERE l = '%(u)s'", "beside a quote, a letter"),
            ("SELECT p FROM t WHERE l = x%u", "beside a quote, a letter"),
            ("SELECT p FROM t WHERE l = 'a\\' || %u || '", r"must not hold \\"),
            ("SELECT p FROM t -- it's\nWHERE l = %u", "must not hold --"),
            ("SELECT p FROM t /* it's */ WHERE l = %u", r"must not hold /\*"),
            ("SELECT p FROM t # it's\nWHERE l = %u", "must not hold #"),
            ("SELECT p FROM t WHERE l = $$%u$$", r"must not hold \$"),
            ("SELECT p FROM t WHERE l = 'x AND m = %u", "must end what it begins with '"),
            ("SELECT p FROM t", "must hold %u"),
        ],
    )
    def test_where_it_could_become_sql_the_query_is_not_asked(self, query: str, reason: str) -> None:
        with pytest.raises(ValueError, match=f"^must .*{reason}|^{reason}"):
            placed(query, "u")

    def test_senders_have_two_placeholders_of_which_one_is_enough(self) -> None:
        assert placed("x IN (%s, %d, '*')", "sd") == "x IN (%(s)s, %(d)s, '*')"
        assert placed("x = %d", "sd") == "x = %(d)s"
        with pytest.raises(ValueError, match="must hold %s or %d"):
            placed("x = %u", "sd")

    @pytest.mark.parametrize("host", ["db.example.com", "192.0.2.1", "2001:db8::1"])
    def test_a_url_is_taken_apart(self, host: str) -> None:
        shown = f"[{host}]" if ":" in host else host
        server = Server(f"postgresql://relay@{shown}:5433/mail", None, None, verified=True)
        assert (server.kind, server.user, server.host) == ("postgresql", "relay", host)
        assert (server.port, server.database, server.password) == (5433, "mail", "")


class TestComparison:
    SETTING = b"$6$rounds=1000$postern.tests$"

    def known(self, password: str = PASSWORD) -> bytes:
        computed = hashed(password.encode(), self.SETTING)
        assert computed
        return computed

    def test_only_the_hashs_password_is_right(self) -> None:
        comparison, known = Comparison(), self.known()
        comparison.check(LOGIN, PASSWORD, known)
        for wrong in ("", PASSWORD + "x", PASSWORD[:-1], PASSWORD.upper()):
            with pytest.raises(RefusedError):
                comparison.check(LOGIN, wrong, known)
        for nothing in (None, b"", b"$6$", b"x", b"*", b"$nonsense$"):
            with pytest.raises(RefusedError):
                comparison.check(LOGIN, PASSWORD, nothing)

    def test_a_changed_password_counts_at_once(self) -> None:
        comparison = Comparison()
        comparison.check(LOGIN, PASSWORD, self.known())
        with pytest.raises(RefusedError):
            comparison.check(LOGIN, PASSWORD, self.known("another"))
        comparison.check(LOGIN, "another", self.known("another"))

    def test_a_login_that_does_not_exist_takes_as_long_as_a_wrong_password(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        comparison, known = Comparison(), self.known()
        comparison.check(LOGIN, PASSWORD, known)
        costs = self.costs(monkeypatch)
        for password, its in (("wrong", known), (PASSWORD, None)):
            with pytest.raises(RefusedError):
                comparison.check(LOGIN, password, its)
        assert costs == [known, known], "the same hash is computed, as often"

    def test_a_program_that_logs_in_for_each_mail_pays_for_the_hash_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        comparison, known = Comparison(), self.known()
        costs = self.costs(monkeypatch)
        for _ in range(4):
            comparison.check(LOGIN, PASSWORD, known)
        assert costs == [known]

    def costs(self, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
        """By which settings hashes were computed: that is the time it takes, and a clock is of no use here."""
        settings: list[bytes] = []

        def counted(password: bytes, setting: bytes) -> bytes | None:
            settings.append(setting)
            return hashed(password, setting)

        monkeypatch.setattr(comparison_module, "hashed", counted)
        return settings
