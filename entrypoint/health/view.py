"""The page on `/`: made by a program that ends (entrypoint/page), as what that needs would cost this one 15 MB for good."""

from __future__ import annotations

import os
import select
import signal
import time
from _thread import allocate_lock  # threading costs 0.3 MB

from entrypoint.health import hosts
from entrypoint.health.answers import response
from entrypoint.health.guesses import Guesses

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Collection

    from entrypoint.health.answers import Request

PROGRAM = ("/usr/bin/postern", "page")
# Seconds: what the program may take, for how long its page is shown to others, and how often a browser renews it.
_PATIENCE = 10.0
_SHOWN_FOR = 1.5
_REFRESH = 30
_HTML = "text/html; charset=utf-8"
_END = b"</html>\n"
_MISDIRECTED = (
    "without HEALTH_PAGE_PASSWORD the page is shown only under an address, localhost, a name without a dot, the host name or "
    "MYHOSTNAME: web sites of strangers could read it under a name of theirs\n"
)
_ASK = 'WWW-Authenticate: Basic realm="Postern", charset="UTF-8"\r\n'


class View:
    """Whoever looks, one program at a time is started, and no more than one in that time."""

    def __init__(
        self,
        guesses: Guesses | None,
        zone: str = "",
        program: tuple[str, ...] = PROGRAM,
        patience: float = _PATIENCE,
        names: Collection[str] = (),
    ) -> None:
        """`guesses` is None where nobody needs a password; `zone` is TZ; `names` are the relay's own, in small letters."""
        self._names = names
        self._guesses = guesses
        self._zone = zone
        self._program = program
        self._patience = patience
        self._lock = allocate_lock()
        self._until = float("-inf")
        self._page = b""

    @property
    def wrong_passwords(self) -> int:
        return self._guesses.wrong if self._guesses else 0

    def answer(self, request: Request) -> bytes:
        """The complete response."""
        if self._guesses:
            try:
                status = self._guesses.judge(request.client, request.credentials)
            except OSError:
                return response(503, "the keeper cannot be asked about the password\n")
            if status == 401:
                return response(401, "the page needs the password (HEALTH_PAGE_PASSWORD)\n", extra=_ASK)
            if status == 429:
                text = "wrong passwords come from your address: wait a second\n"
                return response(429, text, extra="Retry-After: 1\r\n")
        elif not hosts.ours(request.host, self._names):
            return response(421, _MISDIRECTED)
        style, _, page = self._made().partition(b"\n")
        if not page.endswith(_END):
            text = f"the page could not be made within {self._patience:g} s: the log may say why, /readyz tells more\n"
            return response(503, text)
        refresh = "" if request.query == "still" else f"Refresh: {_REFRESH}\r\n"
        # Its own style sheet, and an icon in the tab that is a part of it: a browser would else ask for one and complain.
        sources = f"style-src {style.decode('ascii', 'replace')}; img-src data:; "
        return response(200, page, _HTML, extra=refresh, sources=sources)

    def _made(self) -> bytes:
        """What the program wrote, or wrote for somebody else a moment ago."""
        with self._lock:
            # From the end of the making: those who waited for it get it too.
            if time.monotonic() > self._until:
                try:
                    self._page = self._make()
                except OSError:
                    self._page = b""
                self._until = time.monotonic() + _SHOWN_FOR
            return self._page

    def _make(self) -> bytes:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            child = os.posix_spawn(
                self._program[0],
                self._program,
                {"TZ": self._zone} if self._zone else {},
                file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)],
                setsigdef=[signal.SIGCHLD, signal.SIGHUP],
            )
        except OSError:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        try:
            text = _read(reading, time.monotonic() + self._patience)
        finally:
            os.close(reading)
        if text is None:
            os.kill(child, signal.SIGKILL)
        return text or b""


def _read(fd: int, deadline: float) -> bytes | None:
    """All there is to read; None if the end does not come in time."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    text = b""
    while poll.poll(max(deadline - time.monotonic(), 0) * 1000):
        data = os.read(fd, 65536)
        if not data:
            return text
        text += data
    return None
