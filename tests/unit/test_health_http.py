"""The HTTP side of health: what probers, load balancers and strangers get."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from entrypoint.health import port as server_port
from entrypoint.health import server
from entrypoint.health.answers import answer
from entrypoint.health.check import check
from entrypoint.health.checks import Check
from entrypoint.health.places import FOR_ALL, FOR_ONE, Places
from entrypoint.health.port import Port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from entrypoint.health.answers import Routes
    from entrypoint.health.places import Place

TABLE: Routes = {
    "/livez": lambda: [Check("keeper"), Check("master")],
    "/readyz": lambda: [
        Check("keeper"),
        Check("listener 25", "connection refused: no program can hand in mail here"),
    ],
    "/warned": lambda: [Check("keeper"), Check("configuration", "the last edit was refused", warning=True)],
    "/metrics": lambda: ("a 1\n", "text/plain; version=0.0.4; charset=utf-8"),
}


def ask(request: str) -> tuple[int, dict[str, str], str]:
    head, _, body = answer(request.encode("latin-1"), TABLE).decode().partition("\r\n\r\n")
    status, *headers = head.split("\r\n")
    return int(status.split()[1]), dict(header.split(": ", 1) for header in headers), body


def test_a_failed_check_is_503_and_the_body_names_the_consequence() -> None:
    status, _, body = ask("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status == 503
    assert body == "ok keeper\nfailed listener 25: connection refused: no program can hand in mail here\n"


def test_a_warning_is_told_and_changes_nothing() -> None:
    """No mail suffers from it yet; an orchestrator that took the relay out would make sure that it does."""
    status, _, body = ask("GET /warned HTTP/1.1\r\n\r\n")
    assert (status, body) == (200, "ok keeper\nwarning configuration: the last edit was refused\n")
    status, _, body = ask("GET /warned?format=json HTTP/1.1\r\n\r\n")
    told = json.loads(body)
    assert (status, told["ok"]) == (200, True)
    assert told["checks"][1] == {
        "name": "configuration",
        "ok": True,
        "warning": True,
        "detail": "the last edit was refused",
    }


def test_a_text_has_its_own_media_type() -> None:
    status, headers, body = ask("GET /metrics HTTP/1.1\r\nAccept: application/json\r\n\r\n")
    assert (status, body) == (200, "a 1\n")
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(
    "request_",
    [
        "GET /livez?format=json HTTP/1.1\r\n\r\n",
        "GET /livez HTTP/1.1\r\naccept: text/html, application/json\r\n\r\n",
    ],
)
def test_json_for_those_who_ask(request_: str) -> None:
    status, headers, body = ask(request_)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == {
        "ok": True,
        "checks": [
            {"name": "keeper", "ok": True, "warning": False, "detail": ""},
            {"name": "master", "ok": True, "warning": False, "detail": ""},
        ],
    }


def test_head_has_the_headers_of_get_and_no_body() -> None:
    got, headed = (ask(f"{method} /readyz HTTP/1.1\r\n\r\n") for method in ("GET", "HEAD"))
    assert headed == (got[0], got[1], "")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW", "get"])
def test_nothing_but_get_and_head(method: str) -> None:
    status, headers, _ = ask(f"{method} /livez HTTP/1.1\r\n\r\n")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "target", ["/", "/metrics/", "/livez/", "/../etc/passwd", "http://x/", "ftp://x/livez"]
)
def test_no_other_path(target: str) -> None:
    assert ask(f"GET {target} HTTP/1.1\r\n\r\n")[0] == 404


@pytest.mark.parametrize("target", ["http://x/livez", "HTTP://x:9154/livez", "https://x/livez?format=json"])
def test_a_request_in_the_form_for_a_proxy_is_one_too(target: str) -> None:
    assert ask(f"GET {target} HTTP/1.1\r\nHost: y\r\n\r\n")[0] == 200


def test_lines_may_end_without_cr(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 1) as client:
        client.sendall(b"GET /livez HTTP/1.1\nHost: x\nAccept: application/json\n\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")


@pytest.mark.parametrize(
    "request_", ["", "\x00\xff\r\n\r\n", "GET /livez\r\n\r\n", "GET  /livez HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_request_is_refused(request_: str) -> None:
    assert ask(request_)[0] == 400


def test_headers_give_nothing_away_and_forbid_caching_and_guessing() -> None:
    _, headers, _ = ask("GET /livez HTTP/1.1\r\n\r\n")
    assert "Server" not in headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Connection"] == "close"


@contextlib.contextmanager
def serving(table: Routes) -> Iterator[int]:
    with Port(0, table) as running:
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                running.serve_one()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield running.number
        finally:
            ended.set()
            socket.create_connection(("127.0.0.1", running.number)).close()
            thread.join()


@pytest.fixture
def port() -> Iterator[int]:
    with serving(TABLE) as number:
        yield number


def test_clients_that_say_nothing_do_not_hold_up_a_probe(port: int) -> None:
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(FOR_ONE - 1)]
    assert alive(port)
    for client in silent:
        client.close()


def alive(port: int) -> bool:
    """Whether /livez is answered; False if the connection is closed instead."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
        return False
    finally:
        connection.close()


