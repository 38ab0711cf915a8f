"""From settings to what runs: strategies from their files, bars from theirs, and one plan.

What a run decides follows from the account, the instruments, the strategies and their code, and
the bar intervals, so exactly these are hashed. They are also recorded with a session, code
included, so that a journal can be replayed after the files have moved on.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np

from onefold.adapters.files import FileConfig, LoadedBars, load
from onefold.adapters.models import ModelStore, Pin
from onefold.adapters.synthetic import SyntheticConfig, generate
from onefold.app.settings import (
    DataSource,
    Loaded,
    SampleData,
    Settings,
    StrategySettings,
    SyntheticData,
    load_settings,
    settings_of,
)
from onefold.data import sample_path
from onefold.domain.columns import Bars
from onefold.domain.errors import (
    ConfigError,
    DataError,
    JournalError,
    ModelError,
    did_you_mean,
)
from onefold.domain.records import Action, SessionStart
from onefold.signals.elementwise import Elementwise
from onefold.signals.gate import Gate
from onefold.signals.learned import misused
from onefold.signals.model import Model, Models, Sidecar, scores_of
from onefold.signals.registry import STRATEGIES, Written, build_strategy, instance_of, written_in
from onefold.signals.strategy import Strategy
from onefold.sim.plan import Placement, Plan

Sources = Mapping[str, str]
"""The text of each Python file with strategies, by the name in the settings."""

SECOND_NS = 1_000_000_000
HASH_BYTES = 8


class Chosen(NamedTuple):
    """The models that strategies have, by the names in their settings, and who has none.

    A model that is missing, expired or not what it was keeps its strategy out: `disabled` has the
    reason by the strategy's name.
    """

    models: Mapping[str, Model] = MappingProxyType({})
    disabled: Mapping[str, str] = MappingProxyType({})

    def get(self, name: str) -> Model:
        """Return the model that was chosen under a name."""
        if name not in self.models:
            raise ModelError(f"model {name!r} was not there when the run began")
        return self.models[name]


class Recipe(NamedTuple):
    """Everything that the decisions of a run follow from, besides its inputs."""

    settings: Settings
    intervals_ns: dict[str, int]
    sources: Sources
    chosen: Chosen = Chosen()

    def plan(self) -> Plan:
        """Return the plan. Raises ConfigError for strategies that cannot be made."""
        settings = self.settings
        if not self.intervals_ns:
            raise ConfigError("data: there is no instrument with data; add one")
        if not settings.strategies:
            raise ConfigError("strategies: there is none; add one")
        symbols = tuple(self.intervals_ns)
        left = {n: s for n, s in settings.strategies.items() if n not in self.chosen.disabled}
        if not left:
            reasons = "; ".join(f"{n}: {why}" for n, why in self.chosen.disabled.items())
            raise ConfigError(f"strategies: none is left to run ({reasons})")
        made = made_of(left, self.sources, self.chosen)
        for name, one in left.items():
            self.check_models(name, made[name].strategy, one.instruments or symbols)
        return Plan(
            account=settings.account,
            instruments=tuple(settings.instruments[symbol] for symbol in symbols),
            placements=tuple(
                Placement(
                    name,
                    made[name].strategy,
                    one.rules,
                    one.instruments or symbols,
                    made[name].own_gates,
                )
                for name, one in left.items()
            ),
            intervals_ns=tuple(self.intervals_ns[symbol] for symbol in symbols),
            rates=settings.rates,
            rate_pairs=settings.rate_pairs,
        )

    def check_models(self, name: str, strategy: Strategy, symbols: Iterable[str]) -> None:
        """Raise `ConfigError` for a model that is not for such bars, or not for that strategy."""
        why = self._unfit(strategy, symbols)
        if why:
            raise ConfigError(f"strategies.{name}: {why}")

    def fitted(self) -> Recipe:
        """Return the recipe without strategies whose models are not for them or for their bars.

        The others go on; of the models those are left that somebody still asks.
        """
        symbols = tuple(self.intervals_ns)
        asked, disabled = _Asked(self.chosen), dict(self.chosen.disabled)
        for name, one in self.settings.strategies.items():
            if name in disabled:
                continue
            alone = _Asked(self.chosen)
            made = made_of({name: one}, self.sources, alone)[name]
            why = self._unfit(made.strategy, one.instruments or symbols)
            if why:
                disabled[name] = why
            else:
                asked.models |= alone.models
        return self._replace(chosen=Chosen(asked.models, disabled))

    def _unfit(self, strategy: Strategy, symbols: Iterable[str]) -> str:
        """Return why a strategy must not run with its models, empty when it may."""
        wrong = misused(strategy)
        if wrong:
            return wrong
        scores = scores_of(strategy.features.values())
        lengths = {
            (one.identity, one.sidecar.interval_ns)
            for score in scores
            if not score.model.is_silent
            for one in score.model.parts()
            if one.sidecar.interval_ns
        }
        for identity, length in sorted(lengths):
            for symbol in symbols:
                # What has no bars yet is refused elsewhere, by its name.
                if self.intervals_ns.get(symbol, length) != length:
                    return (
                        f"model {identity} was trained on bars of {length // SECOND_NS} s, and "
                        f"those of {symbol} have {self.intervals_ns[symbol] // SECOND_NS}"
                    )
        return ""

    def as_recorded(self) -> dict[str, Any]:
        """Return the recipe as plain values, the first record of a session."""
        # Where orders go decides nothing that a replay has to know, and names secrets.
        recorded: dict[str, Any] = {
            "settings": {**self.settings.as_written(), "accounts": {}},
            "intervals_ns": self.intervals_ns,
            "sources": dict(self.sources),
        }
        if self.chosen.models:
            models = list(self.chosen.models.items())
            recorded["models"] = {name: msgspec.to_builtins(m.sidecar) for name, m in models}
            recorded["model_hashes"] = {name: m.hash for name, m in models}
        if self.chosen.disabled:
            recorded["disabled"] = dict(self.chosen.disabled)
        return recorded

    @property
    def hash(self) -> str:
        """Return a hash of what decides: not of paths, pace or where the data came from."""
        settings = self.settings.as_written()
        decisive = {name: settings[name] for name in ("account", "rates", "rate_pairs")}
        # The order of the data is the order of events at the same time, so it decides as well.
        decisive["instruments"] = self._instruments(settings, self.intervals_ns)
        decisive["strategies"] = {n: self._strategy(settings, n) for n in settings["strategies"]}
        if self.chosen.models:
            decisive["models"] = {n: m.hash for n, m in self.chosen.models.items()}
        if self.chosen.disabled:
            decisive["disabled"] = sorted(self.chosen.disabled)
        return _hashed(decisive)

    def strategy_hash(self, name: str) -> str:
        """Return a hash of what a strategy's own decisions follow from, whatever runs beside it.

        Its rules, code and model, and the instruments that it trades with their costs. Raises
        `ConfigError` for one that is not there, or has instruments without data.
        """
        settings = self.settings.as_written()
        if name not in settings["strategies"]:
            raise ConfigError(
                f"there is no strategy {name!r}{did_you_mean(name, settings['strategies'])}"
            )
        placement = next((p for p in self.plan().placements if p.name == name), None)
        if placement is None:
            raise ConfigError(f"strategy {name!r} does not trade: {self.chosen.disabled.get(name)}")
        return _hashed(
            {
                "strategy": self._strategy(settings, name),
                "instruments": self._instruments(settings, placement.symbols),
                "costs": settings["account"]["costs"],
                "models": sorted(
                    score.model.hash for score in scores_of(placement.strategy.features.values())
                ),
            }
        )

    def _instruments(self, settings: dict[str, Any], symbols: Iterable[str]) -> dict[str, Any]:
        return {s: (settings["instruments"][s], self.intervals_ns[s]) for s in symbols}

    def _strategy(self, settings: dict[str, Any], name: str) -> dict[str, Any]:
        one = settings["strategies"][name]
        return {
            **one,
            "file": self.sources.get(one["file"]),
            "own_gates": {
                gate: {**facts, "file": self.sources.get(facts["file"])}
                for gate, facts in one["own_gates"].items()
            },
        }


def _hashed(decisive: dict[str, Any]) -> str:
    return hashlib.blake2b(msgspec.json.encode(decisive), digest_size=HASH_BYTES).hexdigest()


class Wired:
    """A configuration with its bars: what a backtest or a session needs."""

    def __init__(self, loaded: Loaded) -> None:
        """Read strategies, models and bars. Raises ConfigError, DataError and SignalError."""
        self.settings = loaded.settings
        self.path = loaded.path
        try:
            self._wire(loaded)
        except ConfigError as error:
            raise ConfigError(f"{loaded.path}: {error}") from error

    def _wire(self, loaded: Loaded) -> None:
        sources = read_sources(loaded)
        # Strategies are checked before data is read, which may take long.
        chosen = chosen_of(self.settings, sources, store_of(loaded))
        self.bars_of = load_bars(loaded)
        intervals = {symbol: bars.interval_ns for symbol, bars in self.bars_of.items()}
        self.recipe = Recipe(self.settings, intervals, sources, chosen).fitted()
        self.plan = self.recipe.plan()
        for bars in self.bars_of.values():
            check_fills(self.plan, bars)

    @property
    def bars(self) -> dict[str, Bars]:
        """Return the bars by symbol."""
        return {symbol: loaded.bars for symbol, loaded in self.bars_of.items()}

    @property
    def actions(self) -> list[Action]:
        """Return splits, dividends and rolls of all instruments."""
        return [action for loaded in self.bars_of.values() for action in loaded.actions]

    @property
    def inputs(self) -> int:
        """Return how many inputs a session over all data takes."""
        return sum(loaded.rows + len(loaded.actions) for loaded in self.bars_of.values())

    @cached_property
    def first_ts(self) -> int:
        """Return when the first bar closed, in nanoseconds UTC."""
        return min(int(loaded.bars.ts[0]) for loaded in self.bars_of.values())

    def warnings(self) -> list[str]:
        """Return what a person should know of the models: who has none, and what is in sample."""
        chosen = self.recipe.chosen
        found = [f"strategy {n} does not trade: {why}" for n, why in chosen.disabled.items()]
        for model in chosen.models.values():
            trained_to = model.sidecar.trained_to
            if trained_to > self.first_ts:
                day = np.datetime64(trained_to, "ns").astype("M8[D]")
                found.append(
                    f"model {model.identity} was trained on data until {day}: results before that "
                    "day are in its sample, and say nothing about its skill"
                )
            if model.sidecar.aim is None:
                found.append(
                    f"model {model.identity} does not say what it predicts (`label` in its "
                    "sidecar): nobody can check that its strategy means the same"
                )
            found += [
                f"model {model.identity} leaves out {m}: {w}" for m, w in model.skipped.items()
            ]
        return found

    def start(self, mode: str) -> SessionStart:
        """Return the first record of a session."""
        return SessionStart(
            ts=self.first_ts,
            mode=mode,
            version=version("onefold"),
            build=build(),
            config_hash=self.recipe.hash,
            config=self.recipe.as_recorded(),
        )


def check_fills(plan: Plan, loaded: LoadedBars) -> None:
    """Raise ConfigError for bars that lack what fills are made of: an open, or a volume."""
    costs, symbol = plan.account.costs, loaded.instrument.symbol
    if loaded.closes_only and costs.fill != "next_close":
        raise ConfigError(
            f"data.{symbol} has closes only, so there is no open to fill at: "
            "set account.costs.fill: next_close"
        )
    if costs.volume_share is None or symbol not in plan.traded:
        return
    if not (loaded.bars.volume > 0).any():
        raise ConfigError(
            f"data.{symbol} has no volume, so account.costs.volume_share would let nothing fill, "
            "exits included: remove volume_share, or give data with volume"
        )


def unfillable(plan: Plan, loaded: Iterable[LoadedBars]) -> dict[str, int]:
    """Return by symbol how many bars fill nothing, as a share of unknown volume is nothing."""
    if plan.account.costs.volume_share is None:
        return {}
    counts = {one.instrument.symbol: int(np.isnan(one.bars.volume).sum()) for one in loaded}
    return {symbol: count for symbol, count in counts.items() if count and symbol in plan.traded}


def recorded_recipe(start: SessionStart) -> Recipe:
    """Return the recipe that a session has recorded. Raises JournalError when it is not one."""
    config = start.config
    try:
        intervals, sources = dict(config["intervals_ns"]), dict(config["sources"])  # type: ignore[call-overload]
        settings = settings_of(config["settings"])  # type: ignore[arg-type]
        models: dict[str, Any] = config.get("models", {})  # type: ignore[assignment]
        hashes: dict[str, str] = config.get("model_hashes", {})  # type: ignore[assignment]
        disabled: dict[str, str] = config.get("disabled", {})  # type: ignore[assignment]
        remembered = {
            n: Model(msgspec.convert(m, Sidecar), None, hash_=hashes.get(n, ""))
            for n, m in models.items()
        }
    except (KeyError, TypeError, ConfigError, ModelError, msgspec.ValidationError) as error:
        raise JournalError(
            f"the journal's configuration cannot be read by this version: {error}"
        ) from None
    return Recipe(settings, intervals, sources, Chosen(remembered, disabled))


def with_models(recipe: Recipe, store: ModelStore) -> Recipe:
    """Return a recorded recipe with models that can be asked again. Raises `ModelError`."""
    found = {
        n: store.get(f"{m.sidecar.name}@{m.sidecar.version}")
        for n, m in recipe.chosen.models.items()
    }
    for name, model in found.items():
        recorded = recipe.chosen.models[name]
        if (model.sidecar, model.hash) != (recorded.sidecar, recorded.hash):
            differ = [
                field
                for field in Sidecar.__struct_fields__
                if getattr(model.sidecar, field) != getattr(recorded.sidecar, field)
            ]
            raise ModelError(
                f"the journal was written with {recorded.identity}, here is {model.identity}: "
                f"what differs is its {', '.join(differ) or 'members'}"
            )
    return recipe._replace(chosen=recipe.chosen._replace(models=found))


def store_of(loaded: Loaded, *, today: str = "", live: bool = False) -> ModelStore:
    """Return the configuration's store of models; those that are over on `today` are refused."""
    folder = loaded.resolve(loaded.settings.paths.models)
    return ModelStore(folder, today=today, pins=pins_of(loaded.settings), live=live)


