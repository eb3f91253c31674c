"""What differs is put in force, in an order in which nothing refers to what is not there yet, and nothing else is touched."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from entrypoint import apply, log
from entrypoint.config import install
from entrypoint.config.render import SASLDB_SUM, File, Made, Sasldb, Table
from entrypoint.config.secret import Secret
from entrypoint.config.tables.access import Login
from entrypoint.postfix import compiling
from entrypoint.start import EX_CONFIG

MAIN_CF = "etc/postfix/main.cf"
LOGIN = Login("SMTPD_SASL_USERS", "ann", Secret("hunter2"))


def files(**changed: str) -> list[Made]:
    """A configuration; keywords are texts that differ from the first."""
    text = {
        "main": "a = 1\n",
        "master": "smtp inet\n",
        "users": "ann:$6$x\n",
        "route": "smtp:",
        "password": "p",
    }
    text |= changed
    return [
        File(MAIN_CF, text["main"]),
        File("etc/postfix/master.cf", text["master"]),
        File("logins/users", Secret(text["users"]), 0o600),
        Table("tables/transport", {"example.com": text["route"]}),
        Table("etc/postfix/sasl_passwd", {"[smtp.example.com]": Secret(text["password"])}),
    ]


def put(made: list[Made], root: Path) -> dict[str, str]:
    return dict(apply.put_in_force(made, list(apply.differing(made, root)), root))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the first configuration was installed by a start."""
    install.install(files(), tmp_path / "run", compiling.compiled, ("tables", tmp_path / "data"))
    return tmp_path / "run"


