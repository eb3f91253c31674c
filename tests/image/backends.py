"""The servers that logins are checked by: one container with all of them, each of which can be away for a while."""

from __future__ import annotations

import base64
import io
import json
import smtplib
import ssl
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trustme
from docker.models.containers import Container
from docker.models.networks import Network

from tests.image import engine
from tests.image.engine import Engine
from tests.image.relay import Environment, Relay
from tests.image.waiting import until

NAME = "servers"
"""Under which they are reached, and which their certificate is for."""
HOST = "host"
"""The machine that the tests run on, as the backends see it."""
ELSEWHERE = "elsewhere"
"""The same servers under a name that the certificate is not for."""
_ON_THE_PAGE = ("ldap.example.com", "imap.example.com", "db.example.com", "dovecot.example.com")
"""Names that the certificate is for, too: docs/topologies.md calls them so."""
JOHN, MARY = "john@example.com", "mary@example.com"
PASSWORD = "päss \"w\\rd' %u {1}"
"""John's; everything that some language gives a meaning to. Those of tests/image/servers are made from it."""
MARYS_PASSWORD = "another password"
SERVICE_PASSWORD = "of the service"

_INSIDE = "/backends"
CA, OTHER_CA = f"{_INSIDE}/ca.pem", f"{_INSIDE}/other-ca.pem"
PAM_SERVICE = "mail"
PUBLIC_CAS = "/etc/ssl/certs/ca-certificates.crt"
"""Where the image has them; in some relays the servers' CA stands for all of them."""
BROKEN_PAM_SERVICE = "broken"
"""Names a module that is not there."""
SHARED = "/shared"
"""Where the servers' sockets are, on both sides."""
_PAM_MODULE = "/usr/lib/x86_64-linux-gnu/security/pam_pwdfile.so"

_DATABASE: Environment = {"SASL_SQL_PASSWORD": SERVICE_PASSWORD, "SASL_SQL_CA_FILE": CA}
SETTINGS: dict[str, Environment] = {
    "ldap": {
        "SASL_LDAP_URL": f"ldap://{NAME}",
        "SASL_LDAP_SEARCH_BASE": "dc=example,dc=com",
        "SASL_LDAP_BIND_DN": "cn=relay,dc=example,dc=com",
        "SASL_LDAP_BIND_PASSWORD": SERVICE_PASSWORD,
        "SASL_LDAP_CA_FILE": CA,
    },
    "imap": {"SASL_IMAP_HOST": NAME, "SASL_IMAP_CA_FILE": CA},
    "postgresql": {"SASL_SQL_URL": f"postgresql://relay@{NAME}/mail", **_DATABASE},
    "mysql": {"SASL_SQL_URL": f"mysql://relay@{NAME}/mail", **_DATABASE},
    "dovecot_tcp": {"SASL_DOVECOT_PATH": f"inet:{NAME}:12345"},
    "dovecot_unix": {"SASL_DOVECOT_PATH": f"unix:{SHARED}/auth"},
    "pam": {"SASL_PAM_SERVICE": PAM_SERVICE},
}
"""What a relay is told to have its logins checked by each; PAM by a file of hashes."""
PROGRAMS = {
    "ldap": "slapd",
    "imap": "dovecot",
    "postgresql": "postgres",
    "mysql": "mysql",
    "dovecot_tcp": "dovecot",
    "dovecot_unix": "dovecot",
}
"""Which server is asked, as tests/image/servers/server calls it."""

_CLEAR = {"postgres": ["-o", "-c ssl=off"], "mysql": ["--skip-ssl"]}

