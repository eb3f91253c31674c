"""The row C11, and what a client may rely on in TLS: which certificate it sees, and that nothing weak is agreed upon.

The judges from outside are testssl and nmap. testssl takes half a minute, so it begins with the first test.
"""

from __future__ import annotations

import json
import re
import shutil
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from docker.models.containers import Container
from docker.models.networks import Network

from tests.image import engine, tls
from tests.image.conftest import StartRelay
from tests.image.engine import Engine, Result
from tests.image.relay import HOSTNAME, Environment, Relay, letter, someone
from tests.image.sink import Sink
from tests.image.stations import Client
from tests.image.tls import Pieces
from tests.image.waiting import until

EX_CONFIG = 78
SECONDS = 5.0
"""Within which a renewed file is used."""
WITH_TLS = (25, 465, 587)
RSA = "three.example.com"
"""The name whose certificate has an RSA key, which more ciphers go with."""
SEPARATE: Environment = {
    "SMTPD_TLS_CERT_FILE": "/tls/secret/tls.crt",
    "SMTPD_TLS_KEY_FILE": "/tls/secret/tls.key",
    "SMTPD_TLS_CHAIN_FILE": "/tls/secret/chain.crt",
}
OWNED = "boss@example.com"
LISTEN: Environment = {"LISTEN": "25:relay 587:submission 465:submissions"}
# Without these sections testssl gives no rating; what is left out are simulated browsers, and each cipher by itself.
SECTIONS = "-p -s -f -S -h -H -I -T --BB -R -C -O -Z -D -A -4 -J".split()
DAY = timedelta(days=1)
NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Files:
    """What the relay under test is given: below /tls a Secret as Kubernetes mounts it, and certificates by name."""

    directory: Path
    root: trustme.CA
    issuer: trustme.CA
    client: Pieces

    @classmethod
    def make(cls, directory: Path) -> Files:
        root = trustme.CA()
        made = cls(directory, root, trustme.CA(root), tls.issue("app.example.com", by=trustme.CA()))
        made.swap(made.issue(HOSTNAME))
        names = directory / "names"
        one, two, three = (made.issue(f"{name}.example.com") for name in ("one", "two", "three"))
        put(names / "one.example.com.pem", one.all)
        put(names / "two.example.com.crt", two.leaf + two.chain)
        put(names / "two.example.com.key", two.key)
        put(names / RSA / "fullchain.pem", three.leaf + three.chain)
        put(names / RSA / "privkey.pem", three.key)
        put(names / "_.sub.example.com.pem", made.issue("*.sub.example.com").all)
        put(directory / "ca.pem", made.trusted)
        put(directory / "client.pem", made.client.all)
        put(directory / "stranger.pem", tls.issue("app.example.com", by=trustme.CA()).all)
        return made

    @property
    def trusted(self) -> str:
        return tls.text(self.root)

    @property
    def volumes(self) -> dict[str, dict[str, str]]:
        return {
            str(self.directory): {"bind": "/tls", "mode": "ro"},
            str(self.directory / "names"): {"bind": "/config/certificates", "mode": "ro"},
        }

    def issue(self, name: str) -> Pieces:
        kind = trustme.KeyType.RSA if name == RSA else trustme.KeyType.ECDSA
        return tls.issue(name, by=self.issuer, key_type=kind)

    def swap(self, pieces: Pieces) -> None:
        """As kubelet does: a new directory, and one rename of the link through which all files are reached."""
        secret = self.directory / "secret"
        version = f"..{time.time_ns()}"
        for name, text in (("tls.crt", pieces.leaf), ("tls.key", pieces.key), ("chain.crt", pieces.chain)):
            put(secret / version / name, text)
            if not (secret / name).is_symlink():
                (secret / name).symlink_to(f"..data/{name}")
        old = (secret / "..data").resolve()
        (secret / "..data_tmp").symlink_to(version)
        (secret / "..data_tmp").rename(secret / "..data")
        if old.name != "..data":
            shutil.rmtree(old)


