"""What the chart says after an install, and the mail that `helm test` sends.

Its program is run here with this machine's Python, against a sink in the relay's place: with and without a login, and what it
says of each refusal. In its Pod, and through a relay, it is run by tests/image/test_pods.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from entrypoint.__main__ import VERBS
from tests.deploy import chart
from tests.deploy.kubernetes import Object, pod_spec
from tests.sink import Behaviour, Listen, Sink

HOST = "127.0.0.1"
SERVER_NAME = "relay.example.com"

Start = Callable[..., Sink]


def pod(given: Object) -> Object:
    [found] = [each for each in chart.objects(given) if each["kind"] == "Pod"]
    assert found["metadata"]["annotations"]["helm.sh/hook"] == "test"
    spec = pod_spec(found)
    assert spec
    return spec


def send(given: Object, sink: Sink, login: Path | None = None) -> subprocess.CompletedProcess[str]:
    """As in the Pod, but for where the server and the login are."""
    [container] = pod(given)["containers"]
    python, *options = container["command"]
    assert python == "python3"
    env = {each["name"]: each["value"] for each in container["env"]}
    port = sink.ports["smtps" if env["PROFILE"] == "submissions" else "smtp"]
    env |= {"SERVER": HOST, "SERVER_PORT": str(port), "LOGIN": str(login) if env["LOGIN"] else ""}
    command = [sys.executable, *options, *container["args"]]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def start(authority: trustme.CA, tmp_path: Path) -> Iterator[Start]:
    issued = authority.issue_cert(SERVER_NAME)
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    with ExitStack() as started:

        def start_sink(**behaviour: Any) -> Sink:
            listen = Listen(HOST, smtp=0, smtps=0, http=0)
            given = Sink(
                Behaviour().changed(behaviour), listen, (tmp_path / "cert.pem", tmp_path / "key.pem")
            )
            return started.enter_context(given)

        yield start_sink


@pytest.fixture
def login(authority: trustme.CA, tmp_path: Path) -> Path:
    """What the Secret would be."""
    place = tmp_path / "login"
    place.mkdir()
    (place / "username").write_text("app\n")
    (place / "password").write_text("a password\n")
    authority.cert_pem.write_to_path(place / "ca.crt")
    return place


def test_a_mail_is_sent_without_a_login(start: Start) -> None:
    sink = start()
    ran = send({"test": {"recipient": "you@example.com", "sender": "app@example.com"}}, sink)
    assert ran.returncode == 0, ran.stderr
    assert "has taken a mail for you@example.com" in ran.stdout
    [message] = sink.store.messages()
    assert (message.mail_from, message.rcpt_tos) == ("app@example.com", ["you@example.com"])


@pytest.mark.parametrize("listener", ["submission", "submissions"])
def test_a_mail_is_sent_with_a_login(start: Start, login: Path, listener: str) -> None:
    sink = start(require_tls=True, require_auth=True, user="app", password="a password")
    given = chart.values("submission")
    given["test"]["listener"] = listener
    ran = send(given, sink, login)
    assert ran.returncode == 0, ran.stderr
    assert len(sink.store.messages()) == 1


@pytest.mark.parametrize("listener", ["submission", "submissions"])
def test_no_password_goes_to_a_server_with_a_wrong_certificate(
    start: Start, login: Path, listener: str
) -> None:
    sink = start(require_auth=True, user="app", password="a password")
    given = chart.values("submission")
    given["test"]["listener"] = listener
    given["settings"]["MYHOSTNAME"] = "another.example.com"
    ran = send(given, sink, login)
    assert ran.returncode == 1
    assert "certificate verify failed" in ran.stderr
    assert "a password" not in str(sink.store.sessions())


def test_a_refusal_is_a_failure_that_says_why(start: Start) -> None:
    sink = start(replies={"rcpt": "554 5.7.1 Relay access denied"})
    ran = send({"test": {"recipient": "you@example.com"}}, sink)
    assert ran.returncode == 1
    assert "Relay access denied" in ran.stderr


def test_without_a_recipient_it_says_what_to_set(start: Start) -> None:
    ran = send({}, start())
    assert ran.returncode == 1
    assert "test.recipient" in ran.stderr


@pytest.mark.parametrize("profile", ["submission", "submissions"])
def test_without_a_login_it_and_the_notes_say_what_to_set(start: Start, profile: str) -> None:
    door = {"name": "door", "port": 587, "profile": profile}
    given: Object = {"listeners": [door], "test": {"recipient": "you@example.com"}}
    sink = start()
    ran = send(given, sink)
    assert ran.returncode == 1
    assert "test.existingSecret" in ran.stderr
    assert sink.store.messages() == []
    assert asked(given) == "(first: helm upgrade with test.existingSecret=SECRET-WITH-A-LOGIN)"
    given["test"] |= {"existingSecret": "mail-login"}
    assert asked(given) == ""


def test_where_all_listeners_want_the_proxy_protocol_there_is_no_test_and_the_notes_name_none() -> None:
    door: Object = {"name": "door", "port": 587, "profile": "submission"}
    given: Object = {"listeners": [door | {"proxyProtocol": True}]}
    assert "Pod" not in {each["kind"] for each in chart.objects(given)}
    assert "helm -n mail test" not in chart.texts(given)["NOTES.txt"]
    given["listeners"] += [door | {"name": "other", "port": 588}]
    assert {each["value"] for each in pod(given)["containers"][0]["env"]} >= {"mail-postern-other.mail.svc"}
    assert asked(given)


def asked(given: Object) -> str:
    """What the notes say beside the command, as it would fail without."""
    [beside] = re.findall(r"^  helm -n mail test mail(.*)$", chart.texts(given)["NOTES.txt"], re.MULTILINE)
    return str(beside).strip()


def test_the_pod_sends_to_the_service_of_the_listener() -> None:
    given = chart.values("full")
    env = {each["name"]: each["value"] for each in pod(given)["containers"][0]["env"]}
    service = chart.only("Service", given, "-submissions")
    assert env["SERVER"] == f"{service['metadata']['name']}.mail.svc"
    assert int(env["SERVER_PORT"]) == service["spec"]["ports"][0]["port"]
    assert env["LOGIN"] == pod(given)["containers"][0]["volumeMounts"][0]["mountPath"]


@pytest.mark.parametrize("example", chart.EXAMPLES, ids=lambda example: example.stem)
def test_the_notes_say_how_to_send_the_first_mail(example: Path) -> None:
    given = chart.values(example)
    notes = chart.texts(given)["NOTES.txt"]
    for each in chart.objects(given):
        if each["kind"] == "Service" and not each["metadata"]["name"].endswith("-headless"):
            [port] = each["spec"]["ports"]
            assert f"{each['metadata']['name']}.mail.svc, port {port['port']} (" in notes
    workload = chart.only(given.get("workload", "StatefulSet"), given)
    target = f"{workload['kind'].lower()}/{workload['metadata']['name']}"
    assert f"kubectl -n mail exec {target} -c postern -- postern test you@example.com" in notes
    assert set(re.findall(r"-- postern (\w+)", notes)) <= VERBS.keys()
    doors = given.get("listeners", [{"profile": "relay"}])
    trusting = any(door["profile"] == "relay" for door in doors)
    warned = trusting and "MYNETWORKS" not in given.get("settings", {})
    assert ("WARNING: settings.MYNETWORKS is not set" in notes) is warned
    assert ("is lost with it" in notes) is (workload["kind"] == "Deployment")
