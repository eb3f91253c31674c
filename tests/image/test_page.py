"""The page on the health port, in a real browser: what it shows of real mail, and that nothing in mail can change it."""

from __future__ import annotations

import base64
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container
from docker.models.networks import Network

from tests.image import engine
from tests.image.conftest import StartRelay
from tests.image.engine import Engine
from tests.image.relay import Relay, letter, someone
from tests.image.sink import Sink
from tests.image.waiting import until

PASSWORD = "correct horse"
HEADERS = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "Content-Type": "text/html; charset=utf-8",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "Refresh": "30",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
HOSTILE = "<script>ran=1</script><img src=x onerror=ran=2>\"' onmouseover=ran=3 {{7*7}}</style></title>"
# In the container: the one deferred message there is, 20,000 times, with why it waits, a second between each and the next.
FULL_QUEUE = """
import os, shutil, time
digits = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
def text(number):
    return text(number // 52) + digits[number % 52] if number else ""
os.chdir("/var/spool/postfix")
[(place, name)] = [(root[9:], name) for root, _, names in os.walk("deferred") for name in names]
later = time.time() + 86400
first = int(time.time()) - 20100
for n in range(20000):
    # The microseconds, by which a directory is chosen, are the same.
    copy = text(first + n) + name[6:10] + "z" + text(2704 + n).replace("z", "y")
    for queue in ("defer", "deferred"):
        made = f"{queue}/{place}/{copy}"
        shutil.copy(f"{queue}/{place}/{name}", made)
        os.chmod(made, 0o700 if queue == "deferred" else 0o600)
        os.utime(made, (later, later))
        os.chown(made, 100, -1)
"""


class Browser:
    def __init__(self, docker: Engine, network: Network) -> None:
        self._network = network
        self._container: Container = docker.start(engine.BROWSER, network, init=True)

    def look(self, relay: Relay, *options: str) -> dict[str, Any]:
        """What tests/image/browser/look.py has seen of the page."""
        url = f"http://{engine.address(relay.container, self._network)}:9154/"
        seen = engine.execute(self._container, ["look.py", url, *options])
        assert seen.status == 0, seen.output
        found: dict[str, Any] = json.loads(seen.output.splitlines()[-1])
        assert found["console"] == []
        assert found["requests"] == [url]
        assert (found["scripts"], found["handlers"], found["ran"]) == (0, [], None)
        return found


@pytest.fixture(scope="module")
def browser(docker: Engine, network: Network) -> Iterator[Browser]:
    made = Browser(docker, network)
    yield made
    docker.remove(made._container)


@pytest.fixture(scope="module")
def shared(start_shared_relay: StartRelay) -> Relay:
    """A relay whose page anybody may see; no test lets its upstream misbehave."""
    return start_shared_relay()


@pytest.fixture(scope="module")
def locked(start_shared_relay: StartRelay, tmp_path_factory: pytest.TempPathFactory) -> tuple[Relay, Path]:
    """One whose page asks for a password, and the file that has it."""
    secret = tmp_path_factory.mktemp("page") / "password"
    secret.write_text(f"{PASSWORD}\n")
    mount = {str(secret.parent): {"bind": "/run/secrets", "mode": "ro"}}
    return (
        start_shared_relay({"HEALTH_PAGE_PASSWORD_FILE": "/run/secrets/password"}, volumes=mount),
        secret,
    )


def ask(
    relay: Relay, path: str = "/", password: str | None = None, method: str = "GET", user: str = "anybody"
) -> tuple[int, dict[str, str], str]:
    """Status, headers and body."""
    url = f"http://127.0.0.1:{engine.published(relay.container, 9154)}{path}"
    headers = {"Authorization": basic(password, user)} if password is not None else {}
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read().decode()


def basic(password: str, user: str = "anybody") -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def shown(relay: Relay, pattern: str, password: str | None = None) -> str:
    """The page, once it holds a regular expression."""

    def page() -> str:
        return ask(relay, password=password)[2]

    return until(
        f"the page has {pattern!r}",
        lambda: text if re.search(pattern, text := page(), re.DOTALL) else None,
        deadline=40,
        needs=[relay.container],
        state=page,
    )


