"""The relay, its upstream, disk, name server and clock, each of which an event can take away or change, and give back."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Self

from docker.models.containers import Container
from docker.models.volumes import Volume
from docker.types import LogConfig

from tests.chaos.clock import Clock
from tests.chaos.ledger import Attempt, Ledger, Said
from tests.chaos.sender import DOMAIN, LOGIN, PASSWORD
from tests.chaos.witness import Witness
from tests.image import engine
from tests.image.engine import Engine
from tests.image.relay import Relay
from tests.image.sink import Sink
from tests.image.tls import Certificates

SPOOL, DATA = "/var/spool/postfix", "/var/lib/postern"
_SPOOL_BYTES = 128 * 1024 * 1024
_PORTS = (25, 587)
_SECONDS = "3s"
_STAGES_OF_A_CLIENT = "connect helo starttls mail rcpt data_init data_xfer data_done rset quit".split()
# What would be minutes in earnest is seconds here: the same happens, sooner. Limits for a client would be met by us.
_SETTINGS: dict[str, str | None] = {
    "SMTPD_SASL_USERS": f"{LOGIN}:{PASSWORD}",
    "MESSAGE_SIZE_LIMIT": "1MB",
    "QUEUE_RUN_DELAY": "2s",
    "MINIMAL_BACKOFF_TIME": "2s",
    "MAXIMAL_BACKOFF_TIME": "4s",
    "POSTFIX_service_throttle_time": "2s",
    "POSTFIX_transport_retry_time": "2s",
    **{f"POSTFIX_smtp_{stage}_timeout": _SECONDS for stage in _STAGES_OF_A_CLIENT},
}
# Whatever the engine of this machine keeps by default: what explains a duplicate may be at the beginning.
_WHOLE_LOG = LogConfig(type=LogConfig.types.JSON, config={"max-size": "4g", "max-file": "1"})
_DOCKERS_RESOLVER, _NOBODY = "nameserver 127.0.0.11\n", "nameserver 192.0.2.1\noptions timeout:1 attempts:1\n"
_SAID = {" status=sent ": Said.SENT, " timed out": Said.UNANSWERED, "lost connection with ": Said.CUT}
# What smtp(8) says; "error" repeats the reason of another message's delivery. As the engine stamps it, in UTC, to the
# nanosecond: the relay's own clock is set.
_LINE = re.compile(
    rf"([-\dT:]+\.\d{{6}})\d*Z .*/smtp\[\d+\]: \w+: to=<(\w+)@{re.escape(DOMAIN)}>, .*?"
    rf"(?:({'|'.join(_SAID)})\S* while sending end of data -- message may be sent more|( status=sent ))"
)


def said(log: Iterable[str]) -> Iterator[tuple[str, float, Said]]:
    """What became of each message's final dot by the relay's log, and when."""
    for match in filter(None, map(_LINE.match, log)):
        moment = datetime.fromisoformat(f"{match[1]}+00:00").timestamp()
        yield match[2], moment, _SAID[match[3] or match[4]]


class World:
    """Leaving the `with` block removes it all."""

    def __init__(self, docker: Engine, directory: Path, ledger: Ledger, digest: Callable[[str], str]) -> None:
        """`digest` is that of a message's body, as it was sent."""
        self._docker, self._ledger = docker, ledger
        self._resolver = directory / "resolv.conf"
        self._resolver.write_text(_DOCKERS_RESOLVER)
        self._resolver.chmod(0o644)
        journal, certificates, clock = (directory / name for name in ("journal", "certificates", "clock"))
        for each in (journal, certificates, clock):
            each.mkdir()
        self._clock = Clock(clock)
        # The sink writes as nobody.
        journal.chmod(0o777)
        directory.chmod(0o755)
        self.network = docker.network()
        self.sink = Sink(docker, self.network, Certificates.make(certificates), "sink", journal=journal)
        self._spool, self._data = self._disk(), docker.volume()
        mounts = {self._spool.name: {"bind": SPOOL, "mode": "rw"}}
        # A disk in memory lives as long as somebody uses it: longer than any relay.
        self._keeper_of_the_disk: Container = docker.start(
            engine.TOOLS, volumes=mounts | self._clock.builder_mounts, init=True
        )
        self._clock.build(self._keeper_of_the_disk)
        mounts |= self._clock.mounts | {
            self._data.name: {"bind": DATA, "mode": "rw"},
            str(self._resolver): {"bind": "/etc/resolv.conf", "mode": "ro"},
        }
        self.relay = Relay(
            docker, self.network, _SETTINGS, ports=_PORTS, volumes=mounts, log_config=_WHOLE_LOG
        )
        self._ports: dict[int, int] = {}
        self._witness = Witness(journal / "received", ledger, digest)

    def __enter__(self) -> Self:
        self._clock.prove(self.relay)
        self.relay.wait_until_ready()
        self._find_ports()
        self._witness.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._witness.__exit__()
        self._docker.remove(self.relay.container, self.sink.container, self._keeper_of_the_disk)
        self._docker.remove(self._spool, self._data, self.network)

    def _disk(self) -> Volume:
        """A spool that is small enough to be filled."""
        size = {"type": "tmpfs", "device": "tmpfs", "o": f"size={_SPOOL_BYTES}"}
        name = f"postern-test-{secrets.token_hex(3)}"
        return self._docker.client.volumes.create(name, driver_opts=size, labels=self._docker.labels)

    # What the senders ask.

    def port(self, inside: int) -> int:
        return self._ports[inside]

    # What the events do.

    def kill_the_relay(self) -> None:
        self.relay.container.kill()

    def stop_the_relay(self) -> None:
        """As `docker stop` does it."""
        began = time.time()
        self.relay.container.stop(timeout=10)
        self.relay.container.reload()
        self._ledger.stopped(int(self.relay.container.attrs["State"]["ExitCode"]), began)

    def start_again(self) -> None:
        """On the same volumes. The senders are told where its ports are now."""
        self.relay.container.start()
        self._find_ports()

    def ended_by_itself(self) -> int | None:
        """The exit code of a relay that is not there any more."""
        self.relay.container.reload()
        state = self.relay.container.attrs["State"]
        return None if state["Running"] else int(state["ExitCode"])

    def kill_the_sink(self) -> None:
        self.sink.container.kill()

    def restart_the_sink(self) -> None:
        self.sink.container.start()
        self.sink.wait_until_it_answers()

    def fill_the_disk(self, leave: int) -> None:
        """Up to so many bytes, or to the last one: the relay writes meanwhile, so both are tried."""
        free = f"$(stat -f -c '%a * %S' {SPOOL})"
        rest = f"dd if=/dev/zero of={SPOOL}/.filler2 bs=4k" if leave == 0 else "true"
        self._on_the_disk(f"fallocate -l $(({free} - {leave})) {SPOOL}/.filler; {rest}; true")

    def empty_the_disk(self) -> None:
        self._on_the_disk(f"rm -f {SPOOL}/.filler*")

    def kill_the_resolver(self) -> None:
        self._resolver.write_text(_NOBODY)

    def revive_the_resolver(self) -> None:
        self._resolver.write_text(_DOCKERS_RESOLVER)

    def set_the_clock(self, seconds: int) -> None:
        """Forward, or back."""
        self._clock.jump(seconds)

    # What is asked at the end.

    def flush(self) -> bool:
        """Try all that waits at once; whether there was nothing."""
        self.relay.exec("postqueue", "-f")
        return "is empty" in self.relay.exec("postqueue", "-p").output

    def evidence(self, lost: Attempt) -> list[str]:
        """What the relay's log has of a message's queue id."""
        queue_id = lost.answer.rpartition(" ")[2]
        return [line for line in self.relay.logs().splitlines() if queue_id in line]

    def complaints(self) -> list[str]:
        """What the relay's log has of errors and worse, its own and Postfix's."""
        return [
            line
            for line in self.relay.logs().splitlines()
            if re.search(r": (error|fatal|panic): |throttling", line)
        ]

    def said(self) -> Iterator[tuple[str, float, Said]]:
        stamped = self.relay.container.logs(timestamps=True).decode(errors="replace")
        return said(stamped.splitlines())

    def _find_ports(self) -> None:
        self._ports = {port: engine.published(self.relay.container, port) for port in _PORTS}

    def _on_the_disk(self, command: str) -> None:
        done = engine.execute(self._keeper_of_the_disk, ["sh", "-c", command])
        assert done.status == 0, done.output
