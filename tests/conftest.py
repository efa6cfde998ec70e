"""With `CI=true` nothing may be skipped: a skip there is a failure."""

import os
from collections.abc import Generator

import pytest

IS_CI = os.environ.get("CI") == "true"
WITH_SERVICES = frozenset({"with_ray", "faults", "browser"})
LOW_PRIORITY = 15


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two lanes for two workers: running services, which mostly wait, and everything else."""
    for item in items:
        has_services = not WITH_SERVICES.isdisjoint(item.path.parts)
        item.add_marker(pytest.mark.xdist_group("services" if has_services else "quick"))


@pytest.fixture(scope="module", autouse=True)
def _step_aside(request: pytest.FixtureRequest) -> None:
    """What computes beside running services takes only the time that they leave: some of them are timed."""
    if "PYTEST_XDIST_WORKER" in os.environ and WITH_SERVICES.isdisjoint(request.path.parts):
        os.nice(max(0, LOW_PRIORITY - os.nice(0)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a test's skip into a failure."""
    report = yield
    if IS_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a module's skip into a failure."""
    report = yield
    if IS_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report
