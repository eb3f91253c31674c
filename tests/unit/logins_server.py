"""The logins server as a process of its own, and Postfix's side of its protocol."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any, Self

from entrypoint.logins import libcrypt

ROOT = Path(__file__).parents[2]
_RUN = "import sys; from entrypoint.logins.server import serve; sys.exit(serve(sys.argv[1], sys.argv[2]))"
_FAST = b"$5$rounds=1000$salt"


def line(login: str, password: str) -> str:
    """Of a users file, with the least costly of hashes."""
    return f"{login}:{(libcrypt.hashed(password.encode(), _FAST) or b'').decode()}\n"


class Server:
    """Serves a directory of its own; its log is read by `logged`."""

    def __init__(self, directory: Path, **configuration: Any) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.configure(**configuration)
        self._started: list[subprocess.Popen[str]] = []
        self.log: list[str] = []

    def configure(self, **configuration: Any) -> None:
        """Replaces logins.json, as the entrypoint does."""
        given = {
            "mechanisms": ["PLAIN", "LOGIN"],
            "hostname": "relay.example.com",
            "failures": 10,
        } | configuration
        new = self.directory / "new.json"
        new.write_text(json.dumps(given))
        new.rename(self.directory / "logins.json")

    def start(self, stdin: Any = subprocess.DEVNULL) -> Server:
        process = subprocess.Popen(
            [sys.executable, "-c", _RUN, str(self.directory / "logins.json"), str(self.directory)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "TZ": "UTC"},
        )
        self._started.append(process)
        threading.Thread(target=self._read, args=(process,), daemon=True).start()
        self.wait(self._listens, "the server listens")
        return self

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            return not connection.connect_ex(str(self.directory / "maps"))

    def kill(self) -> None:
        for process in self._started:
            process.kill()
            process.wait()

    def stop(self) -> None:
        """Also to its sockets."""
        self.kill()
        for name in ("auth", "maps"):
            (self.directory / name).unlink(missing_ok=True)

    def logged(self, text: str, times: int = 1) -> str:
        """The last line with that text, once there are so many."""
        self.wait(lambda: sum(text in line for line in self.log) >= times, f"the log has {text!r}")
        return [line for line in self.log if text in line][-1]

    def wait(self, condition: Any, what: str) -> None:
        end = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < end, f"waited in vain until {what}; log: {self.log}"
            assert self._started[-1].poll() is None, f"ended before {what}; log: {self.log}"
            time.sleep(0.01)

    def client(self, address: str = "192.0.2.1") -> Smtpd:
        return Smtpd(self.directory / "auth", address)

    def ask(self, name: str, key: str = "x") -> str:
        """Of the socketmap."""
        question = f"{name} {key}".encode()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self.directory / "maps"))
            connection.sendall(b"%d:%b," % (len(question), question))
            return connection.recv(65536).partition(b":")[2].decode().removesuffix(",")

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        with process.stdout:
            self.log.extend(process.stdout)


class Smtpd:
    """One process of Postfix, with a client at an address."""

    def __init__(self, path: Path, address: str) -> None:
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rb")
        self._number = 0
        self.mechanisms: list[str] = []
        self.send("VERSION\t1\t2", "CPID\t7")
        while (words := self._receive())[0] != "DONE":
            if words[0] == "MECH":
                self.mechanisms.append(words[1])

    def send(self, *lines: str) -> None:
        self._socket.sendall("".join(f"{line}\n" for line in lines).encode())

    def auth(self, mechanism: str, *said: bytes | None, raw: str | None = None) -> tuple[str, dict[str, str]]:
        """How it ended, OK, FAIL or CLOSED, and what was said about it. The first is the initial response."""
        self._number += 1
        question = (
            f"AUTH\t{self._number}\t{mechanism}\tservice=smtp\tnologin\tlip=198.51.100.1\trip={self._address}"
        )
        initial, *rest = said or (None,)
        encoded = raw if raw is not None else None if initial is None else b64encode(initial).decode()
        self.send(question + "\tsecured" + ("" if encoded is None else f"\tresp={encoded}"))
        answer = self._receive()
        for response in rest:
            assert answer[0] == "CONT", answer
            self.send(f"CONT\t{self._number}\t{b64encode(response or b'').decode()}")
            answer = self._receive()
        if answer[0] == "CONT":
            return "CONT", {"": b64decode(answer[2]).decode()}
        assert answer[0] == "CLOSED" or answer[1] == str(self._number)
        return answer[0], dict(word.partition("=")[::2] for word in answer[2:])

    def plain(self, login: str, password: str) -> str:
        return self.auth("PLAIN", f"\0{login}\0{password}".encode())[0]

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self) -> list[str]:
        line = self._lines.readline().decode()
        return line.removesuffix("\n").split("\t") if line else ["CLOSED"]
