"""What all tests share: that one which is tried again is not passed over in silence."""

from __future__ import annotations

import pytest

_FIRST = pytest.StashKey[list[pytest.TestReport]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FIRST] = []
    config.pluginmanager.register(_Tries(config.stash[_FIRST]))


class _Tries:
    def __init__(self, first: list[pytest.TestReport]) -> None:
        self._first = first

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome == "rerun":  # type: ignore[comparison-overlap]  # pytest-rerunfailures' own outcome
            self._first.append(report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Shows why, as of a failure: it is one, if seldom, of the test or of the relay."""
        for report in self._first:
            terminalreporter.section(f"first try of {report.nodeid}", sep="_")
            report.toterminal(terminalreporter._tw)
            for name, text in report.sections:
                terminalreporter.section(name, sep="-")
                terminalreporter.line(text)
