"""An upstream is asked for its greeting when there is a reason, by one program at a time, and nobody waits for it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

import dns.message
import dns.rdata
import dns.resolver
import pytest

from entrypoint import log
from entrypoint.health import greeting, upstream
from entrypoint.health.upstream import UpstreamCheck, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any


@pytest.fixture
def server() -> Iterator[Callable[[bytes], int]]:
    """Gives the port of a server that greets each client with these words; "" never does."""
    listeners = []
    threads = []

    def serve(words: bytes) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def greet() -> None:
            held: list[socket.socket] = []
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    for one in held:
                        one.close()
                    return
                held.append(connection)
                if words:
                    connection.sendall(words)
                    connection.recv(100)
                    connection.close()

        threads.append(threading.Thread(target=greet, daemon=True))
        threads[-1].start()
        return int(listener.getsockname()[1])

    yield serve
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join(5)


def closed() -> int:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return int(unused.getsockname()[1])


@pytest.fixture
def asked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., list[str]]]:
    monkeypatch.setattr(signal, "alarm", lambda _: None)

    def ask(*lines: str, patience: float = 5.0, addresses: str = "full") -> list[str]:
        (tmp_path / "ways").write_text("".join(f"{line}\n" for line in lines))
        (tmp_path / "runtime").write_text(f'{{"log_addresses": "{addresses}"}}\n' if addresses else "{}")
        assert greeting.ask_all(str(tmp_path / "ways"), patience, str(tmp_path / "runtime")) == 0
        return capfd.readouterr().out.splitlines()

    yield ask
    log.use("plain", "full")


def test_each_upstream_is_asked_and_what_is_wrong_is_said_in_a_line(
    server: Callable[[bytes], int], asked: Callable[..., list[str]]
) -> None:
    well, busy, gone = server(b"220 hello\r\n"), server(b"554-no\r\n554 \x1b go\taway\r\n"), closed()
    lines = asked(
        f"smtp:[127.0.0.1]:{well} smtp:[127.0.0.1]:{gone}", "from 127.0.0.1", f"smtp:[localhost]:{busy}"
    )
    assert lines == [
        f"0\t[127.0.0.1]:{well}\t",
        f"0\t[127.0.0.1]:{gone}\tConnection refused",
        f'1\t[localhost]:{busy}\tgreets with "554 no \x1b go away"',
    ]


def test_one_that_hangs_costs_the_time_limit_and_holds_up_no_other(
    server: Callable[[bytes], int], asked: Callable[..., list[str]]
) -> None:
    begun = time.monotonic()
    lines = asked(
        f"smtp:[127.0.0.1]:{server(b'')} smtp:[127.0.0.1]:{server(b'220 x' + bytes([13, 10]))}", patience=0.3
    )
    assert time.monotonic() - begun < 2
    assert [bool(line.split("\t")[2]) for line in lines] == [True, False]


def test_what_is_no_greeting_and_a_name_that_nobody_has_are_problems(
    server: Callable[[bytes], int], asked: Callable[..., list[str]]
) -> None:
    [line, other] = asked(f"smtp:[127.0.0.1]:{server(b'hello' + bytes([10]))} smtp:[no-such-host.invalid]:25")
    assert "not an SMTP reply" in line
    assert other.split("\t")[2]


@pytest.mark.parametrize("addresses", ["partial", "hashed"])
def test_addresses_in_a_servers_words_are_hidden_where_the_log_hides_them(
    server: Callable[[bytes], int], asked: Callable[..., list[str]], addresses: str
) -> None:
    """/readyz is for whoever can reach the port."""
    way = f"smtp:[127.0.0.1]:{server(b'554 ask ann@example.com' + bytes([13, 10]))}"
    assert asked(way)[0].endswith('greets with "554 ask ann@example.com"')
    assert asked(way, addresses=addresses)[0].endswith('greets with "554 ask a***@example.com"')


def test_an_mx_that_has_no_address_leaves_the_others(
    server: Callable[[bytes], int], asked: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(greeting.Upstream, "_hosts", lambda *_: ["gone.invalid", "127.0.0.1"])
    port = server(b"220 hello\r\n")
    assert asked(f"smtp:example.com:{port}") == [f"0\texample.com:{port}\t"]


def test_a_port_that_begins_with_tls_is_asked_in_tls(
    server: Callable[[bytes], int], asked: Callable[..., list[str]]
) -> None:
    """What greets in clear there is not what mail will find."""
    port = server(b"220 hello\r\n")
    assert asked(f"smtp:[127.0.0.1]:{port}") == [f"0\t[127.0.0.1]:{port}\t"]
    [line] = asked(f"smtps:[127.0.0.1]:{port}")
    assert line.split("\t")[2]


resolver: Any = dns.resolver  # whose errors have no types


def record(preference: int, host: str) -> Any:
    return dns.rdata.from_text("IN", "MX", f"{preference} {host}.")


@pytest.mark.parametrize(
    ("found", "hosts"),
    [
        ([record(20, "b.example"), record(10, "z.example")], ["z.example", "b.example"]),
        (resolver.NXDOMAIN(), ["example.com"]),
        (resolver.NoAnswer(response=dns.message.make_query("example.com", "MX")), ["example.com"]),
    ],
    ids=["ranked", "unknown", "without"],
)
def test_exchangers_are_tried_in_their_order_and_a_domain_without_any_is_one_itself(
    found: Any, hosts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(name: str, kind: str, **_: object) -> Any:
        assert (name, kind) == ("example.com.", "MX")
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(dns.resolver, "resolve", resolve)
    assert greeting.Upstream("smtp:example.com:25")._hosts(time.monotonic() + 1) == hosts
    assert greeting.Upstream("smtp:[example.com]:25")._hosts(time.monotonic() + 1) == ["example.com"]


def test_a_dns_server_that_does_not_answer_is_the_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object, **__: object) -> None:
        raise resolver.LifetimeTimeout(timeout=1, errors=[])

    monkeypatch.setattr(dns.resolver, "resolve", resolve)
    upstream = greeting.Upstream("smtp:example.com:25")
    upstream.ask("", time.monotonic() + 1)
    assert upstream.problem.startswith("the MX lookup failed (")


def test_a_domain_is_asked_for_its_mx_and_brackets_mean_the_host() -> None:
    assert greeting.Upstream("smtp:example.com:25").mx
    host = greeting.Upstream("smtps:[2001:db8::1]:465")
    assert (host.mx, host.host, host.port, host.tls, host.name) == (
        False,
        "2001:db8::1",
        465,
        True,
        "[2001:db8::1]:465",
    )


def test_all_is_well_when_all_are() -> None:
    assert str(judge("0\t[a]:25\t\n1\t[b]:25\t\n", "warn")) == "ok upstream"


@pytest.mark.parametrize(
    ("text", "policy", "shown"),
    [
        ("0\t[a]:25\trefused", "warn", "warning upstream: [a]:25 refused: mail waits in the queue"),
        ("0\t[a]:25\trefused", "fail", "failed upstream: [a]:25 refused: mail waits in the queue"),
        ("0\t[a]:25\tx\n0\t[b]:25\t", "fail", "warning upstream: [a]:25 x: mail takes another way"),
        ("0\t[a]:25\t\n1\t[b]:25\tx", "fail", "failed upstream: [b]:25 x: mail waits in the queue"),
        ("", "warn", "warning upstream: does not answer: mail waits in the queue"),
        ("0\t[a]:25\t\x1b[2J", "warn", "warning upstream: [a]:25 ?[2J: mail waits in the queue"),
    ],
)
def test_a_way_out_is_closed_when_none_of_its_upstreams_answers(text: str, policy: str, shown: str) -> None:
    assert str(judge(text, policy)) == shown


class Program:
    """A stand-in for the one that asks: it says what is in a file when there is one."""

    def __init__(self, directory: Path) -> None:
        self.starts = 0
        self.answer = directory / "answer"
        self.ways = directory / "ways"
        self.ways.write_text("smtp:[a]:25\n")
        self.say("0\t[a]:25\t\n")
        script = directory / "program"
        script.write_text(
            f"#!{sys.executable} -IS\nimport time, os\n"
            f"while not os.path.exists({str(self.answer)!r}): time.sleep(0.01)\n"
            f"print(open({str(self.answer)!r}).read(), end='')\n"
        )
        script.chmod(0o755)
        self.command = (str(script),)

    def check(self, policy: str = "warn") -> UpstreamCheck:
        return UpstreamCheck(policy, str(self.ways), self.command)

    def say(self, text: str) -> None:
        """From now on; nobody sees half of it."""
        new = self.answer.with_name("new")
        new.write_text(text)
        new.rename(self.answer)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    monkeypatch.setattr(upstream, "_FIRST", 10.0)
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    made = Program(tmp_path)
    spawn = os.posix_spawn

    def counted(*given: Any, **options: Any) -> int:
        made.starts += 1
        return spawn(*given, **options)

    monkeypatch.setattr(os, "posix_spawn", counted)
    yield made
    signal.signal(signal.SIGCHLD, before)


def test_it_is_asked_once_and_not_again_while_mail_goes_out(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "_SOONEST", -1.0)
    check = program.check()
    assert [str(c) for _ in range(3) for c in check.look(0)] == ["ok upstream"] * 3
    assert program.starts == 1


def test_it_is_asked_again_when_mail_finds_no_way_and_until_it_is_well(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = program.check()
    check.look(0)
    program.say("0\t[a]:25\trefused\n")
    assert str(check.look(time.monotonic())[0]) == "ok upstream", "not at once: it was asked just now"
    monkeypatch.setattr(upstream, "_SOONEST", -1.0)
    until(check, "warning upstream: [a]:25 refused", time.monotonic())
    starts = program.starts
    check.look(time.monotonic() + 5)
    assert program.starts == starts, "what is known to be wrong is asked every 30 s"
    monkeypatch.setattr(upstream, "_AGAIN", -1.0)
    program.say("0\t[a]:25\t\n")
    until(check, "ok upstream", 0)


def test_the_log_says_once_that_there_is_no_way_out_and_once_that_there_is_again(
    program: Program, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Else a relay that starts without its upstream looks well there, until it has mail."""
    monkeypatch.setattr(upstream, "_AGAIN", -1.0)
    monkeypatch.setattr(upstream, "_SOONEST", -1.0)
    check = program.check()
    for answer, begin in (
        ("0\t[a]:25\trefused\n", "warning upstream: [a]:25 refused"),
        ("0\t[a]:25\ttimed out\n", "warning upstream: [a]:25 timed out"),
        ("0\t[a]:25\t\n", "ok upstream"),
        ("0\t[a]:25\trefused\n0\t[b]:25\t\n", "warning upstream: [a]:25 refused"),
    ):
        program.say(answer)
        until(check, begin, time.monotonic())
    said = [line.partition("]: ")[2] for line in capfd.readouterr().out.splitlines()]
    assert said == [
        "warning: upstream [a]:25 refused: mail waits in the queue",
        "upstream: every one answers again",
        "warning: upstream [a]:25 refused: mail takes another way",
    ]


