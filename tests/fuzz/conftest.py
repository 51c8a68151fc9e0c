"""How long is fuzzed, and what came of it."""

from __future__ import annotations

import pytest

from tests.fuzz.fuzzing import TALLIES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was tried, in numbers."""
    if TALLIES:
        terminalreporter.section("inputs tried")
        for tally in TALLIES:
            terminalreporter.write_line(str(tally))
