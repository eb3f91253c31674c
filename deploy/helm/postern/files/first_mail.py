"""What `helm test` runs in a Pod: one mail through the relay, as a program of yours would send it."""

import os
import smtplib
import ssl
import sys
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path

given = os.environ
server, port = given["SERVER"], int(given["SERVER_PORT"])
login = Path(given["LOGIN"]) if given["LOGIN"] else None
authority = login / "ca.crt" if login else None
tls = ssl.create_default_context(cafile=authority if authority and authority.exists() else None)
if not login:
    # Nothing secret is sent: any certificate will do.
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE

if not given["RECIPIENT"]:
    sys.exit("nobody to send to: set the chart's value test.recipient to an address of yours")
if given["PROFILE"].startswith("submission") and not login:
    sys.exit("no login to send with: set the chart's value test.existingSecret")
mail = EmailMessage()
mail["From"] = given["SENDER"] or given["RECIPIENT"]
mail["To"] = given["RECIPIENT"]
mail["Date"] = formatdate()
mail["Subject"] = "helm test: the relay takes mail"
mail.set_content("If you can read this, the relay gets mail out, too.\n")

try:
    implicit = given["PROFILE"] == "submissions"
    relay = smtplib.SMTP_SSL(context=tls, timeout=30) if implicit else smtplib.SMTP(timeout=30)
    # The name in the certificate, which need not be the Service's.
    relay._host = given["SERVER_NAME"] or server  # noqa: SLF001
    relay.connect(server, port)
    relay.ehlo()
    if not implicit and (login or relay.has_extn("starttls")):
        relay.starttls(context=tls)
    if login:
        relay.login(*((login / name).read_text().strip() for name in ("username", "password")))
    relay.send_message(mail)
    relay.quit()
except (OSError, smtplib.SMTPException) as error:
    sys.exit(f"{server}:{port} did not take the mail: {error}")
print(f"{server}:{port} has taken a mail for {given['RECIPIENT']}")
