"""What every strategy is held to: one function for columns and rows, and honest unknowns."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import Field, ValidationError

from onefold.domain.columns import Bars, Signals
from onefold.domain.errors import SignalError
from onefold.signals import (
    FLAT,
    HOLD,
    LONG,
    SHORT,
    Columns,
    Feature,
    SignalRow,
    SignalSet,
    Strategy,
    choose,
    col,
    rows_of,
    strategy,
    ta,
)

from .markets import market, same_bits


class Plain(Strategy):
    """A rule whose fields come from the outside."""

    bars: int = Field(default=5, ge=2)

    def extract_features(self) -> dict[str, Feature]:
        """Return an average and the volume."""
        return {"average": ta.sma(self.bars), "flow": ta.sma(2, of="volume")}

    def predict_signal(self, x: Columns) -> Signals:
        """Return every field."""
        return self.signal(
            np.where(x.close > x.average, LONG, FLAT),
            confidence=np.minimum(np.abs(x.flow) / 1_000.0, 1.0),
            score=1.0 / (x.close - x.open),
            edge=0.01,
            volatility=x["average"],
            trend=np.float64(3.0),
            barrier=x.high - x.low,
            price=x.close,
        )


def _streamed(made: Strategy, bars: Bars) -> list[SignalRow]:
    stream = made.stream()
    return [stream.update(*row) for row in rows_of(bars)]


@pytest.mark.parametrize("kind", ["random", "holes", "flat"])
def test_stream_equals_batch_in_every_field(kind: str) -> None:
    bars = market(kind)
    batch, rows = Plain().batch(bars), _streamed(Plain(), bars)
    for i, field in enumerate(Signals._fields):
        whole = np.broadcast_to(batch[i], bars.rows)
        assert same_bits([row[i] for row in rows], whole), field
    assert SignalRow._fields == Signals._fields


def test_a_row_with_unknown_features_holds_and_says_how_many() -> None:
    bars = market("holes")
    signals = Plain().batch(bars)
    values = Plain().feature_set.batch(bars)
    missing = np.isnan(np.array(list(values.values()))).sum(axis=0)
    assert set(missing) == {0, 1, 2}
    assert signals.unready.tolist() == missing.tolist()
    assert (signals.side[missing > 0] == HOLD).all()
    assert set(signals.side[missing == 0]) == {LONG, FLAT}


def test_what_is_not_finite_is_unknown_and_unknown_confidence_is_none() -> None:
    bars = market("flat")
    signals = Plain().batch(bars)
    assert not np.isinf(signals.score).any()
    assert np.isnan(signals.score[bars.close == bars.open]).all()
    assert signals.confidence[0] == 0.0
    assert not np.isnan(signals.confidence).any()


def test_fields_that_are_not_given_cost_nothing() -> None:
    signals = strategy("crossover").batch(market("random"))
    assert [len(column) for column in signals] == [420, 1, 1, 1, 1, 1, 1, 1, 420]
    assert signals.confidence[0] == 1.0
    assert np.isnan([column[0] for column in signals[2:8]]).all()


class Given(Strategy):
    """Says whatever it is told to."""

    given: ClassVar[Any] = None

    def extract_features(self) -> dict[str, Feature]:
        """Return nothing."""
        return {}

    def predict_signal(self, x: Columns) -> Signals:
        """Return what was given for x."""
        made: Signals = Given.given(self, x)
        return made


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a strategy that answers with the given function."""

    def make(function: Any) -> Given:
        monkeypatch.setattr(Given, "given", staticmethod(function))
        return Given()

    return make


