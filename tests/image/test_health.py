"""Ready means that a mail would get through; alive, that a restart would not help. Asking costs nothing and shows nowhere.

Orchestrators ask every few seconds for years, and act on the answer.
"""

from __future__ import annotations

import http.client
import re
import socket
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.image import engine, inside
from tests.image.conftest import StartRelay
from tests.image.relay import Relay, someone
from tests.image.sink import Sink
from tests.image.waiting import until

HEALTH_PORT = 9154
SPOOL = "/var/spool/postfix"
# Of 127.0.0.0/8, so that no client on a network can have it. It is in runtime.json, too.
PROBE = "127.98.67.25"
ALIVE = "ok keeper\nok master\n"
INSIDE = "ok log\nok spool\nok tables\n"
READY = ALIVE + INSIDE + "ok listener 25\nok listener 587\nok upstream\n"
MANY = 300
# Requests under way that one address may have.
AT_ONCE = 16
# An option that none of Postfix's programs knows, in master.cf.
BROKEN = {
    "qmgr": {"POSTFIXMASTER_qmgr__unix": "qmgr unix n - n 300 1 qmgr -Q"},
    "cleanup": {"POSTFIXMASTER_cleanup__unix": "cleanup unix n - n - 0 cleanup -Q"},
    "smtp": {"POSTFIXMASTER_smtp__unix": "smtp unix - - n - - smtp -Q"},
}


def ask(relay: Relay, path: str, method: str = "GET", timeout: float = 10.0) -> tuple[int, str]:
    connection = http.client.HTTPConnection(
        "127.0.0.1", engine.published(relay.container, HEALTH_PORT), timeout=timeout
    )
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def readiness(relay: Relay, pattern: str) -> str:
    """The answer of /readyz, once it holds a regular expression."""
    told: list[str] = []

    def matches() -> str | None:
        told[:] = [relay.readiness()]
        return told[0] if re.search(pattern, told[0]) else None

    return until(f"/readyz says {pattern!r}", matches, needs=[relay.container], state=told.copy)


@pytest.mark.parametrize(
    ("path", "body"), [("/livez", ALIVE), ("/readyz", READY), ("/healthz", READY), ("/readyz?verbose", READY)]
)
def test_a_healthy_relay_answers_200_and_names_each_check(relay: Relay, path: str, body: str) -> None:
    assert ask(relay, path) == (200, body)


def test_other_paths_and_methods_are_refused(relay: Relay) -> None:
    assert ask(relay, "/metricz")[0] == 404
    assert ask(relay, "/readyz", "POST")[0] == 405
    assert ask(relay, "/readyz", "HEAD") == (200, "")


def test_the_health_verb_says_the_same(relay: Relay) -> None:
    assert relay.exec("postern", "health") == engine.Result(0, READY)


def test_the_engine_calls_the_container_healthy(start_relay: StartRelay) -> None:
    """The image brings its check along; only its pace is the test's."""
    relay = start_relay(healthcheck={"interval": 1_000_000_000})

    def healthy() -> bool:
        relay.container.reload()
        return bool(relay.container.attrs["State"]["Health"]["Status"] == "healthy")

    until("the engine calls it healthy", healthy, needs=[relay.container])


def test_hundreds_of_probes_leave_no_line_no_file_and_no_process(start_relay: StartRelay) -> None:
    """An hour of Kubernetes, in seconds: both the questions of many, and as many sessions with Postfix."""
    relay = start_relay()
    ask(relay, "/readyz")
    before, processes = relay.logs(), {process.name for process in inside.processes(relay)}
    files = relay.exec("find", SPOOL, "-type", "f").output
    with ThreadPoolExecutor(8) as askers:
        answers = set(askers.map(lambda _: ask(relay, "/readyz"), range(MANY)))
    assert answers == {(200, READY)}
    # /readyz remembers for a second; this asks Postfix itself each time.
    program = (
        "import sys; sys.path.append('/usr/lib/postern')\n"
        "from entrypoint.health.listeners import Listener, probe\n"
        f"print({{str(probe(Listener('', 25), '{PROBE}')) for _ in range({MANY})}})"
    )
    assert relay.exec("python3", "-c", program).output == "{'ok listener 25'}\n"
    # anvil, who counts clients, is started for the first one: a probe is none.
    assert {process.name for process in inside.processes(relay)} == processes
    assert not [process for process in inside.processes(relay) if process.zombie]
    # The lines of a real client come after those of the probes, if there are any.
    relay.smtp().quit()
    relay.logged("disconnect from")
    added = relay.logs().removeprefix(before).splitlines()
    assert [line.partition("]: ")[2].split()[0] for line in added] == ["connect", "disconnect"]
    assert relay.exec("find", SPOOL, "-type", "f").output == files


