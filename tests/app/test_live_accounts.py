"""X3, X7, I7: what an account is made of, and what is refused before anything is opened."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

import some_models
from engine.live_rig import HandFeed
from engine.test_live import bar
from onefold.adapters.models import ModelStore
from onefold.app.accounts import Account, check_abilities, enabled_accounts, kept
from onefold.app.configfile import environment
from onefold.app.live import Source, live_source, running, succeeded
from onefold.app.settings import Loaded, accounts_of, check_secrets, load_settings, settings_of
from onefold.app.wiring import recorded_recipe
from onefold.domain.errors import ConfigError
from onefold.domain.records import SessionStart
from onefold.domain.venue import Abilities
from onefold.engine.control import killed_by
from onefold.engine.instance import Instance
from onefold.journal import Journal
from onefold.rehearsal.exchange import Exchange
from onefold.signals import FLAT, HOLD, strategy
from onefold.sim.backtest import run as backtest
from signals.markets import market
from support import MINUTE_NS, today
from venues.twin import Twin

COIN = {"kind": "crypto", "currency": "USD"}
TWO: dict[str, Any] = {
    "account": {"cash": 1000, "currency": "USD"},
    "instruments": {"AAPL": {"kind": "equity"}, "BTCUSD": COIN},
    "feeds": {
        "AAPL": {"interval": "1m", "alpaca": {"api_key": "k", "api_secret": "s"}},
        "EURUSD": {"interval": "5m", "oanda": {"account": "101-1", "token": "t"}},
        "BTCUSD": {"interval": "1m", "ccxt": {"exchange": "kraken"}},
    },
    "strategies": {
        "shares": {"kind": "crossover", "instruments": ["AAPL"]},
        "pairs": {"kind": "crossover", "instruments": ["EURUSD"]},
    },
    "accounts": {
        "us": {
            "approved": "a test",
            "strategies": ["shares"],
            "venue": {"alpaca": {"api_key": "k", "api_secret": "s"}},
        },
        "fx": {
            "approved": "a test",
            "strategies": ["pairs"],
            "venue": {"oanda": {"account": "101-1", "token": "t"}},
        },
    },
}


def accounts(folder: Path, raw: dict[str, Any] = TWO, mode: str = "live") -> dict[str, Account]:
    loaded = Loaded(settings_of(raw), folder / "onefold.yaml")
    return {n: Account(loaded, n, one, mode) for n, one in accounts_of(loaded.settings).items()}


def test_each_account_has_its_own_symbols_and_feeds(tmp_path: Path) -> None:
    """X3: a broker for shares is not asked for currencies that another account trades."""
    found = accounts(tmp_path)
    for name, symbol in (("us", "AAPL"), ("fx", "EURUSD")):
        account = found[name]
        source = live_source(account.loaded.settings, account.symbols)
        assert [symbols for _, symbols in source.feeds] == [(symbol,)]
        assert account.recipe(source.intervals_ns).plan().names.symbols == (symbol,)


def test_live_needs_a_durable_journal(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"session\.durability: --mode live needs durable"):
        accounts(tmp_path, {**TWO, "session": {"durability": "relaxed"}})
    assert accounts(tmp_path, {**TWO, "session": {"durability": "relaxed"}}, "paper")


def test_a_recorded_configuration_names_no_venue_and_can_be_read_back(tmp_path: Path) -> None:
    """J7: the address of a webhook is a secret, and what is recorded instead is no address."""
    hook = "https://webhooks.traderspost.io/trading/webhook/aaa/bbb"
    raw = {
        **TWO,
        "accounts": {"us": {**TWO["accounts"]["us"], "venue": {"traderspost": {"webhook": hook}}}},
    }
    account = accounts(tmp_path, raw)["us"]
    recipe = account.recipe({"AAPL": 60_000_000_000})
    start = SessionStart(1, "live", "1", "1", recipe.hash, recipe.as_recorded())
    assert recorded_recipe(start).hash == recipe.hash
    assert "aaa" not in str(start.config)


def test_an_account_does_not_move_to_another_venue(tmp_path: Path) -> None:
    account = accounts(tmp_path)["us"]
    assert account.venue == "alpaca paper"
    recipe = account.recipe({"AAPL": 60_000_000_000})
    path, handover = succeeded(account, recipe, recipe.plan())
    assert handover is None
    start = SessionStart(
        1, "live", "1", "1", recipe.hash, recipe.as_recorded(), venue="alpaca live"
    )
    with Journal.open(path, today=today) as journal:
        journal.append(start)
        journal.commit()
    with pytest.raises(ConfigError, match="has traded at alpaca live so far, and now its venue"):
        succeeded(account, recipe, recipe.plan())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"exits": {"stop": 0.1, "resting": True}}, "exits.resting: this venue takes no stop"),
        ({"entry": {"order": "limit"}}, "entry.order: this venue takes no limit orders"),
        (
            {"entry": {"time_in_force": "gtd", "valid_for_s": 60}},
            "time_in_force: this venue takes no orders 'gtd'",
        ),
    ],
)
def test_what_a_venue_cannot_do_is_found_before_it_is_tried(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    strategies = {"shares": {**TWO["strategies"]["shares"], **changes}}
    accounts_ = {"us": TWO["accounts"]["us"]}
    raw = {**TWO, "strategies": strategies, "accounts": accounts_}
    plan = accounts(tmp_path, raw)["us"].recipe({"AAPL": 60_000_000_000}).plan()
    with pytest.raises(ConfigError, match=said):
        check_abilities(
            plan, Abilities(kinds=frozenset({"market"}), times_in_force=frozenset({"gtc"}))
        )
    check_abilities(plan, Abilities())


def test_limits_that_are_missing_are_named(tmp_path: Path) -> None:
    assert "daily_loss" in accounts(tmp_path)["us"].unlimited
    limited = {**TWO, "account": {**TWO["account"], "limits": {"daily_loss": 0.02}}}
    assert "daily_loss" not in accounts(tmp_path, limited)["us"].unlimited


def test_a_kill_switch_and_secrets_stand_in_env_beside_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X7: what is written where the secrets are must count, wherever the program is started."""
    monkeypatch.delenv("POLICY_KILLSWITCH", raising=False)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (tmp_path / ".env").write_text("POLICY_KILLSWITCH=true\nNAME=mine\nONLY_HERE=1\n")
    (elsewhere / ".env").write_text("NAME=other\n")
    found = environment(tmp_path)
    assert killed_by(found)
    assert found["NAME"] == "mine"
    assert not killed_by(environment())
    config = tmp_path / "onefold.yaml"
    raw = {**TWO, "account": {"cash": "${ONLY_HERE}", "currency": "USD"}}
    config.write_text(yaml.safe_dump(raw))
    assert load_settings(config).settings.account.cash == 1
    (tmp_path / ".env").chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by others"):
        check_secrets(tmp_path)
    (tmp_path / ".env").chmod(0o600)
    (elsewhere / ".env").chmod(0o600)
    check_secrets(tmp_path)