def test_the_same_again_touches_nothing(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert put(files(), root) == {}
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_only_what_differs_is_replaced(root: Path) -> None:
    main_cf = (root / MAIN_CF).stat().st_ino
    table = (root / "tables/transport.lmdb").stat().st_ino
    assert put(files(route="error:closed", users="ben:$6$y\n"), root) == {
        "tables/transport": ": 1 entry (1 altered)",
        "logins/users": "",
    }
    assert (root / "logins/users").read_text() == "ben:$6$y\n"
    assert (root / MAIN_CF).stat().st_ino == main_cf
    # In place: a session that has it open shall see it.
    assert (root / "tables/transport.lmdb").stat().st_ino == table


def test_tables_come_first_and_what_refers_to_them_last(root: Path) -> None:
    made = [*files(main="a = 2\n", master="relay\n", users="\n"), Table("tables/virtual", {"a@b": "c@d"})]
    assert list(put(made, root)) == ["tables/virtual", "logins/users", MAIN_CF, "etc/postfix/master.cf"]
    assert (root / "tables/virtual.lmdb").resolve() == root.parent / "data/virtual.lmdb"


def test_what_is_referred_to_no_more_stays_for_the_sessions_that_use_it(root: Path) -> None:
    without = [file for file in files(main="a = 3\n") if file.path != "tables/transport"]
    assert list(put(without, root)) == [MAIN_CF]
    assert (root / "tables/transport.lmdb").exists()


def test_a_changed_password_is_told_without_it(root: Path) -> None:
    assert put(files(password="another"), root) == {"etc/postfix/sasl_passwd": ": 1 entry (1 altered)"}


def test_a_changed_mode_is_mended(root: Path) -> None:
    (root / "logins/users").chmod(0o644)
    assert list(put(files(), root)) == ["logins/users"]
    assert (root / "logins/users").stat().st_mode & 0o777 == 0o600


def test_a_sasldb_is_made_anew_only_for_other_users(root: Path) -> None:
    """Two that hold the same differ in their bytes, so a sum is compared."""
    sum_of_ann = File(SASLDB_SUM, Secret("of ann"), 0o600)
    made: list[Made] = [sum_of_ann, Sasldb("logins/sasldb2", (LOGIN,), "relay.example.com")]
    put([sum_of_ann], root)
    assert put(made, root) == {}
    assert not (root / "logins/sasldb2").exists()


def everything(root: Path) -> dict[str, bytes]:
    """Tables as well, which are elsewhere."""
    return {str(path): path.read_bytes() for path in root.parent.rglob("*") if path.is_file()}


@pytest.mark.parametrize("large", ["tables/transport", "tables/virtual", "logins/users"])
def test_a_disk_without_room_for_a_part_of_the_change_keeps_all_of_it_out(root: Path, large: str) -> None:
    """Whichever comes first. A limit on the size of files stands in for the disk."""
    many = {f"{number}.example.org": "error:closed" for number in range(60_000)}
    tables = {name: {"a@b": "c"} for name in ("tables/transport", "tables/virtual", "tables/sender_logins")}
    users = "ann:$6$x\n" * 60_000 if large == "logins/users" else "ben:$6$y\n"
    made = [file for file in files(users=users, main="a = 2\n") if file.path not in tables]
    made += [Table(name, many if name == large else few) for name, few in tables.items()]
    before = everything(root)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot be written|File too large"):
            put(made, root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert everything(root) == before
    assert len(put(made, root)) == 5


def test_what_cannot_be_put_in_its_place_is_named_with_what_is_in_force(root: Path) -> None:
    """Everything was ready: only what no check can foresee is left, a disk that fails for one."""
    (root / MAIN_CF).unlink()
    (root / MAIN_CF).mkdir()
    made = files(route="error:closed", users="ben:$6$y\n")
    with pytest.raises(
        apply.PartlyError, match=r"^partly in force: transport, users, but not main\.cf: .*dir"
    ):
        apply.put_in_force(made, [file for file in made if isinstance(file, File)][::2], root)
    assert (root / "logins/users").read_text() == "ben:$6$y\n"


@pytest.mark.parametrize(
    "gone",
    [
        "smtpd_sender_login_maps = lmdb:/run/postern/tables/sender_logins",
        "relay_recipient_maps = lmdb:/run/postern/tables/relay_recipients, regexp:{ }",
        "sender_dependent_default_transport_maps = lmdb:/run/postern/tables/upstream_senders",
        "relayhost = smtp.example.com:25",
        "transport_maps = lmdb:/run/postern/tables/transport lmdb:/run/postern/tables/relay_domains",
        "relay_domains = lmdb:/run/postern/tables/relay_domains",
        "virtual_alias_maps = lmdb:/run/postern/tables/virtual",
    ],
)
def test_what_holds_mail_in_bounds_does_not_go_while_the_relay_runs(root: Path, gone: str) -> None:
    """Its file may be away for a moment, or cut off by the script that writes it."""
    name = gone.partition(" ")[0]
    (root / MAIN_CF).write_text(f"a = 1\n{gone}\nb = 1\n")
    problems = list(apply.lifted([File(MAIN_CF, f"a = 1\n{name} = \nb = 1\n")], root))
    assert len(problems) == gone.count("/tables/") or name == "relayhost"
    assert all("must not go while the relay runs" in problem for problem in problems)
    assert not list(apply.lifted([File(MAIN_CF, f"a = 2\n{gone}\nb = 1\n")], root))


def test_why_an_edit_was_refused_is_shown_as_the_log_shows_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """/readyz is for whoever can reach the port."""
    monkeypatch.setattr(apply, "REFUSED", tmp_path / "refused")
    log.use("plain", "partial")
    try:
        assert apply._refuse(["/config/virtual:2: ann@example.com is there twice"], 78) == 78
    finally:
        log.use("plain", "full")
    assert (tmp_path / "refused").read_text() == "/config/virtual:2: a***@example.com is there twice\n"
    assert "ann@" not in capfd.readouterr().out


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where apply() leaves what it has to tell."""
    for name in ("REFUSED", "APPLIED"):
        monkeypatch.setattr(apply, name, tmp_path / name.lower())
    monkeypatch.setattr(apply, "CONFIGURATION", tmp_path)
    monkeypatch.setattr(log, "use_installed", lambda: None)
    return tmp_path


def test_a_new_salt_waits_for_a_restart_and_keeps_nothing_else_waiting(
    told: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    changed, later = {"etc/postfix/tls.pem": ""}, [*apply._LATER.values()]
    for result, status in (
        ((changed, later), apply.UNREAD),
        (({}, later), EX_CONFIG),
        ((changed, []), apply.UNREAD),
    ):
        monkeypatch.setattr(apply, "_apply", lambda _, result=result: result)
        assert apply.apply({}) == status
        assert (told / "refused").exists() == bool(result[1])
        if result[1]:
            assert "LOG_ADDRESSES_SALT: the new one takes a restart" in (told / "refused").read_text()
    assert "the files are right again" in capfd.readouterr().out
    assert (told / "applied").read_text() == "the certificate has changed\n"


def test_a_change_that_is_partly_in_force_is_not_said_to_have_no_effect(
    told: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> None:
        raise apply.PartlyError(["tables/virtual"], "etc/postfix/tls.pem", OSError("I/O error"))

    monkeypatch.setattr(apply, "_apply", fail)
    assert apply.apply({}) == apply.PARTLY
    partly = "partly in force: virtual, but not the certificate: I/O error"
    assert (told / "refused").read_text() == f"{partly}\n"
    logged = capfd.readouterr().out
    assert f"error: {partly}" in logged
    assert "what was in force before it stays" not in logged
