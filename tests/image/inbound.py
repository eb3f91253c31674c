"""What tests of mail that comes in have in common: asking who is taken, without sending anything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tests.image.relay import Relay
from tests.image.stations import Stranger

SENDER = "somebody@elsewhere.example"


def answers(relay: Relay, *recipients: str, sender: str = SENDER, port: int = 25) -> list[str]:
    """What a trusted client, the test host, is told of each recipient: code and text."""
    with relay.smtp(port) as session:
        session.ehlo()
        session.mail(sender)
        # As written: smtplib would mend what is wrong with an address.
        return [_shown(session.docmd(f"RCPT TO:<{recipient}>")) for recipient in recipients]


def stranger_is_told(stranger: Stranger, *recipients: str, sender: str = SENDER) -> list[str]:
    """The same for somebody with a public address."""
    asked = stranger.swaks("127.0.0.1", ",".join(recipients), "--quit-after", "RCPT", sender=sender)
    # "<-" and "<**" begin a good and a bad answer; those before are to the connection, EHLO (many lines) and MAIL.
    replies = re.findall(r"^<(?:-|\*\*) +([2-5]\d\d .*)", asked.output, re.MULTILINE)
    assert len(replies) >= 3 + len(recipients), asked.output
    return [reply.rstrip() for reply in replies[3 : 3 + len(recipients)]]


def send(
    relay: Relay, *recipients: str, sender: str = SENDER, port: int = 25, text: str = "One line."
) -> None:
    """One message to all of them; raises SMTPRecipientsRefused if none is taken."""
    with relay.smtp(port) as session:
        refused = session.sendmail(sender, list(recipients), f"From: {sender}\nSubject: A test\n\n{text}\n")
    assert not refused


def _shown(reply: tuple[int, bytes]) -> str:
    return f"{reply[0]} {reply[1].decode()}"


def tables(directory: Path, **texts: str) -> Mapping[str, Mapping[str, str]]:
    """Files of /config in a directory of the test host, as `volumes` mounts them."""
    for name, text in texts.items():
        (directory / name).write_text(text)
    return {str(directory): {"bind": "/config", "mode": "ro"}}
