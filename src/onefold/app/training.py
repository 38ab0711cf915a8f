"""From a configuration to a trained model in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from onefold.app.settings import Loaded, StrategySettings
from onefold.app.vet import vet
from onefold.app.wiring import (
    SECOND_NS,
    Recipe,
    Sources,
    load_bars,
    made_of,
    read_sources,
    store_of,
)
from onefold.domain.columns import Bars, Signals
from onefold.domain.errors import ConfigError, ModelError, did_you_mean
from onefold.journal import atomic_jsonl_append, write_atomic
from onefold.learn.card import Card, card_of, html, markdown, policy_card
from onefold.learn.config import TrainingConfig
from onefold.learn.policy import learn
from onefold.learn.sample import interval_of, sample, until
from onefold.learn.sidecars import Numbered
from onefold.learn.train import train
from onefold.signals.feature import Feature
from onefold.signals.learned import RULES, rule_of
from onefold.signals.model import Models, Sidecar
from onefold.signals.registry import STRATEGIES, written_in
from onefold.signals.signal import HOLD, Columns
from onefold.signals.strategy import Strategy
from onefold.sim.plan import Plan
from onefold.views.wording import duration

CARD = "card"
ATTEMPTS = ".attempts.jsonl"
"""End of the name of the file, beside a model's folder, that counts how often it was tried."""
UNUSED = {
    "policy": frozenset(
        {"horizon", "turns_only", "folds", "embargo", "weights", "decay"}
        | {"trees", "leaves", "leaf_min", "rate"}
    ),
    "trees": frozenset({"generations", "population", "hidden"}),
}
"""Settings that a training of a kind does not look at, so that a card need not show them."""


class Undecided(Strategy):
    """Say nothing: the place of a rule where a model decides alone."""

    def extract_features(self) -> dict[str, Feature]:
        """Return nothing."""
        return {}

    def predict_signal(self, x: Columns) -> Signals:
        """Hold."""
        return self.signal(np.full(len(x.close), HOLD))


class Stored(NamedTuple):
    """A model in the store, its card, where both lie, and whether it was not there before."""

    sidecar: Sidecar
    card: Card
    folder: Path
    is_new: bool


class Attempt(msgspec.Struct, frozen=True):
    """A line of the file of attempts."""

    attempt: str


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
    trained = train(
        name,
        found,
        config,
        target=_target(config, plan),
        rule=plan.placements[0].strategy.kind if config.label == "trade" else "",
        created_on=created_on,
        numbered=_numbered(loaded, name, created_on),
    )
    sidecar, is_new = _added(loaded, trained.sidecar, trained.artifact)
    card = card_of(replace(trained, sidecar=sidecar), _said(config, plan, sidecar))
    return _stored(loaded, sidecar, card, is_new=is_new)


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

    shown = {symbol: until(symbol, columns[symbol], config) for symbol in columns}
    learnt = learn(
        name,
        plan_with,
        shown,
        config,
        created_on=created_on,
        interval_ns=interval_of(plan),
        numbered=_numbered(loaded, name, created_on),
    )
    sidecar, is_new = _added(loaded, learnt.sidecar, learnt.artifact)
    card = policy_card(replace(learnt, sidecar=sidecar), _said(config, plan, sidecar))
    return _stored(loaded, sidecar, card, is_new=is_new)


def _numbered(loaded: Loaded, name: str, created_on: str) -> Numbered:
    """Return what counts the attempts under a name, in a file that only grows.

    A version may be removed or damaged: that it was tried stays. A line that nobody can read is an
    attempt as well.
    """
    path = store_of(loaded).folder / f"{name}{ATTEMPTS}"

    def numbered(attempt: str) -> int:
        if attempt not in _attempts(path):
            atomic_jsonl_append(path, {"attempt": attempt, "created_on": created_on})
        return list(dict.fromkeys(_attempts(path))).index(attempt) + 1

    return numbered


def _attempts(path: Path) -> list[str]:
    if not path.exists():
        return []
    found = []
    for line in path.read_bytes().splitlines():
        try:
            found.append(msgspec.json.decode(line, type=Attempt).attempt)
        except msgspec.DecodeError:
            found.append(line.decode(errors="replace"))
    return found


