"""Real market data and recorded messages beside the project, for tests that can do without."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_FOLDER = Path(os.environ.get("ONEFOLD_SHARED_DATA", _ROOT / ".." / "shared" / "data"))
_PAYLOADS = Path(os.environ.get("ONEFOLD_SHARED_PAYLOADS", _ROOT / ".." / "shared" / "payloads"))


def shared(name: str) -> Path:
    """Return a file of the shared data, or skip the test."""
    path = _FOLDER / name
    if not path.exists():
        pytest.skip(f"{name} is not there (set ONEFOLD_SHARED_DATA to the shared data)")
    return path


def recorded(name: str) -> Path:
    """Return a file of the recorded messages of venues, or skip the test."""
    path = _PAYLOADS / name
    if not path.exists():
        pytest.skip(f"needs {name} (set ONEFOLD_SHARED_PAYLOADS to the recorded messages)")
    return path
