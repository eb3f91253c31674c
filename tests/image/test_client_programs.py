"""The row C13: real programs send through ports 587 and 465, and trust nobody but the relay.

What they are given are the recipes of docs/clients.md, word for word; what they say when something is wrong is its
table. The recipes name relay.example.com, app@example.com and bob@example.org.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from docker.models.containers import Container
from docker.models.networks import Network

from tests.image import engine
from tests.image.conftest import StartRelay
from tests.image.engine import Engine, Result
from tests.image.relay import HOSTNAME, Environment, Relay, someone
from tests.image.sink import Sink
from tests.image.stations import Client
from tests.image.tls import Certificates
from tests.image.waiting import until

RECIPES = Path(__file__).parent / "clients"
PAGE = Path(__file__).parents[2] / "docs/clients.md"
PROGRAMS = ("s-nail", "msmtp", "sendmail", "swaks", "smtplib", "django", "java", "go")
# Where a recipe belongs, unless it is beside the program that reads it.
PLACES = {"mailrc": "root/.mailrc", "msmtprc": "etc/msmtprc"}
CA = "etc/relay/ca.pem"

USER = "app@example.com"
ANOTHER_NAME = "another-name.example.com"
RELAY_CA = "/var/lib/postern/tls/ca.pem"

each_program = pytest.mark.parametrize("program", PROGRAMS)
each_port = pytest.mark.parametrize("port", [587, 465])


class Programs:
    """A container of the programs, in which a file is the CA that they trust."""

    def __init__(self, docker: Engine, network: Network, ca: bytes) -> None:
        self.container: Container = docker.start(engine.CLIENTS, network, init=True)
        self._put({CA: ca})

    def run(self, program: str, to: str, port: int = 587, changes: Mapping[str, str] | None = None) -> Result:
        """Send as the recipe says, on one of its two ports, with some of its words changed."""
        words = {"bob@example.org": to, **(changes or {})}
        files = [*(RECIPES / program).iterdir(), RECIPES / "msmtp/msmtprc", RECIPES / "application.env"]
        self._put(
            {
                PLACES.get(file.name, f"app/{file.name}"): _changed(file.read_text(), port, words).encode()
                for file in files
            }
        )
        return self.shell("set -a; . ./application.env; set +a; . ./send.sh")

    def shell(self, text: str) -> Result:
        return engine.execute(self.container, ["sh", "-c", text])

    def _put(self, files: Mapping[str, bytes]) -> None:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        assert self.container.put_archive("/", packed.getvalue())


def _changed(recipe: str, port: int, words: Mapping[str, str]) -> str:
    if port == 465:
        recipe = re.sub(
            r"^# Port 587:\n.*?^# Port 465 instead:\n(.*?)(?=^$|\Z)",
            lambda found: found[1].replace("#", ""),
            recipe,
            flags=re.DOTALL | re.MULTILINE,
        )
    for word, other in words.items():
        recipe = recipe.replace(word, other)
    return recipe


@pytest.fixture(scope="module")
def relay(start_shared_relay: StartRelay) -> Relay:
    """With the users of the recipe and nothing else; the certificate is its own."""
    # All programs guess wrong passwords from one address here, some of them several times.
    limit = {"AUTH_FAILURE_LIMIT": "100"}
    return start_shared_relay(_settings() | limit, aliases=(HOSTNAME, ANOTHER_NAME))


@pytest.fixture(scope="module")
def programs(docker: Engine, network: Network, relay: Relay) -> Iterator[Programs]:
    """They trust the relay's CA, got as the page says."""
    copy = f"docker cp relay:{RELAY_CA} ."
    assert (RECIPES / "relay/ca.sh").read_text().strip() == copy
    started = Programs(docker, network, _copied(relay, RELAY_CA))
    yield started
    docker.remove(started.container)


@pytest.fixture(scope="module")
def strangers(docker: Engine, network: Network, certificates: Certificates) -> Iterator[Programs]:
    """They trust a CA that did not sign the relay's certificate."""
    started = Programs(docker, network, (certificates.directory / "other-ca.pem").read_bytes())
    yield started
    docker.remove(started.container)


@each_program
@each_port
def test_a_program_sends_with_its_login(
    programs: Programs, relay: Relay, sink: Sink, program: str, port: int
) -> None:
    done = programs.run(program, to := someone(), port)
    assert done.status == 0, done.output
    [message] = sink.mail(to, needs=[relay.container])
    assert message.mail_from == USER
    service = "submission" if port == 587 else "submissions"
    taken = relay.logged(rf"postfix/{service}/smtpd.*sasl_username={USER}")
    assert "sasl_method=" in taken


@each_program
@each_port
def test_a_program_does_not_talk_to_a_relay_of_another_ca(
    strangers: Programs, relay: Relay, sink: Sink, program: str, port: int
) -> None:
    refused = strangers.run(program, to := someone(), port)
    _failed(refused, program, "it does not trust the CA")
    _nothing_came(relay, sink, to)


@each_program
def test_a_program_does_not_talk_to_a_relay_of_another_name(
    programs: Programs, relay: Relay, sink: Sink, program: str
) -> None:
    refused = programs.run(program, to := someone(), changes={HOSTNAME: ANOTHER_NAME})
    _failed(refused, program, "the name is wrong")
    _nothing_came(relay, sink, to)


