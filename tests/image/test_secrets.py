"""A secret is known to the upstream and to the relay's own user, and stands in nothing that others read.

That user is root, or with --nonroot the number that the container was given.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import trustme

from tests.image import engine, inside, tls
from tests.image.conftest import StartRelay
from tests.image.engine import Engine
from tests.image.relay import HARDENED, HOSTNAME, Relay, letter, someone
from tests.image.sink import Sink
from tests.image.tls import Certificates

PASSWORD = "an-unforgettable-password"


@pytest.fixture
def relay_with_login(start_relay: StartRelay, certificates: Certificates, sink: Sink) -> Relay:
    """It has used its login once, and once in vain, with all that Postfix can say about TLS."""
    env = {
        "RELAYHOST_USERNAME": "me",
        "RELAYHOST_PASSWORD": PASSWORD,
        "RELAYHOST_CA_FILE": tls.CA,
        "SMTP_TLS_LOGLEVEL": "2",
    }
    relay = start_relay(env, volumes=certificates.mount)
    sink.behave(require_auth=True, password=PASSWORD)
    relay.send(to := someone())
    assert sink.mail(to)
    sink.behave(password="another")
    relay.send(to := someone())
    relay.queued(rf"to {to}: SASL authentication failed")
    return relay


def test_a_secret_stands_in_nothing_that_others_read(relay_with_login: Relay) -> None:
    relay = relay_with_login
    assert PASSWORD not in relay.logs()
    assert PASSWORD not in relay.queue()
    assert PASSWORD not in relay.readiness()
    for verb in ("check", "probe", "help"):
        assert PASSWORD not in relay.exec("postern", verb).output

    # The pattern comes from a file, or grep would find its own command line.
    search = 'printf %s "$RELAYHOST_PASSWORD" > /run/.pattern; chmod 600 /run/.pattern; '
    files = relay.exec(
        "sh", "-c", f"{search} grep -rlsFf /run/.pattern / --exclude-dir=proc --exclude-dir=sys"
    )
    holders = {file for file in files.lines if file != "/run/.pattern"}
    assert holders == {"/run/postern/etc/postfix/sasl_passwd.lmdb"}
    own = relay.exec("id", "-u").output
    assert relay.exec("stat", "-c", "%a %u", *holders).output == f"600 {own}"

    arguments = relay.exec("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'").output
    assert "master" in arguments
    assert PASSWORD not in arguments


def test_no_process_but_the_first_has_a_secret_in_its_environment(relay_with_login: Relay) -> None:
    """PID 1's is what the engine gave it, and only root can read that."""
    script = "for p in /proc/[0-9]*; do echo $p $(tr '\\0' ' ' < $p/environ); done 2>/dev/null"
    # The engine gives the container's variables to what is executed in it, too.
    listed = relay_with_login.exec("sh", "-c", script, env={"RELAYHOST_PASSWORD": ""})
    environments = dict(line.partition(" ")[::2] for line in listed.lines)
    assert len(environments) > 5
    assert [process for process, variables in environments.items() if PASSWORD in variables] == ["/proc/1"]
    refused = relay_with_login.exec("cat", "/proc/1/environ", user="postern")
    assert PASSWORD not in refused.output


SECRETS = {
    name: f"{name}-that-nobody-else-knows"
    for name in ("password", "upstream", "login", "salt", "page", "subject", "text")
}


@pytest.fixture(scope="module")
def key() -> tls.Pieces:
    return tls.issue(HOSTNAME, by=trustme.CA())


@pytest.fixture(scope="module")
def secrets(key: tls.Pieces) -> dict[str, str]:
    return SECRETS | {"key": key.key.splitlines()[1]}


@pytest.fixture(scope="module")
def relay_with_secrets(
    docker: Engine, start_shared_relay: StartRelay, tmp_path_factory: pytest.TempPathFactory, key: tls.Pieces
) -> Relay:
    """Every kind of secret, each file of the user's with a mode of 0600, and mail that waits."""
    directory = tmp_path_factory.mktemp("secrets")
    directory.chmod(0o755)
    env = {
        "LISTEN": "25:relay 587:submission",
        "RELAYHOST": "[sink]:2599",
        "RELAYHOST_USERNAME": "me",
        "RELAYHOST_PASSWORD": SECRETS["password"],
        "UPSTREAMS": f"@example.net [sink]:2599 user=other password_file={_file(directory, 'upstream')}",
        "SMTPD_SASL_USERS_FILE": _file(directory, "login", f"app:{SECRETS['login']}"),
        "SASL_MECHANISMS": "PLAIN LOGIN SCRAM-SHA-256",
        "SMTPD_TLS_CERT_FILE": _file(directory, "certificate", key.all),
        "LOG_ADDRESSES": "hashed",
        "LOG_ADDRESSES_SALT_FILE": _file(directory, "salt"),
        "HEALTH_PAGE_PASSWORD_FILE": _file(directory, "page"),
    }
    if user := HARDENED.get("user"):
        _give(docker, directory, user)
    relay = start_shared_relay(env, volumes={str(directory): {"bind": "/secrets", "mode": "ro"}})
    message = letter(to := someone())
    message.replace_header("Subject", SECRETS["subject"])
    message.set_content(SECRETS["text"])
    with relay.smtp() as session:
        for sender in ("app@example.com", "app@example.net"):
            session.send_message(message, sender, [to])
    relay.queued("2 messages waiting")
    return relay


