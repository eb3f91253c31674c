"""The bench's arithmetic, reading and table: a figure in the README is only as good as these."""

from __future__ import annotations

import argparse
import asyncio
import re
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.bench import __main__ as story
from tests.bench import cost
from tests.bench.containers import BenchError
from tests.bench.engine_stats import (
    anonymous_bytes,
    anonymous_now,
    cpu_seconds,
    memory_stat_file,
    process_ticks,
    pss_bytes,
)
from tests.bench.plan import QUICK, SECTIONS, options
from tests.bench.recipients import write_list
from tests.bench.relays import Candidate, Relay
from tests.bench.report import (
    BEGIN,
    COMPARISONS,
    END,
    METRICS,
    Goal,
    between_markers,
    how_noisy,
    row,
    table,
)
from tests.bench.station import recipients
from tests.bench.station.counter import Counter
from tests.bench.station.delay import carrier
from tests.bench.station.source import LoadError
from tests.bench.stats import Spread, noise, ratios, rotated, spread

STARTS = {"start": {"bare": [0.5, 0.6, 0.5], "control": [0.5, 0.6, 0.6], "ours": [0.6, 0.9, 0.6]}}
COSTS: dict[str, dict[str, list[float]]] = {
    "cost-delivered": {"plain": [100, 200], "control": [100, 200], "seen": [99, 194]},
    "cost-share": {"plain": [3, 3], "control": [3, 3], "seen": [5, 6]},
    "cost-memory": {"plain": [14], "control": [14], "seen": [16]},
}
LISTS: dict[str, dict[str, list[float]]] = {
    "list-ready": {"few": [1, 1.1, 1], "control": [1, 1, 1], "million": [4, 4.1, 6]},
    "lookup": {"few": [600, 610], "control": [605, 600], "million": [620, 700]},
}


def test_a_spread_is_the_median_between_its_quartiles() -> None:
    assert spread([4, 1, 3, 2, 5]) == Spread(2, 3, 4)
    assert spread([7]) == Spread(7, 7, 7)


def test_ratios_pair_the_values_of_one_turn() -> None:
    assert ratios([2, 9], [1, 3]) == [2, 3]


def test_a_turn_without_a_partner_is_an_error_and_not_a_wrong_ratio() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratios([1, 2], [1])


def test_every_candidate_runs_equally_often_in_every_place() -> None:
    orders = [rotated(["a", "b", "c"], turn) for turn in range(3)]
    assert all({order[place] for order in orders} == {"a", "b", "c"} for place in range(3))


def test_noise_is_the_widest_that_bare_differed_from_itself() -> None:
    assert noise([Spread(0.8, 0.95, 1.1), Spread(1, 1.04, 1.2)]) == (0.95, 1.04)
    assert noise([]) is None


@pytest.mark.parametrize("detail", [{"total_rss": 7, "rss": 3, "total_cache": 9}, {"anon": 7, "file": 9}])
def test_anonymous_memory_is_read_from_either_version_of_control_groups(detail: dict[str, int]) -> None:
    assert anonymous_bytes({"memory_stats": {"stats": detail}}) == 7


@pytest.mark.parametrize(
    ("cgroups", "file"),
    [
        ("4:memory:/docker/a\n1:cpu,cpuacct:/docker/b\n0::/docker/c\n", "memory/docker/a/memory.stat"),
        ("0::/system.slice/docker-a.scope\n", "system.slice/docker-a.scope/memory.stat"),
    ],
)
def test_a_peak_is_read_where_the_kernel_counts_the_container(cgroups: str, file: str) -> None:
    assert memory_stat_file(cgroups) == f"/sys/fs/cgroup/{file}"


def test_a_process_without_control_groups_has_no_peak() -> None:
    assert not memory_stat_file("")


@pytest.mark.parametrize("text", ["cache 9\nrss 3\ntotal_cache 9\ntotal_rss 7\n", "anon 7\nfile 9\n"])
def test_a_peak_is_of_anonymous_memory_in_either_version_of_control_groups(text: str) -> None:
    assert anonymous_now(text) == 7


def test_cpu_comes_in_seconds() -> None:
    assert cpu_seconds({"cpu_stats": {"cpu_usage": {"total_usage": 1_500_000_000}}}) == 1.5


def test_a_processs_cpu_is_its_own_and_that_of_its_children_that_have_ended() -> None:
    assert process_ticks(f"7 (a) b) c) S {' '.join(map(str, range(4, 53)))}") == 14 + 15 + 16 + 17


def test_shared_pages_are_counted_once_over_all_their_users() -> None:
    rollup = "5581-7ffc ---p 00000000 00:00 0 [rollup]\nRss:  9000 kB\nPss:  3012 kB\nPss_Anon:  1000 kB\n"
    assert pss_bytes(rollup) == 3012 * 1024
    assert pss_bytes("") == 0