def pins_of(settings: Settings) -> dict[str, Pin]:
    """Return what a person says of models, by name."""
    return {name: Pin(one.sha256, one.approved) for name, one in settings.models.items()}


def pins_in(config: Path) -> dict[str, Pin]:
    """Return what a person's configuration says of models, by name. Raises `ConfigError`."""
    return pins_of(load_settings(config).settings)


def chosen_of(settings: Settings, sources: Sources, store: Models) -> Chosen:
    """Return the models of all strategies, and which strategies have to do without."""
    models: dict[str, Model] = {}
    disabled: dict[str, str] = {}
    files = {file: written_in(text, file) for file, text in sources.items()}
    for name, one in settings.strategies.items():
        asked = _Asked(store)
        try:
            _strategy(one, files, f"strategies.{name}", asked)
        except ModelError as error:
            disabled[name] = str(error)
        else:
            models |= asked.models
    return Chosen(models, disabled)


def asked_by(recipe: Recipe, name: str) -> Mapping[str, Model]:
    """Return the models of a recipe that one of its strategies asks. Raises `ModelError`."""
    asked = _Asked(recipe.chosen)
    made_of({name: recipe.settings.strategies[name]}, recipe.sources, asked)
    return asked.models


class _Asked:
    """A store that remembers what it was asked for."""

    def __init__(self, store: Models) -> None:
        self._store = store
        self.models: dict[str, Model] = {}

    def get(self, name: str) -> Model:
        """Return a model of the store."""
        self.models[name] = self._store.get(name)
        return self.models[name]


