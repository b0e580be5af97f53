"""One hunter per test process, and a table of what was caught."""

from __future__ import annotations

from collections import Counter

import pytest

from .hunt import Hunter


@pytest.fixture(scope="session")
def hunter():
    hunter = Hunter()
    yield hunter
    hunter.close()


def pytest_terminal_summary(terminalreporter):
    """Print blocks, bugs planted and bugs caught."""
    planted, caught = Counter(), Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            block = dict(report.user_properties).get("block")
            if block and report.when == "call":
                planted[block] += 1
                caught[block] += outcome == "passed"
    if planted:
        terminalreporter.section("planted bugs")
        terminalreporter.write_line(f"{'block':28}{'bugs':>6}{'caught':>8}")
        for block in sorted(planted):
            terminalreporter.write_line(f"{block:28}{planted[block]:6}{caught[block]:8}")
        total = sum(planted.values()), sum(caught.values())
        terminalreporter.write_line(f"{'all':28}{total[0]:6}{total[1]:8}")
