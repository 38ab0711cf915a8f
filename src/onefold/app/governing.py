"""What all of governance shares: an account's parameters, and what its configuration says.

They work on the file that sessions read, so they need no session that runs; one that does takes a
change within a second and journals it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from onefold.app.asking import POLL_S, WAIT_S, heartbeat_of
from onefold.app.live_settings import AccountSettings
from onefold.app.operator import operator
from onefold.app.output import one_line
from onefold.app.settings import Loaded, Settings, StrategySettings, accounts_of, load_settings
from onefold.app.wiring import recorded_recipe
from onefold.domain.errors import ConfigError, did_you_mean
from onefold.domain.rules import AccountRules, Gates, Limits
from onefold.domain.words import MandateKind
from onefold.engine.parameters import ParameterFile
from onefold.engine.succession import current
from onefold.governance.parameters import Parameters
from onefold.governance.versions import (
    CONF_MIN,
    STAGES,
    SUPPRESS,
    Entry,
    Key,
    Runs,
    Version,
    proposed,
    stricter,
)
from onefold.ops.redaction import looks_like_key

GOVERNOR = "governor"
"""Who makes the versions that follow from evidence alone."""
BY_SLEEVE = (CONF_MIN, SUPPRESS)
BY_STRATEGY = ("risk_budget", "max_position")
MODES = ("live", "paper", "shadow")
MANDATES = tuple(kind.name.lower() for kind in MandateKind)

Account = Annotated[str, typer.Option("--account", help="Which account, where there are several.")]
Why = Annotated[str, typer.Option("--reason", help="Why; it is recorded.", show_default=False)]


@dataclass(frozen=True)
class Governed:
    """One account as governance sees it: its name, settings, rules, folder and parameters."""

    name: str
    loaded: Loaded
    rules: AccountRules
    folder: Path
    file: ParameterFile

    @property
    def settings(self) -> Settings:
        """Return the whole configuration."""
        return self.loaded.settings

    @property
    def account(self) -> AccountSettings:
        """Return the account's own settings."""
        return accounts_of(self.settings)[self.name]

    @property
    def strategies(self) -> dict[str, StrategySettings]:
        """Return the account's strategies by name."""
        wanted = self.account.strategies or self.settings.strategies
        return {name: self.settings.strategies[name] for name in wanted}

    @property
    def is_live(self) -> bool:
        """Return whether it trades with real money, has, or may: then loosening is approved.

        An account with a venue may, once somebody has approved it; until then as well nothing is
        loosened that has been promoted on evidence.
        """
        if self.account.venue is not None or current(self.folder, "live") is not None:
            return True
        try:
            return any(version.stage == "live" for version in self.file.read().applied)
        except ConfigError:
            return True

    def symbols(self, strategy: str) -> tuple[str, ...]:
        """Return what a strategy trades."""
        everything = tuple(dict.fromkeys((*self.settings.data, *self.settings.feeds)))
        return self.strategies[strategy].instruments or everything

    def sleeves(self, strategy: str = "", instrument: str = "") -> Iterator[tuple[str, str]]:
        """Yield the strategies and symbols of a scope; empty means all. Raises `ConfigError`."""
        self.check_scope(strategy, instrument)
        for name in self.strategies:
            for symbol in self.symbols(name):
                if strategy in ("", name) and instrument in ("", symbol):
                    yield name, symbol

    def check_takeable(self, strategy: str, instrument: str) -> None:
        """Raise `ConfigError` for what neither the account has nor a session of it that runs."""
        running = (heartbeat_of(self.folder) or {}).get("strategies", {})
        self.check_scope("" if strategy in running else strategy, instrument)

    def check_scope(self, strategy: str, instrument: str) -> None:
        """Raise `ConfigError` for what the account does not have."""
        if strategy and strategy not in self.strategies:
            hint = did_you_mean(strategy, self.strategies)
            raise ConfigError(f"account {self.name!r} has no strategy {strategy!r}{hint}")
        known = {s for name in self.strategies for s in self.symbols(name)}
        if instrument and instrument not in known:
            hint = did_you_mean(instrument, known)
            raise ConfigError(f"account {self.name!r} has no instrument {instrument!r}{hint}")
        if strategy and instrument and instrument not in self.symbols(strategy):
            raise ConfigError(f"strategy {strategy!r} does not trade {instrument!r}")

    def stated(self, key: Key) -> float | None:
        """Return what the configuration says of a value, as its file is now."""
        return _stated(key, self.strategies, self.rules)

    def configured(self, key: Key) -> float | None:
        """Return what holds where governance has changed nothing.

        With real money that is the stricter of the file and what the newest live journal runs
        under: a file that was edited meanwhile must not make a loosening look like none.
        """
        stated, settings = self.stated(key), self._running
        if settings is None or key.strategy not in ("", *settings.strategies):
            return stated
        running = _stated(key, settings.strategies, settings.account)
        return stricter(key.mandate, stated, running)

    @cached_property
    def _running(self) -> Settings | None:
        """Return the settings that the newest live journal has recorded, None without one."""
        newest = current(self.folder, "live")
        return None if newest is None else recorded_recipe(newest.start).settings

    def extend(self, make: Callable[[Parameters], Version]) -> Version:
        """Add a version to the account's parameters."""
        return self.file.extend(make)


