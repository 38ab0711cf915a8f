"""Everything that a user can set, in one file that is checked before anything runs.

The models of the domain are the vocabulary; here they are put together, given to the file and the
environment, and made to explain themselves: whatever is wrong is said with its path, in words, with
the nearest right name. Nothing unknown is ignored, because a misspelt limit is no limit.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    WrapValidator,
    field_validator,
    model_validator,
)

from onefold.adapters.files.config import FileConfig
from onefold.adapters.synthetic.config import SyntheticConfig
from onefold.api.config import ServeSettings
from onefold.app.configfile import env_files, environment, parse_value, read_yaml, resolve
from onefold.app.explained import explained, fields_of, is_model
from onefold.app.live_settings import AccountSettings, FeedSettings
from onefold.app.session_settings import GovernanceSettings, PathSettings, SessionSettings
from onefold.data import SAMPLES
from onefold.domain.bounds import NUMBER_MAX
from onefold.domain.errors import ConfigError, did_you_mean
from onefold.domain.instruments import CATALOG, Instrument
from onefold.domain.rules import AccountRules, Rule, StrategyRules
from onefold.learn.config import SweepConfig, TrainingConfig
from onefold.ops.backup_config import BackupSettings
from onefold.ops.channels import NotificationSettings
from onefold.ops.database.config import DatabaseSettings
from onefold.ops.health import HealthSettings
from onefold.ops.log_settings import LogSettings
from onefold.ops.preflight import PreflightSettings
from onefold.ops.validator import PipelineSettings

PREFIX = "ONEFOLD_"
OTHER_VARIABLES = (
    "ONEFOLD_CACHE_DIR",
    "ONEFOLD_SHARED_DATA",
    "ONEFOLD_SHARED_PAYLOADS",
    "ONEFOLD_WRITE_GOLDEN",
)
"""Variables that are read elsewhere and are no settings: the folder of compiled code, and what the
tests read, besides all that begin with `TEST_PREFIX`."""
TEST_PREFIX = "ONEFOLD_TEST_"

LOOKING_ON = (
    "backups", "database", "health", "logs", "notifications", "pipeline", "preflight", "serve",
)  # fmt: skip
"""Sections that say who sees a run and how, and nothing of what it does."""
SYMBOL_SECTIONS = ("instruments", "data", "feeds", "rates", "rate_pairs")
"""Sections whose keys are symbols and currencies, so that their case matters."""


class SampleData(Rule):
    """A sample that comes with Onefold."""

    instrument: Instrument = Field(exclude=True, description="From `instruments`.")
    sample: str = Field(description="sp500 or nasdaq: daily bars of 1999 to 2018.")
    start: date | None = Field(None, description="Leave out days before.")
    end: date | None = Field(None, description="Leave out this day and later ones.")

    @field_validator("sample")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in SAMPLES:
            raise ValueError(f"there is no sample {name!r}{did_you_mean(name, SAMPLES)}")
        return name


class SyntheticData(Rule):
    """A made market."""

    synthetic: SyntheticConfig = Field(description="Bars made from a seed, in place of a file.")


def _source_of(value: Any) -> str:
    """Return which kind of source is meant: the key tells it."""
    given = value if isinstance(value, dict) else vars(value) if is_model(type(value)) else {}
    return next((kind for kind in ("synthetic", "sample") if kind in given), "file")


def _located(value: Any, handler: Any) -> Any:
    """Turn the adapters' own errors into ones that pydantic reports with their path."""
    try:
        return handler(value)
    except ConfigError as error:
        raise ValueError(str(error)) from None


DataSource = Annotated[
    Annotated[FileConfig, Tag("file")]
    | Annotated[SampleData, Tag("sample")]
    | Annotated[SyntheticData, Tag("synthetic")],
    Discriminator(_source_of),
    WrapValidator(_located),
]