def put(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def rename(file: Path, text: str) -> None:
    put(file.with_name(f".{file.name}.new"), text).rename(file)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def given(start_shared_relay: StartRelay, files: Files) -> Relay:
    """With certificates for many names, and a client's certificate that counts as a login, beside one that owns an address."""
    owned: Environment = {"SMTPD_SASL_USERS": "boss:a secret", "SENDER_LOGINS": f"boss {OWNED}"}
    env = SEPARATE | LISTEN | owned | {"CLIENT_CERTIFICATES": f"{files.client.fingerprint} app"}
    return start_shared_relay(env, ports=WITH_TLS, volumes=files.volumes, aliases=(HOSTNAME,))


@pytest.fixture(scope="module")
def tools(docker: Engine, network: Network, files: Files) -> Iterator[Client]:
    """A client with the files in which the relay's CA and two clients' certificates are."""
    made = Client(docker, network, volumes={str(files.directory): {"bind": "/tls", "mode": "ro"}})
    yield made
    docker.remove(made.container)


@pytest.fixture(scope="module", autouse=True)
def testssl(docker: Engine, network: Network, files: Files, given: Relay) -> Iterator[Container]:
    """At work on port 465 while the other tests run; it prints its findings when it ends."""
    target = f"--ip {engine.address(given.container, network)} {HOSTNAME}:465"
    judge = f"testssl --quiet --warnings off --nodns none {' '.join(SECTIONS)} --add-ca /tls/ca.pem"
    judge = f"{judge} --jsonfile /tmp/found {target} > /tmp/said 2>&1; cat /tmp/found"
    made = docker.start(
        engine.TOOLS,
        network,
        command=["sh", "-c", judge],
        init=True,
        volumes={str(files.directory): {"bind": "/tls", "mode": "ro"}},
    )
    yield made
    docker.remove(made)


def shown(relay: Relay, name: str, trusted: str, port: int = 465) -> str:
    """The fingerprint of the certificate that a client sees who connects to `name` and verifies. Raises ssl.SSLError."""
    context = tls.strict(trusted)
    if port != 465:
        with relay.smtp(port) as session:
            return started(session, name, context)
    with (
        socket.create_connection(("127.0.0.1", engine.published(relay.container, port)), 20) as connection,
        context.wrap_socket(connection, server_hostname=name) as secured,
    ):
        return tls.fingerprint(secured.getpeercert(binary_form=True) or b"")


def started(session: smtplib.SMTP, name: str, context: ssl.SSLContext) -> str:
    """The same, of a session that goes on from there with STARTTLS."""
    session._host = name  # type: ignore[attr-defined]  # what smtplib takes for the server's name
    session.starttls(context=context)
    assert isinstance(session.sock, ssl.SSLSocket)
    return tls.fingerprint(session.sock.getpeercert(binary_form=True) or b"")


@pytest.mark.parametrize("port", WITH_TLS)
@pytest.mark.parametrize("name", ["one.example.com", "two.example.com", RSA, "a.sub.example.com"])
def test_each_name_gets_its_certificate(given: Relay, files: Files, name: str, port: int) -> None:
    """The client trusts the root alone: the intermediate certificate comes along."""
    assert shown(given, name, files.trusted, port)


def test_another_name_gets_the_relays_own_certificate(given: Relay, files: Files) -> None:
    assert shown(given, HOSTNAME, files.trusted)
    assert f"SNI {HOSTNAME} from" not in given.logs(), "an ordinary session is nothing to complain of"
    with pytest.raises(ssl.SSLCertVerificationError, match=f"'{HOSTNAME}'|mismatch"):
        shown(given, "other.example.com", files.trusted)


def test_one_file_with_all_of_it_is_enough_and_makes_a_relay_port_offer_starttls(
    start_relay: StartRelay, files: Files
) -> None:
    relay = start_relay({"SMTPD_TLS_CERT_FILE": "/tls/names/one.example.com.pem"}, volumes=files.volumes)
    with relay.smtp() as session:
        assert "starttls" in extensions(session)
    assert shown(relay, "one.example.com", files.trusted, port=25)
    assert re.search(
        rf"warning: .*one\.example\.com\.pem: the certificate is not for {HOSTNAME}", relay.logs()
    )


def test_without_a_certificate_starttls_is_not_offered_to_programs(relay: Relay) -> None:
    """Most client libraries use what they find, and refuse a certificate that they do not know."""
    for port in (25, 587):
        with relay.smtp(port) as session:
            assert "starttls" not in extensions(session)


def extensions(session: smtplib.SMTP) -> dict[str, str]:
    session.ehlo()
    return session.esmtp_features


@pytest.fixture
def volume(docker: Engine) -> Iterator[dict[str, dict[str, str]]]:
    made = docker.volume()
    yield {made.name: {"bind": "/var/lib/postern", "mode": "rw"}}
    docker.remove(made)


@pytest.mark.root
def test_a_certificate_of_its_own_is_trusted_by_its_ca_and_stays_the_same(
    volume: dict[str, dict[str, str]], start_relay: StartRelay, files: Files
) -> None:
    env = {"LISTEN": "25:relay 465:submissions", "CLIENT_CERTIFICATES": files.client.fingerprint}
    first = start_relay(env, volumes=volume, ports=(25, 465))
    seen = own_certificate(first)
    with first.smtp() as session:
        assert "starttls" not in extensions(session), "it was asked for on port 465 only"
    first.container.stop(timeout=20)
    assert own_certificate(start_relay(env, volumes=volume, ports=(25, 465))) == seen


def own_certificate(relay: Relay) -> tuple[str, str]:
    """What the log says of the CA, and what a strict client sees that trusts it."""
    line = relay.logged("of the relay's own making")
    found = re.search(r"by the CA in (/\S+) \(SHA-256 ([0-9A-F:]+)\)", line)
    assert found
    ca = relay.exec("cat", found[1]).output
    assert tls.fingerprint(ssl.PEM_cert_to_DER_cert(ca)) == found[2]
    assert relay.exec("stat", "-c", "%a %U", "/var/lib/postern/tls").output == "700 root\n"
    return found[2], shown(relay, HOSTNAME, ca)


def kubernetes(files: Files, pieces: Pieces) -> None:
    files.swap(pieces)


def by_rename(files: Files, pieces: Pieces) -> None:
    rename(files.directory / "names/one.example.com.pem", pieces.all)


def in_place(files: Files, pieces: Pieces) -> None:
    """As `cp` does; for a moment the new certificate stands beside the old key."""
    put(files.directory / "names/two.example.com.crt", pieces.leaf + pieces.chain)
    put(files.directory / "names/two.example.com.key", pieces.key)


def by_name(files: Files, pieces: Pieces) -> None:
    """As certbot does, two directories down."""
    rename(files.directory / "names" / RSA / "fullchain.pem", pieces.leaf + pieces.chain)
    rename(files.directory / "names" / RSA / "privkey.pem", pieces.key)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        pytest.param(HOSTNAME, kubernetes, id="kubernetes"),
        pytest.param("one.example.com", by_rename, id="rename"),
        pytest.param("two.example.com", in_place, id="in_place"),
        pytest.param(RSA, by_name, id="directory"),
    ],
)
def test_a_renewed_file_is_used_by_the_next_connection_while_open_ones_go_on(
    given: Relay, files: Files, sink: Sink, name: str, change: Callable[[Files, Pieces], None]
) -> None:
    new = files.issue(name)
    with given.smtp() as session:
        before = started(session, name, tls.strict(files.trusted))
        assert before != new.fingerprint
        change(files, new)
        until(
            "a new connection sees the new certificate",
            lambda: shown(given, name, files.trusted) == new.fingerprint,
            deadline=SECONDS,
            needs=[given.container],
            state=given.logs,
        )
        session.send_message(letter(to := someone()), "app@example.com", [to])
    assert sink.mail(to)


