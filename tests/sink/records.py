"""What the sink saw, kept in memory: sessions with every command and its reply, and the messages accepted.

Or told to the log and forgotten, for a hundred thousand messages.

SMTP runs in one thread (asyncio) and HTTP in others; the store's condition is the only lock.
"""

import hashlib
import json
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from typing import TextIO, TypeVar

Result = TypeVar("Result")

_TOLD_IN_SHORT = ("listening", "message", "behaviour", "error")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass
class Command:
    """One line of the client. `command` is None for what was refused unread, such as an endless line."""

    command: str | None
    argument: str | None
    tls: str | None
    reply: str | None = None
    """The last line of the answer; None while there is none, and for ever when the line was cut."""


@dataclass
class Login:
    """One AUTH command, also when it was refused at once. The password is recorded on purpose: see the package."""

    mechanism: str
    tls: str | None
    login: str | None = None
    password: str | None = None
    accepted: bool = False


@dataclass
class Session:
    id: int
    listener: str
    peer: str
    peer_port: int
    tls: str | None = None
    """Such as `TLSv1.3`; None while the line is in clear. Likewise in commands, logins and messages."""
    cipher: str | None = None
    started: str = field(default_factory=now)
    ended: str | None = None
    helo: str | None = None
    user: str | None = None
    hanging: str | None = None
    """The stage at which the sink holds its answer back at this moment."""
    commands: list[Command] = field(default_factory=list)
    auth: list[Login] = field(default_factory=list)
    messages: list[int] = field(default_factory=list)


@dataclass
class Message:
    id: int
    session: int
    time: str
    listener: str
    peer: str
    helo: str | None
    tls: str | None
    cipher: str | None
    user: str | None
    mail_from: str
    """Empty for the null sender `<>`."""
    mail_options: list[str]
    rcpt_tos: list[str]
    raw: bytes
    """As received, line ends CRLF, with the doubled dots of RFC 5321 section 4.5.2 taken out."""

    def as_json(self) -> dict[str, object]:
        """All but the raw message, and its headers in order as [name, value] (folded lines kept folded)."""
        shown = {name: value for name, value in vars(self).items() if name != "raw"}
        headers = [[name, str(value)] for name, value in message_from_bytes(self.raw).items()]
        return shown | {"size": len(self.raw), "headers": headers}


class Store:
    """Numbers are given once and never reused, so `message 7` stays the same thing after a reset.

    Unless it `keeps` them, messages and finished sessions are forgotten, and the log has no commands: each message is a
    line of it before it is answered, so that a sink that is killed has told of all it answered.
    """

    def __init__(self, log: TextIO | None = None, *, keeps: bool = True) -> None:
        self._log = log
        self._keeps = keeps
        self._changed = threading.Condition()
        self._sessions: dict[int, Session] = {}
        self._messages: dict[int, Message] = {}
        self._next = {"session": 1, "message": 1}

    def event(self, event: str, **details: object) -> None:
        """Something happened: one JSON line in the log, and whoever waits looks again."""
        if self._log is not None and (self._keeps or event in _TOLD_IN_SHORT):
            print(json.dumps({"time": now(), "event": event, **details}), file=self._log, flush=True)
        with self._changed:
            self._changed.notify_all()

    def open_session(self, listener: str, peer: str, peer_port: int) -> Session:
        with self._changed:
            session = Session(self._number("session"), listener, peer, peer_port)
            self._sessions[session.id] = session
        self.event("connect", session=session.id, listener=listener, peer=peer)
        return session

    def close_session(self, session: Session) -> None:
        if session.ended is None:
            session.ended = now()
            self.event("disconnect", session=session.id)
            if not self._keeps:
                with self._changed:
                    self._sessions.pop(session.id, None)

    def add_message(self, session: Session, envelope: dict[str, object], raw: bytes) -> Message:
        with self._changed:
            message = Message(
                id=self._number("message"),
                session=session.id,
                time=now(),
                listener=session.listener,
                peer=session.peer,
                helo=session.helo,
                tls=session.tls,
                cipher=session.cipher,
                user=session.user,
                raw=raw,
                **envelope,  # type: ignore[arg-type]
            )
            if self._keeps:
                self._messages[message.id] = message
                session.messages.append(message.id)
        body = hashlib.sha256(raw.partition(b"\r\n\r\n")[2]).hexdigest()
        self.event("message", session=session.id, message=message.id, size=len(raw), body=body, **envelope)
        return message

    def messages(self, to: str | None = None, sender: str | None = None) -> list[Message]:
        """In the order of arrival; `to` is one of the envelope's recipients, `sender` its sender, both exact."""
        with self._changed:
            return [
                message
                for message in self._messages.values()
                if (to is None or to in message.rcpt_tos) and (sender is None or sender == message.mail_from)
            ]

    def message(self, number: int) -> Message | None:
        with self._changed:
            return self._messages.get(number)

    def sessions(self) -> list[Session]:
        with self._changed:
            return list(self._sessions.values())

    def sessions_as_json(self) -> list[dict[str, object]]:
        with self._changed:
            return [asdict(session) for session in self._sessions.values()]

    def reset(self) -> None:
        """Forget all messages and all finished sessions; lines still open go on being recorded."""
        with self._changed:
            self._messages.clear()
            self._sessions = {key: value for key, value in self._sessions.items() if value.ended is None}
        self.event("reset")

    def wait_for(self, condition: Callable[[], Result], deadline: float) -> Result:
        """The condition's first true value, or its last false one after `deadline` seconds."""
        with self._changed:
            return self._changed.wait_for(condition, deadline)

    def _number(self, kind: str) -> int:
        number = self._next[kind]
        self._next[kind] += 1
        return number


def stdout_store() -> Store:
    return Store(sys.stdout)
