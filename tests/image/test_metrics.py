"""/metrics: the same numbers as others read from the same log, in Prometheus's form, and cheap with a full queue."""

from __future__ import annotations

import json
import re
import smtplib
import statistics
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from docker.models.containers import Container
from docker.models.networks import Network

from tests.image import engine
from tests.image.conftest import StartRelay
from tests.image.engine import Engine
from tests.image.relay import HOSTNAME, Relay, someone
from tests.image.sink import Sink
from tests.image.stations import NameServer
from tests.image.waiting import until

MONITORING = Path(__file__).parents[2] / "deploy/monitoring"
TEXT = "Subject: mixed\r\n\r\ntext\r\n"
UPSTREAM = "sink:25"
# Seconds between two scrapes, and the share of a core that they may cost.
INTERVAL, SHARE = 15, 0.01
# In the container: 20,000 messages that wait for a day, as qmgr(8) finds them in the spool.
FULL_QUEUE = """
import os, pwd, time
digits = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
def text(number):
    return text(number // 52) + digits[number % 52] if number else ""
uid, now = pwd.getpwnam("postfix").pw_uid, int(time.time())
for n in range(20000):
    directory = f"/var/spool/postfix/deferred/{n % 16:X}"
    os.makedirs(directory, exist_ok=True)
    os.chown(directory, uid, -1)
    name = f"{directory}/{text(now - n)}0{text(52 * 52 + n % 999)}z{text(n + 52).replace('z', 'y')}"
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o700))
    os.utime(name, (now + 86400, now + 86400))
    os.chown(name, uid, -1)
"""


def scrape(relay: Relay) -> str:
    url = f"http://127.0.0.1:{engine.published(relay.container, 9154)}/metrics"
    with urllib.request.urlopen(url, timeout=20) as answer:
        page = answer.read()
    assert isinstance(page, bytes)
    return page.decode()


def numbers(relay: Relay) -> dict[str, float]:
    return numbers_on(scrape(relay))


