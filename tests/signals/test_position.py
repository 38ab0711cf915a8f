"""Strategies that need their own position: told it row by row, proved with random ones."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from onefold.domain.columns import Signals
from onefold.domain.errors import ConfigError, NotElementwise, SignalError
from onefold.signals import (
    FLAT,
    HOLD,
    Columns,
    Feature,
    Held,
    Strategy,
    check_strategy,
    col,
    raise_for,
    rows_of,
    strategy,
    ta,
)
from onefold.signals.check import some_held

from .markets import market

BARS = market("random", rows=300)


class Leaves(Strategy):
    """Leave at a loss after some bars; a flat position enters above an average."""

    needs_position = True
    bars: int = 5

    def extract_features(self) -> dict[str, Feature]:
        """Return an average."""
        return {"mean": ta.sma(self.bars)}

    def predict_signal(self, x: Columns) -> Signals:
        """Return the rule, and as score what it saw."""
        loses = (x.close - x.entry_price) * x.position < 0
        leave = loses & (x.bars_held >= self.bars)
        return self.signal(
            np.where(leave, FLAT, np.where(x.position == 0, x.close > x.mean, HOLD)),
            score=x.position + x.bars_held,
        )


def test_rows_are_told_what_is_held() -> None:
    held = some_held(Leaves(), BARS)
    assert held is not None
    assert set(held.position.tolist()) == set(range(-4, 5))
    assert np.array_equal(np.isnan(held.entry_price), held.position == 0)
    batch, stream = Leaves().batch(BARS, held=held), Leaves().stream()
    for n, row in enumerate(rows_of(BARS)):
        own = Held(*(float(column[n]) for column in held))
        signal = stream.update(*row, held=own)
        assert (signal.side, signal.score) == (batch.side[n], batch.score[n])
        assert signal.unready == (n < 4)  # an entry price of nothing is no feature that warms up
        features = stream.features()
        assert (features["position"], features["bars_held"]) == (own.position, own.bars_held)
    assert set(batch.side.tolist()) == {0, 1, 2}


def test_without_a_run_nobody_knows_what_it_holds() -> None:
    with pytest.raises(SignalError, match=r"leaves: needs its own position.*only a run knows"):
        Leaves().batch(BARS)
    stream = Leaves().stream()
    with pytest.raises(SignalError, match="a strategy needs its own position"):
        stream.update(*next(iter(rows_of(BARS))))


def test_only_who_declares_it_sees_it() -> None:
    class Undeclared(Leaves):
        needs_position: ClassVar[bool] = False

    with pytest.raises(SignalError, match="'entry_price': declare needs_position = True"):
        Undeclared().batch(BARS)


def test_its_columns_are_no_names_for_features() -> None:
    class Hides(Leaves):
        def extract_features(self) -> dict[str, Feature]:
            return {"position": col.close, "mean": ta.sma(3)}

    with pytest.raises(SignalError, match="feature 'position' is named as what it holds"):
        Hides().features  # noqa: B018


def test_a_member_of_an_ensemble_has_no_position() -> None:
    with pytest.raises(ConfigError, match="leaves needs its own position, and a member of an ens"):
        strategy("ensemble", members=[Leaves()])


def test_it_is_proved_with_random_positions() -> None:
    assert check_strategy(Leaves(), BARS) == []

    class Cheat(Leaves):
        def predict_signal(self, x: Columns) -> Any:
            return self.signal(x.position == x.position.max())

    with pytest.raises(NotElementwise, match="cheat, row"):
        raise_for(check_strategy(Cheat(), BARS))
