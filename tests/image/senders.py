"""A client that sends all the time, while something happens to the relay."""

from __future__ import annotations

import smtplib
import threading
from collections.abc import Callable
from typing import Self

from tests.image.relay import letter

SENDER = "app@example.com"


class Sender(threading.Thread):
    """Sends one message after the other, `pause` seconds apart, until it is told to stop or is not answered as it must be.

    `to` gives the recipient of a message by its number, `opened` a session that is ready for mail.
    """

    def __init__(
        self,
        opened: Callable[[], smtplib.SMTP],
        to: Callable[[int], str],
        *,
        keeps_its_session: bool,
        pause: float = 0.0,
    ) -> None:
        super().__init__()
        self._opened, self._to, self._keeps, self._pause = opened, to, keeps_its_session, pause
        self._ended = threading.Event()
        self.sent: list[str] = []
        self.sessions = 0
        self.failed: Exception | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        try:
            while not self._ended.is_set():
                with self._opened() as session:
                    self.sessions += 1
                    self._send(session)
        except (OSError, smtplib.SMTPException) as error:
            self.failed = error

    def _send(self, session: smtplib.SMTP) -> None:
        while True:
            to = self._to(len(self.sent))
            session.send_message(letter(to), SENDER, [to])
            self.sent.append(to)
            if self._ended.wait(self._pause) or not self._keeps:
                return