# Of logins.json, for a backend that is asked without a relay around it.
OPTIONS: dict[str, dict[str, Any]] = {
    "ldap": {
        "url": f"ldap://{NAME}",
        "base": "dc=example,dc=com",
        "filter": "(|(uid=%u)(mail=%u))",
        "bind_dn": "cn=relay,dc=example,dc=com",
        "bind_password": SERVICE_PASSWORD,
        "ca_file": CA,
    },
    "imap": {"host": NAME, "port": 993, "ca_file": CA},
    **{
        kind: {
            "url": f"{kind}://relay@{NAME}:{port}/mail",
            "password": SERVICE_PASSWORD,
            "password_query": None,
            "senders_query": None,
            "verified": True,
            "ca_file": CA,
        }
        for kind, port in (("postgresql", 5432), ("mysql", 3306))
    },
    "pam": {"service": PAM_SERVICE},
}
_ASK = """
import json, sys, time
sys.path.append("/usr/lib/postern")
from importlib import import_module
name, options, calls = json.loads(sys.argv[1])
backend = import_module(f"entrypoint.logins.backends.{name}").Backend(options)
for call, *arguments in calls:
    began = time.monotonic()
    try:
        answer = getattr(backend, call)(*arguments)
    except Exception as error:
        answer = f"{type(error).__name__} {error}"
    print(json.dumps([answer, time.monotonic() - began]))
"""


class Servers:
    """`directory` is the test host's: certificates, and what PAM needs."""

    def __init__(self, docker: Engine, network: Network, directory: Path) -> None:
        self._docker = docker
        self._network = network
        self._directory = directory
        self._shared = docker.volume()
        _make_certificates(directory)
        self.container: Container = docker.start(
            engine.SERVERS,
            network,
            (NAME, ELSEWHERE, *_ON_THE_PAGE),
            init=True,
            volumes={
                str(directory): {"bind": "/certificates", "mode": "ro"},
                self._shared.name: {"bind": SHARED},
            },
        )
        self._make_pam_service()
        until(
            "the servers answer",
            lambda: b"the servers answer" in self.container.logs(),
            needs=[self.container],
        )

    @property
    def mounts(self) -> dict[str, dict[str, str]]:
        """What relays need: the CA, the sockets, and the PAM service with its module."""
        return {
            str(self._directory): {"bind": _INSIDE, "mode": "ro"},
            **{
                str(self._directory / f"pam.{service}"): {"bind": f"/etc/pam.d/{service}", "mode": "ro"}
                for service in (PAM_SERVICE, BROKEN_PAM_SERVICE)
            },
            self._shared.name: {"bind": SHARED, "mode": "ro"},
        }

    @property
    def mounts_with_public_ca(self) -> dict[str, dict[str, str]]:
        """The same, and the servers' CA is one of the public ones; a compose file's secrets."""
        return {
            **self.mounts,
            str(self._directory / "ca.pem"): {"bind": PUBLIC_CAS, "mode": "ro"},
            str(self.secrets): {"bind": "/run/secrets", "mode": "ro"},
        }

    @property
    def secrets(self) -> Path:
        """The passwords by which relays are known to the servers, a file for each."""
        return self._directory / "secrets"

    @property
    def pam_users(self) -> Path:
        """The hashes that the PAM service reads."""
        return self._directory / "pam.users"

    @contextmanager
    def without(self, program: str) -> Iterator[None]:
        """While it is stopped."""
        self._do("stop", program)
        try:
            yield
        finally:
            self._do("start", program)

    @contextmanager
    def without_tls(self, program: str) -> Iterator[None]:
        """While it offers none: a database server."""
        self._do("stop", program)
        self._do("start", program, *_CLEAR[program])
        try:
            yield
        finally:
            self._do("stop", program)
            self._do("start", program)

    @contextmanager
    def frozen(self, *programs: str) -> Iterator[None]:
        """While they take connections and say nothing."""
        for program in programs:
            self._do("freeze", program)
        try:
            yield
        finally:
            for program in programs:
                self._do("thaw", program)

    def remove(self) -> None:
        self._docker.remove(self.container, self._shared)

    def _do(self, *words: str) -> None:
        done = engine.execute(self.container, ["server", *words])
        assert done.status == 0, self.container.logs(tail=20).decode(errors="replace")

    def _make_pam_service(self) -> None:
        """Passwords from a file, by a module of Debian's; Mary's is right, but her account is locked."""
        archive, _ = self.container.get_archive(_PAM_MODULE)
        with tarfile.open(fileobj=io.BytesIO(b"".join(archive))) as tar:
            module = tar.extractfile(Path(_PAM_MODULE).name)
            assert module
            (self._directory / "pam_pwdfile.so").write_bytes(module.read())
        hashes = engine.execute(self.container, ["cat", "/etc/dovecot/dovecot.users"]).output
        self.pam_users.write_text(hashes.replace("{CRYPT}", ""))
        (self._directory / "pam.locked").write_text(f"{MARY}\n")
        (self._directory / f"pam.{BROKEN_PAM_SERVICE}").write_text("auth required pam_nowhere.so\n")
        (self._directory / f"pam.{PAM_SERVICE}").write_text(
            f"auth required {_INSIDE}/pam_pwdfile.so pwdfile={_INSIDE}/pam.users nodelay\n"
            f"account required pam_listfile.so item=user sense=deny file={_INSIDE}/pam.locked onerr=fail\n"
        )