class OwnGateSettings(Rule):
    """One gate of the user's own: where it is written, and its parameters."""

    model_config = ConfigDict(populate_by_name=True)

    file: Path | None = Field(
        None, description="The Python file with the gate; the strategy's own when left out."
    )
    class_: str | None = Field(
        None, alias="class", description="Which gate of the file, when it has several."
    )
    params: dict[str, Any] = Field(
        default_factory=dict,
        description="The gate's own parameters, and its threshold: at_most or at_least.",
    )


NAME_PATTERN = r"^[a-z][a-z0-9_]{0,31}$"


class StrategySettings(StrategyRules):
    """One strategy: what it is, what it trades, and the rules it is under."""

    model_config = ConfigDict(populate_by_name=True)

    kind: str | None = Field(None, description="A strategy that comes with Onefold, by its kind.")
    file: Path | None = Field(None, description="A Python file with a strategy of your own.")
    class_: str | None = Field(
        None, alias="class", description="Which strategy of the file, when it has several."
    )
    instruments: tuple[str, ...] = Field(
        (), description="Symbols of `data` that it trades; all when left out."
    )
    params: dict[str, Any] = Field(
        default_factory=dict, description="The strategy's own parameters."
    )
    own_gates: dict[Annotated[str, Field(pattern=NAME_PATTERN)], OwnGateSettings] = Field(
        default_factory=dict,
        description="Gates of your own that may stop its entries, by a name of your choice.",
    )

    @model_validator(mode="after")
    def _one_origin(self) -> StrategySettings:
        if (self.kind is None) == (self.file is None):
            raise ValueError("give either kind (one that comes with Onefold) or file (your own)")
        if self.class_ is not None and self.file is None:
            raise ValueError("class names a strategy of a file: give file as well")
        for name, gate in self.own_gates.items():
            if gate.file is None and self.file is None:
                raise ValueError(f"own_gates.{name} needs the file in which the gate is written")
        return self

    def gate_file(self, name: str) -> Path:
        """Return the file of a gate of the user's own."""
        return self.own_gates[name].file or self.file or Path()

    @property
    def rules(self) -> StrategyRules:
        """Return the rules alone."""
        return StrategyRules(
            sizing=self.sizing, exits=self.exits, gates=self.gates, entry=self.entry
        )


class ModelSettings(Rule):
    """What a person says of a model of the store."""

    sha256: str = Field(
        "",
        pattern=r"^([0-9a-f]{64})?$",
        description="The hash that its artifact must have; a pickle (joblib) needs it.",
    )
    approved: str = Field(
        "", max_length=500, description="Who let a pickle trade live, when and why."
    )


