"""What Prometheus gets, and what it gets while the keeper is away."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from entrypoint.health import metrics
from entrypoint.keeper.answers import Answers
from entrypoint.keeper.totals import Totals
from entrypoint.maillog.lines import parse

ROOT = Path(__file__).parents[2]
CIRCUMSTANCES = '{"spool_problem": "", "spool_refusing_below": 16777216, "taken_at": 0}\n'
HEAD = "Nov 21 16:23:09 relay postfix/"
DELIVERED = (
    "smtp[31]: 4jWyDY0YgDz5nFW: to=<a@example.org>, relay=smtp.example.com[192.0.2.1]:587, delay=7.5, "
    "delays=1/0.5/0.04/6, dsn=2.0.0, status=sent (250 ok)"
)


@pytest.fixture
def places(tmp_path: Path) -> metrics.Places:
    found = metrics.Places()
    found.keeper = str(tmp_path / "keeper")
    found.certificates = str(tmp_path / "certificates")
    found.build = str(tmp_path / "build")
    found.spool = str(tmp_path)
    return found


@pytest.fixture
def keeper(tmp_path: Path, places: metrics.Places) -> Iterator[Totals]:
    """One that answers, as long as the test lasts."""
    (tmp_path / "upstreams").write_text("smtp.example.com:587\n")
    totals = Totals(str(tmp_path / "upstreams"), str(tmp_path / "spool"))
    with closing(
        Answers(places.keeper, {"counts": totals.answer, "circumstances": lambda _: CIRCUMSTANCES})
    ) as served:
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                served.serve()
                time.sleep(0.001)

        thread = threading.Thread(target=serve)
        thread.start()
        yield totals
        ended.set()
        thread.join()


def scraped(tmp_path: Path, places: metrics.Places) -> dict[str, float]:
    page = metrics.page(str(tmp_path / "state.json"), str(tmp_path / "refused"), places)
    lines = [line for line in page.splitlines() if not line.startswith("#")]
    samples = dict(line.rsplit(" ", 1) for line in lines)
    assert len(samples) == len(lines)
    return {name: float(value) for name, value in samples.items()}


def test_reloads_are_counted_and_a_refusal_shows(tmp_path: Path, places: metrics.Places) -> None:
    (tmp_path / "state.json").write_text(
        '{"keeper": 11, "reloads": 3, "reload_failures": 2, "stopping": 1}\n'
    )
    (tmp_path / "refused").write_text("a problem\n")
    found = scraped(tmp_path, places)
    assert found["postern_config_reloads_total"] == 3
    assert found["postern_config_reload_failures_total"] == 2
    assert found["postern_config_refused"] == 1
    assert found["postern_draining"] == 1


def test_without_the_keeper_nothing_is_said_about_mail(tmp_path: Path, places: metrics.Places) -> None:
    found = scraped(tmp_path, places)
    assert found["postern_keeper_up"] == 0
    assert not [name for name in found if name.startswith("postfix_")]
    only = {"postern_config_reloads_total", "postern_last_delivery_timestamp_seconds"}
    assert not (only | {"postern_spool_refusing_below_bytes"}) & found.keys()


def test_where_new_mail_is_refused_is_scraped_beside_what_is_free(
    tmp_path: Path, places: metrics.Places, keeper: Totals
) -> None:
    """On a small disk that is long before it is full: an alert must know."""
    assert scraped(tmp_path, places)["postern_spool_refusing_below_bytes"] == 16777216


def test_what_the_log_says_is_what_is_scraped(tmp_path: Path, places: metrics.Places, keeper: Totals) -> None:
    (tmp_path / "state.json").write_text('{"keeper": 11}\n')
    for text in (DELIVERED, DELIVERED, "qmgr[1]: 4jWyDY0YgDz5nFW: removed"):
        keeper.read(parse(f"{HEAD}{text}\n"))
    found = scraped(tmp_path, places)
    assert found["postern_keeper_up"] == 1
    assert found['postern_deliveries_total{status="sent",upstream="smtp.example.com:587"}'] == 2
    assert found['postfix_smtp_messages_processed_total{status="sent"}'] == 2
    assert found["postfix_qmgr_messages_removed_total"] == 1
    assert found['postfix_smtp_delivery_delay_seconds_bucket{le="5",stage="transmission"}'] == 0
    assert found['postfix_smtp_delivery_delay_seconds_bucket{le="10",stage="transmission"}'] == 2
    assert found['postfix_smtp_delivery_delay_seconds_bucket{le="+Inf",stage="transmission"}'] == 2
    assert found['postfix_smtp_delivery_delay_seconds_sum{stage="transmission"}'] == 12
    assert found["postern_last_delivery_timestamp_seconds"] == pytest.approx(time.time(), abs=60)
    assert found["postern_draining"] == 0


def test_tls_of_clients_is_scraped_by_its_parts_and_what_is_too_much_as_other(
    tmp_path: Path, places: metrics.Places, keeper: Totals
) -> None:
    tls = "smtpd[1]: Anonymous TLS connection established from h[192.0.2.1]: TLSv1.3 with cipher C-{0} ({0}/256 bits)"
    for bits in range(60):
        keeper.read(parse(f"{HEAD}{tls.format(bits)}\n"))
    found = scraped(tmp_path, places)
    name = "postfix_smtpd_tls_connections_total"
    parts = 'algorithm_bits="256",cipher="C-7",protocol="TLSv1.3",secret_bits="7",trust="Anonymous"'
    assert found[f"{name}{{{parts}}}"] == 1
    labels = ("algorithm_bits", "cipher", "protocol", "secret_bits", "trust")
    assert (
        found[f"{name}{{{','.join(f'{label}=other' for label in labels)}}}".replace("other", '"other"')] == 10
    )


def test_the_queue_is_scraped_as_it_is(tmp_path: Path, places: metrics.Places, keeper: Totals) -> None:
    (tmp_path / "spool/deferred/4").mkdir(parents=True)
    (tmp_path / "spool/deferred/4/4jWyDY0YgDz5nFW").touch()
    found = scraped(tmp_path, places)
    assert found['postfix_showq_queue_depth{queue="deferred"}'] == 1
    assert found['postfix_showq_queue_depth{queue="active"}'] == 0
    assert found['postfix_showq_message_age_seconds_count{queue="deferred"}'] == 1
    assert found['postern_queue_oldest_message_age_seconds{queue="deferred"}'] > 0


def test_a_certificates_end_is_told_in_seconds_and_the_build_by_name(
    tmp_path: Path, places: metrics.Places
) -> None:
    (tmp_path / "certificates").write_text(f"{time.time() + 3600:.0f} relay.example.com\n")
    (tmp_path / "build").write_text("1.2.3\nabc\n")
    found = scraped(tmp_path, places)
    remaining = found['postern_certificate_remaining_seconds{certificate="relay.example.com"}']
    assert remaining == pytest.approx(3600, abs=60)
    assert found['postern_build_info{revision="abc",version="1.2.3"}'] == 1
    assert found["postern_spool_size_bytes"] >= found["postern_spool_free_bytes"] > 0


def hostile(n: int) -> tuple[str, ...]:
    """What strangers may say, each time otherwise; none of it is true."""
    host, domain, code = f"h{n}.example", f"d{n}.example", f"4.{n % 10}.{n % 1000}"
    mail = f"from=<a@{domain}> to=<b@{domain}> proto=ESMTP helo=<{host}>"
    tls = f"TLS connection established from {host}[192.0.2.1]: TLSv1.3 with cipher CIPHER-{n} ({n}/{n} bits)"
    attempt = f"to=<u{n}@{domain}>, relay={host}[192.0.2.1]:25, delay=1, delays=0/0/0/1, dsn={code}"
    return (
        f"smtpd[1]: connect from {host}[192.0.2.1]",
        f"smtpd[1]: Anonymous {tls}",
        f"smtpd[1]: 4jWyDY0YgDz5nF{n % 10}: client={host}[192.0.2.1], sasl_method=M{n}, sasl_username=u{n}@{domain}",
        f"smtpd[1]: NOQUEUE: reject: RCPT from {host}[192.0.2.1]: {400 + n % 200} 5.7.{n % 1000} <x>: reason {n}; {mail}",
        f"cleanup[1]: 4jWyDY0YgDz5nFW: reject: header X-{n}: {n} from {host}[192.0.2.1]; {mail}: {n}",
        f"cleanup[1]: 4jWyDY0YgDz5nFW: milter-reject: END-OF-MESSAGE from {host}[192.0.2.1]: {code} no {n}; {mail}",
        f"smtpd[1]: warning: {host}[192.0.2.1]: SASL M{n} authentication failed: {n}, sasl_username=u{n}",
        f"smtp[1]: 4jWyDY0YgDz5nFW: {attempt}, status=deferred (host {host}[192.0.2.1] said: 450 {code} reason {n})",
        f"smtp[1]: 4jWyDY0YgDz5nFW: {attempt}, status=bounced (host {host}[192.0.2.1] said: 550 {n})",
        f"other{n}[1]: 4jWyDY0YgDz5nFW: {attempt}, status=status{n} ({n})",
    )


def test_strangers_can_make_no_more_series_than_some_hundreds_and_no_label_has_their_words(
    tmp_path: Path, places: metrics.Places, keeper: Totals
) -> None:
    """Each series costs Prometheus memory for hours, and its label may be anybody's words or address."""
    for n in range(1000):
        for text in hostile(n):
            keeper.read(parse(f"{HEAD}{text}\n"))
    found = scraped(tmp_path, places)
    assert len(found) < 600
    assert found['postern_deliveries_total{status="other",upstream="smtp.example.com:587"}'] == 1000
    assert found['postfix_smtp_deferred_messages_by_dsn_total{dsn="other"}'] > 900
    assert not [name for name in found if re.search(r"example(?!\.com:587)|@|reason \d|status\d", name)]