class Made(NamedTuple):
    """A strategy, and the gates of the user's own that may stop it."""

    strategy: Strategy
    own_gates: dict[str, Gate]


def made_of(
    wanted: Mapping[str, StrategySettings], sources: Sources, models: Models
) -> dict[str, Made]:
    """Return the strategies by their names. Raises ConfigError that begins with the path."""
    files = {file: written_in(text, file) for file, text in sources.items()}
    return {
        name: Made(
            _strategy(one, files, f"strategies.{name}", models),
            {gate: _own_gate(one, gate, files, f"strategies.{name}") for gate in one.own_gates},
        )
        for name, one in wanted.items()
    }


def _strategy(
    one: StrategySettings, files: Mapping[str, Written], path: str, models: Models
) -> Strategy:
    if one.file is None:
        kind, known = one.kind or "", STRATEGIES
        if kind not in known:
            hint = did_you_mean(kind, known)
            raise ConfigError(f"{path}.kind: there is no strategy {kind!r}{hint}")
        return build_strategy(kind, one.params, path=f"{path}.params", models=models)
    cls = _chosen(files[str(one.file)].strategies, one.class_, one.file, path, "strategy")
    return instance_of(cls, one.params, path=f"{path}.params", models=models)


def _own_gate(one: StrategySettings, name: str, files: Mapping[str, Written], path: str) -> Gate:
    wanted, file, path = one.own_gates[name], one.gate_file(name), f"{path}.own_gates.{name}"
    cls = _chosen(files[str(file)].gates, wanted.class_, file, path, "gate")
    return instance_of(cls, wanted.params, path=f"{path}.params")