def test_mail_that_went_out_is_in_the_list_the_numbers_and_the_charts(
    shared: Relay, sink: Sink, browser: Browser
) -> None:
    for number in range(3):
        shared.send(f"{number}-{someone()}")
    shown(shared, r"<dt>delivered</dt><dd>3</dd>")
    seen = browser.look(shared)
    assert seen["title"] == "✓ Mail goes out · relay.example.com"
    assert "Last delivery" in seen["text"]
    stories = [story for story in seen["stories"] if "@example.org" in story]
    began = [re.match(r"\d\d:\d\d:\d\dsenta\*{3}@example\.com → (\d)\*{3}@example\.org", s) for s in stories]
    assert sorted(found[1] for found in began if found) == ["0", "1", "2"]
    assert all("250 " in story for story in stories)
    assert seen["elements"]["rect.sent"] >= 1
    assert seen["elements"]["rect.median"] >= 1
    said = " ".join(seen["text"].split())
    assert "sends everything to [sink]:25, over TLS where offered, unverified" in said
    assert "Nothing waits." in seen["text"]
    # Without a password the page hides what the log has, and says so.
    assert "HEALTH_PAGE_PASSWORD" in seen["text"]


@pytest.mark.parametrize("scheme", [(), ("--dark",)], ids=["light", "dark"])
def test_it_is_readable_on_a_phone_and_on_a_desk_in_both_schemes(
    shared: Relay, sink: Sink, browser: Browser, scheme: tuple[str, ...]
) -> None:
    """Nothing is wider than the window, however long an address is and whatever is unfolded."""
    shared.send(f"{'x' * 60}@{'y' * 60}.example.org")
    shown(shared, "y{60}")
    for width in ("360", "1280"):
        seen = browser.look(shared, "--width", width, "--open", *scheme)
        assert seen["width"] == [int(width), int(width)]
    background, colour = (
        sum(map(int, re.findall(r"\d+", seen[name])[:3])) for name in ("background", "colour")
    )
    assert (background > colour) == (not scheme)


def test_it_renews_itself_but_where_it_is_held_still(shared: Relay) -> None:
    assert ask(shared, "/?still")[1].keys() == ask(shared)[1].keys() - {"Refresh"}


