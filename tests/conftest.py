"""What holds for all tests: reproducible examples, and no silent skips where all must run.

On a developer's machine a test may skip because something that it needs is not there. In CI
everything is there, so a skip would be a check that nobody makes: it fails instead.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

# No deadlines: the first call of a compiled function includes its compilation.
hypothesis.settings.register_profile("developer", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if IN_CI else "developer")


SLOW_FIRST = (
    "api/test_dashboard.py", "app/test_live_process.py", "ops/database/test_projection.py",
    "api/test_serve.py", "app/test_sweep_command.py", "app/test_control_commands.py",
    "app/test_train_command.py", "app/test_runs.py", "app/test_deploy.py",
    "engine/test_live_simulation.py", "app/test_models_command.py", "ops/test_health.py",
    "engine/test_kill.py", "engine/test_parity.py", "learn/test_mlfinpy.py",
    "adapters/test_model_store.py", "ops/test_validator.py", "ops/database/test_follow.py",
)  # fmt: skip
"""Files that take longest, measured: begun last, one worker would be busy while the others wait."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest; the others stay as they are."""
    here = Path(__file__).parent
    order = {here / name: place for place, name in enumerate(SLOW_FIRST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


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
