"""The logins server, asked as Postfix asks it: FAIL is 535 to the client, a connection that ends is 454."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.logins_server import Server, line

StartServer = Callable[..., Server]

PASSWORDS = {
    "colon": "a:b::",
    "comma_percent_quotes": "a,b%s%%\"'`",
    "spaces_at_both_ends": "  a  ",
    "braces_and_dollars": "{{ x }} ${HOME} {SHA}x $y$",
    "utf8": "pässwörd €😀",
    "backslashes": "\\n\\\\0",
    "tabs": "a\tb",
    "long": "0123456789" * 50,
}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartServer]:
    started: list[Server] = []

    def begin(name: str = "server", **configuration: Any) -> Server:
        started.append(Server(tmp_path / name, **configuration))
        return started[-1].start()

    yield begin
    for server in started:
        server.stop()


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users"
    file.write_text(line("ann", "right") + line("ann@example.com", "other") + line("jörg", "ö"))
    return file


@pytest.fixture
def server(start: StartServer, users: Path) -> Server:
    return start(backend="users", users={"path": str(users)})


@pytest.mark.parametrize(
    "said",
    [
        ("PLAIN", b"\0ann\0right"),
        ("PLAIN", b"ann\0ann\0right"),
        ("PLAIN", None, b"\0ann\0right"),
        ("LOGIN", None, b"ann", b"right"),
        ("LOGIN", b"ann", b"right"),
        ("plain", b"\0ann\0right"),
    ],
    ids=[
        "plain",
        "plain_with_identity",
        "plain_in_two_steps",
        "login",
        "login_with_name",
        "in_small_letters",
    ],
)
def test_the_right_password_is_a_yes_with_the_login(server: Server, said: tuple[str, bytes | None]) -> None:
    with server.client() as smtpd:
        assert smtpd.auth(*said) == ("OK", {"user": "ann"})


def test_login_asks_for_name_and_password_in_the_words_that_clients_know(server: Server) -> None:
    with server.client() as smtpd:
        assert smtpd.auth("LOGIN") == ("CONT", {"": "Username:"})
        assert smtpd.auth("LOGIN", b"ann") == ("CONT", {"": "Password:"})


@pytest.mark.parametrize("login", ["ann", "nobody"])
def test_a_wrong_password_is_a_no_that_does_not_say_who_exists(server: Server, login: str) -> None:
    with server.client() as smtpd:
        answer = smtpd.auth("PLAIN", f"\0{login}\0wrong".encode())
        assert answer == ("FAIL", {"user": login, "reason": "wrong login or password"})


@pytest.mark.parametrize("password", PASSWORDS.values(), ids=PASSWORDS.keys())
def test_a_password_is_what_it_is(start: StartServer, users: Path, password: str) -> None:
    users.write_text(line("ann", password))
    with start(backend="users", users={"path": str(users)}).client() as smtpd:
        assert smtpd.plain("ann", password) == "OK"
        assert smtpd.plain("ann", password[:-1]) == "FAIL"
        assert smtpd.auth("LOGIN", b"ann", password.encode())[0] == "OK"


def test_a_login_with_and_one_without_a_domain_are_two(server: Server) -> None:
    with server.client() as smtpd:
        assert smtpd.plain("ann@example.com", "other") == "OK"
        assert smtpd.plain("ann", "other") == "FAIL"
        assert smtpd.plain("ann@example.com", "right") == "FAIL"
        assert smtpd.plain("jörg", "ö") == "OK"


@pytest.mark.parametrize(
    "said",
    {
        "no_password": (b"\0ann\0",),
        "no_login": (b"\0\0right",),
        "no_separator": (b"ann",),
        "one_part_more": (b"\0ann\0right\0",),
        "for_somebody_else": (b"root\0ann\0right",),
        "not_utf8": (b"\0ann\0\xff",),
        "empty": (b"",),
        "control_characters": (b"\0ann\tuser=root\nOK\t1\0right",),
    }.values(),
    ids=str,
)
def test_what_is_no_login_is_refused_and_the_next_is_heard(server: Server, said: tuple[bytes]) -> None:
    with server.client() as smtpd:
        ended, words = smtpd.auth("PLAIN", *said)
        assert (ended, words["reason"]) == ("FAIL", "wrong login or password")
        assert set(words) <= {"user", "reason"}
        assert smtpd.plain("ann", "right") == "OK"


def test_neither_other_mechanisms_nor_what_is_no_base64_are_heard(server: Server) -> None:
    with server.client() as smtpd:
        assert smtpd.mechanisms == ["PLAIN", "LOGIN"]
        assert smtpd.auth("CRAM-MD5")[0] == "FAIL"
        assert smtpd.auth("ANONYMOUS", b"x")[0] == "FAIL"
        assert smtpd.auth("PLAIN", raw="AGFubgBy!aWdodA==")[0] == "FAIL"
        assert smtpd.auth("PLAIN", raw="=")[0] == "FAIL"
        assert smtpd.auth("LOGIN", b"ann", b"right\0")[0] == "FAIL"


def test_an_exchange_that_was_given_up_does_not_leak_into_the_next(server: Server) -> None:
    with server.client() as smtpd:
        assert smtpd.auth("LOGIN", b"ann")[0] == "CONT"
        assert smtpd.auth("LOGIN", b"nobody", b"right")[0] == "FAIL"


def test_a_changed_file_is_what_counts_from_the_next_login_on(server: Server, users: Path) -> None:
    with server.client() as smtpd:
        for password in ("right", "second", "third"):
            new = users.with_name("new")
            new.write_text(line("ann", password))
            new.rename(users)
            assert smtpd.plain("ann", password) == "OK"
            assert [smtpd.plain("ann", old) for old in {"right", "second"} - {password}].count("OK") == 0


def test_a_backend_that_is_down_is_neither_a_yes_nor_a_no_and_is_logged_once(
    server: Server, users: Path
) -> None:
    users.rename(users.with_name("away"))
    for password in ("right", "wrong"):
        with server.client() as smtpd:
            assert smtpd.plain("ann", password) == "CLOSED"
    assert server.ask("status").startswith(f"TEMP cannot read {users}")
    server.logged("warning: logins cannot be checked: cannot read")
    users.with_name("away").rename(users)
    with server.client() as smtpd:
        assert smtpd.plain("ann", "wrong") == "FAIL"
    server.logged("logins can be checked again")
    server.wait(lambda: server.ask("status") == "OK up", "the status is up")
    assert len([text for text in server.log if "logins c" in text]) == 2


def test_guesses_are_slowed_by_address_and_others_are_not(server: Server) -> None:
    with server.client("192.0.2.66") as guesser:
        assert [guesser.plain("ann", f"guess {n}") for n in range(11)] == 11 * ["FAIL"]
        assert guesser.plain("ann", "right") == "CLOSED", (
            "a guess that is not checked must not be told from others"
        )
    assert "warning: logins from 192.0.2.66 are slowed: 11 failures in a minute" in server.logged("slowed")
    with server.client("192.0.2.67") as other:
        assert other.plain("ann", "right") == "OK"
    with server.client("192.0.2.66") as guesser:
        assert guesser.plain("ann", "guess") == "CLOSED"
    assert len([text for text in server.log if "slowed" in text]) == 1


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "PLAIN in two steps"])
def test_a_guesser_does_not_lock_out_those_who_share_his_address(server: Server, mechanism: str) -> None:
    """All of them who have logged in from there before."""
    said: dict[str, tuple[Any, ...]] = {
        "LOGIN": ("LOGIN", b"ann", b"right"),
        "PLAIN": ("PLAIN", b"\0ann\0right"),
        "PLAIN in two steps": ("PLAIN", None, b"\0ann\0right"),
    }
    with server.client() as smtpd, server.client() as guesser:
        assert smtpd.auth(*said[mechanism])[0] == "OK"
        assert [guesser.plain("bob", f"guess {n}") for n in range(11)] == 11 * ["FAIL"]
        assert guesser.auth("LOGIN", b"bob", b"guess")[0] == "CLOSED"
        assert {smtpd.auth(*said[mechanism])[0] for _ in range(20)} == {"OK"}
    with server.client() as guesser:
        assert guesser.plain("ann", "guess") == "FAIL"
        assert guesser.plain("ann", "right") == "CLOSED"


def test_many_right_logins_from_one_address_are_never_slowed(server: Server) -> None:
    with server.client() as smtpd:
        assert {smtpd.plain("ann", "right") for _ in range(1000)} == {"OK"}


def test_no_password_is_ever_logged(server: Server) -> None:
    for _ in range(11):
        with server.client() as smtpd:
            assert smtpd.auth("LOGIN", b"ann", b"s3cret")[0] == "FAIL"
    server.logged("slowed")
    assert "s3cret" not in "".join(server.log)


def test_the_map_says_up_and_knows_no_senders_where_there_are_none(server: Server) -> None:
    assert server.ask("status") == "OK up"
    assert server.ask("senders", "ann@example.com").startswith("PERM ")
    assert server.ask("other").startswith("PERM ")


def test_what_is_no_protocol_ends_nothing_but_its_connection(server: Server) -> None:
    for name in ("auth", "maps"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(server.directory / name))
            connection.sendall(b"GET / HTTP/1.0\r\n\r\nAUTH\nAUTH\t1\nCONT\t1\nCONT\t9\tx\n" + 100_000 * b"x")
    assert server.ask("status") == "OK up"
    with server.client() as smtpd:
        assert smtpd.plain("ann", "right") == "OK"


def test_a_socket_that_is_held_for_the_server_is_the_one_it_answers_on(tmp_path: Path, users: Path) -> None:
    """Who connects while it is started again waits, and is answered."""
    with socket.socket(socket.AF_UNIX) as held:
        server = Server(tmp_path / "held", backend="users", users={"path": str(users)})
        held.bind(str(server.directory / "auth"))
        held.listen()
        for _ in range(2):
            with socket.socket(socket.AF_UNIX) as early:
                early.connect(str(server.directory / "auth"))
                server.start(stdin=held.fileno())
                assert early.recv(7) == b"VERSION"
            server.kill()


@pytest.fixture
def behind(start: StartServer, server: Server) -> Server:
    """A server that asks the first one, which speaks Dovecot's protocol."""
    return start(
        "behind",
        backend="dovecot",
        dovecot={"path": f"unix:{server.directory}/auth"},
        mechanisms=["PLAIN", "LOGIN"],
    )


