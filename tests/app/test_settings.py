"""One file, the environment above it, and an explanation of everything that is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onefold.adapters.files import FileConfig
from onefold.app.settings import (
    OTHER_VARIABLES,
    TEST_PREFIX,
    Settings,
    load_settings,
    merged,
    overrides,
    settings_of,
)
from onefold.domain.errors import ConfigError
from onefold.domain.instruments import CATALOG
from onefold.domain.rules import FractionSize, StrategyRules

from .world import CONFIG, write_config

BASE = """
account: { cash: 5000, limits: { drawdown: 0.2 } }
instruments:
  SPX: { kind: index }
  ES: { commission: 1.25 }
data:
  SPX: { sample: sp500 }
  ES: { path: es.csv, timezone: UTC }
  BTCUSD: { synthetic: { seed: 1 } }
strategies:
  trend:
    kind: crossover
    instruments: [SPX]
    params: { fast: 5 }
    sizing: { kind: fraction, fraction: 0.5 }
    exits: { stop: 0.1 }
"""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(text: str = BASE) -> Settings:
    return load_settings(write_config(Path(), text)).settings


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as error:
        load(text)
    message = str(error.value)
    assert "\n" not in message
    return message.removeprefix("onefold.yaml: ")


def test_another_kind_of_thing_takes_nothing_from_the_catalogue() -> None:
    settings = load(
        "data: { BTC: { path: x.csv } }\ninstruments: { BTC: { kind: crypto, lot: 0.001 } }\n"
    )
    coin = settings.instruments["BTC"]
    assert CATALOG["BTC"].multiplier != 1.0  # the future of that name
    assert (coin.multiplier, coin.commission, coin.lot) == (1.0, 0.0, 0.001)


def test_everything_is_where_it_belongs() -> None:
    settings = load()
    assert settings.account.cash == 5000
    assert settings.account.limits.drawdown == 0.2
    assert settings.instruments["ES"].commission == 1.25
    assert settings.instruments["ES"].multiplier == CATALOG["ES"].multiplier
    assert settings.instruments["BTCUSD"] == CATALOG["BTCUSD"]
    source = settings.data["ES"]
    assert isinstance(source, FileConfig)
    assert source.instrument == settings.instruments["ES"]
    trend = settings.strategies["trend"]
    assert trend.rules == StrategyRules.model_validate(
        {"sizing": FractionSize(kind="fraction", fraction=0.5), "exits": {"stop": 0.1}}
    )


def test_what_is_written_is_read_back() -> None:
    for text in (BASE, CONFIG):
        settings = load(text)
        assert settings_of(settings.as_written()) == settings


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "fraction: 0.5",
            "fraction: -1",
            "strategies.trend.sizing.fraction: must be greater than 0 (got -1)",
        ),
        (
            "fraction: 0.5",
            "fraction: '${HALF:-x}'",
            "strategies.trend.sizing.fraction: must be a valid number (got 'x')",
        ),
        (
            "kind: fraction",
            "kind: fractoin",
            "strategies.trend.sizing.kind: there is no 'fractoin'; did you mean 'fraction'?",
        ),
        (
            "kind: fraction, ",
            "",
            (
                "strategies.trend.sizing.kind: must be given: fixed, notional, fraction, "
                "volatility, risk, bet"
            ),
        ),
        (
            "drawdown",
            "drawdwn",
            "account.limits.drawdwn: there is no such setting; did you mean 'drawdown'?",
        ),
        (
            "strategies:",
            "strateges:",
            "strateges: there is no such setting; did you mean 'strategies'?",
        ),
        (
            "timezone: UTC",
            "timezon: UTC",
            "data.ES.timezon: there is no such setting; did you mean 'timezone'?",
        ),
        (
            "timezone: UTC",
            "timezone: Europe/Berln",
            "data.ES: timezone 'Europe/Berln' is not known; did you mean 'Europe/Berlin'?",
        ),
        ("timezone: UTC", "ts_is: opn", "data.ES.ts_is: must be 'open' or 'close' (got 'opn')"),
        ("path: es.csv, ", "", "data.ES.path: must be given"),
        ("seed: 1", "seed: one", "data.BTCUSD.synthetic.seed: must be a valid integer (got 'one')"),
        (
            "sample: sp500",
            "sample: sp50",
            "data.SPX.sample: there is no sample 'sp50'; did you mean 'sp500'?",
        ),
        (
            "SPX: { kind: index }",
            "SPX: { kind: indx }",
            (
                "instruments.SPX.kind: must be 'future', 'equity', 'fx', 'crypto', 'cfd' or "
                "'index' (got 'indx')"
            ),
        ),
        (
            "SPX: { kind: index }",
            "SPX: { tick: 1 }",
            (
                "instruments: 'SPX' is not in the catalogue: give its kind (and multiplier, tick, "
                "lot, currency)"
            ),
        ),
        (
            "  BTCUSD",
            "  BTCUSDD",
            (
                "data: 'BTCUSDD' is not in the catalogue: give its kind under instruments.BTCUSDD; "
                "did you mean 'BTCUSD'?"
            ),
        ),
        (
            "[SPX]",
            "[SPY]",
            "strategies.trend.instruments: 'SPY' has no entry in data; did you mean 'SPX'?",
        ),
        ("cash: 5000", "cash: inf", "account.cash: must be a finite number (got 'inf')"),
        ("[SPX]", "SPX", "strategies.trend.instruments: must be a list (got 'SPX')"),
        (
            "  trend:",
            "  Trend:",
            "strategies.Trend: a name is lower-case letters, digits and _ (at most 32)",
        ),
        (
            "kind: crossover",
            "file: a.py\n    kind: crossover",
            "strategies.trend: give either kind (one that comes with Onefold) or file (your own)",
        ),
        (
            "kind: crossover",
            "kind: crossover\n    class: A",
            "strategies.trend: class names a strategy of a file: give file as well",
        ),
        ("{ sample: sp500 }", "sp500.csv", "data.SPX: must have keys of its own (got 'sp500.csv')"),
        (
            "cash: 5000",
            "name: Paper",
            "account.name: must match pattern '^[a-z][a-z0-9_]{0,15}$' (got 'Paper')",
        ),
        (
            "timezone: UTC",
            "start: soon",
            "data.ES.start: must be a valid datetime or date, input is too short (got 'soon')",
        ),
        (
            "timezone: UTC",
            "instrument: CL",
            "data: ES.instrument: describe it under instruments.ES",
        ),
    ],
)
def test_mistakes_are_explained(old: str, new: str, said: str) -> None:
    assert old in BASE
    assert refused(BASE.replace(old, new, 1)) == said


def test_every_mistake_is_told_at_once() -> None:
    text = BASE.replace("cash: 5000", "cash: -5").replace("stop: 0.1", "stop: 0")
    assert refused(text) == (
        "account.cash: must be greater than 0 (got -5); "
        "strategies.trend.exits.stop: must be greater than 0 (got 0)"
    )


def test_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "ONEFOLD_ACCOUNT__CASH": "77",
        "onefold_account__limits__drawdown": "null",
        "ONEFOLD_DATA__SPX__SAMPLE": "nasdaq",
        "ONEFOLD_DATA__BTCUSD__SYNTHETIC__BARS": "50",
        "ONEFOLD_STRATEGIES__TREND__INSTRUMENTS": "[ES, SPX]",
        "ONEFOLD_STRATEGIES__TREND__PARAMS__SLOW": "9",
        "ONEFOLD_PATHS__RUNS": "/elsewhere",
        "ONEFOLD_CACHE_DIR": "/no/setting",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load()
    written = settings.as_written()
    assert settings.account.cash == 77
    assert settings.account.limits.drawdown is None
    assert written["data"]["SPX"]["sample"] == "nasdaq"
    assert written["data"]["BTCUSD"]["synthetic"]["bars"] == 50
    assert settings.strategies["trend"].instruments == ("ES", "SPX")
    assert settings.strategies["trend"].params == {"fast": 5, "slow": 9}
    assert settings.paths.runs == Path("/elsewhere")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ONEFOLD_ACOUNT__CASH", "there is no setting 'acount'; did you mean 'account'?"),
        ("ONEFOLD_ACCOUNT__CSH", "account.csh: there is no such setting; did you mean 'cash'?"),
        ("ONEFOLD_ACCOUNT__CASH__MORE", "account.cash: must be a valid number (got keys)"),
        ("ONEFOLD_CACHEDIR", "no such variable; did you mean 'ONEFOLD_CACHE_DIR'?"),
        ("ONEFOLD_ACCOUNT_CASH", "no such variable; did you mean 'ONEFOLD_ACCOUNT__CASH'?"),
        ("ONEFOLD_RATE", "no such variable; did you mean 'ONEFOLD_RATES'?"),
    ],
)
def test_misspelt_variables_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.setenv(name, "5")
    assert said in refused(BASE)


def test_env_file_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("BROKER_KEY=x\nMONEY=10\nONEFOLD_ACCOUNT__LIMITS__DRAWDOWN=0.4\n")
    text = BASE.replace("cash: 5000", "cash: '${MONEY}'")
    assert load(text).account.cash == 10
    assert load(text).account.limits.drawdown == 0.4
    monkeypatch.setenv("MONEY", "20")
    assert load(text).account.cash == 20


def test_a_recorded_configuration_ignores_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load()
    monkeypatch.setenv("ONEFOLD_ACCOUNT__CASH", "1")
    assert settings_of(settings.as_written()) == settings


def test_unset_reference_names_its_key() -> None:
    said = refused(BASE.replace("path: es.csv", "path: '${ES_FILE}'"))
    assert said.startswith("data.ES.path: the environment variable ES_FILE is not set")


def test_an_override_can_add_an_instrument() -> None:
    variables = {"ONEFOLD_DATA__6E__PATH": "x.csv", "ONEFOLD_RATES": "{EUR: 1.1}"}
    assert overrides({}, variables) == {"data": {"6E": {"path": "x.csv"}}, "rates": {"EUR": 1.1}}


def test_merged() -> None:
    below = {"a": {"x": 1, "y": 2}, "b": [1, 2]}
    assert merged(below, {"a": {"y": 3}, "b": [4]}) == {"a": {"x": 1, "y": 3}, "b": [4]}


def test_paths_start_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    loaded = load_settings(write_config(tmp_path / "sub", BASE))
    assert loaded.resolve(Path("es.csv")) == tmp_path / "sub" / "es.csv"
    assert loaded.resolve(Path("/abs/es.csv")) == Path("/abs/es.csv")


def test_every_variable_that_is_read_is_known() -> None:
    root = Path(__file__).parents[2]
    read = set()
    for folder in ("src", "tests", "benchmarks"):
        for file in (root / folder).rglob("*.py"):
            read |= set(
                re.findall(r"""environ[^\n]*?["'](ONEFOLD_[A-Z_]+)["']""", file.read_text())
            )
    wanted = {n for n in read if "__" not in n and not n.startswith(TEST_PREFIX)}
    assert wanted == set(OTHER_VARIABLES)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("account: { cash: 1e300 }", "account.cash: must be less than or equal to"),
        ("account: { limits: { max_order_lots: 9223372036854775808 } }", "max_order_lots: must be"),
        ("instruments: { NEW: { kind: equity, multiplier: 1e19 } }", "NEW.multiplier: must be"),
        ("rates: { EUR: 1e300 }", "rates.EUR: must be"),
    ],
)
def test_sizes_that_no_market_has_are_refused(change: str, said: str) -> None:
    assert said in refused(change)