class Asked:
    """The image's backends, each asked by itself, as the user that they run as: for what needs no mail."""

    def __init__(self, docker: Engine, network: Network, servers: Servers) -> None:
        self._container = docker.start(
            engine.RELAY,
            network,
            entrypoint=["sleep", "infinity"],
            volumes=servers.mounts_with_public_ca,
            extra_hosts={HOST: "host-gateway"},
            init=True,
        )

    def check(self, backend: str, login: str = JOHN, password: str = PASSWORD, **options: Any) -> str:
        """What came of it: None, or the error with its text. `options` are added to the backend's."""
        [answer] = self.ask(backend, ["check", login, password], **options)
        return str(answer)

    def ask(self, backend: str, *calls: list[str], **options: Any) -> list[Any]:
        """What each call of a method returned, or raised."""
        return [answer for answer, _ in self.timed(backend, *calls, **options)]

    def timed(self, backend: str, *calls: list[str], **options: Any) -> list[tuple[Any, float]]:
        """The same, each with the seconds that it took."""
        name = "sql" if backend in ("postgresql", "mysql") else backend
        question = json.dumps([name, OPTIONS[backend] | options, calls])
        done = engine.execute(self._container, ["python3", "-c", _ASK, question], user="logins")
        assert done.status == 0, done.output
        # What it logs is between.
        return [(*json.loads(line),) for line in done.lines if line.startswith("[")]

    def remove(self, docker: Engine) -> None:
        docker.remove(self._container)


def session(relay: Relay) -> smtplib.SMTP:
    """On the submission port, in TLS; whose certificate it is, is another file's business."""
    made = relay.smtp(587)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    made.starttls(context=context)
    made.ehlo("client.example")
    return made


def log_in(client: smtplib.SMTP, login: str, password: str) -> str:
    """The reply to AUTH PLAIN. smtplib's own login knows only ASCII."""
    plain = base64.b64encode(f"\0{login}\0{password}".encode()).decode()
    code, text = client.docmd("AUTH", f"PLAIN {plain}")
    return f"{code} {text.decode()}"


def login(relay: Relay, name: str, password: str) -> str:
    """The same in a session of its own."""
    with session(relay) as client:
        return log_in(client, name, password)


def _make_certificates(directory: Path) -> None:
    right, wrong = trustme.CA(), trustme.CA()
    right.cert_pem.write_to_path(directory / "ca.pem")
    wrong.cert_pem.write_to_path(directory / "other-ca.pem")
    issued = right.issue_cert(NAME, *_ON_THE_PAGE)
    for number, part in enumerate(issued.cert_chain_pems):
        part.write_to_path(directory / "servers.pem", append=number > 0)
    issued.private_key_pem.write_to_path(directory / "servers.key")
    (secrets := directory / "secrets").mkdir()
    for name in ("ldap", "sql"):
        (secrets / name).write_text(f"{SERVICE_PASSWORD}\n")
    # Containers read them as whoever they run as.
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