class Settings(Rule):
    """The whole configuration."""

    account: AccountRules = Field(
        default_factory=AccountRules, description="Money, limits and costs of the account."
    )
    rates: dict[str, Annotated[float, Field(gt=0, le=NUMBER_MAX)]] = Field(
        default_factory=dict, description="Starting rates of currencies to the account's."
    )
    rate_pairs: dict[str, str] = Field(
        default_factory=dict,
        description="Instruments whose closes set a currency's rate: {EURUSD: EUR}; a minus sign "
        "(-JPY) takes the inverse.",
    )
    instruments: dict[str, Instrument] = Field(
        default_factory=dict, description="Facts that differ from the catalogue, by symbol."
    )
    data: dict[str, DataSource] = Field(
        default_factory=dict, description="Where each instrument's bars come from, by symbol."
    )
    strategies: dict[Annotated[str, Field(pattern=NAME_PATTERN)], StrategySettings] = Field(
        default_factory=dict, description="What trades, by a name of your choice."
    )
    feeds: dict[str, FeedSettings] = Field(
        default_factory=dict, description="Where bars come from in real time, by symbol."
    )
    training: dict[Annotated[str, Field(pattern=NAME_PATTERN)], TrainingConfig] = Field(
        default_factory=dict, description="Models that `onefold train` makes, by name."
    )
    sweeps: dict[Annotated[str, Field(pattern=NAME_PATTERN)], SweepConfig] = Field(
        default_factory=dict, description="Searches for parameters, by name."
    )
    models: dict[str, ModelSettings] = Field(
        default_factory=dict, description="Pins and approvals of models, by name."
    )
    accounts: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,11}$")], AccountSettings] = (
        Field(
            default_factory=dict,
            description="Accounts that trade side by side, by name; without any, `account` alone.",
        )
    )
    governance: GovernanceSettings = Field(
        default_factory=GovernanceSettings, description="What evidence has to show."
    )
    session: SessionSettings = Field(
        default_factory=SessionSettings, description="How `onefold run` runs and records."
    )
    logs: LogSettings = Field(
        default_factory=LogSettings, description="What is logged, where, and how long it is kept."
    )
    health: HealthSettings = Field(
        default_factory=HealthSettings, description="From when on something is not healthy."
    )
    pipeline: PipelineSettings = Field(
        default_factory=PipelineSettings,
        description="What is expected between bars, signals, orders and positions.",
    )
    preflight: PreflightSettings = Field(
        default_factory=PreflightSettings, description="What is looked at before a session starts."
    )
    database: DatabaseSettings = Field(
        default_factory=DatabaseSettings,
        description="The database into which journals are projected.",
    )
    notifications: NotificationSettings = Field(
        default_factory=NotificationSettings, description="Who is told what happens."
    )
    backups: BackupSettings = Field(
        default_factory=BackupSettings, description="Where copies of what cannot be made again go."
    )
    paths: PathSettings = Field(
        default_factory=PathSettings, description="Where results and journals are written."
    )
    serve: ServeSettings = Field(
        default_factory=ServeSettings, description="How `onefold serve` listens, and to whom."
    )

    @model_validator(mode="before")
    @classmethod
    def _complete_instruments(cls, raw: Any) -> Any:
        """Give every instrument with data its entry, so that all facts are in one place."""
        if not isinstance(raw, dict):
            return raw
        sections = [raw.get(name, {}) for name in ("data", "feeds")]
        if not all(map(_is_map, sections)):
            return raw
        given = raw.get("instruments", {})
        if not isinstance(given, dict):
            return raw
        known: dict[str, Any] = {s: {} for names in sections for s in names if s in CATALOG}
        return {**raw, "instruments": {**known, **given}}

    @model_validator(mode="before")
    @classmethod
    def _complete_accounts(cls, raw: Any) -> Any:
        """Give every account what `account` says, where it says nothing itself."""
        if not _is_map(raw) or not _is_map(raw.get("accounts", {})):
            return raw
        base = raw.get("account", {})
        accounts = {
            name: merged({**base, "name": name}, one) if _is_map(one) and _is_map(base) else one
            for name, one in raw.get("accounts", {}).items()
        }
        return {**raw, "accounts": accounts}

    @field_validator("instruments", mode="before")
    @classmethod
    def _with_catalogue(cls, given: Any) -> Any:
        return {s: _facts(s, changes) for s, changes in given.items()} if _is_map(given) else given

    @field_validator("data", mode="before")
    @classmethod
    def _with_instruments(cls, given: Any, info: ValidationInfo) -> Any:
        if not _is_map(given):
            return given
        # Where the instruments are wrong, that is the error to show; any will do here.
        known = info.data.get("instruments", {s: Instrument(symbol=s) for s in given})
        return {s: _with_instrument(s, options, known) for s, options in given.items()}

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        known = {**self.data, **self.feeds}
        where = "has no entry in data" + (" or feeds" if self.feeds else "")
        for name, strategy in self.strategies.items():
            for symbol in strategy.instruments:
                _check_symbol(f"strategies.{name}.instruments", symbol, known, where)
        for symbol in self.rate_pairs:
            _check_symbol("rate_pairs", symbol, known, where)
        for symbol in self.feeds:
            what = "is not in the catalogue: give its kind under instruments"
            _check_symbol("feeds", symbol, self.instruments, what)
        for name, account in self.accounts.items():
            for wanted in account.strategies:
                _check_symbol(
                    f"accounts.{name}.strategies", wanted, self.strategies, "is not there"
                )
        for name, channel in self.notifications.channels.items():
            for wanted in channel.accounts:
                where = f"notifications.channels.{name}.accounts"
                _check_symbol(where, wanted, accounts_of(self), "is no account")
        return self

    def as_written(self) -> dict[str, Any]:
        """Return the settings as plain values that give equal settings when they are read.

        What only looks on is left out: it decides nothing, some of it is secret, and these values
        are recorded, to be read by later versions.
        """
        leave_out: Any = {
            "data": {"__all__": {"instrument": True, "synthetic": {"instrument": True}}},
            "instruments": {"__all__": {"symbol": True}},
            **dict.fromkeys(LOOKING_ON, True),
        }
        return self.model_dump(mode="json", by_alias=True, exclude=leave_out)