def test_a_renewed_file_that_is_wrong_changes_nothing_and_is_said(given: Relay, files: Files) -> None:
    file = files.directory / "names/one.example.com.pem"
    good = file.read_text()
    before = shown(given, "one.example.com", files.trusted)
    rename(file, files.issue("one.example.com").leaf + files.issue("one.example.com").key)
    try:
        given.logged(r"error: .*/config/certificates/one\.example\.com\.pem: must belong together")
        until("readiness warns of it", lambda: "one.example.com.pem" in given.readiness())
        assert given.readiness().startswith("200 ")
        assert shown(given, "one.example.com", files.trusted) == before
    finally:
        rename(file, good)
    until("readiness no longer warns", lambda: "one.example.com.pem" not in given.readiness())


@pytest.mark.parametrize("port", WITH_TLS)
def test_tls_1_1_is_refused(given: Relay, tools: Client, port: int) -> None:
    assert "alert protocol version" in handshake(tools, port, HOSTNAME, "-tls1_1").output
    for version in ("-tls1_2", "-tls1_3"):
        assert "Verification: OK" in handshake(tools, port, HOSTNAME, version).output


# On port 25, as Postfix itself leaves out anonymous ciphers where it asks for a client's certificate.
@pytest.mark.parametrize("cipher", ["aNULL", "eNULL", "kRSA", "kDHE", "CAMELLIA"])
def test_weak_ciphers_are_refused(given: Relay, tools: Client, cipher: str) -> None:
    refused = handshake(tools, 25, RSA, "-tls1_2", ciphers=cipher)
    assert "handshake failure" in refused.output
    assert refused.status == 1


