"""Which functions of the pages' JavaScript the tests have run, of all browsers and all processes of pytest together."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest

STATIC = Path(__file__).resolve().parent.parent.parent / "src" / "pages" / "static"
PROPERTY = "javascript"
"""Of a report: the name of the property in which a test tells what it ran."""


class Coverage:
    """Functions by file below src/pages/static/: `{"live/page.js": {"12:3 draw": True}}`, whether each has run."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bool]] = {}

    def add(self, scripts: list[dict[str, Any]]) -> None:
        """Take what V8 counted."""
        for script in scripts:
            match = re.search(r"/pages/([\w/.-]+\.js)$", script["url"])
            if match and (STATIC / match[1]).is_file():
                self.merge({match[1]: _named(match[1], script["functions"])})

    def merge(self, files: dict[str, dict[str, bool]]) -> None:
        """Take what another one has found."""
        for file, functions in files.items():
            mine = self.files.setdefault(file, {})
            for name, ran in functions.items():
                mine[name] = mine.get(name, False) or ran

    def missing(self) -> list[str]:
        """What no test ran, as `file:line:column name`; a file that no page loaded as a whole."""
        found = []
        for path in sorted(STATIC.rglob("*.js")):
            file = path.relative_to(STATIC).as_posix()
            functions = self.files.get(file, {"1:1 the whole file": False})
            found += [f"{file}:{name}" for name, ran in functions.items() if not ran]
        return found


def _named(file: str, functions: list[dict[str, Any]]) -> dict[str, bool]:
    found = {}
    for each in functions:
        whole = each["ranges"][0]
        before = _text(STATIC / file)[: whole["startOffset"]]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        found[f"{line}:{column} {each['functionName'] or 'a function without a name'}"] = whole["count"] > 0
    return found


@functools.cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


class EveryFunction:
    """The plug-in of pytest: a run of all tests of tests/pages fails when there is a function that none of them ran."""

    def __init__(self) -> None:
        self._coverage = Coverage()
        self._judges = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what a test has run; where one fails, nothing is to be said of all."""
        if report.failed:
            self._judges = False
        if report.when == "teardown":
            for name, value in report.user_properties:
                if name == PROPERTY:
                    self._coverage.merge(value)  # type: ignore[arg-type]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        option = session.config.option
        pages = Path(__file__).resolve().parent
        all_of_them = {Path(each).resolve() for each in session.config.args} & {pages, pages.parent}
        chosen = option.keyword or option.markexpr != "not long" or not all_of_them
        self._judges = self._judges and not chosen and bool(self._coverage.files) and exitstatus == 0
        if self._judges and self._coverage.missing():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name the functions that no test ran."""
        missing = self._coverage.missing()
        if self._judges and missing:
            terminalreporter.section("JavaScript that no test in tests/pages ran")
            for each in missing:
                terminalreporter.write_line(each)
