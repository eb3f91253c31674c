"""Stop, restart, recreate, kill: accepted mail is delivered in the end, and nothing of an old configuration remains.

A relay's promise is the 250 it gave. People keep it across upgrades, crashes and changes of provider by keeping two
volumes, so each of these is done here with mail in the queue.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.models.volumes import Volume

from tests.image import engine, inside
from tests.image.conftest import StartRelay
from tests.image.engine import Engine
from tests.image.relay import HARDENED, Relay, someone
from tests.image.sink import Sink
from tests.image.waiting import until

EX_CONFIG = 78
SPOOL, DATA = "/var/spool/postfix", "/var/lib/postern"
HOOKS = "/docker-entrypoint.d"
# Whose volumes are: root's, who takes them whoever had them, or those of the one user that the relay runs as.
OWNER = HARDENED.get("user", "0:0")
SOMEBODY = HARDENED.get("user", "1234:0").partition(":")[0]
# Nothing listens there: mail stays in the queue.
NOWHERE = "[sink]:2599"

Mounts = dict[str, dict[str, str]]


@pytest.fixture
def volumes(docker: Engine) -> Iterator[tuple[Volume, Volume]]:
    """A spool and a data volume. They are removed with the last container, or at the end of the run."""
    made = docker.volume(), docker.volume()
    yield made
    docker.remove(*made)


@pytest.fixture
def mounts(volumes: tuple[Volume, Volume]) -> Mounts:
    spool, data = volumes
    return {spool.name: {"bind": SPOOL, "mode": "rw"}, data.name: {"bind": DATA, "mode": "rw"}}


@pytest.fixture
def in_volume(docker: Engine, mounts: Mounts) -> Callable[[str], str]:
    """Runs a shell command as root on the volumes, beside the relay."""

    def run(command: str) -> str:
        container = docker.start(
            engine.TOOLS, volumes=mounts, command=["sh", "-ec", command], network_mode="none"
        )
        status, output = container.wait(timeout=60)["StatusCode"], container.logs().decode()
        docker.remove(container)
        assert status == 0, output
        return str(output)

    return run


def queue_mail(relay: Relay, sink: Sink) -> str:
    """A mail that was accepted, and whose delivery the sink does not answer: it is in the active queue."""
    sink.behave(hang=["mail"])
    relay.send(to := someone())
    until("the relay tries to deliver", lambda: "MAIL" in sink.commands(), needs=[relay.container])
    return to


def stop(relay: Relay, timeout: int = 10) -> tuple[int, float]:
    """Exit code, and seconds; at `timeout` the engine kills, and the code is 137."""
    began = time.monotonic()
    relay.container.stop(timeout=timeout)
    took = time.monotonic() - began
    return relay.exit_code(), took


def test_a_stop_with_an_empty_queue_takes_less_than_3_seconds_and_ends_with_0(
    start_relay: StartRelay, sink: Sink
) -> None:
    relay = start_relay()
    relay.send(to := someone())
    sink.mail(to)
    relay.logged("removed$")
    code, seconds = stop(relay)
    assert (code, seconds < 3) == (0, True), f"exit code {code} after {seconds:.1f} s"


def test_a_stop_ends_with_0_whichever_signal_asks_for_it(start_relay: StartRelay) -> None:
    relay = start_relay()
    relay.container.kill(signal="SIGINT")
    assert relay.exit_code() == 0


def test_mail_that_waits_survives_a_stop_and_the_same_container_delivers_it(
    start_relay: StartRelay, sink: Sink
) -> None:
    relay = start_relay()
    to = queue_mail(relay, sink)
    code, _ = stop(relay)
    assert code == 0
    sink.behave(hang=[])
    relay.container.start()
    assert len(sink.mail(to, needs=[relay.container])) == 1


def test_mail_that_waits_survives_a_kill(start_relay: StartRelay, sink: Sink) -> None:
    relay = start_relay()
    to = queue_mail(relay, sink)
    relay.container.kill()
    assert relay.exit_code() == 137
    sink.behave(hang=[])
    relay.container.start()
    assert len(sink.mail(to, needs=[relay.container])) == 1


def test_a_relay_that_was_killed_again_and_again_still_starts_and_takes_mail(
    start_relay: StartRelay, sink: Sink
) -> None:
    """Its process ids in files of the volumes belong to others by then."""
    relay = start_relay()
    for _ in range(3):
        relay.container.kill()
        relay.exit_code()
        relay.container.start()
        relay.wait_until_ready()
    relay.send(to := someone())
    sink.mail(to)
    assert len(inside.named(relay, "master")) == 1


@pytest.mark.parametrize("options", [{}, {"read_only": False, "tmpfs": {}}], ids=["tmpfs", "writable"])
def test_a_second_start_inside_is_refused_and_the_relay_unharmed_also_after_a_kill(
    start_relay: StartRelay, sink: Sink, options: dict[str, Any]
) -> None:
    """`docker exec relay postern` is easily typed; also where /run still holds what a killed life left."""
    relay = start_relay(**options)
    relay.container.kill()
    relay.exit_code()
    relay.container.start()
    relay.wait_until_ready()
    files = ("sh", "-c", "find /run/postern/etc /run/postern/tables -type f | sort | xargs md5sum")
    before = relay.exec(*files).output, inside.listening(relay), inside.the(relay, "master").pid
    for env in ({}, {"LISTEN": "127.0.0.1:2626:relay", "HEALTH_PORT": "9999"}):
        second = relay.exec("postern", env=env)
        assert (second.status, len(second.lines)) == (1, 1), second.output
        assert "error: a relay is already running here, and is left as it is" in second.output
    after = relay.exec(*files).output, inside.listening(relay), inside.the(relay, "master").pid
    assert after == before
    relay.send(to := someone())
    sink.mail(to)


def test_a_restart_leaves_one_configuration_and_one_postfix(start_relay: StartRelay, sink: Sink) -> None:
    """Also where /run is no tmpfs and still holds what the first start wrote."""
    relay = start_relay(read_only=False, tmpfs={})
    files = relay.exec("find", "/run", "-type", "f").lines
    relay.container.restart()
    relay.wait_until_ready()
    relay.send(to := someone())
    sink.mail(to)
    assert sorted(relay.exec("find", "/run", "-type", "f").lines) == sorted(files)
    assert len(inside.named(relay, "master")) == 1


def test_a_recreated_relay_delivers_the_old_mail_by_the_new_settings(
    start_relay: StartRelay, sink: Sink, mounts: Mounts
) -> None:
    """At once: whoever recreates a relay has mended what the mail waited for, and does not wait for its next try."""
    old = start_relay({"RELAYHOST": NOWHERE}, volumes=mounts)
    old.send(to := someone())
    old.logged("status=deferred.*Connection refused")
    assert stop(old)[0] == 0
    new = start_relay(volumes=mounts)
    sink.mail(to, needs=[new.container])
    new.logged("removed$")
    assert new.queue() == "0 messages waiting\n"


def test_a_recreated_relay_keeps_nothing_of_the_old_configuration(
    start_relay: StartRelay, sink: Sink, mounts: Mounts
) -> None:
    """A login that outlives its settings would be sent to the next provider."""
    settings = {
        "RELAYHOST": "[old.example]:2599",
        "RELAYHOST_USERNAME": "olduser",
        "RELAYHOST_PASSWORD": "oldpassword",
        "MYHOSTNAME": "old.example.com",
        "LISTEN": "25:relay 2526:relay",
        "ALLOWED_SENDER_DOMAINS": "old.example",
        "POSTFIX_smtp_helo_timeout": "77s",
        "POSTFIXMASTER_2527__inet": "2527 inet n - n - - smtpd",
    }
    old = start_relay(settings, volumes=mounts)
    assert old.postconf("smtp_helo_timeout") == "77s"
    stop(old)
    fresh = start_relay()
    new = start_relay(volumes=mounts)
    for command in (("postconf", "-n"), ("postconf", "-M"), ("find", "/run/postern", "-type", "f")):
        assert new.exec(*command).output == fresh.exec(*command).output
    assert inside.listening(new) == inside.listening(fresh)
    words = "oldpassword|olduser|old\\.example|2526|77s"
    assert new.exec("grep", "-rlE", words, "/run", SPOOL, DATA).output == ""


@pytest.mark.root
def test_a_spool_with_other_owners_is_repaired_and_its_mail_delivered(
    start_relay: StartRelay, sink: Sink, mounts: Mounts, in_volume: Callable[[str], str]
) -> None:
    """It came from another image, or through a copy by somebody who was not root."""
    old = start_relay(volumes=mounts)
    to = queue_mail(old, sink)
    old.container.kill()
    in_volume(f"chown -R 1234:1234 {SPOOL} {DATA}; chmod 750 {SPOOL} {SPOOL}/* {DATA}/*")
    sink.behave(hang=[])
    new = start_relay(volumes=mounts)
    sink.mail(to, needs=[new.container])
    new.logged("warning: /var/spool/postfix/active and 1 files in it belonged to uid 1234, now to postfix")
    # Below pid are the locks of root, who may use them whoever owns them.
    left = new.exec("find", SPOOL, DATA, "-uid", "1234", "!", "-path", "*/pid/*", "!", "-path", "*/dev")
    assert left.output == ""
    assert new.exec("ls", f"{DATA}/postfix", user="postfix").status == 0


def test_a_spool_whose_files_were_copied_is_delivered(
    start_relay: StartRelay, sink: Sink, mounts: Mounts, in_volume: Callable[[str], str]
) -> None:
    """After a backup's restore a queue file has a new inode, and Postfix goes by that."""
    old = start_relay({"RELAYHOST": NOWHERE}, volumes=mounts)
    old.send(to := someone())
    old.logged("status=deferred")
    stop(old)
    in_volume(f"cd {SPOOL}; cp -r . /tmp/copy; rm -r ./*; cp -r /tmp/copy/. .; chown -R {OWNER} .")
    new = start_relay(volumes=mounts)
    sink.mail(to, needs=[new.container])