def test_the_probes_address_cannot_send_mail_unseen(relay: Relay, sink: Sink) -> None:
    """Its sessions are not logged, so it must not be able to do anything."""
    to = someone()
    program = (
        "import smtplib\n"
        f"s = smtplib.SMTP('127.0.0.1', 25, 'probe', source_address=('{PROBE}', 0)); s.ehlo()\n"
        f"print(s.mail('app@example.com'), s.rcpt('{to}'), s.data('Subject: x') if 0 else s.docmd('DATA'))"
    )
    mail, rcpt, data = re.findall(r"\((\d+), b'([^']*)'\)", relay.exec("python3", "-c", program).output)
    assert mail[0] == "250"
    assert (rcpt[0], "readiness probe: no mail is taken from this address" in rcpt[1]) == ("450", True)
    assert data[0].startswith("5")
    assert sink.received(to) == []


def test_a_listener_that_hangs_is_named_and_the_relay_stays_alive(start_relay: StartRelay) -> None:
    """A restart would not be wrong here, but would lose nothing and help only by chance: others get the mail first."""
    relay = start_relay()
    frozen = inside.named(relay, "smtpd")
    inside.signal(relay, "STOP", frozen)
    answer = readiness(relay, "^503 ")
    assert re.search("failed listener 25: timed out: mail handed in here waits or fails", answer)
    assert re.search("failed listener 587: ", answer)
    assert ask(relay, "/livez") == (200, ALIVE)
    checked = relay.exec("postern", "health")
    assert (checked.status, "failed listener 25" in checked.output) == (1, True)
    inside.signal(relay, "CONT", frozen)
    readiness(relay, "^200 ")


