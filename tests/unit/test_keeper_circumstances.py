"""What the health program is told of the spool, the lookup tables and the deliveries."""

from __future__ import annotations

import json
import os
import pwd
import time
from typing import TYPE_CHECKING

import pytest

from entrypoint import runtime
from entrypoint.keeper import spool_watch
from entrypoint.keeper.circumstances import Circumstances
from entrypoint.keeper.deliveries import Deliveries
from entrypoint.keeper.spool_watch import SpoolWatch
from entrypoint.maillog.lines import parse

if TYPE_CHECKING:
    from pathlib import Path

ME = pwd.getpwuid(os.getuid()).pw_name
LMDB = b"\0" * 16 + (0xBEEFC0DE).to_bytes(4, "little") + b"\0" * 4076


class Machine:
    def __init__(self, directory: Path) -> None:
        self.spool = directory / "spool"
        self.configuration = directory / "postfix"
        self.configuration.mkdir()
        for name in ("active", "bounce", "defer", "deferred", "incoming", "private", "public"):
            (self.spool / name).mkdir(parents=True)
        self.configure("queue_minfree = 3000\nmessage_size_limit = 1000\n")

    def configure(self, main: str, master: str = "") -> None:
        (self.configuration / "main.cf.new").write_text(main)
        (self.configuration / "main.cf.new").rename(self.configuration / "main.cf")
        (self.configuration / "master.cf").write_text(master)

    def watch(self, user: str = ME) -> SpoolWatch:
        return SpoolWatch(str(self.spool), str(self.configuration), user)

    def look(self) -> dict[str, str | int]:
        return self.watch().look()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_spool_that_is_well_has_no_problem_and_its_numbers_are_those_of_the_file_system(
    machine: Machine,
) -> None:
    found = machine.look()
    space = os.statvfs(machine.spool)
    assert (found["spool_problem"], found["tables_problem"]) == ("", "")
    assert found["spool_size_bytes"] == space.f_blocks * space.f_frsize
    assert found["spool_inodes"] == space.f_files
    assert 0 < int(found["spool_free_bytes"]) < int(found["spool_size_bytes"])
    assert min(path.name for path in machine.spool.iterdir()) == "active", "it leaves nothing behind"


def test_a_queue_that_postfix_does_not_own_is_named_with_its_owner(machine: Machine) -> None:
    other = next(user for user in pwd.getpwall() if user.pw_uid != os.getuid()).pw_name
    told = machine.watch(other).look()["spool_problem"]
    assert told == f"active belongs to uid {os.getuid()} and not to {other}"
    assert machine.watch("nobody at all").look()["spool_problem"] == "there is no user nobody at all"


def test_a_queue_that_postfix_cannot_enter_or_that_is_gone_is_a_problem(machine: Machine) -> None:
    (machine.spool / "incoming").chmod(0o500)
    assert machine.look()["spool_problem"] == "incoming has mode 500"
    (machine.spool / "incoming").rmdir()
    assert machine.look()["spool_problem"] == "No such file or directory"
    machine.spool.rename(machine.spool.with_name("elsewhere"))
    assert machine.look()["spool_problem"] == "No such file or directory"


def test_a_spool_that_takes_names_but_no_bytes_is_a_problem(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert machine.look()["spool_problem"] == "No space left on device"
    assert not (machine.spool / ".writable").exists()


@pytest.mark.parametrize(
    ("main", "expected"),
    [
        ("queue_minfree = 3000\nmessage_size_limit = 1000\n", 3000),
        ("message_size_limit = 1000\n", 1500),
        ("queue_minfree = 3000\nmessage_size_limit = 0\n", 3000),
        ("", 15360000),
    ],
)
def test_it_knows_when_postfix_takes_no_more_mail(machine: Machine, main: str, expected: int) -> None:
    machine.configure(main)
    assert machine.look()["spool_refusing_below"] == expected


def test_a_table_that_is_gone_or_broken_is_named(machine: Machine, tmp_path: Path) -> None:
    table = tmp_path / "tables/transport"
    table.parent.mkdir()
    machine.configure(
        f"a = x\ntransport_maps = lmdb:{table} lmdb:$data_directory/cache\n# lmdb:/no/comment\n"
    )
    file = table.with_name("transport.lmdb")
    assert machine.look()["tables_problem"] == f"{file}: No such file or directory"
    file.write_bytes(b"")
    assert machine.look()["tables_problem"] == f"{file}: not an LMDB file"
    file.write_bytes(LMDB)
    assert machine.look()["tables_problem"] == ""
    machine.configure("", "smtp unix - - n - - smtp\n  -o { x = pipemap:{inline:{a=b}, cidr:/no/where} }\n")
    assert machine.look()["tables_problem"] == "/no/where: No such file or directory"


def test_many_questions_are_one_look(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = machine.watch()
    watch.look()
    (machine.spool / "active").rmdir()
    assert watch.look()["spool_problem"] == ""
    monkeypatch.setattr(spool_watch, "_SECONDS", 0.0)
    assert watch.look()["spool_problem"]


def test_the_answer_is_json_that_its_reader_understands() -> None:
    around = Circumstances()
    around._spool.look = lambda: {"spool_problem": 'a, "b\\: c\n', "spool_free_bytes": 5}  # type: ignore[method-assign]
    text = around.answer("")
    expected = {"spool_problem": "a? ?b?: c?", "spool_free_bytes": 5}
    nothing = {"upstream_failed_at": 0, "upstream_refused": "", "taken_at": 0, "log_full": 0}
    assert json.loads(text) == {**expected, **nothing}
    assert runtime.flat(text) == {name: str(value) for name, value in json.loads(text).items()}


def after(reason: str, *, relay: str = "none", status: str = "deferred") -> int:
    deliveries = Deliveries()
    deliveries.read(
        parse(
            f"Nov 20 11:44:00 relay postfix/smtp[9]: 5C1A2B3D4F: to=<a@example.org>, relay={relay}, delay=1, "
            f"delays=0/0/1/0, dsn=4.4.1, status={status} ({reason})"
        )
    )
    return deliveries.failed_at


def test_mail_that_finds_no_way_is_noted_and_mail_that_was_answered_is_not() -> None:
    now = int(time.monotonic())
    assert after("connect to sink[192.0.2.1]:25: Connection refused") >= now
    assert after("Host or domain name not found. Name service error for name=sink type=A") >= now
    server = "sink[192.0.2.1]:25"
    silent = f"conversation with {server} timed out while receiving the initial server greeting"
    assert after(silent, relay=server) >= now
    assert after(f"host {server} refused to talk to me: 421 4.3.2 not now", relay=server) >= now
    assert after(f"host {server} said: 450 4.2.0 later (in reply to RCPT TO command)", relay=server) == 0
    assert after("250 2.0.0 ok", relay=server, status="sent") == 0


def test_mail_that_a_client_hands_in_is_noted() -> None:
    deliveries = Deliveries()
    deliveries.read(parse("Nov 20 11:44:00 relay postfix/smtpd[9]: connect from unknown[192.0.2.7]"))
    assert deliveries.taken_at == 0
    deliveries.read(parse("Nov 20 11:44:00 relay postfix/smtpd[9]: 5C1A2B3D4F: client=unknown[192.0.2.7]"))
    assert deliveries.taken_at >= int(time.monotonic()) - 1
