"""Gates of one's own: one function for columns and rows, and what is not known does not pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from onefold.domain.columns import Bars
from onefold.domain.errors import NotCausal, NotElementwise, SignalError
from onefold.signals import (
    Columns,
    Feature,
    Gate,
    SignalSet,
    check_gate,
    raise_for,
    rows_of,
    std,
    strategy,
    ta,
)

from .markets import MARKETS, market, same_bits


class Calm(Gate):
    """How much the close moves, in units of its average."""

    bars: int = 8

    def extract_features(self) -> dict[str, Feature]:
        """Return average and spread."""
        return {"mean": ta.sma(self.bars), "spread": std(self.bars)}

    def measure(self, x: Columns) -> Any:
        """Return the spread as a share."""
        return x.spread / x.mean


class Given(Calm):
    """Measures what the given function says."""

    def measure(self, x: Columns) -> Any:
        """Return what was given for x."""
        return _given(x)


_given: Any = None


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a gate that measures what the given function says."""

    def make(function: Any) -> Given:
        monkeypatch.setattr(f"{__name__}._given", function)
        return Given(at_most=1.0)

    return make


def streamed(gate: Gate, bars: Bars) -> list[float]:
    stream = gate.stream()
    return [stream.update(*row) for row in rows_of(bars)]


@pytest.mark.parametrize("kind", MARKETS)
def test_stream_equals_batch(kind: str) -> None:
    bars = market(kind)
    assert same_bits(streamed(Calm(at_most=1.0), bars), Calm(at_most=1.0).batch(bars))


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (lambda _: 0.5, 0.5),
        (lambda x: x.close > 0, 1.0),
        (lambda x: (x.ts % 2).astype(int), 0.0),
        (lambda x: x.close / 0.0, np.nan),
        (lambda x: np.full(len(x.close), np.nan), np.nan),
    ],
)
def test_a_measure_may_be_any_kind_of_number(say: Any, function: Any, value: float) -> None:
    gate, bars = say(function), market("random", rows=40)
    assert same_bits(gate.batch(bars)[10:], np.full(30, value))
    assert same_bits(streamed(gate, bars), gate.batch(bars))


def test_what_is_not_known_does_not_pass(say: Any) -> None:
    """A feature in warm-up makes the value unknown, also where the function would not see it."""
    gate, bars = say(lambda _: 0.5), market("random", rows=40)
    passes = gate.passes(gate.batch(bars))
    assert passes.tolist() == [False] * 7 + [True] * 33
    for one in (Calm(at_most=1e9), Calm(at_least=-1e9)):
        assert not one.passes(np.array([np.nan]))[0]
        assert not one.judged("calm", np.nan).passes


@pytest.mark.parametrize(("threshold", "passes"), [("at_most", [1, 1, 0]), ("at_least", [0, 1, 1])])
def test_the_threshold_itself_passes(threshold: str, passes: list[int]) -> None:
    gate = Calm(**{threshold: 2.0})
    values = np.array([1.0, 2.0, 3.0])
    assert gate.passes(values).tolist() == [bool(p) for p in passes]
    judged = [gate.judged("calm", value) for value in values.tolist()]
    assert [one.passes for one in judged] == gate.passes(values).tolist()
    assert {(one.name, one.threshold, one.compares) for one in judged} == {
        ("calm", 2.0, threshold.replace("_", " "))
    }


@pytest.mark.parametrize("wrong", [{}, {"at_most": 1.0, "at_least": 0.0}, {"at_most": np.nan}])
def test_a_gate_has_one_threshold(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Calm(**wrong)


def test_a_measure_of_another_length_is_refused_in_both_forms(say: Any) -> None:
    gate, bars = say(lambda _: np.zeros(7)), market("random", rows=20)
    with pytest.raises(SignalError, match="given: measure gave 7 values for 20 rows"):
        gate.batch(bars)
    with pytest.raises(SignalError, match="given: one row of x gives one value"):
        streamed(gate, bars)


def test_the_refusals_of_a_set_are_counted_alike_in_both_forms() -> None:
    bars = market("holes")
    gates: list[dict[str, Gate]] = [
        {"calm": Calm(at_most=0.02), "moves": Calm(bars=5, at_least=0.01)},
        {},
    ]
    made = SignalSet([strategy("crossover"), strategy("ibs_a")], gates)
    judged, stream = made.judged(bars), made.stream()
    counts = []
    for row in rows_of(bars):
        stream.update(*row)
        counts.append([sum(not m.passes for m in stream.measured(n)) for n in range(2)])
    refused = [np.broadcast_to(refusals, bars.rows) for _, refusals in judged]
    assert np.array(counts).T.tolist() == [one.tolist() for one in refused]
    assert set(refused[0].tolist()) == {0, 1, 2}
    assert set(refused[1].tolist()) == {0}
    for (signals, _), alone in zip(judged, made.batch(bars), strict=True):
        assert same_bits(signals.side, alone.side)


class Next(Feature):
    """The close of the next bar."""

    warm_up = 0

    def compute(self, bars: Bars) -> Any:
        """Look ahead."""
        return np.append(bars.close[1:], np.nan)


class Sees(Calm):
    """Asks for the future."""

    def extract_features(self) -> dict[str, Feature]:
        """Return it."""
        return {"mean": Next(), "spread": std(5)}


def test_an_honest_gate_is_proved_and_cheats_are_named(say: Any) -> None:
    bars = market("random", rows=300)
    assert check_gate(Calm(at_most=1.0), bars) == []
    with pytest.raises(NotCausal):
        raise_for(check_gate(Sees(at_most=1.0), bars))
    for cheat in (lambda x: x.close / x.close.max(), lambda x: np.arange(len(x.close)) * 1.0):
        with pytest.raises(NotElementwise, match=r"given, row .*: measure of a row depends"):
            raise_for(check_gate(say(cheat), bars))
    (finding,) = check_gate(say(lambda x: x.meen), bars)
    assert (finding.rule, "did you mean 'mean'" in finding.message) == ("error", True)
