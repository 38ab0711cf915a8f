"""A copy of the fold's memory is a memory of its own."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

from onefold.fold.state import Out, State
from support import FLAT, LONG, bar

from .desks import quiet


def pickled(state: State) -> State:
    copied: State = pickle.loads(pickle.dumps(state))  # noqa: S301 - our own bytes
    return copied


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_a_copy_goes_on_alone_and_as_the_original_would(copied: Callable[[State], State]) -> None:
    one, other = quiet(), quiet()
    one.hold(10)
    other.state = copied(one.state)
    frozen = one.state.snapshot()
    for number, price in enumerate((101.0, 80.0, 99.0), start=1):
        other.tell(bar(number, price))
        other.signal(number, LONG if number % 2 else FLAT)
    assert one.state.snapshot() == frozen, "what the copy folds leaves the original alone"
    for number, price in enumerate((101.0, 80.0, 99.0), start=1):
        one.tell(bar(number, price))
        one.signal(number, LONG if number % 2 else FLAT)
    assert one.state.snapshot() == other.state.snapshot() != frozen


def test_copied_output_is_written_apart() -> None:
    out = Out(8)
    out.root["orders_used"] = 3
    other = copy.deepcopy(out)
    assert other.root["orders_used"] == 3
    for name in ("decisions", "orders", "fills", "trace"):
        assert other.root[name] == getattr(other, name).ctypes.data
        assert other.root[name] != out.root[name]
        assert other.root[f"{name}_rows"] == len(getattr(other, name))