@pytest.mark.parametrize(
    "options",
    [
        {"tmpfs": {"/run": "", SPOOL: "", DATA: ""}},
        {"tmpfs": {"/run": "", SPOOL: "mode=1777", DATA: f"mode=0700,uid={SOMEBODY}"}},
        "nocopy",
    ],
    ids=["tmpfs", "tmpfs_of_somebody", "volume"],
)
def test_an_empty_spool_is_filled(
    start_relay: StartRelay,
    sink: Sink,
    mounts: Mounts,
    in_volume: Callable[[str], str],
    options: dict[str, Any] | str,
) -> None:
    """A bind mount or a Kubernetes volume comes without what the image has at its place."""
    if isinstance(options, str):
        in_volume(f"chown {OWNER} {SPOOL} {DATA}")
        options = {"volumes": {name: {**mount, "mode": "rw,nocopy"} for name, mount in mounts.items()}}
    relay = start_relay(**options)
    relay.send(to := someone())
    sink.mail(to)
    owner = HARDENED.get("user", "100").partition(":")[0]
    assert relay.exec("stat", "-c", "%u %a", f"{SPOOL}/active").output == f"{owner} 700\n"
    assert relay.exec("sendmail", "-f", "app@example.com", to).status == 0
    sink.mail(to, count=2)


