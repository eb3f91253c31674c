"""Ready is more than ports that are open: what is behind them is broken here, one thing after the other, and named."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docker.models.networks import Network

from tests.image import engine, inside, tls
from tests.image.conftest import StartRelay
from tests.image.relay import CAPABILITIES, HARDENED, Relay, someone
from tests.image.sink import Sink
from tests.image.stations import NameServer
from tests.image.test_health import readiness
from tests.image.tls import Certificates
from tests.image.waiting import until

SPOOL = "/var/spool/postfix"
TABLE = "/var/lib/postern/tables/transport.lmdb"


@pytest.fixture(scope="module")
def shared(start_shared_relay: StartRelay) -> Relay:
    """With a table, and tried again as soon as possible. Each test leaves it well."""
    return start_shared_relay(
        {"TRANSPORT": "example.net smtp:[sink]:25", "MINIMAL_BACKOFF_TIME": "1s", "QUEUE_RUN_DELAY": "1s"}
    )


@pytest.fixture
def relay(shared: Relay) -> Iterator[Relay]:
    readiness(shared, "^200 ")
    yield shared
    readiness(shared, "^200 (?!.*(warning|failed))")


@pytest.mark.parametrize("program", ["qmgr", "postlogd"])
def test_a_program_that_exists_and_does_nothing_is_named(relay: Relay, program: str) -> None:
    """Its port, or the socket of its service, is open as ever: mail is taken and goes nowhere."""
    frozen = inside.named(relay, program)
    assert frozen
    inside.signal(relay, "STOP", frozen)
    answer = readiness(relay, "^503 ")
    inside.signal(relay, "CONT", frozen)
    name = "log" if program == "postlogd" else f"program {program}"
    assert re.search(f"^failed {name}: .*stopped by a signal", answer, re.MULTILINE)
    assert "ok spool" in answer


@pytest.mark.root
def test_a_spool_whose_owner_changed_is_named_and_well_again_by_itself(relay: Relay) -> None:
    """Ports and programs are as before; Postfix would take a mail and not know where to put it."""
    owner = relay.exec("stat", "-c", "%u", f"{SPOOL}/incoming").output.strip()
    assert relay.exec("chown", "1234", f"{SPOOL}/incoming").status == 0
    answer = readiness(relay, "^503 ")
    assert relay.exec("chown", owner, f"{SPOOL}/incoming").status == 0
    assert "failed spool: incoming belongs to uid 1234 and not to postfix: no mail can be taken" in answer


@pytest.fixture(scope="module")
def mounting(start_shared_relay: StartRelay) -> Relay:
    """With a file system of its own for the spool, and the right to mount: what an operator or a kernel does outside.

    Those do not mind files that are open; Postfix's lock files are elsewhere.
    """
    rights = {"cap_add": [*CAPABILITIES, "SYS_ADMIN"], "security_opt": ["apparmor=unconfined"]}
    return start_shared_relay(tmpfs={**HARDENED["tmpfs"], SPOOL: "size=64m", f"{SPOOL}/pid": ""}, **rights)


@pytest.mark.root
def test_a_spool_that_becomes_read_only_is_named_and_mail_goes_on_when_it_is_writable_again(
    mounting: Relay, sink: Sink
) -> None:
    """As a kernel makes a file system after errors of its disk, under a relay that runs."""
    readiness(mounting, "^200 ")
    assert mounting.exec("mount", "-o", "remount,ro", SPOOL).status == 0
    began = time.monotonic()
    answer = readiness(mounting, "^503 ")
    took = time.monotonic() - began
    assert mounting.exec("mount", "-o", "remount,rw", SPOOL).status == 0
    assert took < 10
    assert "failed spool: Read-only file system: no mail can be taken, nor kept for another try" in answer
    # A refusal to the probe would be a line of the log, every few seconds.
    assert "listener" not in answer
    readiness(mounting, "^200 ")
    mounting.send(to := someone())
    assert sink.mail(to)


def test_a_table_that_vanished_is_named(relay: Relay) -> None:
    """Programs that have it open go on; the next one that starts would not."""
    assert relay.exec("mv", TABLE, f"{TABLE}.away").status == 0
    answer = readiness(relay, "^503 ")
    assert relay.exec("mv", f"{TABLE}.away", TABLE).status == 0
    assert re.search(
        r"failed tables: \S*/transport\.lmdb: No such file or directory: mail that needs", answer
    )


def test_a_log_that_nobody_reads_is_named_and_all_goes_on_when_it_is_read_again(
    start_relay: StartRelay,
) -> None:
    """Postfix logs before it answers: with a full pipe behind it, all mail would stand still soon."""
    pipe = "/run/log"
    program = f"mkfifo {pipe}; sleep 1000 <{pipe} & exec postern run >{pipe}"
    relay = start_relay(command=["sh", "-c", program])
    assert "ok log" in relay.readiness()
    relay.exec("timeout", "1", "sh", "-c", f"yes >{pipe}")
    relay.smtp().close()
    answer = readiness(relay, "^503 ")
    assert "failed log: the keeper does not answer: perhaps nobody reads the container's output" in answer
    relay.container.exec_run(["cat", pipe], detach=True)
    assert "ok log" in readiness(relay, "^200 ")


def test_an_upstream_is_asked_once_and_not_again_while_mail_goes_out(relay: Relay, sink: Sink) -> None:
    """No mail, no login: just whether somebody is there. The log has no line of it."""
    asked = len(sink.sessions())
    for _ in range(5):
        assert "ok upstream" in relay.readiness()
    to = someone()
    relay.send(to)
    sink.mail(to)
    readiness(relay, "ok upstream")
    assert len(sink.sessions()) == asked + 1


RECORDS = {
    "well.example": ("mx.example",),
    "half.example": ("nobody.example", "mx.example"),
    "none.example": ("nobody.example",),
}


@pytest.fixture
def names(start_names: Callable[..., NameServer], sink: Sink, network: Network) -> NameServer:
    exchangers = [
        f"--mx-host={domain},{host},{number}"
        for domain, hosts in RECORDS.items()
        for number, host in enumerate(hosts)
    ]
    return start_names(f"--address=/mx.example/{engine.address(sink.container, network)}", *exchangers)


@pytest.mark.parametrize(
    ("upstream", "said"),
    [
        ("well.example", "^200 .*ok upstream"),
        ("half.example", "^200 .*ok upstream"),
        ("well.example:26", r"^503 .*failed upstream: well\.example:26 Connection refused: mail waits"),
        ("none.example", r"^503 .*failed upstream: none\.example:25 \w.*: mail waits in the queue"),
        ("nowhere.example", r"^503 .*failed upstream: nowhere\.example:25 \w.*: mail waits in the queue"),
    ],
)
def test_a_mail_domain_as_upstream_is_asked_at_its_mx(
    start_relay: StartRelay, names: NameServer, upstream: str, said: str
) -> None:
    """By the DNS, as mail will; an exchanger without an address leaves the others."""
    relay = start_relay({"RELAYHOST": upstream, "UPSTREAM_CHECK": "fail"}, wait=False, dns=[names.address])
    readiness(relay, f"(?s){said}")


def gone(start_relay: StartRelay, policy: str) -> Relay:
    return start_relay({"RELAYHOST": "[nobody.invalid]:25", "UPSTREAM_CHECK": policy}, wait=False)


def test_an_upstream_that_is_not_there_is_a_warning_by_default(start_relay: StartRelay) -> None:
    """Mail is taken and waits: to send clients elsewhere is the user's choice."""
    relay = start_relay({"RELAYHOST": "[sink]:2"}, wait=False)
    answer = readiness(relay, "(?s)^200 .*warning upstream: (?!not asked)")
    assert r"warning upstream: [sink]:2 Connection refused: mail waits in the queue" in answer
    relay.logged(r"warning: upstream \[sink\]:2 Connection refused: mail waits in the queue")


