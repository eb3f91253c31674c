"""The probe against a far side that does what each test says: a wrong diagnosis sends its reader the wrong way."""

from __future__ import annotations

import base64
import datetime as dt
import errno
import hmac
import socket
import ssl
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trustme

from entrypoint.probe import Upstream, probe
from entrypoint.probe.advice import unreachable
from entrypoint.probe.resolve import Target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "pä ss\"'#:$ {{\\\udcff"
_getaddrinfo = socket.getaddrinfo
EHLO = ["smtp.example.com", "PIPELINING", "SIZE 1000"]


class FarSide:
    """An SMTP server of one thread: `replies` by verb, TLS when given a certificate, `heard` is what came in."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.greeting = "220 smtp.example.com ESMTP"
        self.ehlo = [*EHLO]
        self.ehlo_tls = [*EHLO, "AUTH PLAIN LOGIN"]
        self.replies = {"STARTTLS": "220 go", "AUTH": "235 2.7.0 in", "MAIL": "250 ok", "RCPT": "250 ok"}
        self.context: ssl.SSLContext | None = None
        self.implicit = False
        self.heard: list[str] = []
        self.connections = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def offer_tls(self, certificate: trustme.LeafCert, *, implicit: bool = False) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self.context)
        self.implicit = implicit
        self.ehlo = [*EHLO, "STARTTLS"]

    def stop(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join(2)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            connection.settimeout(2)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                with connection:
                    self._talk(connection)
            except OSError:
                continue

    def _talk(self, connection: socket.socket) -> None:
        if self.implicit and self.context:
            with self.context.wrap_socket(connection, server_side=True) as tls:
                self._dialogue(tls, greet=True)
        elif self._dialogue(connection, greet=True) and self.context:
            with self.context.wrap_socket(connection, server_side=True) as tls:
                self._dialogue(tls, greet=False)

    def _dialogue(self, connection: socket.socket, *, greet: bool) -> bool:
        """Answer until the client leaves; True when it is time for TLS."""
        if greet:
            self._send(connection, self.greeting)
        while line := self._line(connection):
            verb = line.split()[0].partition(":")[0].upper()
            if self.replies.get(verb) == "hang up":
                return False
            if verb == "EHLO" and verb not in self.replies:
                lines = self.ehlo_tls if isinstance(connection, ssl.SSLSocket) else self.ehlo
                self._send(connection, *[f"250-{x}" for x in lines[:-1]], f"250 {lines[-1]}")
            else:
                self._send(connection, self.replies.get(verb, self.replies.get(line, "250 ok")))
            if verb == "STARTTLS" and self.replies["STARTTLS"].startswith("220"):
                return True
            if verb == "QUIT":
                return False
        return False

    def _line(self, connection: socket.socket) -> str:
        data = b""
        while not data.endswith(b"\n"):
            more = connection.recv(4096)
            if not more:
                return ""
            data += more
        line = data.decode("utf-8", "surrogateescape").rstrip("\r\n")
        self.heard.append(line)
        return line

    @staticmethod
    def _send(connection: socket.socket, *lines: str) -> None:
        connection.sendall("".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape"))


class Probed:
    """What one probe said and returned."""

    def __init__(self, upstream: Upstream, recipient: str = "b@example.org", patience: float = 5.0) -> None:
        self.lines: list[str] = []
        self.worked = probe(upstream, "a@example.com", recipient, self.lines.append, timeouts=(5.0, patience))
        self.all = "\n".join(self.lines)
        self.last = self.lines[-1]

    def steps(self) -> list[str]:
        return [line[:10].strip() for line in self.lines]

    def about(self, step: str) -> str:
        return next(line for line in self.lines if line.startswith(step))


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture(scope="module")
def ca_file(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture(scope="module")
def leaf(ca: trustme.CA) -> trustme.LeafCert:
    return ca.issue_cert("localhost", "127.0.0.1", "smtp.example.com")


@pytest.fixture
def far() -> Iterator[FarSide]:
    server = FarSide()
    yield server
    server.stop()


@pytest.fixture
def upstream(far: FarSide, monkeypatch: pytest.MonkeyPatch) -> Upstream:
    """Level none, without a login; `localhost` must not mean ::1, where another program might listen."""
    _names(monkeypatch, localhost=["127.0.0.1"])
    return Upstream("localhost", far.port, False, False, "none", None, None, None, "relay.example.com")


def _names(monkeypatch: pytest.MonkeyPatch, **table: list[str]) -> None:
    """Resolve these names to these addresses and no others."""

    def lookup(host: str, port: int, *, type: int = 0, flags: int = 0) -> list[tuple[object, ...]]:  # noqa: A002
        if flags:
            return list(_getaddrinfo(host, port, type=type, flags=flags))
        addresses = table.get(host, [host] if host[0].isdigit() else None)
        if addresses is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [entry for address in addresses for entry in _getaddrinfo(address, port, type=type)]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)


def with_login(upstream: Upstream, ca_file: str, level: str = "secure") -> Upstream:
    return replace(upstream, tls_level=level, ca_file=ca_file, username="üser", password=PASSWORD)


def test_every_step_is_said_in_order_and_no_mail_is_sent(far: FarSide, upstream: Upstream) -> None:
    probed = Probed(upstream)
    assert probed.worked
    assert probed.steps() == [
        "resolve",
        "connect",
        "greeting",
        "EHLO",
        "STARTTLS",
        "MAIL FROM",
        "RCPT TO",
        "OK",
    ]
    assert far.heard == [
        "EHLO relay.example.com",
        "MAIL FROM:<a@example.com>",
        "RCPT TO:<b@example.org>",
        "RSET",
        "QUIT",
    ]
    assert "localhost -> 127.0.0.1 (" in probed.lines[0]
    assert "250 smtp.example.com / PIPELINING / SIZE 1000 (" in probed.about("EHLO")


def test_a_verified_certificate_is_shown_with_names_and_expiry(
    far: FarSide, upstream: Upstream, leaf: trustme.LeafCert, ca_file: str
) -> None:
    far.offer_tls(leaf)
    probed = Probed(with_login(upstream, ca_file))
    assert probed.worked, probed.all
    agreed = probed.lines[probed.steps().index("STARTTLS") + 1]
    assert (
        "TLSv1.3, certificate for localhost, 127.0.0.1, smtp.example.com, expires 3000-01-01 (in " in agreed
    )
    assert ", verified (" in agreed


@pytest.mark.parametrize("level", ["may", "encrypt", "dane"])
def test_a_level_that_does_not_verify_still_shows_the_certificate(
    far: FarSide, upstream: Upstream, level: str, leaf: trustme.LeafCert
) -> None:
    far.offer_tls(leaf)
    probed = Probed(replace(upstream, tls_level=level))
    assert probed.worked, probed.all
    assert "certificate for localhost, " in probed.all
    assert "expires 3000-01-01 (in 35" in probed.all
    assert f"not verified (level {level})" in probed.all
    assert ("TLSA and DNSSEC are not checked here" in probed.all) == (level == "dane")


def test_implicit_tls_works_from_the_first_byte(
    far: FarSide, upstream: Upstream, leaf: trustme.LeafCert, ca_file: str
) -> None:
    far.offer_tls(leaf, implicit=True)
    probed = Probed(replace(with_login(upstream, ca_file, "verify"), implicit_tls=True))
    assert probed.worked, probed.all
    assert probed.steps()[1:4] == ["connect", "TLS", "greeting"]


@pytest.mark.parametrize("mechanisms", ["PLAIN LOGIN", "LOGIN"])
def test_the_password_arrives_byte_for_byte_and_is_never_said(
    far: FarSide, upstream: Upstream, leaf: trustme.LeafCert, ca_file: str, mechanisms: str
) -> None:
    far.offer_tls(leaf)
    far.ehlo_tls[-1] = f"AUTH {mechanisms}"
    name, secret = "üser".encode(), PASSWORD.encode("utf-8", "surrogateescape")
    if mechanisms == "LOGIN":
        far.replies |= {"AUTH": "334 VXNlcm5hbWU6", base64.b64encode(name).decode(): "334 UGFzc3dvcmQ6"}
        far.replies[base64.b64encode(secret).decode()] = f"235 welcome {PASSWORD}"
        expected = base64.b64encode(secret).decode()
    else:
        far.replies["AUTH"] = f"235 welcome {PASSWORD}"
        expected = "AUTH PLAIN " + base64.b64encode(b"\0" + name + b"\0" + secret).decode()
    probed = Probed(with_login(upstream, ca_file))
    assert probed.worked, probed.all
    assert expected in far.heard
    assert "as üser: 235 welcome [secret]" in probed.about("AUTH")


def test_a_long_password_is_sent_after_the_command(
    far: FarSide, upstream: Upstream, leaf: trustme.LeafCert, ca_file: str
) -> None:
    far.offer_tls(leaf)
    blob = base64.b64encode(b"\0u\0" + b"x" * 1000).decode()
    far.replies |= {"AUTH": "334 ", blob: "235 in"}
    probed = Probed(replace(with_login(upstream, ca_file), username="u", password="x" * 1000))
    assert probed.worked, probed.all
    assert "AUTH PLAIN" in far.heard


def test_cram_md5_is_preferred_as_postfix_prefers_it(
    far: FarSide, upstream: Upstream, leaf: trustme.LeafCert, ca_file: str
) -> None:
    far.offer_tls(leaf)
    far.ehlo_tls[-1] = "AUTH PLAIN LOGIN CRAM-MD5"
    digest = hmac.new(b"secret", b"<1@x>", "md5").hexdigest()
    response = base64.b64encode(f"u {digest}".encode()).decode()
    far.replies |= {"AUTH": "334 " + base64.b64encode(b"<1@x>").decode(), response: "235 in"}
    probed = Probed(replace(with_login(upstream, ca_file), username="u", password="secret"))
    assert probed.worked, probed.all
    assert response in far.heard


@pytest.mark.parametrize("password", ["ESMTP", "250", "AUTH"])
def test_a_password_that_is_a_common_word_is_not_given_away_by_a_gap(
    far: FarSide, upstream: Upstream, leaf: trustme.LeafCert, ca_file: str, password: str
) -> None:
    far.offer_tls(leaf)
    probed = Probed(replace(with_login(upstream, ca_file), password=password))
    assert probed.worked, probed.all
    assert "220 smtp.example.com ESMTP" in probed.about("greeting")


@pytest.mark.parametrize("level", ["none", "may", "dane"])
def test_no_password_goes_out_without_tls(far: FarSide, upstream: Upstream, level: str, ca_file: str) -> None:
    far.ehlo.append("AUTH PLAIN LOGIN")
    probed = Probed(with_login(upstream, ca_file, level))
    assert not probed.worked
    assert probed.last.startswith("FAILED     AUTH: the connection has no TLS")
    assert "RELAYHOST_TLS_LEVEL=secure" in probed.last
    assert not [line for line in far.heard if line.startswith("AUTH")]


@pytest.mark.parametrize("level", ["encrypt", "verify", "secure"])
def test_missing_starttls_ends_the_probe_at_a_mandatory_level(
    far: FarSide, upstream: Upstream, level: str
) -> None:
    probed = Probed(replace(upstream, tls_level=level))
    assert not probed.worked
    assert (
        f"STARTTLS: the upstream does not offer STARTTLS, and RELAYHOST_TLS_LEVEL={level} demands it"
        in probed.last
    )
    assert "RELAYHOST (587 STARTTLS, 465 TLS)" in probed.last
    assert len(far.heard) == 1


def test_a_wrong_name_is_told_with_the_names_there_are(
    far: FarSide, upstream: Upstream, ca: trustme.CA, ca_file: str
) -> None:
    far.offer_tls(ca.issue_cert("smtp.example.com", "mx.example.com"))
    probed = Probed(with_login(upstream, ca_file))
    assert "the certificate is for smtp.example.com, mx.example.com, not for localhost" in probed.last
    assert "write in RELAYHOST a name that it has" in probed.last
    assert not [line for line in far.heard if line.startswith("AUTH")]


def test_an_address_at_level_secure_is_told_that_only_names_count(
    far: FarSide, upstream: Upstream, leaf: trustme.LeafCert, ca_file: str
) -> None:
    far.offer_tls(leaf)
    literal = replace(with_login(upstream, ca_file), host="127.0.0.1")
    assert "level secure compares names, never addresses: write a name in RELAYHOST" in Probed(literal).last
    assert Probed(replace(literal, tls_level="verify")).worked


def test_an_unknown_ca_asks_for_relayhost_ca_file(far: FarSide, upstream: Upstream, ca_file: str) -> None:
    far.offer_tls(trustme.CA(organization_name="Other CA").issue_cert("localhost"))
    probed = Probed(with_login(upstream, ca_file))
    assert (
        f"STARTTLS: the certificate for localhost comes from a CA (issuer: Other CA) that is not in {ca_file}"
        in probed.last
    )
    assert "root CA in RELAYHOST_CA_FILE" in probed.last


def test_an_expired_certificate_is_told_with_its_date(
    far: FarSide, upstream: Upstream, ca: trustme.CA, ca_file: str
) -> None:
    when = dt.datetime(2021, 1, 2, tzinfo=dt.UTC)
    far.offer_tls(ca.issue_cert("localhost", not_before=when.replace(year=2020), not_after=when))
    probed = Probed(with_login(upstream, ca_file))
    assert (
        "the certificate for localhost or one of its issuers has expired; it expired 2021-01-02"
        in probed.last
    )
    assert "the upstream must renew it; if it has, check this machine's clock" in probed.last


def test_a_self_signed_certificate_is_told_apart_from_an_unknown_ca(
    far: FarSide, upstream: Upstream, ca_file: str, tmp_path: Path
) -> None:
    own = trustme.CA(organization_name="Own")
    pem = tmp_path / "own.pem"
    own.private_key_pem.write_to_path(pem)
    own.cert_pem.write_to_path(pem, append=True)
    far.ehlo.append("STARTTLS")
    far.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    far.context.load_cert_chain(pem)
    probed = Probed(with_login(upstream, ca_file))
    assert f"is self-signed and not in {ca_file}" in probed.last
    assert "save it as PEM and name that file in RELAYHOST_CA_FILE" in probed.last


def test_a_failed_handshake_goes_on_in_clear_only_at_level_may_without_a_login(
    far: FarSide, upstream: Upstream, ca_file: str
) -> None:
    far.ehlo.append("STARTTLS")  # and then no TLS: it hangs up
    probed = Probed(replace(upstream, tls_level="may"))
    assert probed.worked, probed.all
    assert "Postfix sends in clear once a mail has waited minimal_backoff_time" in probed.about(
        "STARTTLS   the"
    )
    for demanding in (replace(upstream, tls_level="encrypt"), with_login(upstream, ca_file, "may")):
        refused = Probed(demanding)
        assert not refused.worked
        assert refused.last.startswith("FAILED     STARTTLS: the TLS handshake failed: ")


def test_tls_to_a_port_that_begins_in_clear_names_the_port_to_use(far: FarSide, upstream: Upstream) -> None:
    probed = Probed(replace(upstream, implicit_tls=True, tls_level="encrypt"))
    assert probed.last.startswith("FAILED     TLS: the TLS handshake failed: ")
    assert "put :587 into RELAYHOST" in probed.last


def test_old_tls_is_refused_at_a_mandatory_level(
    far: FarSide, upstream: Upstream, leaf: trustme.LeafCert
) -> None:
    far.offer_tls(leaf)
    assert far.context
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        far.context.minimum_version = far.context.maximum_version = ssl.TLSVersion.TLSv1_1
    far.context.set_ciphers("ALL:@SECLEVEL=0")
    probed = Probed(replace(upstream, tls_level="encrypt"))
    assert "too old for TLS 1.2" in probed.last


@pytest.mark.parametrize(
    ("verb", "reply", "expected"),
    [
        ("MAIL", "530 5.7.0 Must issue a STARTTLS command first", "set RELAYHOST_TLS_LEVEL=secure"),
        (
            "MAIL",
            "530 5.7.0 Authentication required",
            "wants a login: set RELAYHOST_USERNAME and RELAYHOST_PASSWORD",
        ),
        (
            "MAIL",
            "553 5.7.1 not yours",
            "MAIL FROM: the upstream said: 553 5.7.1 not yours: the upstream must allow this",
        ),
        ("RCPT", "554 5.7.1 Relay access denied", "if it says relaying is denied, set RELAYHOST_USERNAME"),
        (
            "RCPT",
            "450 4.2.0 Greylisted",
            "RCPT TO: the upstream said: 450 4.2.0 Greylisted: a temporary refusal",
        ),
    ],
)
def test_a_refused_envelope_names_the_setting(
    far: FarSide, upstream: Upstream, verb: str, reply: str, expected: str
) -> None:
    far.replies[verb] = reply
    probed = Probed(upstream)
    assert not probed.worked
    assert expected in probed.last


def test_a_refused_login_names_both_settings_and_is_tried_once(
    far: FarSide, upstream: Upstream, leaf: trustme.LeafCert, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    far.offer_tls(leaf)
    far.replies["AUTH"] = "535 5.7.8 no"
    _names(monkeypatch, localhost=["127.0.0.1", "127.0.0.2"])
    probed = Probed(with_login(upstream, ca_file))
    assert (
        "AUTH: the upstream said: 535 5.7.8 no: check RELAYHOST_USERNAME and RELAYHOST_PASSWORD"
        in probed.last
    )
    assert len([line for line in far.heard if line.startswith("AUTH")]) == 1


def test_a_server_without_a_usable_mechanism_is_told_with_what_it_has(
    far: FarSide, upstream: Upstream, leaf: trustme.LeafCert, ca_file: str
) -> None:
    far.offer_tls(leaf)
    far.ehlo_tls[-1] = "AUTH XOAUTH2 NTLM"
    assert (
        "AUTH: the upstream offers only these mechanisms: XOAUTH2 NTLM"
        in Probed(with_login(upstream, ca_file)).last
    )


def test_a_mechanism_that_only_postfix_speaks_is_told(
    far: FarSide, upstream: Upstream, leaf: trustme.LeafCert, ca_file: str
) -> None:
    far.offer_tls(leaf)
    far.ehlo_tls[-1] = "AUTH SCRAM-SHA-256 SCRAM-SHA-1"
    assert "Postfix speaks SCRAM-SHA-256 and the probe does not" in Probed(with_login(upstream, ca_file)).last
    far.ehlo_tls[-1] = "AUTH SCRAM-SHA-256 PLAIN"
    assert (
        "PLAIN (Postfix picks SCRAM-SHA-256, which is not tried here)"
        in Probed(with_login(upstream, ca_file)).all
    )


def test_a_server_without_auth_is_used_without_a_login(
    far: FarSide, upstream: Upstream, leaf: trustme.LeafCert, ca_file: str
) -> None:
    far.offer_tls(leaf)
    far.ehlo_tls.pop()
    probed = Probed(with_login(upstream, ca_file))
    assert probed.worked, probed.all
    assert "not offered, so Postfix goes on without logging in as üser" in probed.about("AUTH")


@pytest.mark.parametrize(
    ("greeting", "expected"),
    [
        (
            "554 5.7.1 go away",
            "greeting: the upstream said: 554 5.7.1 go away: the upstream does not talk to this host",
        ),
        (
            "SSH-2.0-OpenSSH",
            "greeting: the far side does not speak SMTP, it sent: SSH-2.0-OpenSSH: if that port begins",
        ),
        ("220-slow", "greeting: no reply in 0.1 s: if that port begins with TLS, use port 465 in RELAYHOST"),
        ("220-" + "x" * 70000, "longer than 65536 bytes"),
        ("554 \x1b[2J\u202e\r\x07", "the upstream said: 554 ?[2J???: "),
    ],
)
def test_a_bad_greeting_is_told_safely(
    far: FarSide, upstream: Upstream, greeting: str, expected: str
) -> None:
    far.greeting = greeting
    probed = Probed(upstream, patience=0.1 if greeting == "220-slow" else 5.0)
    assert expected in probed.last
    assert all(line.isprintable() for line in probed.lines)


def test_a_port_where_nothing_listens_is_told(upstream: Upstream) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    expected = f"connect: 127.0.0.1:{port}: connection refused: nothing listens on port {port} there"
    assert expected in Probed(replace(upstream, port=port)).last


def test_the_next_address_is_tried_and_each_failure_told(
    far: FarSide, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    _names(monkeypatch, localhost=["127.0.0.3", "127.0.0.1"])
    probed = Probed(upstream)
    assert probed.worked
    assert f"127.0.0.3:{far.port}: connection refused" in probed.about("connect")


def test_an_address_with_a_line_break_smuggles_in_no_command(far: FarSide, upstream: Upstream) -> None:
    probed = Probed(upstream, recipient="b@example.org>\r\nDATA")
    assert probed.last.startswith("FAILED     RCPT TO: the address contains a line break")
    assert not [line for line in far.heard if line.startswith(("RCPT", "DATA"))]


def test_a_missing_ca_file_is_told_before_connecting(
    far: FarSide, upstream: Upstream, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    missing = Probed(replace(upstream, tls_level="secure", ca_file=str(tmp_path / "no.pem")))
    assert "no.pem: No such file or directory: mount the file that RELAYHOST_CA_FILE names" in missing.last
    assert (
        "RELAYHOST_CA_FILE must be" in Probed(replace(upstream, tls_level="secure", ca_file=str(empty))).last
    )
    assert far.connections == 0


def test_a_name_that_does_not_resolve_points_at_relayhost_and_dns(upstream: Upstream) -> None:
    probed = Probed(replace(upstream, host="no.invalid"))
    assert (
        "resolve: no.invalid has no address: Name or service not known: check the spelling of RELAYHOST"
        in probed.last
    )


@pytest.mark.parametrize(
    ("error", "address", "port", "expected"),
    [
        (TimeoutError(), "192.0.2.1", 25, "192.0.2.1:25: no answer in 10 s: many networks block port 25"),
        (TimeoutError(), "192.0.2.1", 587, "a firewall drops it: check the host and the port in RELAYHOST"),
        (OSError(errno.ENETUNREACH, "x"), "2001:db8::1", 587, "this container has no IPv6 way there"),
        (OSError(errno.EACCES, "x"), "192.0.2.1", 587, "Permission denied: check the host and the port"),
    ],
)
def test_an_unreachable_host_is_told_by_its_cause(
    error: OSError, address: str, port: int, expected: str
) -> None:
    told = unreachable(Target("smtp.example.com", socket.AF_INET, address, port), error, 10.0)
    assert expected in f"{told.what}: {told.advice}"


def test_starttls_refused_after_the_offer_ends_the_probe_only_where_tls_is_mandatory(
    far: FarSide, upstream: Upstream
) -> None:
    far.ehlo.append("STARTTLS")
    far.replies["STARTTLS"] = "454 4.7.0 not now"
    refused = Probed(replace(upstream, tls_level="encrypt"))
    assert "STARTTLS: the upstream said: 454 4.7.0 not now: a temporary refusal" in refused.last
    assert Probed(replace(upstream, tls_level="may")).worked


def test_a_server_that_knows_only_helo_is_spoken_to(far: FarSide, upstream: Upstream) -> None:
    far.replies["EHLO"] = "502 5.5.2 what?"
    probed = Probed(upstream)
    assert probed.worked, probed.all
    assert "HELO relay.example.com" in far.heard


def test_a_refused_name_points_at_myhostname(far: FarSide, upstream: Upstream) -> None:
    far.replies |= {"EHLO": "550 bad name", "HELO": "550 bad name"}
    assert "EHLO: the upstream said: 550 bad name: set MYHOSTNAME" in Probed(upstream).last


def test_a_server_that_hangs_up_is_told(far: FarSide, upstream: Upstream) -> None:
    far.replies["MAIL"] = "hang up"
    assert (
        "MAIL FROM: the far side closed the connection: the upstream hangs up on this host"
        in Probed(upstream).last
    )


def test_of_several_failures_the_one_that_came_furthest_is_the_last_word(
    far: FarSide, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    _names(monkeypatch, localhost=["127.0.0.1", "127.0.0.3"])
    far.greeting = "554 no"
    probed = Probed(upstream)
    assert probed.last.startswith("FAILED     greeting: the upstream said: 554 no")
    assert "127.0.0.3" in probed.lines[-2]