def test_its_headers_are_these_and_every_path_forbids_what_it_needs_not(shared: Relay) -> None:
    status, headers, body = ask(shared)
    policy = headers.pop("Content-Security-Policy")
    assert int(headers.pop("Content-Length")) == len(body.encode())
    assert (status, headers) == (200, HEADERS)
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[\w+/]+='; img-src data:; base-uri 'none'; form-action 'none'; "
        r"frame-ancestors 'none'",
        policy,
    )
    for path in ("/livez", "/readyz", "/metrics", "/nowhere"):
        _, others, _ = ask(shared, path)
        assert others["Content-Security-Policy"] == (
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        assert {name: others[name] for name in HEADERS.keys() - {"Refresh", "Content-Type"}} == {
            name: HEADERS[name] for name in HEADERS.keys() - {"Refresh", "Content-Type"}
        }


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed_by_it(shared: Relay, method: str) -> None:
    assert ask(shared, method=method)[0] == 405


def test_what_waits_is_shown_by_reason_and_destination_and_that_no_mail_goes_out_first(
    start_relay: StartRelay, sink: Sink, browser: Browser
) -> None:
    relay = start_relay({"RELAYHOST": "[sink]:2599"})
    for domain in ("example.org", "example.org", "example.net"):
        relay.send(someone(domain))
    shown(relay, r"No mail goes out.*connection refused.*</th><td class=\"number\">3</td>")
    seen = browser.look(relay)
    assert seen["title"] == "✗ No mail goes out · relay.example.com"
    text = " ".join(seen["text"].split())
    assert re.search(
        r"No mail goes out 3 messages wait, no delivery since the start\. upstream \S+ .*refused", text
    )
    assert re.search(r"connection refused connect to sink\[[\d.]+\]:2599: Connection refused 3 ", text)
    assert re.search(r"example\.org connection refused 2 .*example\.net connection refused 1 ", text)
    assert [story[8:15] for story in seen["stories"]] == ["waiting"] * 3
    assert seen["elements"]["rect.deferred"] >= 1


def test_a_hundred_messages_are_shown_though_each_is_for_twenty(start_relay: StartRelay) -> None:
    relay = start_relay({"RELAYHOST": "[127.0.0.1]:2599"})
    with relay.smtp() as client:
        for _ in range(110):
            recipients = [someone() for _ in range(20)]
            message = letter(recipients[0])
            client.send_message(message, "app@example.com", recipients)
    page = shown(
        relay, r"<dt>waiting now</dt><dd>110</dd>.*connection refused.*</th><td class=\"number\">110</td>"
    )
    assert page.count("<li><details>") == 100
    assert page.count("and 19 more</span>") == 100


def test_strangers_words_are_shown_as_they_are_and_change_nothing(
    start_relay: StartRelay, sink: Sink, browser: Browser
) -> None:
    """In an address, a HELO, a message id, a subject, and in what a server answers; to be put off, refused or taken."""
    relay = start_relay({"HEALTH_PAGE_PASSWORD": PASSWORD, "POSTFIX_smtpd_helo_restrictions": "permit"})
    local = f"{HOSTILE}\u2028\u202e".replace('"', '\\"')
    sender, put_off, refused, taken = (f'"{n}{local}"@example.org' for n in range(4))
    sink.behave(recipients={})
    for to, answer in (
        (put_off, f"450 4.2.1 later {HOSTILE}"),
        (refused, f"550 5.1.1 never {HOSTILE}"),
        (taken, ""),
    ):
        sink.behave(replies={"rcpt": answer} if answer else {})
        with relay.smtp() as session:
            session.local_hostname = HOSTILE
            session.ehlo(HOSTILE.replace(" ", "_"))
            session.command_encoding = "utf-8"
            assert session.docmd(f"MAIL FROM:<{sender}> SMTPUTF8")[0] == 250
            assert session.docmd(f"RCPT TO:<{to}>")[0] == 250
            assert (
                session.data(f"Message-ID: <{HOSTILE}>\r\nSubject: {HOSTILE}\r\n\r\n{HOSTILE}\r\n")[0] == 250
            )
        word = {put_off: "waiting", refused: "bounced", taken: "sent"}[to]
        page = shown(relay, rf"outcome \w+\">{word}<", PASSWORD)
    assert HOSTILE not in page
    shown(relay, "later &lt;script&gt;.*</th>", PASSWORD)
    header = f"Authorization: {basic(PASSWORD)}"
    seen = browser.look(relay, "--open", "--header", header, "--width", "360")
    assert seen["width"] == [360, 360]
    named = {name: seen["elements"][name] for name in ("script", "img", "iframe", "form", "input", "object")}
    assert set(named.values()) == {0}
    assert {"onerror", "onmouseover", "style", "src"}.isdisjoint(seen["attributes"])
    text = " ".join(seen["text"].split())
    for said in (f"later {HOSTILE}", f"never {HOSTILE}", f"<{HOSTILE}>"):
        assert said in text
    assert f'"0{local}"@example.org'.replace("\u2028\u202e", "??") in text
    assert "49" not in re.findall(r"\{\{.*?\}\}|49<", page)


def test_the_page_and_the_page_alone_asks_for_the_password(
    locked: tuple[Relay, Path], sink: Sink, browser: Browser
) -> None:
    relay, _ = locked
    status, headers, _ = ask(relay)
    assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="Postern", charset="UTF-8"')
    assert [ask(relay, path)[0] for path in ("/livez", "/readyz", "/healthz", "/metrics")] == [200] * 4
    relay.send(to := someone())
    # With a password the page shows what the log does.
    shown(relay, f"app@example.com.*{to}", PASSWORD)
    assert ask(relay, password=PASSWORD, user="")[0] == 200
    seen = browser.look(relay, "--header", f"Authorization: {basic(PASSWORD)}")
    assert to in seen["text"]
    assert "HEALTH_PAGE_PASSWORD" not in seen["text"]


def test_what_the_log_hides_the_page_hides_in_all_its_parts(start_relay: StartRelay, sink: Sink) -> None:
    relay = start_relay(
        {
            "LOG_ADDRESSES": "hashed",
            "LOG_ADDRESSES_SALT": "0123456789abcdef",
            "HEALTH_PAGE_PASSWORD": PASSWORD,
        }
    )
    to = someone()
    sink.behave(replies={"rcpt": f"450 4.2.1 <{to}>: later"})
    relay.send(to)
    hashed = r"[0-9a-f]{12}@example\.org"
    page = shown(
        relay, rf"recipient put off.*&lt;{hashed}&gt;: later.*class=\"messages\".*{hashed}", PASSWORD
    )
    assert to.partition("@")[0] not in page
    assert "app@" not in page


def test_a_guesser_is_slowed_counted_and_named_in_the_log(locked: tuple[Relay, Path]) -> None:
    relay, _ = locked
    until("nobody waits", lambda: ask(relay, password=PASSWORD)[0] == 200)
    began = time.monotonic()
    statuses: list[int] = []
    while time.monotonic() < began + 2.5:
        statuses.append(ask(relay, password=f"guess {len(statuses)}")[0])
    # Each waits for its turn.
    assert set(statuses) == {401}
    assert len(statuses) <= 12
    line = relay.logged(r"wrong password for the page \(HEALTH_PAGE_PASSWORD\) from [\d.]+ \(")
    assert "guess" not in line
    assert "correct" not in relay.logs()
    counted = re.search(r"postern_page_wrong_passwords_total (\d+)", ask(relay, "/metrics")[2])
    assert counted
    assert int(counted[1]) >= statuses.count(401)
    until("nobody waits", lambda: ask(relay, password=PASSWORD)[0] == 200)


def test_a_password_that_changes_in_its_file_counts_within_seconds(locked: tuple[Relay, Path]) -> None:
    relay, secret = locked
    secret.write_text("another password\n")
    until("the new one counts", lambda: ask(relay, password="another password")[0] == 200, deadline=15)
    until("the old one does not", lambda: ask(relay, password=PASSWORD)[0] == 401)
    assert relay.logged("HEALTH_PAGE_PASSWORD has changed")
    secret.write_text(f"{PASSWORD}\n")
    until("the old one counts again", lambda: ask(relay, password=PASSWORD)[0] == 200, deadline=15)


def test_the_program_that_serves_the_page_cannot_read_the_password(locked: tuple[Relay, Path]) -> None:
    relay, _ = locked
    read = relay.exec("cat", "/run/postern/etc/postern/page_password", user="postern")
    assert (read.status, PASSWORD in read.output) == (1, False)
    found = relay.exec(
        "sh", "-c", "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'"
    )
    assert PASSWORD not in found.output


def test_with_20000_waiting_messages_the_page_is_quick_and_disturbs_no_probe(
    start_relay: StartRelay, sink: Sink
) -> None:
    """The list of what waits is made beside; mail and probes go on meanwhile."""
    relay = start_relay()
    sink.behave(replies={"rcpt": "451 4.7.1 later"})
    relay.send(someone("example.net"))
    relay.logged("status=deferred")
    made = relay.exec("python3", "-c", FULL_QUEUE)
    assert made.status == 0, made.output
    assert quickest(lambda: ask(relay)) < 2
    times: dict[str, list[float]] = {"/": [], "/readyz": [], "/metrics": []}

    def counted() -> str | None:
        for path, taken in times.items():
            began = time.monotonic()
            status, _, page = ask(relay, path)
            assert status == 200
            taken.append(time.monotonic() - began)
            if path == "/" and (
                found := re.search(r"recipient put off.*?\"number\">([\d,]+)<", page, re.DOTALL)
            ):
                return found[1]
        return None

    assert until("it is counted", counted, deadline=60, needs=[relay.container]) == "20,001"
    assert min(times["/"]) < 2
    for path in ("/readyz", "/metrics"):
        assert quickest(lambda path=path: ask(relay, path)) < 0.1  # type: ignore[misc]


def quickest(call: Callable[[], object]) -> float:
    """Of five: the machine has others to serve, too."""
    taken = []
    for _ in range(5):
        began = time.monotonic()
        call()
        taken.append(time.monotonic() - began)
    return min(taken)
