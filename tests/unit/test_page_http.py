"""The page over HTTP: who gets it, with which headers, and what many viewers cost."""

from __future__ import annotations

import base64
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from entrypoint.health.answers import answer
from entrypoint.health.checks import Check
from entrypoint.health.guesses import Guesses
from entrypoint.health.view import View
from entrypoint.keeper import page_password
from entrypoint.keeper.answers import Answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = "printf \"'sha256-x'\\n<html></html>\\n\""
PASSWORD = "correct horse: ü"


def basic(password: str, user: str = "anybody") -> str:
    return f"Authorization: Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def ask(
    view: View, target: str = "/", *headers: str, method: str = "GET", client: str = "192.0.2.1"
) -> tuple[int, dict[str, str], str]:
    head = "".join(f"{line}\r\n" for line in (f"{method} {target} HTTP/1.1", *headers, ""))
    whole = answer(head.encode(), {"/livez": lambda: [Check("keeper")]}, view.answer, client).decode()
    head, _, body = whole.partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body


@pytest.fixture
def view(tmp_path: Path) -> Callable[..., View]:
    """A view whose page a script prints; each start is a line of `started`."""

    def make(
        script: str = PAGE,
        guesses: Guesses | None = None,
        patience: float = 10.0,
        zone: str = "",
        names: tuple[str, ...] = (),
    ) -> View:
        program = tmp_path / "page"
        program.write_text(f"#!/bin/sh\necho >> {tmp_path}/started\n{script}\n")
        program.chmod(0o755)
        return View(guesses, zone, (str(program),), patience, names)

    return make


def test_the_page_has_these_headers_and_no_others(view: Callable[..., View]) -> None:
    status, headers, body = ask(view())
    assert (status, body) == (200, "<html></html>\n")
    assert headers == {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Length": "14",
        "Refresh": "30",
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; style-src 'sha256-x'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Connection": "close",
    }


