"""From a configuration to a trained model in the store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from onefold.app.settings import Loaded, StrategySettings
from onefold.app.vet import vet
from onefold.app.wiring import Recipe, load_bars, made_of, read_sources, store_of
from onefold.domain.columns import Bars, Signals
from onefold.domain.errors import ConfigError, did_you_mean
from onefold.journal import write_atomic
from onefold.learn.card import Card, card_of, html, markdown, policy_card
from onefold.learn.config import TrainingConfig
from onefold.learn.policy import learn
from onefold.learn.sample import interval_of, sample, until
from onefold.learn.train import train
from onefold.signals.feature import Feature
from onefold.signals.learned import RULES
from onefold.signals.model import Models, Sidecar
from onefold.signals.signal import HOLD, Columns
from onefold.signals.strategy import Strategy
from onefold.sim.plan import Plan

CARD = "card"


class Undecided(Strategy):
    """Say nothing: the place of a rule where a model decides alone."""

    def extract_features(self) -> dict[str, Feature]:
        """Return nothing."""
        return {}

    def predict_signal(self, x: Columns) -> Signals:
        """Hold."""
        return self.signal(np.full(len(x.close), HOLD))


class Stored(NamedTuple):
    """A model in the store, its card, and where both lie."""

    sidecar: Sidecar
    card: Card
    folder: Path


def trained_of(loaded: Loaded, name: str, created_on: str) -> Stored:
    """Train one model of a configuration, and put it into the store as a challenger.

    Raises `ConfigError`, `DataError`, `ModelError`.
    """
    settings = loaded.settings
    if name not in settings.training:
        raise ConfigError(
            f"training: there is no model {name!r}{did_you_mean(name, settings.training)}"
        )
    config = settings.training[name]
    bars = load_bars(loaded)
    intervals = {symbol: one.interval_ns for symbol, one in bars.items()}
    plan = _plan(loaded, name, config, intervals)
    columns: dict[str, Bars] = {symbol: one.bars for symbol, one in bars.items()}
    vet(plan, columns)
    if config.label == "policy":
        return _policy(loaded, name, plan, columns, created_on)
    found = sample(plan, columns, config)
    target = _target(config, plan)
    tried = _tried(loaded, name)
    trained = train(name, found, config, target=target, created_on=created_on, tried=tried)
    sidecar = store_of(loaded).add(trained.sidecar, trained.artifact)
    return _stored(loaded, sidecar, card_of(replace(trained, sidecar=sidecar)))


def _policy(
    loaded: Loaded, name: str, plan: Plan, columns: dict[str, Bars], created_on: str
) -> Stored:
    """Learn a policy for the strategy that follows it."""
    settings, config = loaded.settings, loaded.settings.training[name]
    one = settings.strategies[config.strategy]
    if one.kind != "ml_direction":
        raise ConfigError(f"training.{name}.label: a policy is followed by ml_direction only")
    [placement] = plan.placements

    def plan_with(models: Models) -> Plan:
        made = made_of({config.strategy: one}, {}, models)[config.strategy]
        return replace(plan, placements=(replace(placement, strategy=made.strategy),))

    shown = {symbol: until(columns[symbol], config) for symbol in columns}
    learnt = learn(
        name,
        plan_with,
        shown,
        config,
        created_on=created_on,
        interval_ns=interval_of(plan),
        tried=_tried(loaded, name),
    )
    sidecar = store_of(loaded).add(learnt.sidecar, learnt.artifact)
    return _stored(loaded, sidecar, policy_card(replace(learnt, sidecar=sidecar)))


def _tried(loaded: Loaded, name: str) -> set[str]:
    """Return the hashes of the models that were trained under a name before."""
    listed = store_of(loaded).listed()
    return {one.sidecar.sha256 for one in listed if one.name == name and one.sidecar is not None}


def _plan(loaded: Loaded, name: str, config: TrainingConfig, intervals: dict[str, int]) -> Plan:
    """Return a plan with the rule alone that the model is to judge."""
    settings, where = loaded.settings, f"training.{name}.strategy"
    if config.strategy not in settings.strategies:
        hint = did_you_mean(config.strategy, settings.strategies)
        raise ConfigError(f"{where}: there is no strategy {config.strategy!r}{hint}")
    one = settings.strategies[config.strategy]
    alone = settings.model_copy(update={"strategies": {config.strategy: _ruled(one)}})
    sources = read_sources(Loaded(alone, loaded.path))
    plan = Recipe(alone, intervals, sources).plan()
    if one.kind != "ml_direction":
        return plan
    if config.label == "trade":
        raise ConfigError(
            f"{where}: ml_direction has no rule whose trades could be judged; "
            f"set training.{name}.label to direction, trend or policy"
        )
    return replace(plan, placements=(replace(plan.placements[0], strategy=Undecided()),))


def _ruled(one: StrategySettings) -> StrategySettings:
    """Return a strategy without its model."""
    if one.kind == "ml_direction":
        return one.model_copy(update={"kind": "ibs_a", "params": {}})
    rule = RULES.get(one.kind or "")
    if rule is None:
        return one
    params = {key: value for key, value in one.params.items() if key != "model"}
    return one.model_copy(update={"kind": rule, "params": params})


def _target(config: TrainingConfig, plan: Plan) -> str:
    """Return in words what the model predicts."""
    if config.label == "trade":
        rule = plan.placements[0].strategy
        return f"whether a trade of {rule.kind}({rule.model_dump_json(exclude_defaults=True)}) pays"
    what = "the close is higher" if config.label == "direction" else "the strongest trend rises"
    return f"whether {what} within {config.horizon} bars"


def _stored(loaded: Loaded, sidecar: Sidecar, card: Card) -> Stored:
    folder = store_of(loaded).folder / sidecar.name / str(sidecar.version)
    write_atomic(folder / f"{CARD}.md", markdown(card).encode())
    write_atomic(folder / f"{CARD}.html", html(card).encode())
    return Stored(sidecar, card, folder)
