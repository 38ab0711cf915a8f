"""From settings to a plan and bars, and from a journal's first record back to the plan."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from onefold.app.settings import load_settings
from onefold.app.wiring import Wired, build, recorded_recipe, unfillable
from onefold.domain.errors import ConfigError, DataError, JournalError
from onefold.domain.records import SessionStart
from onefold.sim.backtest import run

from .world import CONFIG, onefold, write_config

OWN = '''
from onefold.signals import Strategy, ta

class Above(Strategy):
    """Hold above an average."""
    bars: int = 10
    def extract_features(self):
        return {"mean": ta.sma(self.bars)}
    def predict_signal(self, x):
        return self.signal(x.close > x.mean)
'''
ANOTHER = OWN.replace("Above", "Below").replace("x.close >", "x.close <")


def wired(folder: Path, text: str = CONFIG) -> Wired:
    return Wired(load_settings(write_config(folder, text)))


def with_own(folder: Path, extra: str = "", source: str = OWN) -> str:
    (folder / "own.py").write_text(source, encoding="utf-8")
    return CONFIG + f"  mine:\n    file: own.py\n{extra}"


def test_plan_and_bars(tmp_path: Path) -> None:
    made = wired(tmp_path)
    plan = made.plan
    assert plan.names.symbols == ("MADE", "ES")
    assert plan.names.strategies == ("trend", "dips")
    assert [p.symbols for p in plan.placements] == [("MADE", "ES"), ("MADE",)]
    assert plan.intervals_ns == (3600 * 10**9,) * 2
    assert plan.placements[1].rules.exits.max_bars == 20
    assert made.inputs == sum(bars.rows for bars in made.bars.values())
    assert made.first_ts == min(bars.ts[0] for bars in made.bars.values())


def test_the_order_of_data_is_the_order_of_instruments(tmp_path: Path) -> None:
    # ES is in the catalogue and MADE is not: neither must come first because of it.
    lines = CONFIG.splitlines()
    first, second = (
        next(i for i, x in enumerate(lines) if x.startswith(k)) for k in ("  MADE: { s", "  ES")
    )
    lines[first], lines[second] = lines[second], lines[first]
    assert wired(tmp_path, "\n".join(lines)).plan.names.symbols == ("ES", "MADE")


def test_a_recorded_recipe_gives_the_same_run(tmp_path: Path) -> None:
    made = wired(tmp_path, with_own(tmp_path))
    start = made.start("simulate")
    (tmp_path / "own.py").unlink()  # the journal has the source
    through_json = SessionStart(
        **{**_fields(start), "config": json.loads(json.dumps(start.config))}
    )
    recipe = recorded_recipe(through_json)
    assert recipe.hash == start.config_hash == made.recipe.hash
    again = run(recipe.plan(), made.bars)
    assert again.fingerprint == run(made.plan, made.bars).fingerprint


def _fields(start: SessionStart) -> dict[str, object]:
    return {name: getattr(start, name) for name in start.__struct_fields__}


def test_what_decides_is_hashed_and_nothing_else(tmp_path: Path) -> None:
    text = with_own(tmp_path)
    base = wired(tmp_path, text).recipe.hash
    for old, new in (
        ("cash: 50000", "cash: 50001"),
        ("fast: 5", "fast: 6"),
        ("stop: 0.05", "stop: 0.06"),
        ("{ kind: equity }", "{ kind: equity, tick: 0.01 }"),
        ("interval_s: 3600, volatility", "interval_s: 1800, volatility"),
    ):
        assert old in text
        assert wired(tmp_path, text.replace(old, new, 1)).recipe.hash != base, new
    for old, new in (
        ("seed: 7", "seed: 9"),
        ("strategies:", "session: { pace: { speed: 9 } }\npaths: { runs: r }\nstrategies:"),
    ):
        assert wired(tmp_path, text.replace(old, new, 1)).recipe.hash == base, new
    (tmp_path / "own.py").write_text(OWN.replace("bars: int = 10", "bars: int = 11"))
    assert wired(tmp_path, text).recipe.hash != base


@pytest.mark.parametrize(
    ("extra", "source", "said"),
    [
        ("    class: Abov\n", OWN, "strategies.mine.class: own.py has no strategy 'Abov'; did you"),
        (
            "",
            OWN + ANOTHER.partition("\n\n")[2],
            "own.py has several strategies, name one: Above, B",
        ),
        (
            "    params: { bar: 3 }\n",
            OWN,
            "strategies.mine.params.bar: above has no such parameter",
        ),
        ("    params: { bars: x }\n", OWN, "strategies.mine.params.bars: "),
        ("", OWN.replace("class Above", "class Above:"), "own.py, line 4: "),
        ("", "x = 1 / 0\n", "own.py, line 1: ZeroDivisionError"),
        ("", "x = 1\n", "own.py: defines no strategy"),
    ],
)
def test_mistakes_in_own_strategies(tmp_path: Path, extra: str, source: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        wired(tmp_path, with_own(tmp_path, extra, source))
    assert said in str(error.value)


def test_a_class_of_a_file_is_chosen_by_name(tmp_path: Path) -> None:
    both = OWN + ANOTHER.partition("\n\n")[2]
    made = wired(tmp_path, with_own(tmp_path, "    class: Below\n", both))
    assert type(made.plan.placements[2].strategy).__name__ == "Below"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "kind: crossover",
            "kind: crosover",
            "strategies.trend.kind: there is no strategy 'crosover'; d",
        ),
        (
            "fast: 5",
            "fst: 5",
            "strategies.trend.params.fst: crossover has no such parameter; did you",
        ),
        ("fast: 5", "fast: 0", "strategies.trend.params.fast: "),
        ("kind: crossover", "file: gone.py", "strategies.trend.file: "),
        (
            "sizing: { kind: fraction, fraction: 0.3 }",
            "sizing: { kind: risk, fraction: 0.3 }",
            "exits.stop",
        ),
    ],
)
def test_mistakes_in_strategies(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        wired(tmp_path, CONFIG.replace(old, new, 1)).plan.state(0)  # type: ignore[arg-type]
    assert said in str(error.value)


def test_nothing_to_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"onefold\.yaml: data: there is no instrument with data"):
        wired(tmp_path, "account: { cash: 1 }\n")
    with pytest.raises(ConfigError, match="strategies: there is none"):
        wired(tmp_path, CONFIG.partition("strategies:")[0])


def test_closes_only_need_fills_at_the_close(tmp_path: Path) -> None:
    days = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 12, 31), eager=True)
    walk = 100 + np.cumsum(np.sin(np.arange(len(days))))
    pl.DataFrame({"date": days, "price": walk}).write_csv(tmp_path / "c.csv")
    text = CONFIG.replace(
        "{ synthetic: { seed: 7, bars: 400, interval_s: 3600, volatility: 0.5 } }",
        "{ path: c.csv, closes_only: true, column: price }",
    )
    with pytest.raises(ConfigError, match=r"data.MADE has closes only.*fill: next_close"):
        wired(tmp_path, text)
    fixed = text.replace("cash: 50000", "cash: 50000\n  costs: { fill: next_close }")
    assert wired(tmp_path, fixed).bars["MADE"].rows == 366


@pytest.mark.parametrize("volume", [None, 0.0])
def test_a_share_of_no_volume_is_refused(tmp_path: Path, volume: float | None) -> None:
    text = with_volumes(tmp_path, [volume] * 40)
    assert wired(tmp_path, text).bars["MADE"].rows == 40
    shared = text.replace("cash: 50000", "cash: 50000\n  costs: { volume_share: 0.1 }")
    with pytest.raises(ConfigError, match=r"data.MADE has no volume.*remove volume_share"):
        wired(tmp_path, shared)
    for_its_rate = shared.replace(
        "kind: crossover", "kind: crossover\n    instruments: [ES]"
    ).replace("instruments: [MADE]", "instruments: [ES]")
    made = wired(tmp_path, for_its_rate)
    assert made.plan.traded == {"ES"}
    assert unfillable(made.plan, made.bars_of.values()) == {}


def test_bars_of_unknown_volume_among_others_are_counted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = with_volumes(tmp_path, [1e6, None, 0.0, None] * 10)
    plain = wired(tmp_path, text)
    assert unfillable(plain.plan, plain.bars_of.values()) == {}
    shared = text.replace("cash: 50000", "cash: 50000\n  costs: { volume_share: 0.1 }")
    made = wired(tmp_path, shared)
    assert unfillable(made.plan, made.bars_of.values()) == {"MADE": 20}
    said = onefold(capsys, "backtest", tmp_path / "onefold.yaml")
    assert "MADE 20: nothing filled" in said.out
    (report,) = (tmp_path / "runs").glob("*/report.html")
    assert "<dt>Unknown volume, nothing filled</dt><dd>MADE: 20</dd>" in report.read_text()


def with_volumes(folder: Path, volumes: list[float | None]) -> str:
    """Write daily bars with these volumes, and return a configuration that has them."""
    day = pl.date(2020, 1, 1) + pl.duration(days=pl.int_range(len(volumes)))
    close = 100 + np.cumsum(np.sin(np.arange(len(volumes))))
    pl.DataFrame(
        {"close": close, "volume": volumes}, {"close": pl.Float64, "volume": pl.Float64}
    ).select(
        day.alias("date"),
        *(pl.col("close").alias(n) for n in ("open", "high", "low", "close")),
        "volume",
    ).write_csv(folder / "v.csv")
    return CONFIG.replace(
        "{ synthetic: { seed: 7, bars: 400, interval_s: 3600, volatility: 0.5 } }",
        "{ path: v.csv }",
    )


def test_files_are_found_beside_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    text = with_own(tmp_path / "sub")
    monkeypatch.chdir(tmp_path)
    assert len(wired(tmp_path / "sub", text).plan.placements) == 3
    missing = CONFIG.replace(
        "{ synthetic: { seed: 8, bars: 600, interval_s: 3600, price: 100 } }", "{ path: e.csv }"
    )
    with pytest.raises(DataError, match=r"data\.ES: .*e\.csv does not exist"):
        wired(tmp_path / "sub", missing)


def test_a_journal_of_another_shape_is_refused(tmp_path: Path) -> None:
    start = wired(tmp_path).start("simulate")
    for config in (
        {},
        {"settings": 1, "intervals_ns": {}, "sources": {}},
        {**start.config, "sources": 1},
    ):
        with pytest.raises(JournalError, match="cannot be read by this version"):
            recorded_recipe(SessionStart(**{**_fields(start), "config": config}))


def test_build_is_stable() -> None:
    assert build() == build()
    assert len(build()) == 16


def test_a_calendar_that_is_not_known_names_file_and_instrument(tmp_path: Path) -> None:
    text = CONFIG.replace("instruments:\n", "instruments:\n  ES: { calendar: XNYC }\n", 1)
    assert text != CONFIG
    with pytest.raises(ConfigError, match=r"onefold\.yaml: data\.ES: calendar 'XNYC' is not known"):
        wired(tmp_path, text)
