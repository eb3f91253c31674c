"""The application of a Pod: it sends COUNT mails, and LAST more when it is told to stop.

Each line that it prints is the Message-ID of a mail that got its 250.
"""

import os
import signal
import smtplib
import time
from email.message import EmailMessage
from email.utils import make_msgid

RELAY = (os.environ["SMTP_HOST"], int(os.environ["SMTP_PORT"]))


def main() -> None:
    # Blocked: a stop that comes while mail is sent waits for sigwait.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    send(int(os.environ["COUNT"]))
    signal.sigwait({signal.SIGTERM})
    send(int(os.environ["LAST"]))


def send(count: int) -> None:
    for _ in range(count):
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = "app@example.com", os.environ["TO"], "From a Pod"
        mail["Message-ID"] = make_msgid(domain="app.example.com")
        mail.set_content("One line.\n")
        hand_in(mail)
        print(mail["Message-ID"], flush=True)


def hand_in(mail: EmailMessage) -> None:
    """To a relay that may still be starting. Any other refusal ends the program."""
    while True:
        try:
            with smtplib.SMTP(*RELAY, timeout=20) as session:
                session.send_message(mail)
        except ConnectionRefusedError:
            time.sleep(0.1)
        else:
            return


if __name__ == "__main__":
    main()
