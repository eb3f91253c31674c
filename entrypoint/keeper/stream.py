"""Postfix's log on its way to the container's stdout: complete lines, in order, without the readiness probe's."""

from __future__ import annotations

import os

from entrypoint import log

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from entrypoint.keeper.journal import Journal

# A line of Postfix has at most 2 kB or so. What comes without a line break is not its log, and is cut here.
LONGEST = 65536
# What smtpd_*_restrictions answer to the probe; config/policy and this must agree.
MARKER = b"readiness probe"
# The same at an inbound listener, where nobody may relay; the recipient is that of health/smtp.py.
_NO_RELAYING = b": 554 5.7.1 <readiness-probe@postern.invalid>: Relay access denied"
_LET_IN = (b"CONNECT from ", b"ALLOWLISTED ", b"WHITELISTED ", b"PASS OLD ")
# What a probe says. A session that said anything else, a login or a mail, was somebody else's.
_COMMANDS = (b"ehlo", b"starttls", b"mail", b"rcpt", b"rset", b"quit", b"commands")


def container_stdout() -> int:
    """PID 1's stdout, as a file descriptor of ours; our own stdout if that cannot be opened.

    supervisord hands us a pipe that it copies itself: each line would be copied twice and stall with it.
    supervisord, our parent, need not be PID 1 (docker run --init, a Pod with a shared process namespace).
    """
    try:
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_CLOEXEC
        return os.open(f"/proc/{os.getppid()}/fd/1", flags)
    except OSError:
        return log.STDOUT


class ProbeFilter:
    """Knows the lines that Postfix logs for each successful readiness probe, whatever the listener's profile.

    Anything else from the probe's address stays visible: it means that the probe, or somebody else who uses the
    address, met something unusual. Behind a load balancer (PROXY protocol) whoever reaches the port can claim it.
    """

    def __init__(self, source: str) -> None:
        self._client = b"[" + source.encode("ascii") + b"]"

    def without_probe(self, lines: bytes) -> bytes:
        """The lines that are not the probe's; the argument itself in the usual case that none is."""
        if self._client not in lines:
            return lines
        return b"".join(line for line in lines.splitlines(keepends=True) if not self.is_probe(line))

    def is_probe(self, line: bytes) -> bool:
        head, _, text = line.partition(b"]: ")
        program = head.rpartition(b"[")[0].rpartition(b"/")[2]
        if program == b"smtpd":
            return self._is_session(text)
        return program == b"postscreen" and self._is_entrance(text)

    def _is_session(self, text: bytes) -> bool:
        verb, _, rest = text.partition(b" from ")
        # The name before the address is "unknown", "localhost" or whatever else the address resolves to.
        name, client, answer = rest.partition(self._client)
        if not client or b" " in name or b"[" in name:
            return False
        if verb == b"connect":
            return not answer.strip()
        if verb == b"disconnect":
            return all(tally.partition(b"=")[0] in _COMMANDS for tally in answer.split())
        if verb == b"Anonymous TLS connection established":
            # With smtpd_tls_loglevel = 1; what follows is the cipher's name.
            return True
        # The sender, recipient and greeting that follow are the client's own words.
        answer = answer.partition(b"; from=")[0]
        ours = answer == _NO_RELAYING or (answer.startswith(b": 450 ") and MARKER in answer)
        return ours and verb == b"NOQUEUE: reject: RCPT"

    def _is_entrance(self, text: bytes) -> bool:
        """Whether postscreen(8) says that it has seen the probe come, and let it in."""
        verb, client, _ = text.partition(self._client)
        return bool(client) and verb in _LET_IN


class Stream:
    """Takes the log as it comes from the pipe, in pieces of any size, and writes complete lines."""

    def __init__(self, out: int, probe: ProbeFilter, journal: Journal) -> None:
        self._out = out
        self._probe = probe
        self.journal = journal
        self._partial = b""

    def feed(self, data: bytes) -> bytes:
        """Take a piece; returns the lines that it completed, the probe's among them."""
        lines, newline, rest = (self._partial + data).rpartition(b"\n")
        self._partial = rest
        lines += newline
        if lines:
            self.add(lines)
        if len(rest) > LONGEST:
            self.flush()
        return lines

    def add(self, lines: bytes) -> None:
        """Write complete lines."""
        log.copy(self.journal.take(self._probe.without_probe(lines)), self._out)

    def flush(self) -> None:
        """Write what came without a line break, with one."""
        if self._partial:
            self.add(self._partial + b"\n")
            self._partial = b""

    def say(self, text: str) -> None:
        """A line of the keeper's own."""
        self.add(log.line(text, "postern/keeper"))
