"""One SMTP connection: every command recorded, every answer open to misbehaviour. What the commands do is in `smtp`."""

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import AnyStr, Protocol

from aiosmtpd.smtp import SMTP

from .behaviour import Behaviour
from .records import Command, Session, Store

Method = Callable[[str | None], Awaitable[None]]

STARTTLS_FIRST = "530 5.7.0 Must issue a STARTTLS command first"
_BEFORE_TLS = ("EHLO", "HELO", "NOOP", "QUIT", "STARTTLS")
_AFTER_LOGIN = ("MAIL", "RCPT", "DATA", "VRFY")
_STAGES = {"EHLO": "ehlo", "HELO": "ehlo"} | {
    name: name.lower() for name in ("STARTTLS", "AUTH", "MAIL", "RCPT", "DATA")
}
_LONGEST_LINE = 64 * 1024  # bytes; AUTH with a password of 1,000 characters is far beyond aiosmtpd's 512


class Owner(Protocol):
    """What a connection needs of the sink it belongs to."""

    store: Store
    hostname: str

    @property
    def behaviour(self) -> Behaviour: ...

    async def behaviour_changed(self) -> None: ...


class _Commands(dict[str, Method]):
    """aiosmtpd looks a command up here, known or not: the one place that every command passes."""

    def __init__(self, methods: dict[str, Method], around: Callable[..., Awaitable[None]]) -> None:
        super().__init__(methods)
        self._around = around

    def get(self, command: str, _default: object = None) -> Method:
        return partial(self._around, command, super().get(command))


class Connection(SMTP):
    """aiosmtpd's protocol, told in one place when to refuse, wait or cut."""

    line_length_limit = _LONGEST_LINE
    seen: Session

    def __init__(self, owner: Owner, listener: str, tls: ssl.SSLContext | None) -> None:
        behaviour = owner.behaviour
        super().__init__(
            self,
            hostname=owner.hostname,
            ident="sink",
            tls_context=tls,
            enable_SMTPUTF8=behaviour.smtputf8,
            data_size_limit=behaviour.size_limit,
            timeout=3600,
            loop=asyncio.get_running_loop(),
        )
        self.command_size_limits = defaultdict(lambda: _LONGEST_LINE)
        self._smtp_methods = _Commands(self._smtp_methods, self._dispatch)
        self.owner = owner
        self._listener = listener
        self._command: Command | None = None

    @property
    def behaviour(self) -> Behaviour:
        return self.owner.behaviour

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called once more by aiosmtpd when STARTTLS has succeeded: still the same session of ours."""
        super().connection_made(transport)
        if not hasattr(self, "seen"):
            host, port = transport.get_extra_info("peername")[:2]
            self.seen = self.owner.store.open_session(self._listener, host.removeprefix("::ffff:"), port)
        self._note_tls(transport)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.owner.store.close_session(self.seen)

    async def handle_exception(self, error: Exception) -> str:
        self.owner.store.event("error", session=self.seen.id, error=repr(error))
        return f"451 4.3.0 {type(error).__name__} in the sink, see its log"

    async def push(self, status: AnyStr) -> None:
        text = status.decode() if isinstance(status, bytes) else str(status)
        if self._command is not None:
            self._command.reply = text
        elif not text.startswith("220"):
            self.seen.commands.append(Command(None, None, self.seen.tls, text))
        await super().push(status)

    async def _handle_client(self) -> None:
        await self.wait("connect")
        self.drop("connect")
        refusal = self.behaviour.replies.get("connect")
        if refusal is not None:
            await self.push(refusal)
            self._cut(abort=False)
        await super()._handle_client()

    async def _dispatch(self, command: str, method: Method | None, argument: str | None) -> None:
        shown = argument.split(" ")[0] if command == "AUTH" and argument else argument
        self._command = Command(command, shown, self.seen.tls)
        self.seen.commands.append(self._command)
        try:
            stage = _STAGES.get(command, "")
            await self.wait(stage)
            self.drop(stage)
            refusal = self._refusal(command)
            if method is None:
                await self.push("500 5.5.1 Command not recognised")
            elif refusal is not None:
                await self.push(refusal)
            else:
                await method(argument)
        finally:
            done, self._command = self._command, None
            self.owner.store.event("command", session=self.seen.id, **vars(done))

    def _refusal(self, command: str) -> str | None:
        behaviour = self.behaviour
        if command == "AUTH":
            return None  # smtp_AUTH refuses by itself, after it has noted what was tried
        if behaviour.require_tls and self.seen.tls is None and command not in _BEFORE_TLS:
            return STARTTLS_FIRST
        if behaviour.require_auth and self.seen.user is None and command in _AFTER_LOGIN:
            return "530 5.7.0 Authentication required"
        return behaviour.replies.get(_STAGES.get(command, ""))

    async def wait(self, stage: str) -> None:
        await asyncio.sleep(self.behaviour.delay.get(stage, 0))
        try:
            while stage in self.behaviour.hang:
                if self.seen.hanging is None:
                    self.seen.hanging = stage
                    self.owner.store.event("hang", session=self.seen.id, stage=stage)
                await self.owner.behaviour_changed()
        finally:
            self.seen.hanging = None

    def drop(self, stage: str) -> None:
        if stage in self.behaviour.drop:
            self._cut()

    def _cut(self, *, abort: bool = True) -> None:
        """End the connection, and with it this task: aiosmtpd would read on from a closed line."""
        assert isinstance(self.transport, asyncio.Transport)
        self.transport.abort() if abort else self.transport.close()
        raise asyncio.CancelledError

    def _note_tls(self, transport: asyncio.BaseTransport) -> None:
        """RFC 3207, section 4.2: what was said in clear, such as a login, is forgotten."""
        line = transport.get_extra_info("ssl_object")
        if line is None:
            return
        assert self.session is not None
        self.session.ssl = self.session.ssl or {"ssl_object": line}
        self.seen.tls, self.seen.cipher, self.seen.user = line.version(), line.cipher()[0], None