@pytest.mark.parametrize(
    ("function", "sides"),
    [
        (lambda s, x: s.signal(x.close > x.open), {0, 1}),
        (lambda s, x: s.signal(np.sign(x.close - x.open)), {-1, 0, 1}),
        (lambda s, x: s.signal(np.where(x.close > x.open, 1, -1)), {-1, 1}),
        (lambda s, x: s.signal(np.where(x.close > x.open, 1.0, np.nan)), {1, 2}),
        (lambda s, _: s.signal(SHORT), {-1}),
        (lambda s, _: s.signal(2), {2}),
        (lambda s, _: s.signal(side=True), {1}),
    ],
)
def test_sides_may_come_as_any_kind_of_number(say: Any, function: Any, sides: set[int]) -> None:
    made, bars = say(function), market("random")
    batch = made.batch(bars)
    assert batch.side.dtype == np.int8
    assert set(batch.side.tolist()) == sides
    assert [row.side for row in _streamed(made, bars)] == batch.side.tolist()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda s, _: s.signal(3), "a side is -1, 0, 1 or 2"),
        (lambda s, _: s.signal(0.5), r"not 0\.5"),
        (lambda s, _: s.signal(257), "not 257"),
        (lambda s, _: s.signal("long"), "not 'long'"),
        (lambda s, _: s.signal(np.int8(7)), "given: a side is LONG, SHORT, FLAT or HOLD"),
        (lambda _, x: x.close, "must return self.signal"),
        (lambda s, x: s.signal(x.clsoe), "no column 'clsoe'.*did you mean 'close'"),
        (lambda s, _: s.signal(np.zeros(7, np.int8)), "given: "),
        (lambda s, _: s.signal(1, edge=np.zeros(7)), "given: "),
    ],
)
def test_what_is_no_signal_is_explained_in_both_forms(
    say: Any, function: Any, message: str
) -> None:
    made, bars = say(function), market("random", rows=20)
    with pytest.raises(SignalError, match=message):
        made.batch(bars)
    with pytest.raises(SignalError, match=message):
        _streamed(made, bars)


def test_a_strategy_cannot_write_into_what_it_sees(say: Any) -> None:
    def cheat(s: Strategy, x: Columns) -> Signals:
        x.close[:] = 1.0
        return s.signal(1)

    made = say(cheat)
    with pytest.raises(ValueError, match="read-only"):
        made.batch(market("random"))
    with pytest.raises(ValueError, match="read-only"):
        _streamed(made, market("random"))


@pytest.mark.filterwarnings("error")
def test_division_by_zero_neither_warns_nor_raises(say: Any) -> None:
    made = say(lambda s, x: s.signal(1, score=x.close / (x.close - x.close)))
    assert np.isnan(made.batch(market("random")).score).all()
    assert np.isnan(_streamed(made, market("random"))[0].score)
    assert np.geterr()["divide"] == "warn"


def test_parameters_are_validated_and_fixed() -> None:
    with pytest.raises(ValidationError):
        Plain(bars=1)
    with pytest.raises(ValidationError):
        Plain(brs=3)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        Plain().bars = 3
    assert Plain(bars=3) == Plain(bars=3)


def test_kind_is_the_class_name_in_snake_case() -> None:
    class RsiDip2(Plain):
        pass

    assert (Plain.kind, RsiDip2.kind) == ("plain", "rsi_dip2")


def test_features_are_checked_when_first_needed() -> None:
    class Number(Plain):
        def extract_features(self) -> dict[str, Feature]:
            return {"five": 5}  # type: ignore[dict-item]

    class Hides(Plain):
        def extract_features(self) -> dict[str, Feature]:
            return {"close": col.open}

    with pytest.raises(SignalError, match="'five' is no feature"):
        Number().batch(market("random"))
    with pytest.raises(SignalError, match="'close' is named as a column"):
        Hides().stream()


def test_strategies_share_features_and_keep_their_signals() -> None:
    bars = market("random")
    made = [strategy("crossover"), strategy("crossover", short=True), Plain(bars=10), Plain()]
    together = SignalSet(made)
    assert len(together.features.names) == 4
    batch, stream = together.batch(bars), together.stream()
    rows = [stream.update(*row) for row in rows_of(bars)]
    for k, each in enumerate(made):
        for a, b in zip(batch[k], each.batch(bars), strict=True):
            assert same_bits(a, b)
        for i in range(len(Signals._fields)):
            whole = np.broadcast_to(batch[k][i], bars.rows)
            assert same_bits([row[k][i] for row in rows], whole)
    assert stream.features(0)["fast"] == ta.sma(10).batch(bars)[-1]


def test_a_stream_shows_the_features_behind_its_last_signal() -> None:
    bars = market("random")
    stream = Plain().stream()
    assert np.isnan(list(stream.features().values())).all()
    for row in rows_of(bars):
        stream.update(*row)
    assert stream.features() == {
        "average": ta.sma(5).batch(bars)[-1],
        "flow": ta.sma(2, of="volume").batch(bars)[-1],
    }


def test_no_bars_give_no_signals() -> None:
    assert len(strategy("crossover").batch(market("random", rows=0)).side) == 0
    assert strategy("crossover").batch(market("random", rows=5)).unready.tolist() == [2] * 5


def test_choose_takes_the_first_that_is_true() -> None:
    first, second = np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool)
    assert choose((first, LONG), (second, SHORT)).tolist() == [1, 1, -1, 2]
    assert choose((first, LONG), otherwise=FLAT).tolist() == [1, 1, 0, 0]
