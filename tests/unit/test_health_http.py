"""The HTTP side of health: what probers, load balancers and strangers get."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from entrypoint.health import server
from entrypoint.health.answers import answer
from entrypoint.health.check import check
from entrypoint.health.checks import Check
from entrypoint.health.places import FOR_ALL, FOR_ONE, Places

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = {
    "/livez": lambda: [Check("keeper"), Check("master")],
    "/readyz": lambda: [
        Check("keeper"),
        Check("listener 25", "connection refused: no program can hand in mail here"),
    ],
}


def ask(request: str) -> tuple[int, dict[str, str], str]:
    head, _, body = answer(request.encode("latin-1"), TABLE).decode().partition("\r\n\r\n")
    status, *headers = head.split("\r\n")
    return int(status.split()[1]), dict(header.split(": ", 1) for header in headers), body


def test_a_failed_check_is_503_and_the_body_names_the_consequence() -> None:
    status, _, body = ask("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status == 503
    assert body == "ok keeper\nfailed listener 25: connection refused: no program can hand in mail here\n"


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
            {"name": "keeper", "ok": True, "detail": ""},
            {"name": "master", "ok": True, "detail": ""},
        ],
    }


def test_head_has_the_headers_of_get_and_no_body() -> None:
    got, headed = (ask(f"{method} /readyz HTTP/1.1\r\n\r\n") for method in ("GET", "HEAD"))
    assert headed == (got[0], got[1], "")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW", "get"])
def test_nothing_but_get_and_head(method: str) -> None:
    status, headers, _ = ask(f"{method} /livez HTTP/1.1\r\n\r\n")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("target", ["/", "/metrics", "/livez/", "/../etc/passwd", "http://x/livez"])
def test_no_other_path(target: str) -> None:
    assert ask(f"GET {target} HTTP/1.1\r\n\r\n")[0] == 404


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


@pytest.fixture
def port() -> Iterator[int]:
    with server.bind(0, TABLE) as running:

        def serve() -> None:
            running.serve_forever(poll_interval=0.01)

        thread = threading.Thread(target=serve)
        thread.start()
        yield running.server_address[1]
        running.shutdown()
        thread.join()


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


def test_a_client_that_takes_all_its_places_gets_no_more_until_it_leaves(port: int) -> None:
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(FOR_ONE)]
    assert not alive(port)
    for client in silent:
        client.close()
    deadline = time.monotonic() + 5
    while not alive(port):
        assert time.monotonic() < deadline


@pytest.mark.parametrize("address", ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"])
def test_one_neighbour_cannot_take_the_places_of_others(address: str) -> None:
    places = Places()
    assert [places.take(address) for _ in range(40)].count(True) == FOR_ONE
    assert places.take("192.0.2.2")
    assert places.take("127.0.0.1")


def test_all_neighbours_together_cannot_keep_the_engines_health_check_out() -> None:
    places = Places()
    assert [places.take(f"192.0.2.{n}") for n in range(100)].count(True) == FOR_ALL
    assert all(places.take(address) for address in ("127.0.0.1", "::ffff:127.0.0.1", "::1"))


def test_loopback_is_one_client_whatever_its_address() -> None:
    places = Places()
    addresses = ["127.0.0.1", "::ffff:127.0.0.1", "::1", "127.0.0.2"] * FOR_ONE
    assert [places.take(address) for address in addresses].count(True) == FOR_ONE
    assert places.take("192.0.2.1")


def test_a_place_that_was_given_back_is_free(port: int) -> None:
    places = Places()
    for _ in range(3 * FOR_ALL):
        assert places.take("192.0.2.1")
        places.give_back("192.0.2.1")
    assert all(alive(port) for _ in range(3 * FOR_ONE))


def test_threads_that_cannot_be_started_cost_no_place(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        assert [alive(port) for _ in range(2 * FOR_ONE)].count(True) == 0
    assert alive(port)


def test_a_stop_that_comes_while_a_request_is_taken_ends_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the engine waits for its time limit, and kills."""

    def interrupted(*_: object) -> None:
        server._stop()

    with server.bind(0, TABLE) as running:
        monkeypatch.setattr(running, "process_request", interrupted)
        with (
            socket.create_connection(("127.0.0.1", running.server_address[1])),
            pytest.raises(server._StopError),
        ):
            running.handle_request()


def test_a_client_that_never_ends_its_request_is_cut_off(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_SECONDS", 0.1)
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nX: ")
        assert client.recv(100) == b""


def test_a_request_without_end_is_refused_at_its_limit(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(b"A" * server._LONGEST)
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_program_that_postfix_cannot_start_makes_it_unready_but_not_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("entrypoint.health.checks.alive", lambda _: [Check("keeper"), Check("master")])
    state = tmp_path / "state.json"
    state.write_text(f'{{"throttled": "qmgr", "throttled_at": {int(time.monotonic())}}}')
    table = server.routes({"listeners": "", "probe_source": "127.98.67.25"}, str(state))
    assert [check.name for check in table["/readyz"]() if not check.ok] == ["program qmgr"]
    assert [check.name for check in table["/livez"]() if not check.ok] == []


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
        f"import sys; sys.path.append({str(Path(__file__).parents[2])!r}); import entrypoint.health.check\n"
    )
    code += (
        "print(*sorted(set(sys.modules) & {'socket', 'json', 're', 'enum', 'typing', 'pathlib', 'jinja2'}))"
    )
    run = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "\n"
