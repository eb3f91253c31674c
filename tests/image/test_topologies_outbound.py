"""The rows O1 to O5: where mail goes, over which TLS, with which login, and what happens when that cannot be had."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from docker.models.networks import Network

from tests.image import engine, tls
from tests.image.conftest import StartRelay
from tests.image.relay import HOSTNAME, Environment, Relay, someone
from tests.image.sink import Sink
from tests.image.stations import Client, NameServer
from tests.image.tls import Certificates

StartNames = Callable[..., NameServer]

PASSWORD = "a password"
LOGIN = {"RELAYHOST_USERNAME": "me@example.com", "RELAYHOST_PASSWORD": PASSWORD}
CA = {"RELAYHOST_CA_FILE": tls.CA}


@pytest.fixture
def names(start_names: StartNames, sink: Sink, client: Client, network: Network) -> NameServer:
    """example.com's mail goes to the sink; the host of that name is up, but has no mail server."""
    there, no_server = (engine.address(each.container, network) for each in (sink, client))
    return start_names(
        "--local=/com/",
        "--mx-host=example.com,mx.example.com,10",
        f"--host-record=mx.example.com,{there}",
        f"--host-record=example.com,{no_server}",
    )


class TestO1Smarthost:
    def test_everything_goes_to_the_relayhost(self, relay: Relay, sink: Sink) -> None:
        assert relay.postconf("relayhost") == "[sink]:25"
        for to in (someone("example.org"), someone("example.net"), someone(HOSTNAME)):
            relay.send(to)
            [message] = sink.mail(to)
            assert message.rcpt_tos == [to]
            assert message.helo == HOSTNAME
            assert HOSTNAME in message.header("Received")
            assert b"One line.\r\n" in message.raw

    def test_the_mx_of_a_bare_domain_is_looked_up(
        self, start_relay: StartRelay, names: NameServer, sink: Sink
    ) -> None:
        relay = start_relay({"RELAYHOST": "example.com"}, dns=[names.address])
        assert relay.postconf("relayhost") == "example.com:25"
        relay.send(to := someone())
        assert sink.mail(to)
        relay.logged(rf"to=<{to}>, relay=mx\.example\.com\[.*status=sent")

    def test_brackets_mean_the_host_itself(
        self, start_relay: StartRelay, names: NameServer, sink: Sink
    ) -> None:
        relay = start_relay({"RELAYHOST": "[example.com]"}, dns=[names.address])
        assert relay.postconf("relayhost") == "[example.com]:25"
        relay.send(to := someone())
        relay.queued(rf"to {to}: connect to example\.com\[.*\]:25: Connection refused")
        assert not sink.received(to)

    def test_mail_waits_while_the_relayhost_has_no_address(
        self, start_relay: StartRelay, names: NameServer
    ) -> None:
        """A typo, or a DNS that is not up yet, must not send everybody's mail back."""
        relay = start_relay({"RELAYHOST": "[nowhere.example.com]"}, dns=[names.address])
        relay.send(to := someone())
        relay.logged(rf"to=<{to}>, .*status=deferred")
        relay.queued(rf"to {to}: .*nowhere\.example\.com")


class TestO2LoginOverTls:
    @pytest.mark.parametrize("port", [25, 465], ids=["starttls", "implicit_tls"])
    def test_the_login_is_given_over_tls(
        self, start_relay: StartRelay, certificates: Certificates, sink: Sink, port: int
    ) -> None:
        sink.behave(require_tls=True, require_auth=True, user=LOGIN["RELAYHOST_USERNAME"], password=PASSWORD)
        relay = start_relay({"RELAYHOST": f"[sink]:{port}"} | LOGIN | CA, volumes=certificates.mount)
        assert relay.postconf("smtp_tls_security_level") == "secure"
        assert relay.postconf("smtp_tls_wrappermode") == ("yes" if port == 465 else "no")
        relay.send(to := someone())
        [message] = sink.mail(to)
        assert message.user == LOGIN["RELAYHOST_USERNAME"]
        assert message.tls in ("TLSv1.2", "TLSv1.3")
        assert message.rest["listener"] == ("smtps" if port == 465 else "smtp")
        assert [login["tls"] for session in sink.sessions() for login in session["auth"]] == [message.tls]

    @pytest.mark.parametrize("level", [None, "verify", "encrypt"])
    def test_without_tls_there_is_no_login_and_the_mail_waits(
        self, start_relay: StartRelay, certificates: Certificates, sink: Sink, level: str | None
    ) -> None:
        """A middlebox that strips STARTTLS, and would love to see the password, gets nothing."""
        sink.behave(starttls=False, auth="always")
        ca = CA if level != "encrypt" else {}
        relay = start_relay({"RELAYHOST_TLS_LEVEL": level} | LOGIN | ca, volumes=certificates.mount)
        relay.send(to := someone())
        reason = "TLS is required, but was not offered by host sink"
        shown = relay.queued(rf"to {to}: {reason}")
        assert shown.rstrip().endswith("1 message waiting")
        relay.logged(rf"to=<{to}>, .*status=deferred \({reason}")
        assert "AUTH" not in sink.commands()
        assert sink.logins() == []

    def test_a_refused_login_is_the_reason_in_the_queue(
        self, start_relay: StartRelay, certificates: Certificates, sink: Sink
    ) -> None:
        sink.behave(require_auth=True, password="another")
        relay = start_relay(LOGIN | CA, volumes=certificates.mount)
        relay.send(to := someone())
        relay.queued(rf"to {to}: SASL authentication failed; server sink.* said: 535")
        assert not sink.received(to)
        assert PASSWORD not in relay.logs()