LONG = """
import onefold as of


class Long(of.Strategy):
    def extract_features(self):
        return {}

    def predict_signal(self, x):
        return self.signal(x.close > 0)
"""


class OnTime(Twin):
    """A venue whose clock is right."""

    async def time_ns(self) -> int:
        return time.time_ns()


@pytest.mark.parametrize("is_overtaken", [False, True])
def test_an_account_that_another_process_has_taken_over_sends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_overtaken: bool
) -> None:
    """X9: it slept while somebody broke its lock; the epoch is looked at before each order."""
    (tmp_path / "long.py").write_text(LONG)
    shares = {"file": "long.py", "instruments": ["AAPL"]}
    raw = {**TWO, "strategies": {**TWO["strategies"], "shares": shares}}
    account = accounts(tmp_path, raw)["us"]
    interval = {"AAPL": MINUTE_NS}
    exchange = Exchange(account.recipe(interval).plan().instruments, Decimal(1_000), "USD")
    twin, feed = OnTime(exchange), HandFeed()
    monkeypatch.setattr("onefold.app.live.venue_of", lambda *_: twin)
    source = Source([(feed, ("AAPL",))], interval, lambda: exchange.now_ns, is_recorded=True)

    async def work() -> None:
        async with running(account, source, lambda _: None) as live:
            living = asyncio.ensure_future(live.run())
            await until(lambda: bool(live.session.state.account["reconciled"][0]))
            (account.folder / "us.instance").unlink()
            with Instance(account.folder if is_overtaken else tmp_path, "us"):
                feed.queue.put_nowait(bar(0, symbol="AAPL"))
                await until(lambda: live.status()["counts"]["orders"] == 1)
                assert live.desk is not None
                await live.desk.finished()
                assert len(twin.submitted) == (0 if is_overtaken else 1)
            live.stop()
            await living

    asyncio.run(work())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30.0):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.002)


