"""`postern hash`: from a password to a line of the users file."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from entrypoint.config.crypt import hash_fault
from entrypoint.logins import libcrypt

ROOT = Path(__file__).parents[2]
VERB = [sys.executable, "-m", "entrypoint", "hash"]


def run(*arguments: str, password: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*VERB, *arguments], input=password, capture_output=True, cwd=ROOT, check=False)


@pytest.mark.parametrize(
    "password",
    ["right", "a:b,c%'\" ", "pässwörd €", " x", "{x}$y$"],
    ids=["plain", "odd", "utf8", "space", "braces"],
)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=["no_newline", "newline", "windows_newline"])
def test_the_line_holds_the_login_and_the_hash_of_the_password(password: str, end: str) -> None:
    done = run("ann@example.com", password=(password + end).encode())
    assert done.returncode == 0, done.stderr
    login, _, text = done.stdout.decode().removesuffix("\n").partition(":")
    assert login == "ann@example.com"
    assert text.startswith("$y$")
    assert hash_fault(text) == ""
    assert libcrypt.hashed(password.encode(), text.encode()) == text.encode()


def test_two_lines_for_one_password_differ() -> None:
    assert run("ann", password=b"x").stdout != run("ann", password=b"x").stdout


@pytest.mark.parametrize("password", [b"", b"\n", 513 * b"x", b"a\0b"], ids=["none", "empty", "long", "nul"])
def test_what_cannot_be_a_password_is_no_line(password: bytes) -> None:
    done = run("ann", password=password)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"postern hash: " in done.stderr


@pytest.mark.parametrize(
    "arguments", [(), ("ann", "secret"), ("a b",), ("a:b",), ("",), ("a,b",), ("#a",), ("-h",)], ids=str
)
def test_a_password_is_not_taken_from_the_command_line_nor_an_odd_login(arguments: tuple[str, ...]) -> None:
    done = run(*arguments, password=b"x")
    assert (done.returncode, done.stdout) == (64, b"")
    assert b"usage: postern hash LOGIN" in done.stderr


@pytest.mark.parametrize(("again", "status"), [("right", 0), ("other", 1)])
def test_on_a_terminal_the_password_is_asked_for_twice_and_not_shown(again: str, status: int) -> None:
    child, terminal = pty.fork()
    if not child:
        os.chdir(ROOT)
        os.execv(sys.executable, [*VERB, "ann"])
    shown = b""
    for prompt, answer in ((b"Password: ", "right"), (b"Again: ", again)):
        while prompt not in shown:
            shown += os.read(terminal, 1024)
        os.write(terminal, answer.encode() + b"\n")
    while data := _read(terminal):
        shown += data
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == status
    assert b"right" not in shown
    assert (b"ann:$y$" in shown) is (status == 0)


def _read(terminal: int) -> bytes:
    """The other end's last words; then Linux says EIO."""
    try:
        return os.read(terminal, 1024)
    except OSError:
        return b""