def _stated(
    key: Key, strategies: Mapping[str, StrategySettings], rules: AccountRules
) -> float | None:
    if key.mandate == SUPPRESS:
        return 0.0
    if key.mandate in (CONF_MIN, *BY_STRATEGY):
        value = getattr(strategies[key.strategy].gates, key.mandate)
    else:
        value = getattr(rules.limits, key.mandate)
    return None if value is None else float(value)


def governed(config: Path, account: str) -> Governed:
    """Return the account that is meant, with everything checked. Raises `ConfigError`."""
    return governed_in(load_settings(config), account)


def governed_in(loaded: Loaded, account: str) -> Governed:
    """Return the account that is meant of settings that are read already. Raises `ConfigError`."""
    accounts = accounts_of(loaded.settings)
    if not account and len(accounts) > 1:
        raise ConfigError(f"say which account is meant with --account: {', '.join(accounts)}")
    name = account or next(iter(accounts))
    if name not in accounts:
        raise ConfigError(f"there is no account {name!r}{did_you_mean(name, accounts)}")
    folder = loaded.resolve(loaded.settings.paths.governance)
    file = ParameterFile(folder / f"{name}.jsonl")
    return Governed(name, loaded, accounts[name].rules, loaded.account_folder(name), file)


def newest_of(one: Governed) -> Path:
    """Return the journal of an account that was written last, of any mode. Raises `ConfigError`."""
    found = [begun.path for mode in MODES if (begun := current(one.folder, mode)) is not None]
    if not found:
        raise ConfigError(
            f"account {one.name!r} has no journal of a session yet: onefold run --mode shadow"
        )
    return max(found, key=lambda path: max(f.stat().st_mtime for f in path.glob("*.jsonl")))


def entry(reason: str, evidence: str = "", by: str = "") -> Entry:
    """Return an entry of somebody, now; of the person who runs this process when left out.

    Raises `ConfigError` without a reason.
    """
    if not reason.strip():
        raise ConfigError("give a --reason: it stands in the record for good")
    if looks_like_key(reason):
        raise ConfigError("--reason: that looks like an API key: it would stand in the record")
    return Entry(time.time_ns(), person(by), one_line(reason.strip()), evidence)


def person(by: str = "") -> str:
    """Return who asks; nobody can be taken for the governor."""
    name = by or operator()
    return f"user {name}" if name == GOVERNOR else name


def keys_of(one: Governed, mandate: str, strategy: str, instrument: str) -> list[Key]:
    """Return what a value is set for: each sleeve, a strategy, or the account.

    Raises `ConfigError` for a mandate that is not known or not of such a scope.
    """
    if mandate not in MANDATES:
        raise ConfigError(f"there is no mandate {mandate!r}{did_you_mean(mandate, MANDATES)}")
    if mandate == SUPPRESS:
        raise ConfigError("use `onefold review suppress`, which keeps who did it and until when")
    if mandate in BY_SLEEVE:
        return [Key(mandate, *sleeve) for sleeve in one.sleeves(strategy, instrument)]
    if instrument:
        raise ConfigError(f"{mandate} cannot be for one instrument")
    if mandate in BY_STRATEGY:
        one.check_scope(strategy, "")
        return [Key(mandate, name) for name in ([strategy] if strategy else one.strategies)]
    if strategy:
        raise ConfigError(f"{mandate} is for the whole account only")
    return [Key(mandate)]