def test_the_log_says_nothing_of_an_upstream_that_answers(
    program: Program, capfd: pytest.CaptureFixture[str]
) -> None:
    until(program.check(), "ok upstream", 0)
    assert capfd.readouterr().out == ""


def until(check: UpstreamCheck, begin: str, failed_at: float) -> None:
    deadline = time.monotonic() + 10
    while not str(check.look(failed_at)[0]).startswith(begin):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("policy", "begin"), [("warn", "warning"), ("fail", "failed")])
def test_an_upstream_that_greets_and_refuses_the_login_takes_no_mail_either(
    program: Program, policy: str, begin: str
) -> None:
    check = program.check(policy)
    shown = f"{begin} upstream: [a]:25 SASL authentication failed: mail waits in the queue"
    assert [str(c) for c in check.look(0, "[a]:25 SASL authentication failed")] == [shown]
    assert [str(c) for c in check.look(0)] == ["ok upstream"]


def test_one_way_out_that_refuses_us_does_not_hide_another_that_is_not_there(program: Program) -> None:
    program.say("0\t[a]:25\t\n1\t[b]:25\tgone\n")
    assert [str(c) for c in program.check("fail").look(0, "[a]:25 no")] == [
        "failed upstream: [b]:25 gone: mail waits in the queue",
        "failed upstream: [a]:25 no: mail waits in the queue",
    ]


def test_nobody_waits_for_one_that_hangs_and_there_is_one_program_at_a_time(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "_FIRST", 0.05)
    program.answer.unlink()
    check, strict = program.check(), program.check("fail")
    assert str(check.look(0)[0]) == "warning upstream: not asked yet"
    assert str(strict.look(0)[0]) == "failed upstream: not asked yet"
    begun = time.monotonic()
    for _ in range(5):
        check.look(time.monotonic())
    assert time.monotonic() - begun < 5
    program.say("0\t[a]:25\t\n")
    until(check, "ok upstream", 0)
    until(strict, "ok upstream", 0)
    assert program.starts == 2, "one for each check"


def test_nothing_is_asked_where_there_is_no_upstream_or_nobody_wants_to_know(program: Program) -> None:
    assert program.check("off").look(0, "[a]:25 no") == []
    program.ways.write_text("")
    assert program.check().look(0) == []
    program.ways.unlink()
    assert program.check().look(0) == []
    assert program.starts == 0


def test_a_program_that_cannot_be_started_is_a_warning(program: Program) -> None:
    [check] = UpstreamCheck("fail", str(program.ways), (f"{os.devnull}/x",)).look(0)
    assert str(check) == "warning upstream: cannot be asked (Not a directory)"