def numbers_on(page: str) -> dict[str, float]:
    lines = [line for line in page.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def deliveries(relay: Relay) -> dict[str, float]:
    return {
        status[1]: value
        for name, value in numbers(relay).items()
        if (
            status := re.fullmatch(rf'postern_deliveries_total{{status="(\w+)",upstream="{UPSTREAM}"}}', name)
        )
    }


def by_upstream(relay: Relay) -> dict[str, float]:
    """What was sent, by the way out."""
    found = {
        re.search('upstream="([^"]*)"', name): value
        for name, value in numbers(relay).items()
        if name.startswith('postern_deliveries_total{status="sent"') and value
    }
    return {name[1]: value for name, value in found.items() if name}


@pytest.fixture
def judge(docker: Engine, tmp_path: Path) -> Iterator[Callable[[str, str], engine.Result]]:
    """Runs a command of the test tools on a text, which is the file `given`."""
    mounts = {str(tmp_path): {"bind": "/given", "mode": "ro"}, str(MONITORING): {"bind": "/m", "mode": "ro"}}
    container: Container = docker.start(engine.TOOLS, volumes=mounts, network_mode="none", init=True)

    def run(command: str, given: str) -> engine.Result:
        (tmp_path / "given").write_text(given, encoding="utf-8")
        return engine.execute(container, ["sh", "-ec", f"cd /m; {command} < /given/given"])

    yield run
    docker.remove(container)


HEADER_CHECKS = "regexp:{ { /^Subject: forbidden/ REJECT not here } }"
LOCAL, EXPIRED = 20, 10


def send_mixed(relay: Relay, numbers: range) -> None:
    """Of ten five are sent, one of them to three; others are put off, bounced, refused by sender or by content. As
    clients of hundred names, for recipients in a thousand domains, and put off with hundred codes.
    """
    for number in numbers:
        a, b, c = (f"{name}@d{number}.example" for name in "abc")
        later, gone = f"later{number // 10}@example.org", "gone@example.org"
        to, refused = {
            4: ([a], "554"),
            5: ([a, b, c], ""),
            6: ([later], ""),
            7: ([gone, a], ""),
            8: ([a], "550"),
            9: ([later, b], ""),
        }.get(number % 10, ([a], ""))
        sender = "app@example.net" if refused == "554" else "app@example.com"
        with smtplib.SMTP(
            "127.0.0.1", engine.published(relay.container, 25), f"h{number // 10}.example"
        ) as session:
            session.ehlo()
            session.mail(sender)
            answers = {session.rcpt(recipient)[0] for recipient in to}
            assert answers == ({554} if refused == "554" else {250})
            if refused != "554":
                text = TEXT.replace("mixed", "forbidden") if refused else TEXT
                assert session.data(text)[0] == (550 if refused else 250)


def some_expire(relay: Relay) -> None:
    """As if their time were over: their senders are told."""
    shown = json.loads(
        relay.exec("postern", "queue", "--json", "--limit", str(EXPIRED), "--reason", "later").output
    )
    ids = " ".join(message["queue_id"] for message in shown["messages"])
    done = relay.exec("sh", "-ec", f"for id in {ids}; do postsuper -e $id; done; postern queue flush {ids}")
    assert done.status == 0, done.output


def test_a_thousand_mixed_messages_are_counted_as_pflogsumm_counts_them(
    start_relay: StartRelay, sink: Sink, judge: Callable[[str, str], engine.Result]
) -> None:
    relay = start_relay(
        {
            "ALLOWED_SENDER_DOMAINS": "example.com",
            "POSTFIX_header_checks": HEADER_CHECKS,
            # Which is a destination each, and would be left alone after a few failures.
            "POSTFIX_smtp_destination_concurrency_failed_cohort_limit": "1000",
        }
    )
    later = {f"later{n}@example.org": f"450 4.{n}.1 later, says {n}" for n in range(100)}
    sink.behave(recipients={"gone@example.org": "550 5.1.1 no such user", **later})
    senders = [
        threading.Thread(target=send_mixed, args=(relay, range(n, 1000, 4)), daemon=True) for n in range(4)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(60)
    picked_up = (
        f"for n in $(seq {LOCAL}); do echo hello | sendmail -f app@example.com local$n@example.org; done"
    )
    assert relay.exec("sh", "-ec", picked_up).status == 0
    # Each refused recipient's sender is told, by a message of the relay's own.
    expected = {"sent": 400 + 300 + 2 * 100 + 100 + LOCAL, "deferred": 200, "bounced": 100}
    settled(relay, expected)
    some_expire(relay)
    settled(relay, {**expected, "sent": expected["sent"] + EXPIRED})
    # 800 were taken from clients, and 100 notices of bounces and some of what expired were made.
    removed = 800 + LOCAL + 100 + EXPIRED - (200 - EXPIRED)
    until(
        "the last has left",
        lambda: numbers(relay)["postfix_qmgr_messages_removed_total"] == removed,
        state=lambda: numbers(relay)["postfix_qmgr_messages_removed_total"],
    )
    found = numbers(relay)
    summed = judge("pflogsumm --detail 0", relay.logs()).output
    theirs = {name: int(count) for count, name in re.findall(r"^ +(\d+) +([a-z]+)", summed, re.MULTILINE)}
    deferrals = re.search(r"\((\d+) +deferrals\)", summed)
    assert deferrals
    assert {
        "received": total(found, "postern_messages_received_total"),
        "delivered": total(found, "postern_deliveries_total", status="sent"),
        "deferrals": total(found, "postern_deferrals_total"),
        "bounced": total(found, "postern_deliveries_total", status="bounced"),
        "rejected": total(found, "postern_rejects_total"),
    } == {
        "deferrals": int(deferrals[1]),
        **{name: theirs[name] for name in ("received", "delivered", "bounced", "rejected")},
    }
    assert (theirs["received"], theirs["rejected"]) == (900 + LOCAL, 200)
    assert found['postern_messages_received_total{source="sendmail"}'] == LOCAL
    assert found['postern_rejects_total{code="other",reason="content"}'] == 100
    assert found["postern_messages_expired_total"] == EXPIRED
    assert (
        found['postfix_showq_queue_depth{queue="deferred"}'] == theirs["deferred"] - EXPIRED == 200 - EXPIRED
    )
    assert found['postern_deferrals_total{reason="reply_to_recipient"}'] == 200
    assert len(found) < 400
    assert found['postfix_smtp_deferred_messages_by_dsn_total{dsn="other"}'] >= 100
    checked = judge("promtool check metrics", scrape(relay))
    assert (checked.status, checked.output) == (0, "")


def settled(relay: Relay, expected: Mapping[str, float]) -> None:
    until(
        "all is delivered, refused or put off",
        lambda: deliveries(relay) == expected,
        deadline=60,
        needs=[relay.container],
        state=lambda: deliveries(relay),
    )


def total(found: dict[str, float], name: str, **labels: str) -> float:
    """Of a metric's series with these labels."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(v for n, v in found.items() if n.partition("{")[0] == name and all(w in n for w in wanted))


def test_deliveries_are_counted_for_the_upstream_that_took_them(start_relay: StartRelay, sink: Sink) -> None:
    """The first of two is down; others are for a sender, or for some recipients."""
    other = "sink.example"
    lines = ("* [elsewhere.example]:26", "* [sink]", f"@example.net [{other}]")
    relay = start_relay(
        {
            "RELAYHOST": None,
            "UPSTREAMS": "; ".join(lines),
            "TRANSPORT": "inside.example smtp:[mx.example.com]:25",
        }
    )
    for count, (sender, domain) in enumerate(
        (
            ("app@example.com", "example.org"),
            ("app@example.net", "example.org"),
            ("app@example.com", "inside.example"),
        ),
        1,
    ):
        for _ in range(count):
            relay.send(to := someone(domain), sender)
            sink.mail(to)
    expected = {"sink:25": 1, f"{other}:25": 2, "mx.example.com:25": 3}
    until("all are counted", lambda: by_upstream(relay) == expected, state=lambda: by_upstream(relay))


def test_mail_that_finds_its_server_by_mx_is_direct_or_the_smarthosts(
    start_relay: StartRelay, start_names: Callable[..., NameServer], sink: Sink, network: Network
) -> None:
    """Whatever the names of the hosts behind it, which may change every day."""
    records = [f"--address=/mx.example.org/{engine.address(sink.container, network)}"]
    records += [f"--mx-host={domain},mx.example.org,10" for domain in ("example.org", "smarthost.example")]
    names = start_names(*records)
    for relayhost, label in ((None, "direct"), ("smarthost.example", "smarthost.example:25")):
        relay = start_relay({"RELAYHOST": relayhost}, dns=[names.address])
        relay.send(to := someone())
        sink.mail(to)
        until("it is counted", lambda relay=relay: by_upstream(relay))  # type: ignore[misc]
        assert by_upstream(relay) == {label: 1}


def test_the_ends_of_the_relays_own_certificate_and_ca_are_told(start_relay: StartRelay) -> None:
    relay = start_relay({"SMTPD_SASL_USERS": "ann:correct horse"})
    ends = "postern_certificate_remaining_seconds"
    found = {name: value for name, value in numbers(relay).items() if name.startswith(ends)}
    assert found.keys() == {f'{ends}{{certificate="{name}"}}' for name in (HOSTNAME, "own CA")}
    own, authority = sorted(found.values())
    assert 86400 * 800 < own < 86400 * 826
    assert 86400 * 3600 < authority < 86400 * 3651


def cpu(relay: Relay) -> float:
    """Seconds that all processes of the container have taken so far, as its control group has them."""
    client = relay.container.client
    assert client
    found = client.api.stats(str(relay.container.id), stream=False, one_shot=True)
    return float(found["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9


LOOKS, ROUNDS = 7, 3


def test_with_20000_waiting_messages_metrics_and_readyz_take_less_than_100_ms_each_and_1_percent_of_a_core(
    start_relay: StartRelay,
) -> None:
    relay = start_relay()
    made = relay.exec("python3", "-c", FULL_QUEUE)
    assert made.status == 0, made.output
    depth = 'postfix_showq_queue_depth{queue="deferred"}'
    until("they are seen", lambda: numbers(relay)[depth] == 20000, needs=[relay.container])
    oldest = 'postern_queue_oldest_message_age_seconds{queue="deferred"}'
    first = numbers(relay)[oldest]
    assert 20000 <= first < 20200
    ages = {first}

    def look() -> tuple[float, float, float] | None:
        """One more, if the keeper has looked anew, which it does not do at once: else this measures what it remembers."""
        before, began = cpu(relay), time.monotonic()
        seen = scrape(relay)
        scraped = time.monotonic()
        ready = relay.readiness()
        ended = time.monotonic()
        assert ready.startswith("200 ")
        age = numbers_on(seen)[oldest]
        if age in ages:
            return None
        ages.add(age)
        return scraped - began, ended - scraped, cpu(relay) - before

    rounds: list[tuple[float, ...]] = []
    # What else the machine does is not the relay's, and may spoil a round.
    while len(rounds) < ROUNDS and not any(map(quick, rounds)):
        looks = [until("the keeper has looked anew", look, needs=[relay.container]) for _ in range(LOOKS)]
        rounds.append(tuple(map(statistics.median, zip(*looks, strict=True))))
    print("medians of metrics and readyz, and both together of CPU:", rounds)
    assert any(map(quick, rounds)), rounds
    assert min(spent for *_, spent in rounds) < SHARE * INTERVAL


def quick(medians: tuple[float, ...]) -> bool:
    metrics, readyz, _ = medians
    return metrics < 0.1 and readyz < 0.1


def test_alert_rules_are_clean_and_fire_when_they_should(judge: Callable[[str, str], engine.Result]) -> None:
    checked = judge("promtool check rules --lint=all --lint-fatal alerts.yml", "")
    assert checked.status == 0, checked.output
    tried = judge("promtool test rules alerts_test.yml", "")
    assert tried.status == 0, tried.output


def panels() -> dict[str, list[str]]:
    """What each panel of the dashboard asks for, by its title."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    return {
        panel["title"]: [target["expr"] for target in panel.get("targets", ())]
        for panel in dashboard["panels"]
    }


def test_the_dashboard_and_the_alerts_ask_for_metrics_that_there_are(relay: Relay) -> None:
    page = scrape(relay)
    known = set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE))
    known |= {f"{name}{end}" for name in known for end in ("_bucket", "_sum", "_count")} | {"up"}
    asked = [expression for each in panels().values() for expression in each]
    assert len(asked) > 10
    asked.append((MONITORING / "alerts.yml").read_text())
    used = set(re.findall(r"\b(?:postern|postfix)_\w+", " ".join(asked))) - {"postern_deferrals_total says"}
    assert used <= known


