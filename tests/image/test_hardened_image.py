"""The image as it is built: nothing in it that gives rights, holds a secret or ties it to one machine.

The README's table of what is hardened is held to the tests here, too.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.image.relay import Relay

PROJECT = Path(__file__).parents[2]
# Without either of them no user but root could use sendmail or mailq inside a container.
SETGID = {"/usr/sbin/postdrop", "/usr/sbin/postqueue"}
# Words that tie a file to one kind of processor; among them system calls by their number, which with one name are not the
# same call everywhere: SYS_getuid has 16 bits where SYS_getuid32 exists.
PROCESSORS = r"amd64|x86[-_]64|i[3-6]86|arm64|aarch64|linux-gnu|--platform|\bSYS_|\b__NR_|\bsyscall\b|\basm\b"


def test_nothing_in_the_image_is_setuid_and_setgid_only_what_hands_mail_in(shell: Relay) -> None:
    found = shell.exec("find", "/", "-xdev", "-type", "f", "-perm", "/6000", "-printf", "%p %m %u %g\n").lines
    assert set(found) == {f"{path} 2555 root postdrop" for path in SETGID}


def test_dpkg_would_not_make_programs_setuid_again_when_it_updates_them(shell: Relay) -> None:
    told = {line.split()[3]: line.split()[:3] for line in shell.exec("dpkg-statoverride", "--list").lines}
    for program in ("su", "mount", "passwd", "chage"):
        assert told[f"/usr/bin/{program}"] == ["root", "root", "755"]


def test_the_numbers_of_users_are_chosen_before_a_package_could_take_them(shell: Relay) -> None:
    stage = (PROJECT / "Dockerfile").read_text(encoding="utf-8").rpartition("\nFROM ")[2]
    dockerfile = stage.partition("apt-get install")[0]
    groups = {name: number for number, name in re.findall(r"groupadd -g (\d+) (\w+)", dockerfile)}
    users = {
        name: (uid, gid) for uid, gid, name in re.findall(r"useradd -u (\d+) -g (\d+).* (\w+) ", dockerfile)
    }
    assert users == {"postfix": ("100", "101"), "postern": ("103", "103"), "logins": ("104", "104")}
    assert groups == {"postfix": "101", "postdrop": "102", "postern": "103", "logins": "104"}
    for name, numbers in users.items():
        assert tuple(shell.exec("getent", "passwd", name).output.split(":")[2:4]) == numbers
    for name, number in groups.items():
        assert shell.exec("getent", "group", name).output.split(":")[2] == number


def test_no_private_key_and_nothing_that_must_differ_between_machines_is_in_the_image(shell: Relay) -> None:
    """Everybody who runs the image would share it, and everybody else could read it."""
    places = "/boot /etc /home /opt /root /srv /usr /var /tmp"
    keys = shell.exec("sh", "-c", f"grep -rlsE '^-----BEGIN [A-Z ]*PRIVATE KEY-----' {places}")
    assert keys.output == ""
    told = shell.exec(
        "sh", "-c", "cat /etc/machine-id /var/lib/dbus/machine-id 2>/dev/null; ls -A /etc/ssl/private"
    )
    assert told.output == ""


@pytest.mark.parametrize(
    "place", ["Dockerfile", "docker-compose.yml", "Makefile", "scripts", "rootfs", "entrypoint", "nonroot"]
)
def test_nothing_of_ours_is_made_for_one_kind_of_processor(place: str) -> None:
    files = [PROJECT / place, *(PROJECT / place).rglob("*")]
    texts = {file: file.read_text() for file in files if file.is_file() and file.suffix != ".pyc"}
    assert texts
    found = {str(file): match[0] for file, text in texts.items() if (match := re.search(PROCESSORS, text))}
    assert found == {}


def test_nothing_that_the_build_makes_of_ours_names_a_processor(shell: Relay) -> None:
    ours = "/usr/lib/postern /usr/bin/postern /etc/postern /etc/postfix /etc/supervisor"
    assert shell.exec("sh", "-c", f"grep -rlsIE -e '{PROCESSORS}' {ours}").output == ""
    programs = "find / -xdev -type f -path '*postern*' -exec grep -al '^.ELF' {} +"
    assert shell.exec("sh", "-c", programs).lines == ["/usr/lib/postern/nonroot.so"]
    called = shell.exec("grep", "-awo", "-e", "getauxval", "-e", "syscall", "/usr/lib/postern/nonroot.so")
    assert called.output == "getauxval\n", "it asks libc, and not the kernel by a number"


def test_each_row_of_the_readmes_table_names_tests_that_exist() -> None:
    table = (
        (PROJECT / "README.md").read_text(encoding="utf-8").partition("| hardening |")[2].partition("\n\n")[0]
    )
    rows = table.splitlines()[2:]
    assert len(rows) >= 12
    for row in rows:
        claims = re.findall(r"`(test_\w+)`", row.rpartition(" | ")[2])
        assert claims, row
        assert set(claims) <= _tests(), row


def _tests() -> set[str]:
    texts = (file.read_text(encoding="utf-8") for file in (PROJECT / "tests/image").glob("test_*.py"))
    return {name for text in texts for name in re.findall(r"^ *def (test_\w+)\(", text, re.MULTILINE)}