@pytest.mark.parametrize(
    ("goal", "seen", "verdict"),
    [
        (Goal("ratio", at_most=1.5), Spread(1.2, 1.4, 1.6), "yes"),
        (Goal("ratio", at_most=1.5), Spread(1.4, 1.6, 1.8), "about"),
        (Goal("ratio", at_most=1.5), Spread(1.6, 1.7, 1.8), "no"),
        (Goal("ratio", at_least=1.3), Spread(1.1, 1.3, 1.5), "yes"),
        (Goal("ratio", at_least=1.3), Spread(1.1, 1.2, 1.5), "about"),
        (Goal("ratio", at_least=1.3), Spread(1.0, 1.1, 1.2), "no"),
    ],
)
def test_a_goal_is_called_met_only_when_the_median_meets_it(goal: Goal, seen: Spread, verdict: str) -> None:
    assert goal.judge(seen) == verdict


def test_a_row_shows_both_sides_their_ratio_the_noise_and_the_goal() -> None:
    cells = row(METRICS[0], STARTS["start"])
    assert cells[1:3] == ("0.50 s", "0.60 s")
    assert cells[3] == "1.20 [1.20–1.35]"
    assert cells[4] == "1.00 [1.00–1.10]"
    assert cells[5:] == ("≤ 1.5 ×", "yes")


def test_a_verdict_says_so_when_bare_differs_from_itself() -> None:
    assert row(METRICS[0], {"bare": [1, 1], "control": [1.2, 1.2], "ours": [1, 1]})[-1] == "yes, but noisy"


def test_the_image_size_is_held_to_the_difference_and_not_to_the_ratio() -> None:
    size = next(metric for metric in METRICS if metric.key == "size")
    assert row(size, {"bare": [170], "control": [170], "ours": [235]})[-1] == "no"
    assert row(size, {"bare": [170], "control": [170], "ours": [225]})[3:] == ("+55 MB", "", "≤ 60 MB", "yes")


def test_the_table_has_a_row_for_what_was_measured_and_for_nothing_else() -> None:
    lines = table(STARTS, SECTIONS).splitlines()
    assert len(lines) == 3
    assert len({line.count("|") for line in lines}) == 1
    assert not table(STARTS, ["size"])


def test_a_million_recipients_are_compared_with_few_in_a_table_of_their_own() -> None:
    above, below = table({**STARTS, **LISTS}, SECTIONS).split("\n\n")
    assert above == table(STARTS, SECTIONS).rstrip("\n")
    assert below == table(LISTS, SECTIONS)
    headings, _, ready, lookup = (line.split(" | ") for line in below.splitlines())
    assert headings[1:3] == ["1,000 recipients", "1,000,000 recipients"]
    # 4 - 1, 4.1 - 1.1 and 6 - 1 seconds longer.
    assert ready[1:4] == ["1.00 s", "4.10 s", "+3.00 s"]
    assert ready[-1] == "yes |"
    assert lookup[3].startswith("1.09 ")
    assert lookup[4].startswith("1.00 ")


def test_what_seeing_costs_is_held_against_a_relay_that_nobody_looks_at() -> None:
    [_, _, delivered, share, memory] = (line.split(" | ") for line in table(COSTS, SECTIONS).splitlines())
    assert delivered[3:] == ["0.98 [0.98–0.98]", "1.00", "≥ 0.97 ×", "yes |"]
    assert share[1:3] + share[-2:] == ["3.0 %", "5.5 %", "≤ 5 %", "no |"]
    assert memory[1:3] + memory[-2:] == ["14.0 MB", "16.0 MB", "≤ 24 MB", "yes |"]


def test_a_relay_that_does_not_answer_under_load_ends_the_measurement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = threading.Event()

    def answers(url: str) -> bool:
        if url == "http://192.0.2.1:9154/metrics":
            return True
        refused.set()
        return False

    def load() -> None:
        relay = Relay(Candidate(cost.SEEN, "an-image", ours=True), None, "192.0.2.1")  # type: ignore[arg-type]
        with cost.Scales(relay).weighed():
            assert refused.wait(5)

    monkeypatch.setattr(cost, "processes", lambda *_: [])
    monkeypatch.setattr(cost, "stats", lambda _: {"cpu_stats": {"cpu_usage": {"total_usage": 0}}})
    monkeypatch.setattr(cost, "answers", answers)
    with pytest.raises(BenchError, match="an-image did not answer / under load"):
        load()


def test_the_reader_is_told_the_noise() -> None:
    assert "medians of 1.00 to 1.00" in how_noisy(STARTS, SECTIONS)


def test_only_what_stands_between_the_markers_is_replaced() -> None:
    before = f"above\n{BEGIN}\nold\n{END}\nbelow\n"
    after = between_markers(before, "| new \\1 |\n")
    assert after == f"above\n{BEGIN}\n| new \\1 |\n{END}\nbelow\n"
    assert between_markers(after, "| new \\1 |\n") == after


def test_a_readme_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match=re.escape(BEGIN)):
        between_markers("nothing here", "table")


