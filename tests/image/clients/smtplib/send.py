"""usage: send.py RECIPIENT, with the settings of application.env in the environment"""

import os
import smtplib
import ssl
import sys
from email.message import EmailMessage


def connect(host: str, port: int, ca_file: str) -> smtplib.SMTP:
    trusted = ssl.create_default_context(cafile=ca_file)
    if port == 465:
        return smtplib.SMTP_SSL(host, port, timeout=30, context=trusted)
    session = smtplib.SMTP(host, port, timeout=30)
    session.starttls(context=trusted)
    return session


message = EmailMessage()
message["From"], message["To"], message["Subject"] = os.environ["SMTP_USER"], sys.argv[1], "Backup"
message.set_content("The backup is done.\n")
with connect(os.environ["SMTP_HOST"], int(os.environ["SMTP_PORT"]), os.environ["SMTP_CA_FILE"]) as relay:
    relay.login(os.environ["SMTP_USER"], os.environ["SMTP_PASSWORD"])
    relay.send_message(message)