@each_program
def test_a_program_with_a_wrong_password_says_so(
    programs: Programs, relay: Relay, sink: Sink, program: str
) -> None:
    refused = programs.run(program, to := someone(), changes={"change-me": "wrong"})
    _failed(refused, program, "the login is wrong")
    _nothing_came(relay, sink, to)


@each_program
def test_a_program_gives_no_password_where_there_is_no_tls(
    programs: Programs, relay: Relay, sink: Sink, program: str
) -> None:
    """A wrong port, or somebody between the program and the relay who takes the offer of TLS away."""
    refused = programs.run(program, to := someone(), changes={"587": "25", "submission://": "smtp://"})
    _failed(refused, program, "the port is wrong (25)")
    assert not re.search(r"postfix/smtpd\[.*: disconnect .* auth=", relay.logs())
    _nothing_came(relay, sink, to)


def test_what_cron_calls_itself_is_not_the_sender(programs: Programs, relay: Relay, sink: Sink) -> None:
    """The relay may refuse a sender that is not the login's, and cron's mail would be lost at night."""
    assert programs.run("sendmail", someone()).status == 0
    done = programs.shell(
        f"printf 'Subject: Cron\n\nFailed.\n' | sendmail -i -FCronDaemon -f root {(to := someone())}"
    )
    assert done.status == 0, done.output
    assert sink.mail(to)[0].mail_from == USER


def test_a_whole_container_can_trust_the_relays_ca(programs: Programs, relay: Relay, sink: Sink) -> None:
    trusted = programs.shell((RECIPES / "system/trust.sh").read_text())
    assert "1 added" in trusted.output
    system = {f"/{CA}": "/etc/ssl/certs/ca-certificates.crt"}
    for program in ("go", "msmtp"):
        done = programs.run(program, to := someone(), changes=system)
        assert done.status == 0, done.output
        assert sink.mail(to)


def test_sendmail_inside_the_relay_takes_mail_from_the_host(relay: Relay, sink: Sink) -> None:
    recipe = (RECIPES / "relay/sendmail.sh").read_text().replace("bob@example.org", to := someone())
    # The engine's command line, as if on the host: its first three words lead to a program in the container.
    done = relay.exec("sh", "-c", f'docker() {{ shift 3; "$@"; }}\n{recipe}')
    assert (done.status, done.output) == (0, "")
    assert sink.mail(to)[0].mail_from == USER


def test_the_page_knows_what_the_relay_answers(
    start_relay: StartRelay, docker: Engine, network: Network, relay: Relay
) -> None:
    own = {"SENDER_LOGINS": f"{USER} @example.net", "AUTH_FAILURE_LIMIT": "1", "MYNETWORKS": "127.0.0.0/8"}
    start_relay(_settings() | own, aliases=("strict",))
    guesser = Client(docker, network)

    def told(*options: str) -> str:
        return guesser.swaks("strict", someone(), *options, sender="ceo@example.com").output

    def slowed() -> str | None:
        return answer if " 454 " in (answer := told(*guess)) else None

    login = ("--auth", "PLAIN", "--auth-user", USER, "--auth-password")
    starttls = ("--port", "587", "--tls")
    guess = ("--port", "465", "--tls-on-connect", *login, "wrong")
    said = [
        told("--port", "25"),
        told("--port", "587"),
        told(*starttls),
        told(*starttls, *login, "change-me"),
        told(*guess),
        until("guesses are slowed", slowed),
    ]
    docker.remove(guesser.container)
    replies = [row["reply"].strip("`") for row in _table("What the relay answers")]
    patterns = [".*".join(re.escape(part) for part in reply.split("...")) for reply in replies]
    for pattern, answer in zip(patterns, said, strict=True):
        assert re.search(pattern, answer)


def _settings() -> Environment:
    lines = (RECIPES / "relay/settings.env").read_text().splitlines()
    pairs = (line.partition("=") for line in lines if line and line[0] != "#")
    return {name: value for name, _, value in pairs}


def _failed(done: Result, program: str, fault: str) -> None:
    assert done.status != 0
    [row] = [row for row in _table("What the program says") if row["program"] == program]
    assert row[fault].strip("`") in done.output


def _nothing_came(relay: Relay, sink: Sink, to: str) -> None:
    """A later mail to the same recipient is there, and it is the only one."""
    relay.send(to, sender="later@example.com")
    assert [message.mail_from for message in sink.mail(to)] == ["later@example.com"]


def _table(heading: str) -> list[dict[str, str]]:
    """The table below a heading of the page."""
    below = PAGE.read_text().partition(f"### {heading}\n")[2]
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in below.partition("\n#")[0].splitlines()
        if line.startswith("| ")
    ]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def _copied(relay: Relay, path: str) -> bytes:
    """`docker cp`"""
    until(
        "the relay has made its CA",
        lambda: relay.exec("test", "-s", path).status == 0,
        needs=[relay.container],
    )
    packed = io.BytesIO(b"".join(relay.container.get_archive(path)[0]))
    with tarfile.open(fileobj=packed) as archive:
        file = archive.extractfile(Path(path).name)
        assert file
        return file.read()