def _is_map(value: object) -> bool:
    return isinstance(value, dict)


def _facts(symbol: str, changes: Any) -> Any:
    """Return an instrument's facts: those of the catalogue with changes."""
    if isinstance(changes, Instrument) or not (changes is None or isinstance(changes, dict)):
        return changes
    changes = changes or {}
    if "symbol" in changes:
        raise ValueError(f"{symbol}.symbol: the symbol is the key; leave this out")
    if symbol not in CATALOG and "kind" not in changes:
        hint = did_you_mean(symbol, CATALOG)
        hint = hint if hint.startswith("; did") else ""
        raise ValueError(
            f"{symbol!r} is not in the catalogue: give its kind (and multiplier, tick, lot, "
            f"currency){hint}"
        )
    base = CATALOG[symbol].model_dump() if symbol in CATALOG else {}
    if changes.get("kind", base.get("kind")) != base.get("kind"):
        base = {}  # another thing of the same name: a coin BTC is no future BTC
    return {**base, **changes, "symbol": symbol}


def _with_instrument(symbol: str, options: Any, known: Mapping[str, Instrument]) -> Any:
    if not isinstance(options, dict):
        return options
    if "instrument" in options:
        raise ValueError(f"{symbol}.instrument: describe it under instruments.{symbol}")
    if symbol not in known:
        hint = did_you_mean(symbol, [*CATALOG, *known])
        raise ValueError(
            f"{symbol!r} is not in the catalogue: give its kind under instruments.{symbol}"
            f"{hint if hint.startswith('; did') else ''}"
        )
    if _source_of(options) == "synthetic":
        made = options["synthetic"]
        if isinstance(made, dict):
            return {**options, "synthetic": {**made, "instrument": known[symbol]}}
        return options
    return {**options, "instrument": known[symbol]}


def _check_symbol(path: str, symbol: str, known: Mapping[str, object], what: str) -> None:
    if symbol not in known:
        raise ValueError(f"{path}: {symbol!r} {what}{did_you_mean(symbol, known)}")