def test_a_listener_that_refuses_everybody_is_named_with_postfixs_words(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    """A port that is open proves nothing: here a table of the user's own has gone."""
    tmp_path.chmod(0o755)
    table = tmp_path / "clients"
    table.write_text("192.0.2.1 REJECT\n", encoding="ascii")
    restriction = {"POSTFIX_smtpd_client_restrictions": "check_client_access cidr:/tables/clients"}
    relay = start_relay(restriction, volumes={str(tmp_path): {"bind": "/tables", "mode": "ro"}})
    table.unlink()
    inside.signal(relay, "TERM", inside.named(relay, "smtpd"))
    answer = readiness(relay, "^503 ")
    assert re.search('failed listener 25: answers RCPT TO with "451 .*": mail is not accepted here', answer)
    assert ask(relay, "/livez") == (200, ALIVE)


@pytest.mark.parametrize(
    ("program", "consequence"),
    [
        ("qmgr", "mail is accepted, but waits in the queue"),
        ("cleanup", "no mail is accepted"),
        ("smtp", "mail is accepted, but waits in the queue"),
    ],
)
def test_a_program_that_cannot_start_is_named_and_the_relay_stays_alive(
    start_relay: StartRelay, program: str, consequence: str
) -> None:
    """The ports are open, and a mail is taken or not as ever; only Postfix's master knows that nothing works."""
    relay = start_relay(dict(BROKEN[program]), wait=False)
    relay.logged("master.*: daemon started")
    # Some are started for a mail only. Whether this one is taken depends on which; without cleanup smtpd says nothing.
    hand_in = (
        "s = smtplib.SMTP('127.0.0.1', 25, timeout=2); s.sendmail('a@example.com', ['b@example.org'], 'x')"
    )
    relay.exec("python3", "-c", f"import smtplib; {hand_in}")
    answer = readiness(
        relay, f"failed program {program}: ends whenever it is started, see the log: {consequence}"
    )
    assert answer.startswith("503 ")
    assert ask(relay, "/livez") == (200, ALIVE)
    assert relay.exec("postern", "health").status == 1


def test_a_listener_that_turns_everybody_away_is_named_with_postfixs_words(start_relay: StartRelay) -> None:
    """The refusal is Postfix's usual one, and no fault of its own: but nobody can hand in a mail."""
    relay = start_relay({"POSTFIX_smtpd_client_restrictions": "reject"}, wait=False)
    answer = readiness(relay, "failed listener 25: answers")
    refused = "554 5.7.1 .*Client host rejected: Access denied"
    assert re.search(
        f'failed listener 25: answers RCPT TO with "{refused}": mail is not accepted here', answer
    )


def test_a_refused_edit_is_a_warning_and_the_relay_stays_ready(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    """Mail goes on as before, so nobody should be sent elsewhere; but somebody should know."""
    tmp_path.chmod(0o755)
    table = tmp_path / "transport"
    table.write_text("example.net smtp:[sink]:25\n", encoding="ascii")
    relay = start_relay(volumes={str(tmp_path): {"bind": "/config", "mode": "ro"}})
    assert refusals(relay) == (0, 0)
    table.write_text("example.net nonsense:[sink]:25\n", encoding="ascii")
    answer = readiness(relay, "warning configuration: ")
    refused = "the last edit was refused and the one before is in force: .*/config/transport:1: must use a transport that exists"
    assert re.search(f"^200 (?s:.*)^warning configuration: {refused}", answer, re.MULTILINE)
    checked = relay.exec("postern", "health")
    assert (checked.status, f"200 {checked.output}") == (0, answer)
    assert refusals(relay) == (1, 1)
    table.write_text("example.net smtp:[sink]:2525\n", encoding="ascii")
    until("the warning is gone", lambda: "warning" not in relay.readiness(), needs=[relay.container])
    assert refusals(relay) == (1, 0)


def refusals(relay: Relay) -> tuple[float, float]:
    """How many edits were refused, and whether the last one is."""
    status, page = ask(relay, "/metrics")
    assert status == 200
    numbers = dict(line.split(" ") for line in page.splitlines() if not line.startswith("#"))
    return float(numbers["postern_config_reload_failures_total"]), float(numbers["postern_config_refused"])


@pytest.mark.parametrize("name", ["keeper", "master"])
def test_a_process_that_is_stopped_is_not_alive(start_relay: StartRelay, name: str) -> None:
    """It cannot be told from a healthy one by its ports, which the others still serve for a while."""
    relay = start_relay()
    stopped = [inside.the(relay, name)]
    inside.signal(relay, "STOP", stopped)
    answer = readiness(relay, "^503 ")
    assert f"failed {name}: stopped by a signal: mail stalls" in answer
    assert ask(relay, "/livez")[0] == 503
    inside.signal(relay, "CONT", stopped)
    readiness(relay, "^200 ")


def test_a_dead_postfix_is_neither_alive_nor_ready(start_relay: StartRelay) -> None:
    relay = start_relay()
    keeper = inside.the(relay, "keeper")
    # Its parent cannot restart what it does not see end.
    inside.signal(relay, "STOP", [keeper])
    inside.signal(relay, "KILL", inside.named(relay, "master"))
    until(
        "livez has seen it", lambda: "failed master: not" in ask(relay, "/livez")[1], needs=[relay.container]
    )
    for path in ("/livez", "/readyz"):
        status, body = ask(relay, path)
        assert status == 503
        assert "failed master: not running: no mail is accepted or delivered until supervisor" in body
    inside.signal(relay, "CONT", [keeper])
    readiness(relay, "^200 ")


def test_a_relay_that_is_stopping_is_alive_but_not_ready_and_ends_in_time(start_relay: StartRelay) -> None:
    """Load balancers look elsewhere; and a Postfix that hangs does not make the engine kill the container."""
    relay = start_relay()
    inside.signal(relay, "STOP", inside.named(relay, "qmgr"))
    relay.send(someone())
    stopping = threading.Thread(target=relay.container.stop, kwargs={"timeout": 10})
    stopping.start()
    answer = readiness(relay, "failed running: the relay is being stopped: hand in mail elsewhere")
    assert answer.startswith("503 ")
    stopping.join()
    assert relay.exit_code() == 0


def test_slow_clients_do_not_hold_up_others_and_are_sent_away(relay: Relay) -> None:
    address = ("127.0.0.1", engine.published(relay.container, HEALTH_PORT))
    slow = [socket.create_connection(address, timeout=10) for _ in range(AT_ONCE - 1)]
    try:
        for client in slow:
            client.sendall(b"GET /readyz HTTP/1.1\r\nX-Slow: ")
        assert ask(relay, "/readyz", timeout=3)[0] == 200
        assert [client.recv(1) for client in slow] == [b""] * len(slow)
    finally:
        for client in slow:
            client.close()


def test_a_neighbour_that_takes_all_its_places_does_not_keep_the_engines_check_out(relay: Relay) -> None:
    address = ("127.0.0.1", engine.published(relay.container, HEALTH_PORT))
    idle = [socket.create_connection(address, timeout=10) for _ in range(40)]
    try:
        # From inside, as the engine runs it. The neighbour's own next request, from outside, is not served.
        assert relay.exec("postern", "health") == engine.Result(0, READY)
    finally:
        for client in idle:
            client.close()


def test_more_clients_than_it_serves_do_not_end_the_health_program(relay: Relay) -> None:
    health = inside.the(relay, "health")
    address = ("127.0.0.1", engine.published(relay.container, HEALTH_PORT))
    crowd = [socket.create_connection(address, timeout=10) for _ in range(100)]
    for client in crowd:
        client.close()
    readiness(relay, "^200 ")
    assert inside.the(relay, "health") == health


def test_the_answer_as_json(relay: Relay) -> None:
    url = f"http://127.0.0.1:{engine.published(relay.container, HEALTH_PORT)}/readyz?format=json"
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.read().startswith(b'{"ok": true, "checks": [{"name": "keeper", "ok": true')
