"""Members of an ensemble are heard as documented."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onefold.domain.columns import Bars, Signals
from onefold.domain.errors import ConfigError
from onefold.signals import Columns, Ensemble, Feature, Strategy, strategy

from .markets import market

HELD = 2


class Says(Strategy):
    """Always of the same opinion."""

    side: int
    sure: float = 1.0
    unit: float | None = None

    def extract_features(self) -> dict[str, Feature]:
        """Return nothing."""
        return {}

    def predict_signal(self, x: Columns) -> Signals:
        """Return the opinion for every row."""
        return self.signal(
            np.full(len(x.close), self.side), confidence=self.sure, barrier=self.unit
        )


def _joined(sides: list[int], **parameters: Any) -> tuple[Any, Any]:
    made = Ensemble(members=tuple(Says(side=s) for s in sides), **parameters)
    signals = made.batch(market("random", rows=3))
    return int(signals.side[0]), float(signals.confidence[0])


@pytest.mark.parametrize(
    ("sides", "side", "confidence"),
    [
        ([1, 1, 0], 1, 2 / 3),
        ([1, 1, HELD, HELD], 1, 0.5),
        ([-1, -1, 1], -1, 2 / 3),
        ([1, -1], 0, 0.5),
        ([1, 0], 0, 0.5),
        ([0, 0, 1], 0, 2 / 3),
        ([HELD, HELD], HELD, 0.0),
    ],
)
def test_vote(sides: list[int], side: int, confidence: float) -> None:
    assert _joined(sides) == (side, pytest.approx(confidence))


def test_votes_can_weigh_differently() -> None:
    assert _joined([1, -1, -1], weights=(3, 1, 1)) == (1, pytest.approx(0.6))


@pytest.mark.parametrize(
    ("sides", "threshold", "side", "confidence"),
    [
        ([1, 1, 0, 0], 0.2, 1, 0.5),
        ([1, 0, 0, 0], 0.3, 0, 0.75),
        ([-1, HELD, HELD], 0.0, -1, 1.0),
        ([1, -1], 0.0, 0, 1.0),
        ([HELD], 0.0, HELD, 0.0),
    ],
)
def test_mean(sides: list[int], threshold: float, side: int, confidence: float) -> None:
    joined = _joined(sides, method="mean", threshold=threshold)
    assert joined == (side, pytest.approx(confidence))


def test_the_mean_weighs_by_confidence() -> None:
    made = Ensemble(members=(Says(side=1, sure=0.2), Says(side=-1, sure=0.9)), method="mean")
    signals = made.batch(market("random", rows=2))
    assert (signals.side[0], signals.confidence[0]) == (-1, pytest.approx(0.35))


def test_other_fields_are_those_of_the_first_member_that_gives_them() -> None:
    made = Ensemble(members=(Says(side=1), Says(side=1, unit=2.0), Says(side=1, unit=3.0)))
    signals = made.batch(market("random", rows=2))
    assert signals.barrier[0] == 2.0
    assert np.isnan(signals.edge[0])


def _bars() -> Bars:
    return market("random", rows=200)


def test_an_ensemble_of_one_says_what_its_member_says() -> None:
    bars = _bars()
    one = strategy("ensemble", members=[{"kind": "crossover", "fast": 5, "slow": 20}])
    alone = strategy("crossover", fast=5, slow=20).batch(bars)
    assert one.batch(bars).side.tolist() == alone.side.tolist()
    assert one.batch(bars).unready.tolist() == alone.unready.tolist()


def test_members_may_be_ensembles_and_survive_a_dump() -> None:
    inner = {"kind": "ensemble", "members": [{"kind": "ibs_a"}, {"kind": "momentum"}]}
    made = strategy("ensemble", members=[{"kind": "crossover"}, inner])
    assert made.batch(_bars()).side.shape == (200,)
    assert made.model_dump()["members"][0]["fast"] == 10
    assert made.warm_up == 29


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"members": []}, "at least 1 item"),
        ({"members": [{"kind": "crosover"}]}, r"members\[0\].*did you mean 'crossover'"),
        ({"members": [{"kind": "ibs_a"}, {"kind": "crossover", "fst": 3}]},
         r"members\[1\].*did you mean 'fast'"),
        ({"members": ["ibs_a"]}, "a member is a strategy, or its kind and parameters"),
        ({"members": [{"kind": "ibs_a"}], "weights": [1, 2]}, "1 members need as many weights"),
        ({"members": [{"kind": "ibs_a"}], "threshold": 0.5}, "method mean only"),
    ],
)  # fmt: skip
def test_mistakes_are_explained(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        strategy("ensemble", **parameters)