def test_the_answer_is_json_whatever_a_name_holds(tmp_path: Path) -> None:
    (tmp_path / "upstreams").write_text('a"\\\x7f\xfc:25\n', encoding="utf-8")
    totals = Totals(str(tmp_path / "upstreams"), str(tmp_path))
    totals.read(parse(f"{HEAD}{DELIVERED}\n"))
    assert json.loads(totals.answer(""))["deliveries"]['a"\\\x7f\xfc:25']["sent"] == 1


def test_a_file_system_that_counts_no_inodes_is_not_out_of_them(
    tmp_path: Path, places: metrics.Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Btrfs says 0 of 0."""
    real = os.statvfs(tmp_path)
    assert "postern_spool_free_inodes" in scraped(tmp_path, places)
    without = os.statvfs_result((*real[:5], 0, 0, 0, *real[8:]))
    monkeypatch.setattr(os, "statvfs", lambda _: without)
    found = scraped(tmp_path, places)
    assert "postern_spool_free_inodes" not in found
    assert found["postern_spool_size_bytes"] > 0


def test_the_first_scrape_loads_no_web_server_and_no_tls() -> None:
    """They would cost 10 MB for as long as the container lives."""
    code = "import sys; from entrypoint.health import metrics; metrics.page(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "prometheus_client.exposition" in loaded
    assert not loaded & {"ssl", "http.server", "wsgiref", "urllib.request", "gzip", "pathlib", "inspect"}


def test_a_keeper_that_hangs_costs_its_numbers_and_not_the_page(
    tmp_path: Path, places: metrics.Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "_PATIENCE", 0.05)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(places.keeper)
        silent.listen()
        found = scraped(tmp_path, places)
    assert found["postern_keeper_up"] == 0
    assert found["postern_config_refused"] == 0