def test_an_upstream_that_is_not_there_makes_the_relay_unready_where_that_is_wanted(
    start_relay: StartRelay,
) -> None:
    readiness(gone(start_relay, "fail"), "(?s)^503 .*ok listener 25.*failed upstream: (?!not asked)")


def test_an_upstream_that_nobody_asks_after_is_not_asked(start_relay: StartRelay) -> None:
    assert "upstream" not in readiness(gone(start_relay, "off"), "^200 ")


def test_an_upstream_that_goes_away_is_found_by_the_mail_that_finds_no_way(
    start_relay: StartRelay, sink: Sink
) -> None:
    """And is well again by itself, within half a minute of its return."""
    relay = start_relay()
    sink.behave(drop=["connect"])
    to = someone()
    relay.send(to)
    answer = readiness(relay, "warning upstream: ")
    assert "warning upstream: [sink]:25 connection closed without a reply: mail waits in the queue" in answer
    sink.restore()
    until("the upstream is well", lambda: "ok upstream" in relay.readiness(), deadline=60)


@pytest.fixture
def password(tmp_path: Path) -> Path:
    (tmp_path / "password").write_text("old")
    return tmp_path / "password"


@pytest.fixture
def strict(start_relay: StartRelay, sink: Sink, certificates: Certificates, password: Path) -> Relay:
    """With a login at its upstream, to be called unready where that does not work."""
    sink.behave(require_auth=True, password="new")
    return start_relay(
        {
            "RELAYHOST_USERNAME": "me",
            "RELAYHOST_PASSWORD_FILE": "/secret/password",
            "RELAYHOST_CA_FILE": tls.CA,
            "UPSTREAM_CHECK": "fail",
            "MINIMAL_BACKOFF_TIME": "1s",
            "MAXIMAL_BACKOFF_TIME": "1s",
            "QUEUE_RUN_DELAY": "1s",
        },
        volumes={str(password.parent): {"bind": "/secret", "mode": "ro"}, **certificates.mount},
    )