def _file(directory: Path, name: str, text: str = "") -> str:
    (directory / name).write_text(text or SECRETS[name])
    (directory / name).chmod(0o600)
    return f"/secrets/{name}"


def _give(docker: Engine, directory: Path, user: str) -> None:
    """To the only one who can read it: whose number is not root's is not let in by its mode alone."""
    given = docker.start(
        engine.TOOLS,
        command=["chown", "-R", user, "/secrets"],
        volumes={str(directory): {"bind": "/secrets", "mode": "rw"}},
        network_mode="none",
    )
    assert given.wait(timeout=60)["StatusCode"] == 0
    docker.remove(given)


def _holders(relay: Relay, secrets: Iterable[str], user: str = "") -> dict[str, set[str]]:
    """The files, and what the system says of processes, in which a user finds each: the relay's own, or another."""
    # Or it would find its own command line.
    patterns = " ".join(f"-e '[{secret[0]}]{secret[1:]}'" for secret in secrets)
    places = "/ --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev"
    script = f"grep -aosr {patterns} {places}; grep -aosH {patterns} /proc/[0-9]*/environ /proc/[0-9]*/cmdline; true"
    told = relay.exec("sh", "-c", script, user=user, env={"RELAYHOST_PASSWORD": ""}).lines
    found = [line.rpartition(":") for line in told]
    return {secret: {file for file, _, text in found if text == secret} for secret in secrets}


def test_another_user_in_the_container_can_read_no_secret_and_no_mail(
    relay_with_secrets: Relay, secrets: dict[str, str]
) -> None:
    """Such as the HTTP server's: who takes it over shall have gained the numbers that it shows anyway."""
    nowhere: dict[str, set[str]] = {secret: set() for secret in secrets.values()}
    assert _holders(relay_with_secrets, secrets.values(), "postern") == nowhere
    # The same search by the relay's own user finds it where it must be: in what it was given, or in the queue.
    found = _holders(relay_with_secrets, secrets.values())
    assert [name for name, secret in secrets.items() if not found[secret]] == []


@pytest.mark.root
def test_the_http_server_has_the_rights_of_such_a_user(relay_with_secrets: Relay) -> None:
    """It listens to a network. What is tried as this user above is what the program itself could do."""
    relay = relay_with_secrets
    rights = "/^(Uid|Gid|Groups|CapEff|CapPrm|CapAmb)/"
    own = relay.exec("awk", f"{rights} {{ $1 = $1; print }}", "/proc/self/status", user="postern").output
    health = inside.the(relay, "health").pid
    assert relay.exec("awk", f"{rights} {{ $1 = $1; print }}", f"/proc/{health}/status").output == own
    assert "CapPrm: 0000000000000000" in own


def test_what_the_relay_makes_of_a_secret_belongs_to_root_or_whom_it_is_for(
    relay_with_secrets: Relay, secrets: dict[str, str]
) -> None:
    """Without root to the one user that there is."""
    given = HARDENED.get("user")
    root, postfix, logins = [given] * 3 if given else ("0:0", "100:101", "0:104")
    holders = set[str]().union(*_holders(relay_with_secrets, secrets.values()).values())
    made = {file for file in holders if not file.startswith(("/secrets/", "/proc/"))}
    shown = relay_with_secrets.exec("stat", "-c", "%a %u:%g %n", *made).lines
    modes = {line.rsplit("/", 1)[1]: line.rpartition(" ")[0] for line in shown}
    mail = [Path(file).name for file in made if file.startswith("/var/spool/postfix/deferred/")]
    assert len(mail) == 2
    assert modes == dict.fromkeys(mail, f"700 {postfix}") | {
        "log_salt": f"600 {root}",
        "page_password": f"600 {root}",
        "sasl_passwd.lmdb": f"600 {root}",
        "sasldb2": f"640 {logins}",
        "tls.pem": f"600 {root}",
        "upstream1_passwd.lmdb": f"600 {root}",
    }
