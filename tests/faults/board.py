"""What `make faults` prints: a line for each row, with its figures and whether the promise was kept."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest


@dataclass
class Row:
    """One promise, kept when all tests of its name passed."""

    promise: str
    passed: int = 0
    broken: int = 0
    skipped: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        if self.broken:
            return "broken"
        return "kept" if self.passed else "not tried: " + "; ".join(self.skipped)


class Board:
    """The plug-in of pytest: tests marked `fault(name, promise)` are gathered by name."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self._row_of: dict[str, str] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Find the rows, in the order of the tests."""
        for item in items:
            if mark := item.get_closest_marker("fault"):
                name, promise = mark.args
                self.rows.setdefault(name, Row(promise))
                self._row_of[item.nodeid] = name

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test, and a set-up or an end of one that failed."""
        name = self._row_of.get(report.nodeid)
        if name is None:
            return
        row = self.rows[name]
        if report.failed:
            row.broken += 1
        elif report.skipped:
            row.skipped.append(str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr))
        elif report.when == "call":
            row.passed += 1
        if report.when == "call":
            row.figures += [str(value) for what, value in report.user_properties if what == "figure"]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the rows."""
        terminalreporter.section("faults")
        for name, row in self.rows.items():
            if row.passed or row.broken or row.skipped:
                terminalreporter.line(f"{row.verdict}: {name} - {'; '.join(row.figures) or row.promise}")