def test_an_upstream_that_greets_and_refuses_us_is_named_until_mail_gets_through(
    strict: Relay, sink: Sink, password: Path
) -> None:
    """All mail would wait behind a relay that calls itself ready: a password that was changed is how most relays end."""
    readiness(strict, "^200 (?s:.*)ok upstream")
    strict.send(first := someone())
    login = (
        r"failed upstream: \[sink\]:25 SASL authentication failed; server sink\S+ said: 535 .*: mail waits"
    )
    readiness(strict, f"^503 (?s:.*){login}")
    # The password is mended here: nobody has to wait for the queue's next try.
    (new := password.with_name("new")).write_text("new")
    new.rename(password)
    readiness(strict, "^200 (?s:.*)ok upstream")
    assert sink.mail(first)
    # What is mended there is found by the mail that waits.
    sink.behave(starttls=False)
    strict.send(second := someone())
    offered = r"failed upstream: \[sink\]:25 TLS is required but was not offered by host sink\S+: mail waits"
    readiness(strict, f"^503 (?s:.*){offered}")
    sink.behave(starttls=True)
    assert sink.mail(second)
    readiness(strict, "^200 (?s:.*)ok upstream")
    # Where none waits any more, nobody would find out that it is mended.
    sink.behave(password="newer")
    strict.send(third := someone())
    readiness(strict, "^503 ")
    # Held first: of one that is deleted while it is tried, the try would tell after its end.
    assert strict.exec("postern", "queue", "hold", "--recipient", third).status == 0
    assert strict.exec("postern", "queue", "delete", "--yes", "--recipient", third).status == 0
    readiness(strict, "^200 (?s:.*)ok upstream")


def test_a_mistake_in_the_settings_returns_no_mail_which_waits_until_it_is_mended(
    start_relay: StartRelay, sink: Sink
) -> None:
    """A login that nobody set, and servers whose names nobody knows: Postfix's own answer would be a bounce."""
    sink.behave(replies={"mail": "530 5.7.0 Authentication required"})
    relay = start_relay(
        {
            "TRANSPORT": "transport.example smtp:[misspelt]:25",
            "UPSTREAMS": "boss@example.com [misspelled]:25",
            "MINIMAL_BACKOFF_TIME": "1s",
            "MAXIMAL_BACKOFF_TIME": "1s",
            "QUEUE_RUN_DELAY": "1s",
        }
    )
    relay.send(to := someone())
    wants = (
        r"warning upstream: \[sink\]:25 host sink\S+ said: 530 5\.7\.0 Authentication required .*: mail waits"
    )
    readiness(relay, f"^200 (?s:.*){wants}")
    for sender, recipient, host in (
        ("app@example.com", "ann@transport.example", "misspelt"),
        ("boss@example.com", "ann@example.com", "misspelled"),
    ):
        relay.send(recipient, sender=sender)
        relay.logged(rf"to=<{recipient}>, relay=none, .*status=deferred \(unable to look up host {host}: ")
    sink.behave(replies={})
    assert sink.mail(to)