def test_who_takes_all_places_and_says_half_a_request_hides_nothing_from_a_probe_of_the_same_address(
    port: int,
) -> None:
    """Behind a published port everybody has the address of the gateway."""
    slow = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(FOR_ONE)]
    for client in slow:
        client.sendall(b"GET /livez HTTP/1.1\r\n")
    assert all(alive(port) for _ in range(3 * FOR_ONE))
    assert slow[0].recv(1) == b"", "the oldest goes first"
    for client in slow:
        client.close()


def test_who_does_not_read_the_answer_hides_nothing_from_a_probe() -> None:
    with serving(
        {"/livez": lambda: [Check("keeper")], "/long": lambda: ("x" * 30_000_000, "text/plain")}
    ) as port:
        slow = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(FOR_ONE)]
        for client in slow:
            client.sendall(b"GET /long HTTP/1.1\r\n\r\n")
        for client in slow:
            client.recv(1)
        assert all(alive(port) for _ in range(FOR_ONE))
        for client in slow:
            client.close()


class Crowd:
    """Connections that are held, and whether they still are."""

    def __init__(self) -> None:
        self.places = Places()
        self._taken: list[tuple[Place, socket.socket]] = []

    def take(self, address: str, *, answered: bool = False) -> Place | None:
        ours, theirs = socket.socketpair()
        if place := self.places.take(ours, address):
            self._taken.append((place, theirs))
            self.places.answer(place, begins=answered)
        else:
            ours.close()
            theirs.close()
        return place

    def held(self, who: str) -> int:
        """So many of them were not closed."""
        return sum(place.who == who and _open(theirs) for place, theirs in self._taken)

    def close(self) -> None:
        for place, theirs in self._taken:
            place.connection.close()
            theirs.close()


def _open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    with contextlib.closing(Crowd()) as made:
        yield made