Kind = TypeVar("Kind", bound=Elementwise)


def _chosen(
    known: Mapping[str, type[Kind]], name: str | None, file: Path, path: str, what: str
) -> type[Kind]:
    """Return the class that is meant of those in a file."""
    by_name = {cls.__name__: cls for cls in known.values()}
    if name is None and len(by_name) == 1:
        return next(iter(by_name.values()))
    if not by_name:
        raise ConfigError(f"{path}: {file} has no {what}")
    if name is None:
        several = "strategies" if what == "strategy" else "gates"
        names = ", ".join(by_name)
        raise ConfigError(f"{path}.class: {file} has several {several}, name one: {names}")
    if name not in by_name:
        hint = did_you_mean(name, by_name)
        raise ConfigError(f"{path}.class: {file} has no {what} {name!r}{hint}")
    return by_name[name]


def read_sources(loaded: Loaded) -> dict[str, str]:
    """Return the texts of all files with strategies and gates.

    Raises ConfigError for one that is missing.
    """
    files: dict[Path, str] = {}
    for name, one in loaded.settings.strategies.items():
        if one.file is not None:
            files.setdefault(one.file, f"strategies.{name}.file: ")
        for gate in one.own_gates:
            files.setdefault(one.gate_file(gate), f"strategies.{name}.own_gates.{gate}.file: ")
    return {str(file): read_source(loaded.resolve(file), where) for file, where in files.items()}


