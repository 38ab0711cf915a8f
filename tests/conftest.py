"""What holds for all tests: reproducible examples, and no silent skips where all must run.

On a developer's machine a test may skip because something that it needs is not there. In CI
everything is there, so a skip would be a check that nobody makes: it fails instead.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import hypothesis
import pytest

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

# No deadlines: the first call of a compiled function includes its compilation.
hypothesis.settings.register_profile("developer", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if IN_CI else "developer")


def skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str | None:
    """Return why a test was skipped, or None when it was not or is expected to fail."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return None
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def fail_when_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure that says what to do."""
    reason = skip_reason(report)
    if reason is not None:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where every test must run: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let no test skip in CI."""
    report = yield
    if IN_CI:
        fail_when_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Let no module skip in CI."""
    report = yield
    if IN_CI:
        fail_when_skipped(report)
    return report