def test_a_strategy_that_has_lost_its_model_leaves_what_it_holds(tmp_path: Path) -> None:
    """M4, law 5: stops must not end with the model, and nothing is entered without it."""
    artifact = some_models.artifact_of("onnx")
    store = ModelStore(tmp_path / "models")
    store.activate("dips", store.add(some_models.sidecar_of(artifact), artifact).version)
    shares = {"kind": "ml_ibs", "instruments": ["AAPL"], "params": {"model": "dips"}}
    raw = {**TWO, "strategies": {**TWO["strategies"], "shares": shares}}
    intervals = {"AAPL": MINUTE_NS}
    us = accounts(tmp_path, raw)["us"]
    whole = us.recipe(intervals)
    assert not whole.chosen.disabled
    start = SessionStart(1, "live", "1", "1", whole.hash, whole.as_recorded())
    store.expire("dips", 1, "2020-01-01")
    lost = us.recipe(intervals)
    assert "has expired" in lost.chosen.disabled["shares"]
    assert kept(us, lost) is lost, "it has never traded"
    with Journal.open(us.folder / "live-a", today=today) as journal:
        journal.append(start)
        journal.commit()
    leaving = kept(us, lost)
    assert not leaving.chosen.disabled
    [placement] = leaving.plan().placements
    bars = market("random", rows=200)
    sides = placement.strategy.batch(bars).side
    rule = strategy("ibs_a").batch(bars).side
    assert set(sides.tolist()) == {int(FLAT), int(HOLD)}
    assert (sides == FLAT).sum() == (rule == FLAT).sum()
    # Another model than the one that it had: nothing is known of its features.
    other = {
        **raw,
        "strategies": {**raw["strategies"], "shares": {**shares, "params": {"model": "x"}}},
    }
    changed = accounts(tmp_path, other)["us"]
    assert kept(changed, changed.recipe(intervals)).chosen.disabled


def test_what_else_a_strategy_goes_by_enters_nothing_without_its_model(tmp_path: Path) -> None:
    """A crossover beside the model in an ensemble has a voice, and must not use it."""
    artifact = some_models.artifact_of("onnx")
    store = ModelStore(tmp_path / "models")
    store.activate("dips", store.add(some_models.sidecar_of(artifact), artifact).version)
    members = [{"kind": "ml_ibs", "model": "dips"}, {"kind": "crossover", "fast": 2, "slow": 3}]
    shares = {"kind": "ensemble", "instruments": ["AAPL"], "params": {"members": members}}
    sized = {**shares, "sizing": {"kind": "fixed", "lots": 1}}
    raw = {**TWO, "strategies": {**TWO["strategies"], "shares": sized}}
    us = accounts(tmp_path, raw)["us"]
    whole = us.recipe({"AAPL": MINUTE_NS})
    with Journal.open(us.folder / "live-a", today=today) as journal:
        journal.append(SessionStart(1, "live", "1", "1", whole.hash, whole.as_recorded()))
        journal.commit()
    store.expire("dips", 1, "2020-01-01")
    leaving = kept(us, us.recipe({"AAPL": MINUTE_NS}))
    bars = market("random", rows=400)
    [placement] = leaving.plan().placements
    assert set(placement.strategy.batch(bars).side.tolist()) - {int(FLAT), int(HOLD)}
    ran = backtest(leaving.plan(), {"AAPL": bars})
    assert len(ran.outcome.decisions)
    assert not len(ran.fills)


def test_a_strategy_whose_model_is_for_other_bars_leaves_what_it_holds(tmp_path: Path) -> None:
    """Neither the new model nor the one before decides; another that asks the same waits too."""
    artifact = some_models.artifact_of("onnx")
    store = ModelStore(tmp_path / "models")
    first = store.add(some_models.sidecar_of(artifact, interval_ns=MINUTE_NS), artifact)
    store.activate("dips", first.version)
    shares = {"kind": "ml_ibs", "instruments": ["AAPL"], "params": {"model": "dips"}}
    raw = {**TWO, "strategies": {**TWO["strategies"], "shares": shares}}
    us, intervals = accounts(tmp_path, raw)["us"], {"AAPL": MINUTE_NS}
    whole = us.recipe(intervals)
    start = SessionStart(1, "live", "1", "1", whole.hash, whole.as_recorded())
    with Journal.open(us.folder / "live-a", today=today) as journal:
        journal.append(start)
        journal.commit()
    hourly = some_models.sidecar_of(artifact, interval_ns=60 * MINUTE_NS)
    store.activate("dips", store.add(hourly, artifact).version)
    for given in (intervals, {"AAPL": 5 * MINUTE_NS}):
        lost = us.recipe(given)
        assert "was trained on bars of 3600 s" in lost.chosen.disabled["shares"]
        leaving = kept(us, lost)
        assert not leaving.chosen.disabled
        [placement] = leaving.plan().placements
        sides = placement.strategy.batch(market("random", rows=200)).side
        assert set(sides.tolist()) == {int(FLAT), int(HOLD)}


def test_a_challenger_is_in_shadow_whatever_the_mode(tmp_path: Path) -> None:
    raw = {**TWO, "accounts": {**TWO["accounts"], "new": {"shadow": True, "strategies": ["pairs"]}}}
    path = tmp_path / "onefold.yaml"
    path.write_text(yaml.safe_dump(raw))
    found = enabled_accounts(load_settings(path), "live", lambda _: None)
    modes = {account.name: account.mode for account in found}
    assert modes.pop("new") == "shadow"
    assert set(modes.values()) == {"live"}
    [challenger] = [account for account in found if account.name == "new"]
    assert challenger.venue == ""