def read_source(path: Path, where: str = "") -> str:
    """Return the text of a Python file. Raises ConfigError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}{path} is not UTF-8 text: byte {error.start}") from None
    except OSError as error:
        raise ConfigError(f"{where}{path} cannot be read: {error.strerror}") from None


def load_bars(loaded: Loaded) -> dict[str, LoadedBars]:
    """Return all bars of a configuration by symbol. Raises ConfigError, DataError."""
    return {s: _load(loaded, s, source) for s, source in loaded.settings.data.items()}


def _load(loaded: Loaded, symbol: str, source: DataSource) -> LoadedBars:
    try:
        if isinstance(source, SyntheticData):
            return made_bars(source.synthetic)
        return load(file_config(loaded, source), now=time.time_ns())
    except (ConfigError, DataError) as error:
        kind = DataError if isinstance(error, DataError) else ConfigError
        raise kind(f"data.{symbol}: {error}") from error


def file_config(loaded: Loaded, source: FileConfig | SampleData) -> FileConfig:
    """Return the settings of a file with a path that can be opened."""
    if isinstance(source, SampleData):
        return FileConfig(
            path=sample_path(source.sample),
            instrument=source.instrument,
            start=source.start,
            end=source.end,
        )
    return source.model_copy(update={"path": loaded.resolve(source.path)})


def made_bars(config: SyntheticConfig) -> LoadedBars:
    """Return the bars of a made market in the form of those of a file."""
    return LoadedBars(
        source=f"synthetic, seed {config.seed}",
        instrument=config.instrument,
        bars=generate(config),
        quarantined=[],
        before=np.zeros(0, np.int64),
        counts={},
        interval_ns=config.interval_s * SECOND_NS,
        interval_inferred=False,
        closes_only=False,
    )


def build() -> str:
    """Return a hash of the package's own source: which build made a decision."""
    package = Path(__file__).parents[1]
    digest = hashlib.blake2b(digest_size=HASH_BYTES)
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
