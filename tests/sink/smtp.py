"""What the sink answers to each command, as its behaviour says. EHLO, STARTTLS and AUTH are our own:

aiosmtpd settles what they offer before the first client, and the behaviour may change at any time.
"""

# ruff: noqa: N802  # aiosmtpd finds commands and hooks by these names

from aiosmtpd.smtp import SMTP, Envelope
from aiosmtpd.smtp import Session as SmtpSession

from . import auth
from .connection import STARTTLS_FIRST, Connection
from .records import Login


class Upstream(Connection):
    """Command by command. The names are those that aiosmtpd looks for."""

    async def smtp_HELP(self, _arg: str | None) -> None:
        await self.push("214 2.0.0 A test tool, see tests/sink")

    async def smtp_HELO(self, hostname: str | None) -> None:
        await super().smtp_HELO(hostname or "")
        self.seen.helo = hostname

    async def smtp_EHLO(self, hostname: str | None) -> None:
        if not hostname:
            await self.push("501 5.5.4 Syntax: EHLO hostname")
            return
        assert self.session is not None
        self._set_rset_state()  # type: ignore[no-untyped-call]
        self.session.extended_smtp = True
        self.session.host_name = self.seen.helo = hostname
        offers = [self.hostname, f"SIZE {self.behaviour.size_limit}", "8BITMIME"]
        offers += ["SMTPUTF8"] if self.enable_SMTPUTF8 else []
        offers += ["STARTTLS"] if self._starttls_refusal() is None else []
        offers += ["AUTH " + " ".join(self.behaviour.mechanisms)] if self._auth_refusal() is None else []
        for offer in offers:
            await self.push(f"250-{offer}")
        await self.push("250 HELP")

    def _starttls_refusal(self) -> str | None:
        if self.seen.tls is not None:
            return "503 5.5.1 TLS already active"
        if self.tls_context is None or not self.behaviour.starttls:
            return "502 5.5.1 STARTTLS not available"
        return None

    async def smtp_STARTTLS(self, arg: str | None) -> None:
        refusal = self._starttls_refusal()
        if refusal is not None:
            await self.push(refusal)
            return
        await super().smtp_STARTTLS(arg or "")

    def _auth_refusal(self) -> str | None:
        if self.behaviour.require_tls and self.seen.tls is None:
            return STARTTLS_FIRST
        if self.behaviour.auth == "never":
            return "502 5.5.1 AUTH not available"
        if self.behaviour.auth == "tls" and self.seen.tls is None:
            return "538 5.7.11 Encryption required for requested authentication mechanism"
        if self.seen.user is not None:
            return "503 5.5.1 Already authenticated"
        return None

    async def smtp_AUTH(self, arg: str | None) -> None:
        mechanism, _, initial = (arg or "").partition(" ")
        attempt = Login(mechanism.upper(), self.seen.tls)
        self.seen.auth.append(attempt)
        refusal = self._auth_refusal()
        if refusal is None and attempt.mechanism not in self.behaviour.mechanisms:
            refusal = "504 5.5.4 Unrecognized authentication type"
        if refusal is None:
            credentials = await auth.exchange(self, attempt.mechanism, initial)
        else:
            credentials = auth.leaked(attempt.mechanism, initial)
        attempt.login, attempt.password = credentials or (None, None)
        await self.push(refusal or self._verdict(attempt))

    def _verdict(self, attempt: Login) -> str:
        if attempt.login is None:
            return "501 5.5.2 Cannot decode the response"
        if "auth" in self.behaviour.replies:
            return self.behaviour.replies["auth"]
        wanted = (self.behaviour.user, self.behaviour.password)
        given = (attempt.login, attempt.password)
        attempt.accepted = all(want is None or want == have for want, have in zip(wanted, given, strict=True))
        if not attempt.accepted:
            return "535 5.7.8 Authentication credentials invalid"
        self.seen.user = attempt.login
        return "235 2.7.0 Authentication successful"

    async def handle_RCPT(
        self, _server: SMTP, _session: SmtpSession, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        refusal = self.behaviour.recipients.get(address)
        if refusal is not None:
            return refusal
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _server: SMTP, _session: SmtpSession, envelope: Envelope) -> str:
        """A message counts as received when it is answered with 2xx, or when `record_dropped` says so."""
        await self.wait("message")
        if "message" in self.behaviour.drop and self.behaviour.record_dropped:
            self._record(envelope)
        self.drop("message")
        reply = self.behaviour.replies.get("message")
        if reply is not None and not reply.startswith("2"):
            return reply
        number = self._record(envelope)
        return reply or f"250 2.0.0 OK: message {number}"

    def _record(self, envelope: Envelope) -> int:
        sender = envelope.mail_from or ""
        details: dict[str, object] = {
            "mail_from": "" if sender == "<>" else sender,
            "mail_options": list(envelope.mail_options),
            "rcpt_tos": list(envelope.rcpt_tos),
        }
        return self.owner.store.add_message(self.seen, details, envelope.original_content or b"").id