def check_value(mandate: str, value: float) -> None:
    """Raise `ConfigError` for a value that the configuration would not take either."""
    rules = Gates if mandate in (CONF_MIN, *BY_STRATEGY) else Limits
    try:
        rules.model_validate({mandate: int(value) if value.is_integer() else value})
    except ValidationError as error:
        said = error.errors(include_url=False)[0]["msg"]
        raise ConfigError(f"{mandate}: {value:g} cannot be: {said}") from None


def set_value(
    one: Governed, mandate: str, value: float, scope: tuple[str, str], reason: str, by: str = ""
) -> Version:
    """Set a threshold or limit in a scope (strategy, instrument; empty for all), and keep it.

    On a live account, what lets more be traded is only proposed. Raises `ConfigError`.
    """
    keys = keys_of(one, mandate, *scope)
    check_value(mandate, value)
    wanted = [(key, value) for key in keys]
    return one.extend(
        lambda p: _or_proposed(one, p.changed(wanted, one.configured, entry(reason, by=by)))
    )


def roll_back(one: Governed, version: int, reason: str, by: str = "") -> Version:
    """Give all thresholds the values that they had after a version. Raises `ConfigError`."""

    def then(parameters: Parameters) -> Version:
        def configured(key: Key) -> float | None:  # what it no longer has stays as it is
            gone = key.strategy not in ("", *one.strategies)
            return parameters.values[key] if gone else one.configured(key)

        made = parameters.rolled_back(version, configured, entry(reason, by=by))
        return _or_proposed(one, made)

    return one.extend(then)


def approve(one: Governed, version: int, reason: str, by: str = "") -> Version:
    """Put a proposal into force. Raises `ConfigError`."""
    both = one.account.second_person
    return one.extend(lambda p: p.approved(version, entry(reason, by=by), second_person=both))


def _or_proposed(one: Governed, made: Version) -> Version:
    """Return a version of a live account as a proposal, if more may be traded after it."""
    if not (one.is_live and any(change.loosens for change in made.changes)):
        return made
    return proposed(made)


def _passed_over(parameters: Parameters, version: Version, beat: Mapping[str, Any]) -> str:
    """Return why a session goes on as before after a version, empty where it does not."""
    mode, strategies = str(beat.get("mode", "")), beat.get("strategies")
    runs = Runs(mode, strategies if isinstance(strategies, dict) else {})
    if version.hold is None or mode not in STAGES:
        return ""
    name = version.hold.strategy
    if not version.stage:
        shut = name in parameters.shut(runs) and version.hold.action == "release"
        return (
            f"the session takes no entries of {name} all the same: it was taken back"
            if shut
            else ""
        )
    if version.hold.action != "release":
        return (
            ""
            if runs.is_beyond(version.stage)
            else f"the session is {mode} and goes on as before: {name} trades there still"
        )
    if runs.admits(version):
        return ""
    if mode == "live" and version.stage == "live":
        return f"the session runs another {name} and goes on as before: a restart is needed"
    return f"the session is {mode} and goes on as before: it takes no promotion to {version.stage}"


def taken(one: Governed, version: Version) -> str:
    """Wait until a session that runs has taken a version, and say what became of it."""
    last = max((c.number for c in version.changes), default=0)
    if version.status == "proposed":
        return "it waits for approval: onefold parameters approve"
    beat = heartbeat_of(one.folder)
    if beat is None:
        return "no session runs; the next one takes it at its start"
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        beat = heartbeat_of(one.folder)
        if beat is None or int(beat.get("mandate", 0)) >= last:
            said = _passed_over(one.file.read(), version, beat or {})
            return said or "the session has taken it"
        time.sleep(POLL_S)
    raise ConfigError(
        f"version {version.version} is written, but the session of {one.name!r} has not taken it "
        "yet; see `onefold status`"
    )