@pytest.mark.parametrize("target", ["/livez", "/nowhere"])
def test_every_other_answer_may_load_nothing_at_all(view: Callable[..., View], target: str) -> None:
    _, headers, _ = ask(view(), target)
    assert headers["Content-Security-Policy"] == (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert headers["X-Frame-Options"] == "DENY"
    assert "Refresh" not in headers


def test_a_page_that_is_held_still_does_not_renew_itself(view: Callable[..., View]) -> None:
    assert "Refresh" not in ask(view(), "/?still")[1]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed_there(view: Callable[..., View], method: str, tmp_path: Path) -> None:
    status, headers, _ = ask(view(), method=method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert not (tmp_path / "started").exists()


def test_head_has_the_headers_of_get_and_no_body(view: Callable[..., View]) -> None:
    shown = view()
    got, headed = (ask(shown, method=method) for method in ("GET", "HEAD"))
    assert headed == (200, got[1], "")


def test_many_viewers_at_once_cost_no_more_than_one(view: Callable[..., View], tmp_path: Path) -> None:
    shown = view(f"sleep 0.2; {PAGE}")
    found: list[int] = []
    viewers = [threading.Thread(target=lambda: found.append(ask(shown)[0])) for _ in range(16)]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join()
    assert found == [200] * 16
    assert len((tmp_path / "started").read_text()) == 1


def test_a_later_viewer_sees_a_new_page(
    view: Callable[..., View], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("entrypoint.health.view._SHOWN_FOR", 0.0)
    shown = view()
    ask(shown)
    ask(shown)
    assert len((tmp_path / "started").read_text()) == 2


@pytest.mark.parametrize(
    "script", ["exit 1", "echo", "printf \"'sha256-x'\\n<html><body>half\"", "kill -9 $$", "exec sleep 30"]
)
def test_a_page_that_is_not_made_is_503_and_says_where_to_look(
    view: Callable[..., View], script: str
) -> None:
    began = time.monotonic()
    status, _, body = ask(view(script, patience=0.3))
    assert status == 503
    assert "/readyz" in body
    assert time.monotonic() - began < 5


def test_a_page_that_hangs_is_ended(view: Callable[..., View], tmp_path: Path) -> None:
    assert ask(view(f"echo $$ > {tmp_path}/pid; exec sleep 30", patience=0.5))[0] == 503
    deadline = time.monotonic() + 5
    stat = f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat"
    while _state(stat) not in ("Z", ""):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _state(stat: str) -> str:
    try:
        with open(stat) as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def test_a_program_that_cannot_be_started_is_503() -> None:
    assert ask(View(None, program=("/nonexistent",)))[0] == 503


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("192.0.2.1:9154", 200),
        ("[2001:db8::1]:9154", 200),
        ("localhost:9154", 200),
        ("relay:9154", 200),
        ("Relay.Example.com:9154", 200),
        ("relay.example.com.", 200),
        ("relay.mail.svc.cluster.local:9154", 200),
        ("relay.mail.svc", 200),
        ("relay.internal.", 200),
        ("internal.example.net", 421),
        ("rebound.example.net:9154", 421),
        ("relay.example.com.example.net", 421),
        ("192.0.2.1.example.net", 421),
    ],
)
def test_an_open_page_is_not_shown_under_a_name_that_a_stranger_could_have(
    view: Callable[..., View], keeper: str, host: str, status: int
) -> None:
    """His web site could read it there, from the browser of somebody who reaches the relay."""
    shown = view(names=("relay.example.com",))
    found, _, body = ask(shown, "/", f"Host: {host}")
    assert (found, "HEALTH_PAGE_PASSWORD" in body) == (status, status != 200)
    assert ask(shown, f"http://{host}/", "Host: localhost")[0] == status
    assert ask(shown, "/livez", f"Host: {host}")[0] == 200
    assert ask(view(guesses=Guesses(keeper)), "/", f"Host: {host}", basic(PASSWORD))[0] == 200


def test_times_are_those_of_the_log(view: Callable[..., View]) -> None:
    assert "Europe/Berlin" in ask(view('echo; echo "$TZ</html>"', zone="Europe/Berlin"))[2]


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[str]:
    """One that knows the password."""
    (tmp_path / "password").write_bytes(PASSWORD.encode())
    path = str(tmp_path / "keeper")
    answers = Answers(path, {"page-password": page_password.PagePassword(str(tmp_path / "password")).answer})
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            select.select([answers], [], [], 0.05)
            answers.serve()

    thread = threading.Thread(target=serve)
    thread.start()
    yield path
    ended.set()
    thread.join()
    answers.close()


def test_who_knows_the_password_sees_the_page_and_nobody_else(
    view: Callable[..., View], keeper: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = view(guesses=Guesses(keeper, penalty=0.0))
    for headers in (
        (),
        ("Authorization: Bearer x",),
        (basic("wrong"),),
        (basic(""),),
        ("Authorization: Basic é",),
    ):
        status, found, body = ask(shown, "/", *headers)
        assert (status, "HEALTH_PAGE_PASSWORD" in body) == (401, True)
        assert found["WWW-Authenticate"] == 'Basic realm="Postern", charset="UTF-8"'
    assert not (tmp_path / "started").exists()
    for user in ("", "anybody"):
        assert ask(shown, "/", basic(PASSWORD, user))[0] == 200
    assert ask(shown, "/", f"authorization:  bASIC  {basic(PASSWORD).rpartition(' ')[2]}")[0] == 200
    assert ask(shown, "/livez")[0] == 200


def test_a_new_password_counts_at_once(view: Callable[..., View], keeper: str, tmp_path: Path) -> None:
    shown = view(guesses=Guesses(keeper, penalty=0.0))
    (tmp_path / "password").write_text("another one")
    assert ask(shown, "/", basic("another one"))[0] == 200
    assert ask(shown, "/", basic(PASSWORD))[0] == 401
    (tmp_path / "password").write_text("")
    assert ask(shown, "/", basic(""))[0] == 401


def test_a_guesser_waits_for_the_next_guess_and_nobody_else_does(
    view: Callable[..., View], keeper: str
) -> None:
    shown = view(guesses=Guesses(keeper, penalty=60.0, wait=0.1))
    assert ask(shown, "/", basic("wrong"))[0] == 401
    status, headers, _ = ask(shown, "/", basic(PASSWORD))
    assert (status, headers["Retry-After"]) == (429, "1")
    assert ask(shown, "/", basic(PASSWORD), client="192.0.2.2")[0] == 200
    # Who gives no password has guessed nothing.
    assert ask(shown)[0] == 401


def test_who_shares_the_address_of_guessers_is_let_in_nevertheless(
    view: Callable[..., View], keeper: str
) -> None:
    """Behind a published port everybody has the address of the gateway."""
    shown = view(guesses=Guesses(keeper, penalty=0.1))
    ended = threading.Event()
    statuses: list[int] = []

    def guess() -> None:
        while not ended.is_set():
            statuses.append(ask(shown, "/", basic("wrong"))[0])

    guessers = [threading.Thread(target=guess) for _ in range(3)]
    began = time.monotonic()
    for guesser in guessers:
        guesser.start()
    assert [ask(shown, "/", basic(PASSWORD))[0] for _ in range(5)] == [200] * 5
    ended.set()
    for guesser in guessers:
        guesser.join()
    assert set(statuses) == {401}
    assert len(statuses) <= (time.monotonic() - began) / 0.1 + 1


def test_of_those_who_wait_for_their_turn_there_are_few(view: Callable[..., View], keeper: str) -> None:
    shown = view(guesses=Guesses(keeper, penalty=60.0, wait=1.0))
    assert ask(shown, "/", basic("wrong"))[0] == 401
    took: list[float] = []

    def wait() -> None:
        began = time.monotonic()
        assert ask(shown, "/", basic(PASSWORD))[0] == 429
        took.append(time.monotonic() - began)

    viewers = [threading.Thread(target=wait) for _ in range(20)]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join()
    assert [seconds >= 1 for seconds in sorted(took)] == [False] * 12 + [True] * 8


def test_many_addresses_together_have_few_guesses(view: Callable[..., View], keeper: str) -> None:
    shown = view(guesses=Guesses(keeper, penalty=60.0, wait=0.0))
    statuses = [ask(shown, "/", basic("wrong"), client=f"2001:db8::{n:x}")[0] for n in range(12)]
    assert statuses == [401] * 8 + [429] * 4


def test_whoever_took_over_the_health_program_cannot_try_thousands_a_second(tmp_path: Path) -> None:
    """The keeper itself has a limit; it says so, and does not take a right password for a wrong one."""
    (tmp_path / "password").write_text("right")
    judge = page_password.PagePassword(str(tmp_path / "password"))
    right, wrong = (basic(password).rpartition(" ")[2] for password in ("right", "wrong"))
    assert [judge.answer(right) for _ in range(3)] == ["yes\n"] * 3
    said = [judge.answer(wrong)]
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        said.append(judge.answer(wrong))
    assert 1 < said.count("no\n") <= 0.2 / page_password._PENALTY + 1
    assert set(said) == {"no\n", "wait\n"}
    deadline = time.monotonic() + 5
    while judge.answer(right) != "yes\n":
        assert time.monotonic() < deadline


def test_guesses_are_counted_and_the_first_in_a_minute_is_logged(
    view: Callable[..., View], keeper: str, capfd: pytest.CaptureFixture[str]
) -> None:
    shown = view(guesses=Guesses(keeper, penalty=0.0))
    for _ in range(3):
        ask(shown, "/", basic("their guess"), client="::ffff:192.0.2.7")
    assert shown.wrong_passwords == 3
    [line] = capfd.readouterr().out.splitlines()
    assert "wrong password for the page (HEALTH_PAGE_PASSWORD) from 192.0.2.7 (1 so far;" in line
    assert "their guess" not in line


def test_without_the_keeper_nobody_is_let_in(view: Callable[..., View], tmp_path: Path) -> None:
    shown = view(guesses=Guesses(str(tmp_path / "nobody")))
    assert ask(shown, "/", basic(PASSWORD))[0] == 503


@pytest.mark.parametrize("given", ["", "x", "!!!!", "YTpi\n", base64.b64encode(b"no colon").decode(), "é"])
def test_what_is_no_password_is_not_one(tmp_path: Path, given: str) -> None:
    (tmp_path / "password").write_text("")
    for name in ("password", "none"):
        assert page_password.PagePassword(str(tmp_path / name)).answer(given) == "no\n"


def test_who_looks_leaves_nothing_behind_in_the_programs_that_stay(tmp_path: Path) -> None:
    """What makes the page ends with it; each of these would be there for as long as the container lives."""
    (tmp_path / "page").write_text(f"#!/bin/sh\n{PAGE}\n")
    (tmp_path / "page").chmod(0o755)
    code = (
        f"import sys; sys.path.append({str(Path(__file__).parents[2])!r})\n"
        "from entrypoint.health import server, view\n"
        "from entrypoint.health.answers import Request\n"
        "from entrypoint.health.guesses import Guesses\n"
        "from entrypoint.keeper import page_password, queue_sums\n"
        f"looked = view.View(None, '', ({str(tmp_path / 'page')!r},)).answer(Request('', '', ''))\n"
        f"guesses = Guesses({str(tmp_path / 'nobody')!r})\n"
        "page_password.PagePassword('/nonexistent').answer('eDp5')\n"
        "unwanted = {'jinja2', 'json', 're', 'typing', 'hashlib', 'hmac', 'base64', 'subprocess', 'pathlib'}\n"
        "print(looked[9:12].decode(), *sorted(set(sys.modules) & unwanted))"
    )
    run = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "200\n"


def test_where_memory_runs_short_the_page_is_given_up_before_mail() -> None:
    code = (
        f"import sys; sys.path.append({str(Path(__file__).parents[2])!r})\n"
        "from entrypoint import processes; processes.expendable()\n"
        "print(open('/proc/self/oom_score_adj').read(), end='')"
    )
    run = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "1000\n"