PROMETHEUS = """
global: {scrape_interval: 1s}
scrape_configs: [{job_name: postern, static_configs: [{targets: ["monitored:9154"]}]}]
"""
VARIABLES = {"$job": ".*", "$instance": ".*", "$__rate_interval": "1m"}


def test_every_panel_of_the_dashboard_shows_something_of_a_relay_at_work(
    start_relay: StartRelay, docker: Engine, network: Network, sink: Sink, tmp_path: Path
) -> None:
    """By a real Prometheus: a label that is not there would leave a panel empty, and nobody would know why."""
    relay = start_relay(
        {"ALLOWED_SENDER_DOMAINS": "example.com", "SMTPD_SASL_USERS": "ann:correct horse"},
        ports=(25, 587),
        aliases=("monitored",),
    )
    (tmp_path / "prometheus.yml").write_text(PROMETHEUS)
    command = "prometheus --config.file=/c/prometheus.yml --storage.tsdb.path=/tmp/data"
    prometheus = docker.start(
        engine.TOOLS,
        network,
        volumes={str(tmp_path): {"bind": "/c", "mode": "ro"}},
        command=command.split(),
        ports={"9090/tcp": ("127.0.0.1", None)},
    )
    sink.behave(recipients={(later := someone()): "450 4.2.0 later"})
    relay.send(someone())
    relay.send(later)
    with relay.smtp() as session:
        session.mail("app@example.net")
        assert session.rcpt(someone())[0] == 554
    with relay.smtp(587) as session:
        session.starttls()

    def empty() -> list[str]:
        return [
            f"{title}: {expression}"
            for title, expressions in panels().items()
            for expression in expressions
            if not answer(prometheus, expression)
        ]

    until("every panel shows something", lambda: not empty(), deadline=60, state=empty, needs=[prometheus])
    docker.remove(prometheus)


def answer(prometheus: Container, expression: str) -> list[object]:
    """The series that an expression of the dashboard finds."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    query = urllib.parse.urlencode({"query": expression})
    url = f"http://127.0.0.1:{engine.published(prometheus, 9090)}/api/v1/query?{query}"
    try:
        with urllib.request.urlopen(url, timeout=10) as told:
            found: list[object] = json.load(told)["data"]["result"]
    except OSError:
        # It has not begun yet. What it cannot understand is an error of this kind, too.
        return []
    return found
