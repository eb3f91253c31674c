"""`postern reload` takes over changed files at once, and says what came of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.image.conftest import StartRelay
from tests.image.relay import Relay, letter, someone
from tests.image.sink import Sink

PASSWORD = "a-password-that-is-nowhere-told"
GOOD = "elsewhere.example smtp:[sink]:25\n"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("config")
    (made / "transport").write_text(GOOD)
    return made


@pytest.fixture(scope="module")
def _reloaded(start_shared_relay: StartRelay, config: Path) -> Relay:
    return start_shared_relay(volumes={str(config): {"bind": "/config", "mode": "ro"}})


@pytest.fixture
def reloaded(_reloaded: Relay, sink: Sink) -> Relay:
    return _reloaded


def test_that_nothing_has_changed_is_said(reloaded: Relay) -> None:
    done = reloaded.exec("postern", "reload")
    assert (done.status, done.output) == (0, "nothing has changed\n")


def test_a_change_is_in_force_when_the_verb_ends(reloaded: Relay, config: Path) -> None:
    with reloaded.smtp() as session:
        assert session.mail("app@example.com")[0] == 250
        (config / "transport").write_text(f"{GOOD}shut.example error:5.1.2 closed\n")
        done = reloaded.exec("postern", "reload")
        assert (done.status, done.output) == (0, "/config/transport has changed: 2 entries (1 added)\n")
        # In the session that was open, too.
        assert session.rcpt(someone("shut.example"))[0] == 550
        assert session.rcpt(someone())[0] == 250


def test_a_mistake_is_told_by_its_line_without_its_value_and_changes_nothing(
    reloaded: Relay, config: Path, sink: Sink
) -> None:
    (config / "transport").write_text(f"{GOOD}{PASSWORD}\n")
    done = reloaded.exec("postern", "reload")
    assert done.status == 78
    assert done.lines[0].startswith("/config/transport:2: must be")
    assert done.lines[-1] == "the change has no effect; what was in force before it stays"
    assert PASSWORD not in done.output
    with reloaded.smtp() as session:
        session.send_message(letter(to := someone("elsewhere.example")), "app@example.com", [to])
    assert sink.mail(to)
    (config / "transport").write_text(GOOD)
    assert reloaded.exec("postern", "reload").status == 0
    assert "warning" not in reloaded.readiness()


def test_who_is_not_root_cannot_ask_and_where_nothing_runs_nobody_answers(
    reloaded: Relay, shell: Relay
) -> None:
    for done in (reloaded.exec("postern", "reload", user="65534"), shell.exec("postern", "reload")):
        assert done.status == 1
        assert "the keeper cannot be asked" in done.output