def _plan(loaded: Loaded, name: str, config: TrainingConfig, intervals: dict[str, int]) -> Plan:
    """Return a plan with the rule alone that the model is to judge."""
    settings, where = loaded.settings, f"training.{name}.strategy"
    if config.strategy not in settings.strategies:
        hint = did_you_mean(config.strategy, settings.strategies)
        raise ConfigError(f"{where}: there is no strategy {config.strategy!r}{hint}")
    one = settings.strategies[config.strategy]
    alone = settings.model_copy(update={"strategies": {config.strategy: one}})
    sources = read_sources(Loaded(alone, loaded.path))
    alone = settings.model_copy(update={"strategies": {config.strategy: _ruled(one, sources)}})
    try:
        plan = Recipe(alone, intervals, sources).plan()
    except ModelError:
        raise ConfigError(
            f"{where}: strategy {config.strategy!r} asks a model itself, so that its entries are "
            "not there before the model is. Write the rule without a model as a class of its own, "
            "and filter it: class Mine(Filtered, MyRule); see docs/training.md"
        ) from None
    if one.kind != "ml_direction":
        return plan
    if config.label == "trade":
        raise ConfigError(
            f"{where}: ml_direction has no rule whose trades could be judged; "
            f"set training.{name}.label to direction, trend or policy"
        )
    return replace(plan, placements=(replace(plan.placements[0], strategy=Undecided()),))


def _ruled(one: StrategySettings, sources: Sources) -> StrategySettings:
    """Return a strategy without its model."""
    if one.file is not None:
        written = written_in(sources[str(one.file)], str(one.file)).strategies.values()
        rules = [rule_of(cls) for cls in written if one.class_ in (None, cls.__name__)]
        if len(rules) != 1 or rules[0] is None:
            return one
        if rules[0] in STRATEGIES.values():
            return _without_model(one, file=None, class_=None, kind=rules[0].kind)
        return _without_model(one, class_=rules[0].__name__)
    if one.kind == "ml_direction":
        return one.model_copy(update={"kind": "ibs_a", "params": {}})
    rule = RULES.get(one.kind or "")
    if rule is None:
        return one
    return _without_model(one, kind=rule)


def _without_model(one: StrategySettings, **changed: object) -> StrategySettings:
    params = {key: value for key, value in one.params.items() if key != "model"}
    return one.model_copy(update={"params": params, "own_gates": {}, **changed})


def _target(config: TrainingConfig, plan: Plan) -> str:
    """Return in words what the model predicts."""
    if config.label == "trade":
        rule = plan.placements[0].strategy
        given = rule.model_dump(exclude_defaults=True)
        said = ", ".join(f"{name} {value}" for name, value in given.items())
        return f"whether a trade of {rule.kind} ({said or 'its defaults'}) pays, after costs"
    what = "the close is higher" if config.label == "direction" else "the strongest trend rises"
    return f"whether {what} within {config.horizon} bars"


def _said(config: TrainingConfig, plan: Plan, sidecar: Sidecar) -> list[tuple[str, str]]:
    """Return what a configuration says of a training, in words."""
    rules, costs = plan.placements[0].rules, plan.account.costs
    length = sidecar.interval_ns // SECOND_NS
    given = config.model_dump(exclude={"strategy", "features", "label"}, exclude_none=True)
    unused = UNUSED["policy" if config.label == "policy" else "trees"]
    if config.label == "trade":
        unused |= {"horizon"}
    settings = {k: v for k, v in given.items() if k not in unused}
    return [
        ("bars", f"of {duration(length)}" if length else "of different lengths"),
        ("label", config.label),
        ("exits", _fields(rules.exits.model_dump(exclude_defaults=True)) or "none of its own"),
        ("entry", _fields(rules.entry.model_dump(exclude_none=True))),
        ("costs", _fields(costs.model_dump(exclude_none=True))),
        ("settings", _fields(settings)),
    ]


def _fields(facts: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _added(loaded: Loaded, sidecar: Sidecar, artifact: bytes) -> tuple[Sidecar, bool]:
    """Put a model into the store; one that differs from none but by its date is there already."""
    store = store_of(loaded)
    for one in store.listed():
        known = one.sidecar
        if (
            known is not None
            and msgspec.structs.replace(sidecar, version=known.version, created_on=known.created_on)
            == known
        ):
            return known, False
    return store.add(sidecar, artifact), True


def _stored(loaded: Loaded, sidecar: Sidecar, card: Card, *, is_new: bool) -> Stored:
    folder = store_of(loaded).folder / sidecar.name / str(sidecar.version)
    write_atomic(folder / f"{CARD}.md", markdown(card).encode())
    write_atomic(folder / f"{CARD}.html", html(card).encode())
    return Stored(sidecar, card, folder, is_new)