def test_a_readme_that_cannot_take_the_table_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story, "Lab", lambda: pytest.fail("it began to measure"))
    for readme in (tmp_path / "missing", tmp_path / "README.md"):
        with pytest.raises(BenchError, match=str(readme)):
            story.run(options(["--readme", str(readme)]))
        (tmp_path / "README.md").write_text("no markers")


def test_every_section_of_the_options_has_a_row_and_every_row_a_section() -> None:
    assert {metric.section for between in COMPARISONS for metric in between.metrics} == set(SECTIONS)


def test_a_list_has_as_many_recipients_as_it_says_all_different_and_in_no_order(tmp_path: Path) -> None:
    write_list(tmp_path, 1000)
    found = (tmp_path / "relay_recipients").read_text().splitlines()
    assert len(set(found)) == len(found) == 1000
    assert found != sorted(found)
    write_list(tmp_path, 1000, "other", "new@inside.bench.test")
    changed = (tmp_path / "relay_recipients").read_text().splitlines()
    assert len(changed) == 1001
    assert changed[-1] == "new@inside.bench.test"
    assert not set(found) & set(changed)
    assert [file.name for file in tmp_path.iterdir()] == ["relay_recipients"]


@pytest.mark.parametrize("population", [1_000, 1_000_000])
def test_every_row_asks_for_recipients_from_the_whole_list(population: int) -> None:
    rows = [recipients.scattered(population, row * 500, 500) for row in range(2)]
    assert not set(rows[0]) & set(rows[1])
    for numbers in rows:
        assert len({number * 10 // population for number in numbers}) == 10
        assert 0 <= min(numbers) < max(numbers) < population


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_a_recipient_that_is_not_taken_ends_the_measurement(
    known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = list(range(recipients.TOGETHER + 5))
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve, args=(server, known, asked))
        thread.start()
        there, connect = server.getsockname(), socket.create_connection
        monkeypatch.setattr(socket, "create_connection", lambda _, seconds: connect(there, seconds))
        if known:
            assert 0 < recipients.ask("relay", numbers, 5) < 5
            assert asked == [recipients.address(number) for number in numbers]
        else:
            with pytest.raises(LoadError, match="550"):
                recipients.ask("relay", numbers, 5)
        thread.join(5)


def _serve(server: socket.socket, known: bool, asked: list[str]) -> None:
    connection, _ = server.accept()
    with connection, connection.makefile("rwb") as lines:
        lines.write(b"220 hello\r\n")
        lines.flush()
        for line in lines:
            taken = known or not line.startswith(b"RCPT")
            if line.startswith(b"RCPT"):
                asked.append(line.decode()[9:-3])
            more = b"250-hello\r\n" if line.startswith(b"EHLO") else b""
            lines.write(more + (b"250 yes\r\n" if taken else b"550 unknown\r\n"))
            lines.flush()
            if line.startswith(b"QUIT") or not taken:
                return


def test_options_choose_sections_and_turns() -> None:
    chosen = options(
        ["--quick", "--only", "tls,stop", "--rounds", "7", "--env", "POSTFIX_max_use=5", "--env", "A=b=c"]
    )
    assert chosen.sections == ("tls", "stop")
    assert chosen.plan.far_bursts == 7
    assert chosen.environment == {"POSTFIX_max_use": "5", "A": "b=c"}
    assert chosen.plan.far_messages == QUICK.far_messages


@pytest.mark.parametrize("wrong", [["--only", "speed"], ["--rounds", "0"], ["--rounds", "x"], ["--env", "x"]])
def test_wrong_options_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((SystemExit, argparse.ArgumentTypeError)):
        options(wrong)
    assert wrong[0] in capsys.readouterr().err


def test_the_counter_knows_how_many_messages_a_sink_has_taken() -> None:
    counter = Counter(["printf", r"sess=1 mesg=1\rsess=2 mesg=3\r"])
    assert counter.wait_for(3, 5) is not None
    assert counter.count() == 3


def test_the_wire_makes_every_round_trip_longer_and_changes_no_byte() -> None:
    """Two and a half round trips: the handshake's one and a half, and the question with its answer."""
    sent, round_trip = bytes(range(256)) * 4096, 0.02
    received, seconds = asyncio.run(_echoed(sent, round_trip))
    assert received == sent
    assert 2.5 * round_trip <= seconds < 1


async def _echoed(sent: bytes, round_trip: float) -> tuple[bytes, float]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(len(sent)))
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as far:
        distant = carrier(far.sockets[0].getsockname()[1], round_trip)
        async with await asyncio.start_server(distant, "127.0.0.1", 0) as wire:
            began = time.monotonic()
            reader, writer = await asyncio.open_connection(*wire.sockets[0].getsockname())
            writer.write(sent)
            received = await reader.readexactly(len(sent))
            seconds = time.monotonic() - began
            writer.close()
            await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
            return received, seconds
