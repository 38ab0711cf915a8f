"""Onefold as a library: the same run from frames, files and columns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

import onefold as of
from onefold.adapters.files import FileConfig, load
from onefold.data import sample_path
from onefold.domain.errors import ConfigError, DataError, OnefoldError
from onefold.domain.records import Command

SP500 = sample_path("sp500")
RULES = of.StrategyRules(sizing=of.FractionSize(kind="fraction", fraction=0.5))


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return pl.read_parquet(SP500).head(1500)


def crossover() -> of.Strategy:
    return of.strategy("crossover", fast=10, slow=40)


def fingerprint(result: of.ResultView) -> object:
    return result.facts["Fingerprint"]


def test_every_kind_of_bars_gives_the_same_run(frame: pl.DataFrame, tmp_path: Path) -> None:
    frame.write_csv(tmp_path / "ASSET.csv")
    frame.write_parquet(tmp_path / "ASSET.parquet")
    first = of.backtest(crossover(), frame, rules=RULES)
    columns = {name: frame[name].to_numpy() for name in frame.columns}
    sources: list[Any] = [
        pd.DataFrame(columns),
        pd.DataFrame(columns).set_index("ts"),
        columns,
        tmp_path / "ASSET.csv",
        str(tmp_path / "ASSET.parquet"),
        frame.lazy(),
        first.bars["ASSET"],
        {"ASSET": frame},
    ]
    for source in sources:
        instruments = {"ASSET": {"kind": "equity"}} if source is sources[-1] else None
        again = of.backtest(crossover(), source, instruments=instruments, rules=RULES)
        assert fingerprint(again) == fingerprint(first), type(source)
    assert first.metrics.trades.trades > 5


def test_it_is_the_run_of_the_command_line(tmp_path: Path) -> None:
    from onefold.app.commands.backtest import run_wired
    from onefold.app.settings import load_settings
    from onefold.app.wiring import Wired

    (tmp_path / "c.yaml").write_text(
        "account: {cash: 5000}\ninstruments: {SPX: {kind: index}}\ndata: {SPX: {sample: sp500}}\n"
        "strategies: {a: {kind: crossover, params: {fast: 10, slow: 40}}}\n"
    )
    run = run_wired(Wired(load_settings(tmp_path / "c.yaml")))
    result = of.backtest(
        {"a": crossover()},
        {"SPX": SP500},
        instruments={"SPX": {"kind": "index"}},
        account=of.AccountRules(cash=5000),
    )
    assert fingerprint(result) == run.fingerprint


def test_several_strategies_with_their_own_rules(frame: pl.DataFrame) -> None:
    small = of.StrategyRules(sizing=of.FixedSize(lots=1))
    result = of.backtest({"a": crossover(), "b": (crossover(), small)}, frame, rules=RULES)
    assert result.strategies == ("a", "b")
    lots = result.fills.group_by("strategy").agg(pl.col("qty").max()).sort("strategy")["qty"]
    assert lots[0] > lots[1] == 1
    both = of.backtest([crossover(), of.strategy("ibs_a")], frame)
    assert both.strategies == ("crossover", "ibs_a")


def test_several_instruments_from_the_catalogue(frame: pl.DataFrame) -> None:
    result = of.backtest(crossover(), {"ES": frame, "NQ": frame})
    assert [i.multiplier for i in result.instruments] == [50, 20]


def test_options_are_those_of_the_bars(frame: pl.DataFrame) -> None:
    renamed = frame.rename({"ts": "when"})
    closes = of.backtest(crossover(), renamed, columns={"ts": "when"}, ts_is="close")
    opens = of.backtest(crossover(), renamed, columns={"ts": "when"})
    assert opens.equity_ts[0] - closes.equity_ts[0] == 86_400 * 10**9


def test_further_inputs_are_folded(frame: pl.DataFrame) -> None:
    halt = Command(ts=0, command="kill")
    result = of.backtest(crossover(), frame, inputs=[halt])
    assert result.metrics.fills == 0
    assert result.funnel.gates.filter(pl.col("first") > 0)["gate"].to_list() == ["kill_switch"]


def test_a_result_tells_and_shows_itself(frame: pl.DataFrame) -> None:
    result = of.backtest(crossover(), frame, title="Mine")
    assert "Mine" in repr(result)
    assert "<" in result._repr_html_()
    assert result.plot() is not None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"timezon": "UTC"}, "backtest has no argument 'timezon'; did you mean 'timezone'?"),
        ({"timezone": "UT"}, "timezone 'UT' is not known; did you mean"),
        ({"ts_is": "opn"}, "ts_is: must be 'open' or 'close'"),
        ({"instruments": "ESS"}, "instrument 'ESS' is not in the catalogue"),
        ({"instruments": {"A": {"kind": "eqity"}}}, "instruments.A.kind: must be 'future'"),
        ({"instruments": {"A": {}, "B": {}}}, "one set of bars needs one instrument"),
        ({"closes_only": True, "column": "close"}, "set account.costs.fill: next_close"),
    ],
)
def test_mistakes(frame: pl.DataFrame, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        of.backtest(crossover(), frame, **arguments)
    assert said in str(error.value)


def test_more_mistakes(frame: pl.DataFrame) -> None:
    good = of.backtest(crossover(), frame)
    for strategies, bars, arguments, said in (
        ([crossover(), crossover()], frame, {}, "two strategies are of kind 'crossover'"),
        ({"a": "crossover"}, frame, {}, "strategy 'a' is no Strategy but str"),
        (crossover(), {"XYZ": frame}, {}, "instrument 'XYZ' is not in the catalogue"),
        (crossover(), {}, {}, "there are no bars"),
        (crossover(), {"ES": frame}, {"instruments": "ES"}, "need a mapping of symbols"),
        (crossover(), {"ES": frame}, {"instruments": {"NQ": {}}}, "there are no bars of 'NQ'"),
        (crossover(), good.bars["ASSET"], {"ts_is": "open"}, "have no ts_is"),
    ):
        with pytest.raises(ConfigError) as error:
            of.backtest(strategies, bars, **arguments)  # type: ignore[arg-type]
        assert said in str(error.value)
    with pytest.raises(DataError, match="does not exist"):
        of.backtest(crossover(), "nowhere.csv")
    with pytest.raises(DataError, match="int is not a table"):
        of.backtest(crossover(), 5)


def test_columns_of_bars_are_judged_as_well(frame: pl.DataFrame) -> None:
    bars = load(FileConfig(path=SP500, instrument={"symbol": "ASSET", "kind": "equity"})).bars
    high = bars.high.copy()
    high[100] = bars.low[100] / 2
    result = of.backtest(crossover(), bars._replace(high=high))
    assert result.facts["Refused"] == {"ASSET": {"high_below_low": 1}}
    assert result.bars["ASSET"].rows == bars.rows - 1


def test_public_names() -> None:
    assert of.__all__ == sorted(
        of.__all__, key=lambda name: (not name.isupper(), name[:1].islower(), name)
    )
    assert len(set(of.__all__)) == len(of.__all__)
    for name in of.__all__:
        assert getattr(of, name) is not None
    assert set(of.__all__) <= set(dir(of))
    assert of.OnefoldError is OnefoldError
    with pytest.raises(AttributeError, match="has no attribute 'bcktest'"):
        _ = of.bcktest


def test_import_costs_nothing() -> None:
    heavy = ("numpy", "numba", "polars", "pydantic")
    code = f"import sys, onefold; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