@pytest.mark.parametrize("cipher", ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-SHA384"])
def test_what_older_honest_clients_have_is_accepted(given: Relay, tools: Client, cipher: str) -> None:
    """Java 8 and OpenSSL 1.0.2; and Exchange on Windows 2012, which has only CBC for this certificate."""
    agreed = handshake(tools, 25, RSA, "-tls1_2", "-curves", "prime256v1", ciphers=cipher)
    assert "Verification: OK" in agreed.output


def handshake(tools: Client, port: int, name: str, *options: str, ciphers: str = "DEFAULT") -> Result:
    """With a client that would agree to anything that its OpenSSL knows."""
    starttls = [] if port == 465 else ["-starttls", "smtp"]
    verify = ["-CAfile", "/tls/ca.pem", "-servername", name, "-cipher", f"{ciphers}:@SECLEVEL=0"]
    return tools.run("openssl", "s_client", "-connect", f"{HOSTNAME}:{port}", *starttls, *verify, *options)


@pytest.mark.parametrize("port", [465, 587])
def test_a_listed_client_certificate_may_send_without_a_password(
    given: Relay, files: Files, tools: Client, sink: Sink, port: int
) -> None:
    sent = submitted(tools, port, "client", to := someone())
    assert sent.status == 0, sent.output
    assert sink.mail(to)


@pytest.mark.parametrize("port", [465, 587])
def test_another_client_certificate_may_not(given: Relay, tools: Client, port: int) -> None:
    sent = submitted(tools, port, "stranger", someone())
    assert sent.status != 0
    assert re.search(r"^<\S+ +554 5\.7\.1 .*Access denied", sent.output, re.MULTILINE)


def test_a_client_certificate_sends_as_anybody_but_whose_address_is_a_logins(
    given: Relay, tools: Client
) -> None:
    """As the start says; the test before has sent as an address that is nobody's."""
    given.logged("clients with a listed certificate, as anybody whose address is no login's")
    sent = submitted(tools, 465, "client", someone(), sender=OWNED)
    assert f"553 5.7.1 <{OWNED}>: Sender address rejected: not logged in" in sent.output


def submitted(tools: Client, port: int, who: str, to: str, *, sender: str = "app@example.com") -> Result:
    how = "--tls-on-connect" if port == 465 else "--tls"
    certificate = ["--tls-cert", f"/tls/{who}.pem", "--tls-key", f"/tls/{who}.pem"]
    return tools.swaks(f"{HOSTNAME}:{port}", to, how, *certificate, sender=sender)


def fault(text: Callable[[], str]) -> Callable[[Path], Environment]:
    def make(directory: Path) -> Environment:
        put(directory / "relay.pem", text())
        return {}

    return make


def pieces(begins: datetime | None = None, ends: datetime | None = None) -> Pieces:
    return tls.issue(HOSTNAME, by=trustme.CA(), begins=begins, ends=ends)


def no_file(_: Path) -> Environment:
    return {}


def directory_for_a_file(directory: Path) -> Environment:
    """What an engine makes of a mount whose source does not exist."""
    (directory / "relay.pem").mkdir()
    return {}


def key_of_another(directory: Path) -> Environment:
    put(directory / "relay.pem", pieces().leaf)
    put(directory / "other.key", pieces().key)
    return {"SMTPD_TLS_KEY_FILE": "/tls/other.key"}


def encrypted_key(directory: Path) -> Environment:
    put(directory / "relay.pem", pieces().leaf)
    text = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n"
    put(directory / "relay.key", text)
    return {"SMTPD_TLS_KEY_FILE": "/tls/relay.key"}


FAULTS: dict[str, tuple[Callable[[Path], Environment], str]] = {
    "no file": (no_file, "must be a readable file, and /tls/relay.pem is not: No such file or directory"),
    "a directory instead of a file": (
        directory_for_a_file,
        "must be a file, and /tls/relay.pem is a directory",
    ),
    "no certificate": (fault(lambda: pieces().key), "must hold a certificate .*/tls/relay.pem holds none"),
    "no key": (fault(lambda: pieces().leaf), "must come with its private key .*/tls/relay.pem holds none"),
    "a key that does not match": (key_of_another, "the key in /tls/other.key is not that of"),
    "an encrypted key": (encrypted_key, "without a passphrase.*: openssl pkey -in /tls/relay.key -out "),
    "expired": (
        fault(lambda: pieces(NOW - 9 * DAY, NOW - 2 * DAY).all),
        f"certificate in /tls/relay.pem ended on {NOW - 2 * DAY:%Y-%m-%d}",
    ),
    "not yet valid": (
        fault(lambda: pieces(NOW + 2 * DAY, NOW + 9 * DAY).all),
        f"certificate in /tls/relay.pem begins on {NOW + 2 * DAY:%Y-%m-%d}",
    ),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_certificate_that_cannot_be_used_is_refused_at_the_start(
    start_relay: StartRelay, tmp_path: Path, what: str
) -> None:
    make, told = FAULTS[what]
    env = make(tmp_path) | {"SMTPD_TLS_CERT_FILE": "/tls/relay.pem"}
    relay = start_relay(env, wait=False, volumes={str(tmp_path): {"bind": "/tls", "mode": "ro"}})
    assert relay.exit_code() == EX_CONFIG
    assert re.search(f"error: SMTPD_TLS_CERT_FILE=/tls/relay.pem: .*{told}", relay.logs())
    assert "PRIVATE KEY-----\n" not in relay.logs()


def test_every_wrong_file_of_the_directory_is_named_at_the_start(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    put(tmp_path / "a.example.com.pem", pieces().leaf)
    put(tmp_path / "b.example.com/tls.crt", pieces().leaf)
    put(tmp_path / "tls.crt", pieces().leaf)
    volumes = {str(tmp_path): {"bind": "/config/certificates", "mode": "ro"}}
    relay = start_relay(wait=False, volumes=volumes)
    assert relay.exit_code() == EX_CONFIG
    for name in ("a.example.com.pem", "b.example.com", "tls.crt"):
        assert re.search(f"error: /config/certificates/{name}: must ", relay.logs())


def test_nmap_gives_an_a_on_every_port(given: Relay, tools: Client) -> None:
    ports = ",".join(map(str, WITH_TLS))
    said = tools.run("nmap", "-Pn", "-n", "-p", ports, "--script", "+ssl-enum-ciphers", HOSTNAME)
    grades = re.findall(r"least strength: (\S+)", said.output)
    assert grades == ["A"] * len(WITH_TLS), said.output
    assert not re.search(r"TLSv1\.[01]:|SSLv|warnings:", said.output), said.output


def test_testssl_gives_an_a_plus_on_465(testssl: Container) -> None:
    def ended() -> bool:
        testssl.reload()
        return testssl.status == "exited"

    until("testssl has ended", ended, deadline=240)
    findings = {found["id"]: found for found in json.loads(testssl.logs())}
    assert findings["overall_grade"]["finding"] == "A+", findings
    assert findings["secure_client_renego"]["severity"] == "OK", "a client may not renegotiate"
    assert findings["cert_chain_of_trust"]["finding"].startswith("passed")
    # It knows of no authority that publishes revocations for a private CA.
    bad = {name for name, f in findings.items() if f["severity"] in ("MEDIUM", "HIGH", "CRITICAL")}
    assert bad <= {"cert_revocation"}, [findings[name] for name in bad]
