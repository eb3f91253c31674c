"""However many ask, Postfix is asked once, and what hangs holds nothing up."""

from __future__ import annotations

import threading

import pytest

from entrypoint.health.checks import Check
from entrypoint.health.shared import Shared, SharedText, at_once


def test_what_is_measured_is_measured_at_once_and_comes_in_its_order() -> None:
    """Each can only end when the other has begun."""
    begun = [threading.Event(), threading.Event()]

    def first() -> Check:
        begun[0].set()
        return Check("first", "" if begun[1].wait(5) else "was alone")

    def second() -> Check:
        begun[1].set()
        return Check("second", "" if begun[0].wait(5) else "was alone")

    found = at_once({"first": first, "second": second})
    assert [str(check) for check in found] == ["ok first", "ok second"]
    assert at_once({}) == []


def broken() -> Check:
    raise ValueError("no\nnumber")


@pytest.mark.parametrize("order", [["listener 25", "listener 587"], ["listener 587", "listener 25"]])
def test_a_check_that_has_a_mistake_has_failed_and_says_so(
    order: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the relay would be ready for want of an answer."""
    monkeypatch.setattr("entrypoint.health.mistakes._Told.until", 0.0)
    measures = {"listener 25": lambda: Check("listener 25"), "listener 587": broken}
    found = {check.name: check for check in at_once({name: measures[name] for name in order})}
    assert list(found) == order
    assert found["listener 25"].ok
    assert str(found["listener 587"]).startswith(
        "failed listener 587: a mistake in Postern: ValueError: no?number ("
    )
    told = capfd.readouterr()
    assert told.err == "", "a traceback would be no line of the log"
    [line] = told.out.splitlines()
    assert "postern/health" in line


def test_where_no_thread_can_be_started_everything_is_measured_nevertheless(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("entrypoint.health.shared.start_new_thread", fail)
    found = at_once({name: lambda name=name: Check(name) for name in "abc"})  # type: ignore[misc]
    assert [str(check) for check in found] == ["ok a", "ok b", "ok c"]


def test_many_probers_at_once_make_one_measurement() -> None:
    count = 0
    release = threading.Event()

    def measure() -> list[Check]:
        nonlocal count
        release.wait(5)
        count += 1
        return [Check("x")]

    shared = Shared(measure)
    probers = [threading.Thread(target=shared.checks) for _ in range(20)]
    for prober in probers:
        prober.start()
    release.set()
    for prober in probers:
        prober.join()
    assert count == 1


def test_a_later_probe_measures_again() -> None:
    results = iter([[Check("first")], [Check("second")]])
    shared = Shared(lambda: next(results), seconds=0.0)
    assert shared.checks()[0].name == "first"
    assert shared.checks()[0].name == "second"


def test_a_text_is_made_once_for_all_who_ask_within_its_time() -> None:
    texts = iter("abc")
    lasting, brief = (SharedText(lambda: (next(texts), "text/plain"), seconds) for seconds in (60.0, -1.0))
    assert [lasting.text()[0] for _ in range(3)] == ["a"] * 3
    assert [brief.text()[0] for _ in range(2)] == ["b", "c"]
