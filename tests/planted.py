"""How bugs are planted: each with the test that has to find it.

A plant is a function that puts a bug into the product with pytest's monkeypatch. `Bugs` collects
the plants of one file, which then calls each test once without its bug, and once with it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from engine import test_live
from engine.live_rig import Rig
from onefold.domain import errors

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]
Judge = Callable[..., None]

FAILURES = (AssertionError, errors.OnefoldError, TimeoutError, pytest.fail.Exception)
"""How a test fails; anything else is a plant that does not work."""
PATIENCE_S = 1.0
"""How long a test waits for what a bug keeps from happening; without the bug it may wait longer."""


class Bugs(dict[Plant, Judge]):
    """Plants, each with the test that finds it."""

    def found_by(self, test: Judge, *values: object, **named: object) -> Callable[[Plant], Plant]:
        """Say which test finds a bug, and with which values where it is a parametrised one."""

        def told(plant: Plant) -> Plant:
            self[plant] = partial(test, *values, **named) if values or named else test
            return plant

        return told


def instead_of(patch: Patch, owner: object, name: str) -> Callable[[Callable[..., Any]], None]:
    """Put a function in another one's place, which it is given as its first argument."""
    kept = getattr(owner, name)

    def put(made: Callable[..., Any]) -> None:
        patch.setattr(owner, name, lambda *values, **named: made(kept, *values, **named))

    return put


def name_of(called: Any) -> str:
    return str(called.func.__name__ if isinstance(called, partial) else called.__name__)


@cache
def warm() -> None:
    """Load and compile everything once, or the first test fails only because that takes long."""
    with TemporaryDirectory() as folder:
        test_live.test_an_order_goes_out_and_its_fill_comes_back(Path(folder))


def judge_by(test: Judge, folder: Path, patch: Patch) -> None:
    """Call a test with the fixtures that it asks for."""
    fixtures = {"tmp_path": folder, "monkeypatch": patch}
    wanted = inspect.signature(test).parameters
    test(**{name: fixture for name, fixture in fixtures.items() if name in wanted})


def finds(test: Judge, bug: Plant, folder: Path, patch: Patch) -> None:
    """Fail unless a test fails with a bug."""
    warm()
    patch.setattr(Rig.until, "__defaults__", (PATIENCE_S,))
    bug(patch)
    with pytest.raises(FAILURES):
        judge_by(test, folder, patch)
