"""One SMTP session up to RCPT TO, step by step as smtp(8) does it, each step told as it happens."""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING

from entrypoint.probe import advice, auth, certificate, tls
from entrypoint.probe.upstream import ProbeError
from entrypoint.probe.wire import NotSmtpError, Reply, Wire, clean, to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.probe.resolve import Target
    from entrypoint.probe.upstream import Upstream


class Session:
    """A session with one address of the upstream; every method raises ProbeError. Timeouts are in seconds.

    `plain` leaves TLS out although the far side offers it: what Postfix does at level may after a failed handshake.
    """

    def __init__(
        self,
        upstream: Upstream,
        target: Target,
        say: Callable[[str], None],
        timeouts: tuple[float, float],
        *,
        plain: bool = False,
    ) -> None:
        self._upstream = upstream
        self._target = target
        self._tell = say
        self._connect_timeout, self._reply_timeout = timeouts
        self._plain = plain
        self._wire: Wire
        self._features: dict[str, list[str]] = {}
        self._under_tls = False

    def run(self, sender: str, recipient: str) -> None:
        self._connect()
        try:
            self._open()
            self._log_in()
            self._address(sender, recipient)
            self._leave()
        finally:
            self._wire.close()

    def look_at_certificate(self) -> certificate.Certificate | None:
        """Connect again without verifying, for a certificate that Python shows only once it is verified."""
        try:
            self._connect()
            try:
                if not self._upstream.implicit_tls:
                    self._greet()
                    self._wire.command(b"STARTTLS")
                return certificate.read(self._wire.start_tls(tls.context(self._upstream, verify=False)))
            finally:
                self._wire.close()
        except (ProbeError, NotSmtpError, OSError):
            return None

    def _connect(self) -> None:
        begun = time.monotonic()
        target = self._target
        sock = socket.socket(target.family, socket.SOCK_STREAM)
        sock.settimeout(self._connect_timeout)
        # The end of a handshake and the next command are two small writes: with Nagle's algorithm the second
        # waits 40 ms for the far side's delayed ACK, and the times that are shown would blame the upstream.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            sock.connect((target.address, target.port))
        except OSError as error:
            sock.close()
            raise advice.unreachable(target, error, self._connect_timeout) from None
        self._say("connect", str(target), begun)
        self._wire = Wire(sock, self._reply_timeout)

    def _open(self) -> None:
        """Reach the point where mail can begin: greeting, EHLO and whatever TLS the level asks for."""
        if self._upstream.implicit_tls:
            self._handshake("TLS")
        self._greet()
        if self._under_tls:
            return
        offered = "STARTTLS" in self._features
        if self._plain or self._upstream.tls_level == "none" or not offered:
            self._stay_plain(offered=offered)
            return
        reply = self._ask("STARTTLS", b"STARTTLS")
        if reply.good:
            self._handshake("STARTTLS")
            self._hello()
        elif self._upstream.tls_is_mandatory:
            raise advice.refused("STARTTLS", reply, self._upstream)

    def _greet(self) -> None:
        begun = time.monotonic()
        try:
            greeting = self._wire.reply()
        except (NotSmtpError, OSError) as error:
            raise advice.broken("greeting", error, self._upstream, self._reply_timeout) from None
        self._say("greeting", str(greeting), begun)
        if not greeting.good:
            raise advice.refused("greeting", greeting, self._upstream)
        self._hello()

    def _hello(self) -> None:
        name = to_bytes(self._upstream.helo_name)
        reply = self._ask("EHLO", b"EHLO " + name)
        if reply.permanent:
            reply = self._ask("HELO", b"HELO " + name)
        if not reply.good:
            raise advice.refused("EHLO", reply, self._upstream)
        # Some servers write AUTH=LOGIN; Postfix reads both.
        words = [line.replace("=", " ").upper().split() for line in reply.lines[1:]]
        self._features = {first: rest for first, *rest in filter(None, words)}

    def _stay_plain(self, *, offered: bool) -> None:
        if self._upstream.tls_is_mandatory:
            raise advice.no_starttls(self._upstream)
        offer = "offered but not used" if offered else "not offered"
        level = f"RELAYHOST_TLS_LEVEL={self._upstream.tls_level}"
        self._tell(f"STARTTLS   {offer}: the connection stays in clear ({level})")

    def _handshake(self, step: str) -> None:
        begun = time.monotonic()
        try:
            agreed = tls.handshake(self._wire, self._upstream, self._target.host)
        except ssl.SSLCertVerificationError as error:
            timeouts = (self._connect_timeout, self._reply_timeout)
            silent = Session(self._upstream, self._target, lambda _line: None, timeouts)
            raise tls.untrusted(error, silent.look_at_certificate(), self._upstream) from None
        self._under_tls = True
        self._say(step, agreed, begun)

    def _log_in(self) -> None:
        username, password = self._upstream.username, self._upstream.password
        if username is None or password is None:
            return
        if not self._under_tls:
            raise advice.login_in_clear(self._upstream)
        offered = self._features.get("AUTH")
        if offered is None:
            self._tell(f"AUTH       not offered, so Postfix goes on without logging in as {clean(username)}")
            return
        mechanism = auth.choose(offered)
        if mechanism is None:
            raise advice.no_mechanism(offered, auth.unspoken(offered))
        begun = time.monotonic()
        try:
            reply = auth.authenticate(self._wire, mechanism, username, password)
        except (NotSmtpError, OSError) as error:
            raise advice.broken("AUTH", error, self._upstream, self._reply_timeout) from None
        untried = auth.unspoken(offered)
        note = f" (Postfix picks {clean(untried)}, which is not tried here)" if untried else ""
        self._say("AUTH", f"{mechanism}{note} as {clean(username)}: {reply}", begun)
        if not reply.good:
            raise advice.refused("AUTH", reply, self._upstream)

    def _address(self, sender: str, recipient: str) -> None:
        # RFC 6531: an address beyond ASCII needs the far side's consent, and Postfix bounces without it.
        beyond_ascii = not (sender + recipient).isascii()
        extension = b" SMTPUTF8" if beyond_ascii and "SMTPUTF8" in self._features else b""
        for step, path, options in (("MAIL FROM", sender, extension), ("RCPT TO", recipient, b"")):
            command = step.encode() + b":<" + to_bytes(path) + b">" + options
            reply = self._ask(step, command, f"<{clean(path)}>: ")
            if not reply.good:
                raise advice.refused(step, reply, self._upstream)

    def _leave(self) -> None:
        # The probe has its answer: a far side that hangs up now has not failed anything.
        try:
            self._wire.command(b"RSET")
            self._wire.command(b"QUIT")
        except (NotSmtpError, OSError):
            return

    def _ask(self, step: str, command: bytes, about: str = "") -> Reply:
        begun = time.monotonic()
        try:
            reply = self._wire.command(command)
        except (NotSmtpError, OSError) as error:
            raise advice.broken(step, error, self._upstream, self._reply_timeout) from None
        except ValueError as error:
            raise ProbeError(
                step, f"the address {error}", "give one address, on one line", final=True
            ) from None
        self._say(step, about + str(reply), begun)
        return reply

    def _say(self, step: str, text: str, begun: float) -> None:
        self._tell(f"{step:<10} {text} ({(time.monotonic() - begun) * 1000:.0f} ms)")
