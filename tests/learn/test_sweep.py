"""M8, N7: searches that go the same way everywhere, and winners that are judged by their number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from onefold.domain.errors import ConfigError
from onefold.learn.config import SweepConfig
from onefold.learn.heatmap import heatmap_html
from onefold.learn.sweep import DEFLATED_LEAST, Outcome, Params, Search, judged
from onefold.views.statistics import probabilistic_sharpe


def config_of(**facts: Any) -> SweepConfig:
    given: dict[str, Any] = {"strategy": "s0", "params": {"params.fast": [5, 10]}}
    return SweepConfig.model_validate({**given, **facts})


def trials(search: Search, value: Any) -> list[tuple[int, Params]]:
    """Go through a search whose outcomes follow from the parameters."""
    found = []
    for batch in search.batches():
        found += batch
        search.tell([(n, outcome(value(p))) for n, p in reversed(batch)])
    return found


def outcome(value: float, days: int = 300, seed: int = 0) -> Outcome:
    returns = np.random.default_rng(seed).normal(value / 100, 0.01, days).astype(np.float32)
    return Outcome({"sharpe": value, "total_return": value, "calmar": None}, returns)


def test_a_grid_has_all_combinations() -> None:
    space = {"a": [1, 2], "b": {"low": 0.5, "high": 1.0, "step": 0.25}, "c": ["sma", "ema"]}
    search = Search(config_of(params=space))
    found = trials(search, lambda _: 0.0)
    assert search.total == len(found) == 12
    assert found[0] == (0, {"a": 1, "b": 0.5, "c": "sma"})
    assert {p["b"] for _, p in found} == {0.5, 0.75, 1.0}
    with pytest.raises(ValidationError, match=r"params\.a: a grid needs a step"):
        config_of(params={"b": [1, 2], "a": {"low": 0, "high": 1}})
    wide = {"low": 0, "high": 1_000, "step": 1}
    with pytest.raises(ConfigError, match="1,002,001 points"):
        Search(config_of(params={"a": wide, "b": wide}))


def test_a_random_search_keeps_to_its_ranges_and_its_seed() -> None:
    space = {
        "n": {"low": 2, "high": 9},
        "x": {"low": 0.1, "high": 0.2},
        "l": {"low": 1e-3, "high": 1.0, "log": True},
        "s": {"low": 0.0, "high": 1.0, "step": 0.5},
    }
    found = trials(Search(config_of(params=space, method="random", trials=200)), lambda _: 0.0)
    again = trials(Search(config_of(params=space, method="random", trials=200)), lambda _: 0.0)
    assert found == again
    assert {p["n"] for _, p in found} == set(range(2, 10))
    assert all(0.1 <= p["x"] <= 0.2 and 1e-3 <= p["l"] <= 1 for _, p in found)
    assert {p["s"] for _, p in found} == {0.0, 0.5, 1.0}
    assert np.median([p["l"] for _, p in found]) < 0.1


def test_tpe_learns_and_goes_the_same_way_twice() -> None:
    space = {"x": {"low": -5.0, "high": 5.0}}
    config = config_of(params=space, method="tpe", trials=60)

    def value(p: Params) -> float:
        return -abs(p["x"] - 2.0) if p["x"] > -4 else float("nan")

    found = trials(Search(config), value)
    assert found == trials(Search(config), value)
    late = [abs(p["x"] - 2.0) for _, p in found[40:]]
    assert np.median(late) < 1.0


def test_the_winner_of_many_trials_without_skill_is_called_luck() -> None:
    config = config_of(method="random", trials=200)
    chance = np.random.default_rng(1)
    luck = {}
    for n in range(200):
        returns = chance.normal(0, 0.01, 500).astype(np.float32)
        luck[n] = Outcome({"sharpe": float(returns.mean() / returns.std())}, returns)
    found = judged(config, luck)
    assert found.luck < 0.9
    assert found.overfit is not None
    assert found.overfit > 0.2
    skilled = chance.normal(0.003, 0.01, 500).astype(np.float32)
    good = {**luck, 200: Outcome({"sharpe": float(skilled.mean() / skilled.std())}, skilled)}
    found = judged(config, good)
    assert (found.winner, found.trials) == (200, 201)
    assert found.luck > 0.99
    assert found.overfit is not None
    assert found.overfit < 0.02


def test_a_winner_by_one_lucky_day_is_luck() -> None:
    """One large gain makes the error of a Sharpe ratio small, since it is skewness too."""
    chance = np.random.default_rng(4)
    noisy = chance.normal(0, 1e-4, 400)
    noisy[200] = 0.05
    alone = Outcome({"sharpe": 1.0}, noisy.astype(np.float32))
    found = judged(config_of(), {0: alone})
    assert probabilistic_sharpe(noisy) > DEFLATED_LEAST
    assert (found.traded, found.has_skill) == (400, False)
    assert found.luck < 0.9
    rare = judged(config_of(), {0: outcome(1.0), 3: _lucky()})
    assert (rare.winner, rare.luck, rare.has_skill) == (3, 0.0, False)
    assert "only 1 of its days had a gain or a loss" in rare.verdict


def _lucky() -> Outcome:
    returns = np.zeros(400, np.float32)
    returns[200] = 0.05
    return Outcome({"sharpe": 9.0}, returns)


def test_refused_trials_are_counted_and_a_search_without_any_other_says_why() -> None:
    refused = Outcome({}, np.zeros(0, np.float32), "fast must be shorter")
    found = judged(config_of(), {0: refused, 1: outcome(1.0), 2: outcome(1.0, seed=1)})
    assert (found.winner, found.refused, found.trials) == (1, 1, 2)
    with pytest.raises(ConfigError, match=r"^fast must be shorter$"):
        judged(config_of(), {0: refused})


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"params": {"a": {"low": 2, "high": 1}}}, "less than high"),
        ({"params": {"a": {"low": 0, "high": 1, "log": True}}}, "above zero"),
        ({"params": {}}, "at least 1"),
        ({"method": "best"}, "'grid', 'random' or 'tpe'"),
    ],
)
def test_mistakes_are_explained(facts: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        config_of(**facts)


def test_the_map_shows_every_pair() -> None:
    import polars as pl

    frame = pl.DataFrame(
        {
            "trial": range(8),
            "a": [1, 2] * 4,
            "b": np.linspace(0, 1, 8),
            "c": ["x"] * 4 + ["y"] * 4,
            "sharpe": np.linspace(0, 1, 8),
            "refused": [""] * 8,
        }
    )
    space = {"a": [1, 2], "b": np.linspace(0, 1, 8).tolist(), "c": ["x", "y"]}
    config = config_of(params=space, method="grid")
    given: dict[str, Any] = {"title": "Sweep of trend", "verdict": ("take it for luck", False)}
    page = heatmap_html(frame, config, 7, rows=[("trials", "8")], **given)
    assert page.count('class="plotly-graph-div"') == 3
    assert "sharpe by a and b" in page
    assert "take it for luck" in page
    plots = page.partition("<body>")[2]
    # Colours part at zero, numbers lie on axes of numbers, and the winner is marked in every map.
    assert plots.count('"zmax":1.0,"zmid":0.0,"zmin":-1.0') == 3
    assert plots.count('"name":"winner"') == 3
    assert plots.count('"type":"category"') == 2
    flat = frame.with_columns(b=0.0, c=pl.lit("x"))
    one = heatmap_html(flat, config, 7, rows=[], **given)
    assert one.count('class="plotly-graph-div"') == 1