@pytest.mark.parametrize("place", [SPOOL, DATA])
def test_a_volume_that_cannot_be_written_is_refused_with_the_reason(
    start_relay: StartRelay, volumes: tuple[Volume, Volume], place: str
) -> None:
    relay = start_relay(wait=False, volumes={volumes[0].name: {"bind": place, "mode": "ro"}})
    assert relay.exit_code() == EX_CONFIG
    assert re.search(rf"error: {place} cannot be written \(Read-only file system\)", relay.logs())


def hook(directory: Path, name: str, script: str) -> Mounts:
    directory.chmod(0o755)
    (directory / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (directory / name).chmod(0o755)
    return {str(directory): {"bind": HOOKS, "mode": "ro"}}


def test_a_stop_during_the_start_ends_it_at_once(start_relay: StartRelay, tmp_path: Path) -> None:
    relay = start_relay(wait=False, volumes=hook(tmp_path, "50-slow", "echo slow; exec sleep 600"))
    relay.logged("slow$")
    code, seconds = stop(relay)
    assert (code, seconds < 3) == (0, True), f"exit code {code} after {seconds:.1f} s"


def test_a_start_that_fails_for_another_reason_than_the_settings_ends_with_1(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = start_relay(wait=False, volumes=hook(tmp_path, "50-fails", "exit 3"))
    assert relay.exit_code() == 1
    assert re.search(rf"error: {HOOKS}/50-fails ended with status 3", relay.logs())


def test_a_wrong_setting_ends_with_78(start_relay: StartRelay) -> None:
    """So that a restart policy and a person can tell what a restart will not mend."""
    assert start_relay({"MESSAGE_SIZE_LIMIT": "abc"}, wait=False).exit_code() == EX_CONFIG


def test_a_start_that_the_kernel_kills_for_lack_of_memory_says_so(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    table = tmp_path / "relay_recipients"
    table.write_text("".join(f"user{number}@example.com\n" for number in range(1_000_000)))
    table.chmod(0o644)
    relay = start_relay(
        {"RELAY_DOMAINS": "example.com=smtp:[sink]:25"},
        wait=False,
        mem_limit="64m",
        volumes={str(table): {"bind": "/config/relay_recipients", "mode": "ro"}},
    )
    assert relay.exit_code() == 1
    assert (
        "error: the relay does not start: SIGKILL ended its configuration, perhaps for lack of memory"
        in relay.logs()
    )
