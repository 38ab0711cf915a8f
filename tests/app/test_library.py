"""Onefold as a library: the same run from frames, files and columns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import onefold as of
from onefold.adapters.files import FileConfig, load
from onefold.data import sample_path
from onefold.domain.errors import ConfigError, DataError, OnefoldError
from onefold.domain.records import Action, Command

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


def test_a_share_of_the_volume_needs_volume(frame: pl.DataFrame) -> None:
    account = of.AccountRules(costs=of.Costs(volume_share=0.5))
    none = frame.with_columns(pl.lit(None, pl.Float64).alias("volume"))
    with pytest.raises(ConfigError, match=r"data.ASSET has no volume"):
        of.backtest(crossover(), none, account=account)
    some = frame.with_columns(
        pl.when(pl.int_range(pl.len()) % 3 == 0).then(None).otherwise(1e9).alias("volume")
    )
    result = of.backtest(crossover(), some, account=account, rules=RULES)
    assert result.facts["Unknown volume, nothing filled"] == {"ASSET": 500}
    opens = result.bars["ASSET"].ts_open[np.isnan(result.bars["ASSET"].volume)]
    assert result.metrics.fills > 10
    assert not set(result.fill_rows["ts"].tolist()) & set(opens.tolist())


def test_a_result_is_compared_with_buying_and_holding(frame: pl.DataFrame) -> None:
    result = of.backtest(crossover(), {"ES": frame, "NQ": frame.tail(1000), "CL": frame})
    assert result.buy_and_hold is not None
    close = frame["close"].to_numpy()
    gain = (close[-1] / close[0] + close[-1] / close[-1000]) / 2 - 1
    assert result.buy_and_hold.metrics.total_return == pytest.approx(gain)
    assert list(result.buy_and_hold.metrics.left_out) == ["CL"]


def test_splits_and_payments_reach_the_holder(frame: pl.DataFrame) -> None:
    close = frame["close"].to_numpy()
    ts = of.backtest(crossover(), frame).bars["ASSET"].ts
    split = Action(ts=int(ts[700]), action="split", value=2.0, instrument="ASSET")
    columns = ("open", "high", "low", "close")
    late = pl.when(pl.int_range(pl.len()) > 700)
    halved = frame.with_columns(late.then(pl.col(n) / 2).otherwise(pl.col(n)) for n in columns)
    result = of.backtest(crossover(), halved, inputs=[split, Command(ts=0, command="kill")])
    assert result.buy_and_hold is not None
    assert result.buy_and_hold.metrics.total_return == pytest.approx(close[-1] / close[0] - 1)


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


def test_mistakes_name_the_bars_and_the_strategy(frame: pl.DataFrame) -> None:
    with pytest.raises(ConfigError, match=r"bars of ASSET: timezone .*Zone/None"):
        of.backtest(crossover(), frame, timezone="Zone/None")
    with pytest.raises(ConfigError, match=r"^rules\.gates\.conf_min: must be"):
        of.backtest(crossover(), frame, rules={"gates": {"conf_min": 2}})
    with pytest.raises(ConfigError, match=r"strategy 'crossover': sizing 'risk' needs exits.stop"):
        of.backtest(crossover(), frame, rules={"sizing": {"kind": "risk", "fraction": 0.1}})


def test_inputs_of_whole_numbers_are_the_same_inputs(frame: pl.DataFrame) -> None:
    moment = int(frame["ts"].dt.timestamp("ns")[700])
    runs = [
        of.backtest(crossover(), frame, rules=RULES, inputs=[Action(moment, "split", x, "ASSET")])
        for x in (2, 2.0, np.int64(2))
    ]
    assert len({fingerprint(run) for run in runs}) == 1
    with pytest.raises(DataError, match=r"action of ASSET at .*: value must be"):
        of.backtest(crossover(), frame, inputs=[Action(moment, "split", 1e19, "ASSET")])
