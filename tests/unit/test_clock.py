"""Time is measured on the monotonic clock: the wall clock may jump, and is not read for any decision."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WATCHER = ROOT / "secondlook" / "wall_clock.py"
"""It sees whether the clock is set back, for Serve's sake."""
JOURNAL = ROOT / "cache" / "journal.py"
"""A record's position is near the time when it was written, and after the one before it whatever the clock says."""
DATED = {
    ROOT / "router" / "auditor.py",
    ROOT / "router" / "routes" / "score.py",
    ROOT / "secondlook" / "deployment.py",
    ROOT / "secondlook" / "commands" / "calibrate.py",
}
"""They write down when something was: an audit, an answer, a policy, a certificate. They decide nothing by it."""
EXPIRING = {ROOT / "router" / "access.py", ROOT / "secondlook" / "commands" / "keys.py"}
"""An API key ends on a date, which no other clock knows; quotas go by the monotonic one."""
WALL_CLOCK = {
    "time": {"time", "time_ns", "ctime", "gmtime", "localtime", "strftime"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}


def wall_clock_reads(source: str) -> list[str]:
    """Where a module names a function that reads the wall clock."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if node.attr in WALL_CLOCK.get(owner, ()):
                found.append(f"{owner}.{node.attr} in line {node.lineno}")
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            found += [f"time.{one.name} in line {node.lineno}" for one in node.names if one.name in WALL_CLOCK["time"]]
    return found


@pytest.mark.parametrize("package", ["cache", "tiers", "router", "secondlook"])
def test_package_reads_no_wall_clock(package: str) -> None:
    """Deadlines, time-outs and lifetimes are all of the monotonic clock."""
    modules = set((ROOT / package).rglob("*.py")) - {WATCHER, JOURNAL} - DATED - EXPIRING

    reads = {str(module): found for module in modules if (found := wall_clock_reads(module.read_text("utf-8")))}

    assert modules
    assert reads == {}


@pytest.mark.parametrize(
    "source", ["import time\ntime.time()", "from time import time", "import datetime\ndatetime.datetime.now()"]
)
def test_reader_of_the_wall_clock_is_found(source: str) -> None:
    """The check can fail."""
    assert len(wall_clock_reads(source)) == 1
