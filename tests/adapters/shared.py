"""The real market data beside the project, for tests that can do without it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_FOLDER = Path(os.environ.get("ONEFOLD_SHARED_DATA", _ROOT / ".." / "shared" / "data"))


def shared(name: str) -> Path:
    """Return a file of the shared data, or skip the test."""
    path = _FOLDER / name
    if not path.exists():
        pytest.skip(f"{name} is not there (set ONEFOLD_SHARED_DATA to the shared data)")
    return path