def test_neighbours_that_take_all_places_give_them_to_whoever_comes(
    crowd: Crowd, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(FOR_ONE):
        crowd.take("192.0.2.1")
        crowd.take("192.0.2.2")
    assert all(crowd.take(f"192.0.2.{n}") for n in range(3, 11))
    assert [crowd.held(f"192.0.2.{n}") for n in range(1, 11)] == [FOR_ONE - 4] * 2 + [1] * 8
    [line] = capfd.readouterr().out.splitlines()
    assert (
        "warning: too many connections to the health port (HEALTH_PORT): closing those of 192.0.2.1" in line
    )


@pytest.mark.parametrize("address", ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"])
def test_one_neighbour_takes_its_places_and_none_of_others(crowd: Crowd, address: str) -> None:
    assert crowd.take("192.0.2.9")
    assert all(crowd.take(address) for _ in range(40))
    assert crowd.held(address.removeprefix("::ffff:")) == FOR_ONE
    assert crowd.held("192.0.2.9") == 1


def test_who_is_being_answered_is_not_closed_for_others(crowd: Crowd) -> None:
    """The work is done in any case; and their number has a limit."""
    assert [bool(crowd.take("192.0.2.1", answered=True)) for _ in range(40)].count(True) == FOR_ONE
    assert crowd.held("192.0.2.1") == FOR_ONE
    assert crowd.take("192.0.2.2")


def test_all_neighbours_together_cannot_keep_the_engines_health_check_out(crowd: Crowd) -> None:
    taken = [crowd.take(f"192.0.2.{n}", answered=True) for n in range(100)]
    assert sum(map(bool, taken)) == FOR_ALL
    assert all(crowd.take(address) for address in ("127.0.0.1", "::ffff:127.0.0.1", "::1"))


def test_loopback_is_one_client_whatever_its_address(crowd: Crowd) -> None:
    addresses = ["127.0.0.1", "::ffff:127.0.0.1", "::1", "127.0.0.2"] * FOR_ONE
    assert sum(bool(crowd.take(address, answered=True)) for address in addresses) == FOR_ONE
    assert crowd.take("192.0.2.1")


def test_a_place_that_was_given_back_is_free(port: int, crowd: Crowd) -> None:
    for _ in range(3 * FOR_ALL):
        place = crowd.take("192.0.2.1", answered=True)
        assert place
        crowd.places.give_back(place)
    assert all(alive(port) for _ in range(3 * FOR_ONE))


def test_threads_that_cannot_be_started_cost_no_place(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(server_port, "start_new_thread", fail)
        assert [alive(port) for _ in range(2 * FOR_ONE)].count(True) == 0
    assert alive(port)


def test_a_mistake_is_an_answer_that_says_so_and_a_line_of_the_log(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> list[Check]:
        raise ValueError("no number")

    monkeypatch.setattr("entrypoint.health.mistakes._Told.until", 0.0)
    with serving({"/livez": broken}) as port:
        for _ in range(2):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/livez")
            response = connection.getresponse()
            assert response.status == 500
            assert response.read().startswith(b"a mistake in Postern: ValueError: no number (")
            connection.close()
    told = capfd.readouterr()
    assert (told.err, told.out.count("postern/health")) == ("", 1)


def test_a_stop_that_comes_while_a_request_is_taken_ends_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the engine waits for its time limit, and kills."""

    def interrupted(*_: object) -> None:
        server._stop()

    with Port(0, TABLE) as running:
        monkeypatch.setattr(socket.socket, "accept", interrupted)
        with pytest.raises(server._StopError):
            running.serve_one()


def test_a_client_that_never_ends_its_request_is_cut_off(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_port, "_SECONDS", 0.1)
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nX: ")
        assert client.recv(100) == b""


def test_a_request_without_end_is_refused_at_its_limit(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(b"A" * server_port._LONGEST)
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_program_that_postfix_cannot_start_makes_it_unready_but_not_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("entrypoint.health.checks.alive", lambda _: [Check("keeper"), Check("master")])
    state = tmp_path / "state.json"
    state.write_text(f'{{"throttled": "qmgr", "throttled_at": {int(time.monotonic())}}}')
    table = server.routes({"listeners": "", "probe_source": "127.98.67.25"}, str(state))
    assert failed(table, "/readyz") == ["program qmgr"]
    assert failed(table, "/livez") == []


def failed(table: Routes, path: str) -> list[str]:
    found = table[path]()
    assert isinstance(found, list)
    return [check.name for check in found if not check.ok]


def test_a_refused_edit_shows_where_readiness_is_asked_and_among_the_numbers(tmp_path: Path) -> None:
    (tmp_path / "refused").write_text("/config/users, line 1: no hash\n")
    facts = {"listeners": "", "probe_source": "127.98.67.25"}
    table = server.routes(facts, str(tmp_path / "none"), str(tmp_path / "refused"))
    for path in ("/readyz", "/healthz"):
        assert "warning configuration: " in "".join(f"{check}\n" for check in table[path]())
    assert "configuration" not in "".join(f"{check}" for check in table["/livez"]())
    assert "postern_config_refused 1.0\n" in str(table["/metrics"]()[0])


def test_logins_are_part_of_readiness_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("entrypoint.health.logins.check", lambda _: Check("logins", "the directory is down"))
    facts = {"listeners": "", "probe_source": "127.98.67.25", "logins": "ldap"}
    [measure] = server.measures(facts).values()
    assert str(measure()) == "failed logins: the directory is down"
    assert server.measures({**facts, "logins": ""}) == {}


def runtime(tmp_path: Path, port: int) -> str:
    path = tmp_path / "runtime.json"
    path.write_text(f'{{"health_port": {port}, "probe_source": "127.98.67.25", "listeners": ""}}\n')
    return str(path)


def test_the_verb_prints_what_is_wrong_and_fails(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(runtime(tmp_path, port)) == 1
    assert "failed listener 25" in capsys.readouterr().out


def test_the_verb_fails_while_nothing_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    assert check(runtime(tmp_path, port)) == 1
    assert check(str(tmp_path / "none")) == 1
    assert capsys.readouterr().out.count("failed health:") == 2


def test_the_verb_imports_next_to_nothing_since_it_runs_every_few_seconds() -> None:
    code = (
        f"import sys; sys.path.append({str(Path(__file__).parents[2])!r})\n"
        "import entrypoint.__main__, entrypoint.health.check\n"
    )
    code += (
        "print(*sorted(set(sys.modules) & {'socket', 'signal', 'json', 're', 'enum', 'typing', 'pathlib'}))"
    )
    run = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "\n"


def test_many_who_scrape_the_numbers_cost_no_more_than_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = itertools.count()
    monkeypatch.setattr("entrypoint.health.metrics.page", lambda *_, **__: f"a {next(numbers)}\n")
    facts = {"listeners": "", "probe_source": "127.98.67.25"}
    table = server.routes(facts, str(tmp_path / "none"), str(tmp_path / "none"))
    assert [table["/metrics"]()[0] for _ in range(20)] == ["a 0\n"] * 20