def test_dovecot_is_asked_and_its_word_is_passed_on(behind: Server) -> None:
    with behind.client() as smtpd:
        assert smtpd.auth("PLAIN", b"\0ann\0right") == ("OK", {"user": "ann"})
        assert smtpd.auth("LOGIN", None, b"ann", b"right") == ("OK", {"user": "ann"})
        assert smtpd.auth("PLAIN", b"\0ann\0wrong") == (
            "FAIL",
            {"user": "ann", "reason": "wrong login or password"},
        )
        assert smtpd.auth("PLAIN", None, b"\0nobody\0right")[0] == "FAIL"
    assert behind.ask("status") == "OK up"


def test_dovecot_learns_the_clients_address(behind: Server, server: Server) -> None:
    with behind.client("192.0.2.99") as smtpd:
        for _ in range(11):
            smtpd.plain("ann", "wrong")
    server.logged("logins from 192.0.2.99 are slowed")


def test_a_dovecot_that_is_down_is_neither_a_yes_nor_a_no(behind: Server, server: Server) -> None:
    server.stop()
    with behind.client() as smtpd:
        assert smtpd.plain("ann", "right") == "CLOSED"
    behind.logged(f"warning: logins cannot be checked: cannot reach Dovecot (unix:{server.directory}/auth)")
    assert behind.ask("status").startswith("TEMP cannot reach Dovecot")
    server.start()
    with behind.client() as smtpd:
        assert smtpd.plain("ann", "right") == "OK"


def test_a_dovecot_without_one_of_the_mechanisms_is_not_well(start: StartServer, server: Server) -> None:
    """It would call each attempt a wrong password."""
    place = {"path": f"unix:{server.directory}/auth"}
    behind = start("behind", backend="dovecot", dovecot=place, mechanisms=["PLAIN", "SCRAM-SHA-256"])
    assert behind.ask("status") == "TEMP Dovecot does not offer SCRAM-SHA-256 (its auth_mechanisms)"
    with behind.client() as smtpd:
        assert smtpd.auth("SCRAM-SHA-256", b"n,,n=ann,r=x")[0] == "CLOSED"


def test_a_changed_way_to_the_backend_is_taken_without_a_restart(behind: Server, server: Server) -> None:
    behind.configure(backend="dovecot", dovecot={"path": "unix:/nowhere"})
    with behind.client() as smtpd:
        assert smtpd.plain("ann", "right") == "CLOSED"
    behind.configure(backend="dovecot", dovecot={"path": f"unix:{server.directory}/auth"})
    with behind.client() as smtpd:
        assert smtpd.plain("ann", "right") == "OK"
    behind.logged("with what has changed in their settings", times=2)