def overrides(written: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    """Return what variables such as `ONEFOLD_ACCOUNT__CASH=5000` set, nested as in the file.

    Names are matched without regard to case with the keys that are `written` there, because many
    shells and hosts have upper case only. Values are read as YAML, so that lists and null can be
    written. Raises ConfigError for a variable that names no section and is not otherwise known.
    """
    tree: dict[str, Any] = {}
    fields = Settings.model_fields
    for variable, text in sorted(variables.items()):
        if not variable.upper().startswith(PREFIX):
            continue
        name = variable[len(PREFIX) :]
        section = name.partition("__")[0].lower()
        if section in fields:
            _put(tree, _path(name, written), parse_value(text))
        elif "__" in name:
            hint = did_you_mean(section, fields)
            raise ConfigError(f"{variable}: there is no setting {section!r}{hint}")
        elif variable.upper() not in OTHER_VARIABLES and not variable.startswith(TEST_PREFIX):
            hint = did_you_mean(variable.upper(), _variables())
            raise ConfigError(f"{variable}: there is no such variable{hint}")
    return tree


def _variables() -> list[str]:
    """Return the variables that somebody may have meant, two keys deep."""
    names = []
    for section, field in Settings.model_fields.items():
        kind = field.annotation
        keys = fields_of(kind) if isinstance(kind, type) and issubclass(kind, Rule) else {}
        names += [section, *(f"{section}__{key}" for key in keys)]
    return [*OTHER_VARIABLES, *(f"{PREFIX}{name}".upper() for name in names)]


def _path(name: str, written: Any) -> list[str]:
    """Return the keys that a variable names: those of the file where it has them."""
    path: list[str] = []
    for part in name.split("__"):
        spelt = {key.lower(): key for key in written} if isinstance(written, dict) else {}
        is_symbol = len(path) == 1 and path[0] in SYMBOL_SECTIONS
        key = spelt.get(part.lower(), part if is_symbol else part.lower())
        written = written.get(key) if isinstance(written, dict) else None
        path.append(key)
    return path


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    *parents, last = path
    for key in parents:
        if not isinstance(tree.get(key), dict):
            tree[key] = {}
        tree = tree[key]
    tree[last] = value


def merged(below: Any, above: Any) -> Any:
    """Return nested mappings as one, in which `above` wins."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    both = {key: merged(below[key], above[key]) for key in below.keys() & above.keys()}
    return {**below, **above, **both}


def accounts_of(settings: Settings) -> dict[str, AccountSettings]:
    """Return the accounts by name; without `accounts` there is one, made of `account`."""
    if settings.accounts:
        return settings.accounts
    rules = settings.account
    return {rules.name: AccountSettings(**rules.model_dump())}


def check_secrets(folder: Path = Path()) -> None:
    """Raise `ConfigError` when others on this machine can read a file with secrets."""
    for file in env_files(folder):
        if os.name == "posix" and file.stat().st_mode & 0o077:
            raise ConfigError(f"{file} can be read by others: chmod 600 {file}")


class Loaded(NamedTuple):
    """Settings and where they were read."""

    settings: Settings
    path: Path

    def resolve(self, path: Path) -> Path:
        """Return a path of the settings as one that can be opened."""
        return self.path.parent / path.expanduser()

    def account_folder(self, name: str) -> Path:
        """Return where everything of an account's sessions lies."""
        return self.resolve(self.settings.paths.journal) / name

    def as_resolved(self) -> dict[str, Any]:
        """Return the settings as plain values that mean the same in a file of another folder."""
        written = self.settings.as_written()
        own_gates = [g for one in written["strategies"].values() for g in one["own_gates"].values()]
        for entry, key in (
            *((entry, "path") for entry in written["data"].values()),
            *((entry, "file") for entry in (*written["strategies"].values(), *own_gates)),
            *((written["paths"], key) for key in written["paths"]),
        ):
            if entry.get(key) is not None:
                entry[key] = self._absolute(entry[key])
        return written

    def _absolute(self, path: str) -> str:
        return str(self.resolve(Path(path)).resolve())


def load_settings(path: str | Path) -> Loaded:
    """Read a configuration file with the overrides of the environment.

    Raises ConfigError that names every wrong setting by its path.
    """
    file = Path(path)
    written, variables = read_yaml(file), environment(file.parent)
    try:
        raw = merged(resolve(written, variables), overrides(written, variables))
        return Loaded(settings_of(raw), file)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None


def settings_of(raw: Mapping[str, Any]) -> Settings:
    """Return plain values as settings. Raises ConfigError that names every wrong one."""
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        raise ConfigError("; ".join(explained(error, Settings))) from None
    return settings