class TestO3PrivateCa:
    def test_an_upstream_of_the_own_ca_is_verified(
        self, start_relay: StartRelay, certificates: Certificates, sink: Sink
    ) -> None:
        relay = start_relay(CA, volumes=certificates.mount)
        relay.send(to := someone())
        assert sink.mail(to)[0].tls
        relay.logged(r"postfix/smtp\[\d+\]: Verified TLS connection established to sink\[")

    @pytest.mark.parametrize(
        "env",
        [
            {"RELAYHOST_CA_FILE": tls.OTHER_CA},
            {"RELAYHOST_TLS_LEVEL": "secure"},
            {"RELAYHOST_CA_FILE": tls.OTHER_CA, "RELAYHOST_TLS_LEVEL": "verify"},
            CA | {"RELAYHOST": f"[{tls.OTHER_NAME}]:25"},
            CA | {"RELAYHOST": f"[{tls.OTHER_NAME}]:25", "RELAYHOST_TLS_LEVEL": "verify"},
        ],
        ids=["wrong_ca", "public_cas", "wrong_ca_verify", "wrong_name", "wrong_name_verify"],
    )
    def test_another_certificate_makes_the_mail_wait_with_the_reason(
        self, start_relay: StartRelay, certificates: Certificates, sink: Sink, env: Environment
    ) -> None:
        relay = start_relay(env, volumes=certificates.mount)
        relay.send(to := someone())
        relay.queued(rf"to {to}: Server certificate not verified")
        relay.logged(rf"to=<{to}>, .*status=deferred \(Server certificate not verified\)")
        assert not sink.received(to)


class TestO4DirectToMx:
    def test_mail_goes_to_the_recipients_mx_over_tls(
        self, start_relay: StartRelay, names: NameServer, sink: Sink
    ) -> None:
        relay = start_relay({"RELAYHOST": None}, dns=[names.address])
        assert relay.postconf("relayhost") == ""
        assert relay.postconf("smtp_tls_security_level") == "may"
        relay.send(to := someone("example.com"))
        [message] = sink.mail(to)
        assert message.tls in ("TLSv1.2", "TLSv1.3")
        relay.logged(rf"to=<{to}>, relay=mx\.example\.com\[.*\]:25, .*status=sent")

    def test_mail_goes_in_clear_to_an_mx_without_tls(
        self, start_relay: StartRelay, names: NameServer, sink: Sink
    ) -> None:
        sink.behave(starttls=False)
        relay = start_relay({"RELAYHOST": None}, dns=[names.address])
        relay.send(to := someone("example.com"))
        assert sink.mail(to)[0].tls is None

    def test_a_domain_that_does_not_exist_is_returned_to_the_sender(
        self, start_relay: StartRelay, names: NameServer, sink: Sink
    ) -> None:
        relay = start_relay({"RELAYHOST": None}, dns=[names.address])
        relay.send(someone("nowhere.example.com"), sender := someone("example.com"))
        [report] = sink.mail(sender)
        assert report.mail_from == ""
        assert b"unable to look up host nowhere.example.com" in report.raw


class TestO5NullClient:
    """Whatever a container's mailbox holds is lost with the container: nothing is delivered into one."""

    @pytest.fixture(autouse=True)
    def _nothing_was_delivered(self, relay: Relay) -> Iterator[None]:
        yield
        found = relay.exec("find", "/var/mail/", "/var/spool/mail/", "/home", "-type", "f")
        assert (found.status, found.output) == (0, "")

    def test_no_service_delivers_locally(self, relay: Relay) -> None:
        services = relay.services()
        assert not {"local/unix", "virtual/unix", "lmtp/unix", "maildrop/unix"} & services.keys()
        assert not {"local", "virtual", "lmtp", "pipe", "spawn"} & {
            command.split()[0] for command in services.values()
        }
        assert relay.postconf("local_transport").startswith("error:")
        assert relay.postconf("mydestination") == ""

    @pytest.mark.parametrize("domain", [HOSTNAME, "localhost", f"localhost.{HOSTNAME.partition('.')[2]}"])
    def test_mail_to_the_relays_own_names_is_relayed(self, relay: Relay, sink: Sink, domain: str) -> None:
        relay.send(to := f"root@{domain}")
        assert sink.mail(to)[0].rcpt_tos == [to]

    @pytest.mark.root  # sendmail(1) asks for the name of whom it is called by, or for -f
    def test_mail_from_a_program_in_the_container_to_root_is_relayed(self, relay: Relay, sink: Sink) -> None:
        done = relay.exec("sh", "-c", "printf 'Subject: cron\n\nDone.\n' | sendmail root")
        assert (done.status, done.output) == (0, "")
        message = next(m for m in sink.mail(f"root@{HOSTNAME}") if m.header("Subject") == "cron")
        assert message.mail_from == f"root@{HOSTNAME}"
        assert b"Done.\r\n" in message.raw
