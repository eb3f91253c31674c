"""Without root: what is made for the one user that everything runs as, and what he is told when he cannot have it."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from entrypoint import nonroot, privileges
from entrypoint.config import decision, install, render, summary
from entrypoint.config.host import Host
from entrypoint.config.policy import Policy
from entrypoint.config.render import File
from entrypoint.postfix import spool

PROJECT = Path(__file__).parents[2]
UID = 4242
ROOT = Path("/run/postern")


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The relay runs in the image, as an ordinary user."""
    monkeypatch.setattr(nonroot, "uid", lambda: UID)


def decided(machine: Host, uid: int = UID, **environ: str) -> Policy:
    return decision.make(environ, None, replace(machine, uid=uid))


def made(policy: Policy, path: str) -> str:
    [found] = [file for file in render.files(policy, render.templates(), ROOT) if file.path == path]
    assert isinstance(found, File)
    return str(found.text)


def test_the_user_counts_in_the_image_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a laptop `postern render` shows what a container would have."""
    monkeypatch.setattr(os, "geteuid", lambda: UID)
    assert nonroot.uid() == 0
    monkeypatch.setattr(nonroot, "PRELOADED", str(tmp_path))
    assert nonroot.uid() == UID
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert nonroot.uid() == 0


@pytest.mark.usefixtures("somebody")
def test_programs_of_postfix_get_what_they_need_and_root_gets_none_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = nonroot.command("printenv", "LD_PRELOAD")
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout == f"{nonroot.PRELOADED}\n"
    monkeypatch.setattr(nonroot, "uid", lambda: 0)
    assert nonroot.command("postsuper", "-s") == ["postsuper", "-s"]
    assert nonroot.environment() == {}


def test_each_program_hands_it_on_to_those_it_starts_whatever_the_user_sets(machine: Host) -> None:
    [line] = [
        line for line in made(decided(machine), "etc/postfix/main.cf").splitlines() if "LD_PRELOAD" in line
    ]
    assert line.startswith("import_environment = MAIL_CONFIG ")
    own = decided(machine, POSTFIX_import_environment="MAIL_CONFIG TZ")
    assert "\nimport_environment = MAIL_CONFIG TZ LD_PRELOAD\n" in made(own, "etc/postfix/main.cf")
    assert "LD_PRELOAD" not in made(decided(machine, uid=0), "etc/postfix/main.cf")


@pytest.mark.parametrize(("uid", "expected"), [(0, False), (UID, False), (65534, True)])
def test_the_owner_of_the_mail_is_not_who_foreign_programs_would_run_as(
    machine: Host, uid: int, expected: bool
) -> None:
    """Postfix does not start where both are one; "nobody" is a number that people choose."""
    assert ("\ndefault_privs = daemon\n" in made(decided(machine, uid), "etc/postfix/main.cf")) == expected


def test_supervisor_changes_no_user(machine: Host) -> None:
    users = "ann@example.com:secret"
    text = made(decided(machine, SMTPD_SASL_USERS=users), "etc/supervisor/supervisord.conf")
    assert "\nuser = " not in text
    assert "socket_owner" not in text
    text = made(decided(machine, uid=0, SMTPD_SASL_USERS=users), "etc/supervisor/supervisord.conf")
    assert text.count("\nuser = ") == 3


def test_the_start_says_in_one_line_what_is_given_up(machine: Host) -> None:
    told = [line for line in summary.warnings(decided(machine)) if "root" in line]
    assert len(told) == 1
    assert told[0].startswith(f"runs as uid {UID}, without root: Postfix's programs are not kept apart")
    assert not any("without root" in line for line in summary.warnings(decided(machine, uid=0)))


@pytest.mark.usefixtures("somebody")
def test_nothing_is_missing_but_the_right_to_low_ports_where_they_are_protected(
    machine: Host, tmp_path: Path
) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/status").write_text("CapEff:\t0000000000000000\n")
    sysctl = tmp_path / "sys/net/ipv4/ip_unprivileged_port_start"
    sysctl.parent.mkdir(parents=True)
    high, low = decided(machine, LISTEN="2525:relay"), decided(machine)
    sysctl.write_text("1024\n")
    assert list(privileges.lacking(high.listeners, tmp_path)) == []
    [told] = privileges.lacking(low.listeners, tmp_path)
    assert told.startswith(f"uid {UID} may not open 25, 587 (LISTEN): use ports above 1023")
    assert "LISTEN=2525:relay" in told
    sysctl.write_text("0\n")
    assert list(privileges.lacking(low.listeners, tmp_path)) == []


@pytest.mark.usefixtures("somebody")
def test_an_empty_directory_of_somebody_else_is_made_anew_and_a_full_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "active").mkdir()
    before = (tmp_path / "active").stat().st_ino
    (tmp_path / "hold").mkdir()
    (tmp_path / "hold/message").touch()
    with pytest.raises(spool.VolumeError, match=rf"hold belongs to uid .*chown -R {UID} {tmp_path}"):
        spool.prepare(tmp_path, tmp_path / "data")
    assert (tmp_path / "active").stat().st_ino != before or not list((tmp_path / "active").iterdir())
    assert (tmp_path / "hold/message").exists()


@pytest.mark.usefixtures("somebody")
def test_both_volumes_that_cannot_be_written_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    spooled, data = tmp_path / "file/spool", tmp_path / "file/data"
    with pytest.raises(spool.VolumeError, match=rf"{spooled} cannot be written .*; {data} cannot be written"):
        spool.prepare(spooled, data)


@pytest.mark.usefixtures("somebody")
def test_files_are_for_nobody_else(tmp_path: Path) -> None:
    """To give them to a group would take a right that is not there."""
    given = File("secret", "x", 0o640, group=render.LOGINS_GROUP)
    install.write(tmp_path / "secret", given)
    assert (tmp_path / "secret").stat().st_gid == os.getegid()
    assert install.same(tmp_path / "secret", given)


@pytest.mark.parametrize(
    ("before", "after"), [(0o770, 0o760), (0o710, 0o710), (0o700, 0o700), (0o760, 0o760)]
)
def test_a_volumes_chmod_is_no_mark_of_mail_to_return_but_the_operators_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: int, after: int
) -> None:
    monkeypatch.setattr(nonroot, "uid", lambda: os.getuid() or UID)
    for name in ("deferred/A", "active"):
        (tmp_path / name).mkdir(parents=True)
    (message := tmp_path / "deferred/A/ABC").touch()
    message.chmod(before)
    for directory in (tmp_path, tmp_path / "deferred", tmp_path / "deferred/A", message):
        os.chown(directory, nonroot.uid(), -1)
    told = spool.prepare(tmp_path, tmp_path / "data")
    assert message.stat().st_mode & 0o777 == after
    assert len(told) == (before != after)


RUN_WITHOUT_ROOT = "access bad_input health image lifecycle log secrets settings supervision topologies_outbound verbs without_shell"
OF_ROOT_ALONE = {
    "test_image.test_the_image_does_not_carry": "who is not root sees not all of the image",
    "test_lifecycle.test_a_spool_with_other_owners_is_repaired_and_its_mail_delivered": "only root takes what is another's",
    "test_logins_local.test_passwords_are_checked_by_a_program_with_a_user_of_its_own": "there is one user",
    "test_queue_verbs.test_a_queue_of_20000_is_listed_and_changed_in_seconds_and_with_little_memory": "its clones are root's",
    "test_readiness.test_a_spool_that_becomes_read_only_is_named_and_mail_goes_on_when_it_is_writable_again": "mounts",
    "test_readiness.test_a_spool_whose_owner_changed_is_named_and_well_again_by_itself": "gives a directory away",
    "test_secrets.test_the_http_server_has_the_rights_of_such_a_user": "there is one user",
    "test_stories.test_what_a_program_that_is_not_postfix_says_is_logged_and_changes_no_story_and_no_number": "there is one user",
    "test_tls_clients.test_a_certificate_of_its_own_is_trusted_by_its_ca_and_stays_the_same": "names its owner",
    "test_topologies_outbound.test_mail_from_a_program_in_the_container_to_root_is_relayed": "sendmail(1) wants a name, or -f",
    "test_verbs.test_a_check_that_cannot_ask_postfix_says_so_and_is_not_a_yes": "only root closes /run to others",
}
"""Each test that --nonroot leaves out, and why."""


def test_what_a_relay_is_is_tested_without_root_by_these_files() -> None:
    shown = ["make", "--silent", "--eval", "shown: ; @echo $(NONROOT)", "shown"]
    told = subprocess.run(shown, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.split()
    assert told == [f"tests/image/test_{name}.py" for name in RUN_WITHOUT_ROOT.split()]


def test_nothing_is_left_out_without_root_but_what_only_root_can_do() -> None:
    files = {file.stem: file.read_text() for file in (PROJECT / "tests/image").glob("test_*.py")}
    marked = [
        f"{name}.{test}"
        for name, text in files.items()
        for test in re.findall(r"\bmark\.root\b.*?\bdef (test_\w+)", text, re.DOTALL)
    ]
    assert sorted(marked) == sorted(OF_ROOT_ALONE)
