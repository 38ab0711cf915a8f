"""The accounts of a configuration: what each is made of, and what must hold before it trades."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from onefold.adapters.models import ModelStore
from onefold.app.bundles import BundleStore
from onefold.app.live_settings import AccountSettings
from onefold.app.proving import chosen_meanwhile
from onefold.app.settings import Loaded, Settings, StrategySettings, accounts_of
from onefold.app.wiring import (
    Chosen,
    Recipe,
    Sources,
    asked_by,
    chosen_of,
    read_sources,
    recorded_recipe,
    store_of,
)
from onefold.domain.errors import ConfigError, ModelError
from onefold.domain.rules import NotionalSize
from onefold.domain.venue import Abilities
from onefold.engine.parameters import ParameterFile
from onefold.engine.succession import current
from onefold.governance.parameters import Parameters
from onefold.governance.versions import Runs, looser_limits
from onefold.signals.model import Model, silenced
from onefold.sim.plan import Plan

WANTED_LIMITS = ("daily_loss", "drawdown", "gross_exposure", "max_order_value")
NOTHING = NotionalSize(kind="notional", value=1e-9)
"""A value that no lot is as small as."""
log = logging.getLogger("onefold.application.accounts")


class Account:
    """One account of a configuration in one mode: its names, its folder, what it needs to run.

    Raises `ConfigError` for what live trading needs and is not there.
    """

    def __init__(self, loaded: Loaded, name: str, one: AccountSettings, mode: str) -> None:
        self.loaded, self.name, self.settings, self.mode = loaded, name, one, mode
        self.folder = loaded.account_folder(name)
        if mode == "live":
            where = f"accounts.{name}"
            if loaded.settings.session.durability != "durable":
                raise ConfigError(
                    "session.durability: --mode live needs durable: an order must not leave before "
                    "its record is on the disk"
                )
            if one.venue is None:
                raise ConfigError(f"{where}.venue: --mode live needs a venue for the orders")
            if not one.approved.strip():
                raise ConfigError(
                    f"{where}.approved: say who approved live trading, when and why; "
                    "without that no order leaves"
                )

    @property
    def venue(self) -> str:
        """Return where its orders go, without secrets."""
        one = self.settings.venue
        return one.identity if one is not None and self.mode == "live" else ""

    @property
    def parameters(self) -> ParameterFile:
        """Return what governance has changed for it."""
        folder = self.loaded.resolve(self.loaded.settings.paths.governance)
        return ParameterFile(folder / f"{self.name}.jsonl")

    @property
    def symbols(self) -> frozenset[str]:
        """Return what the account's strategies trade, and what sets its currencies' rates."""
        settings = self.loaded.settings
        wanted = [settings.strategies[n] for n in self.settings.strategies or settings.strategies]
        everything = {*settings.data, *settings.feeds}
        traded = {s for one in wanted for s in one.instruments or everything}
        return frozenset(traded | settings.rate_pairs.keys())

    @property
    def unlimited(self) -> list[str]:
        """Return the limits of a live account that nobody should trade without, and are not set."""
        limits = self.settings.limits
        return [name for name in WANTED_LIMITS if getattr(limits, name) is None]

    def recipe(self, intervals_ns: dict[str, int]) -> Recipe:
        """Return what the account's decisions follow from."""
        mine, sources, store = self._given()
        return Recipe(mine, intervals_ns, sources, chosen_of(mine, sources, store)).fitted()

    async def proved_recipe(self, intervals_ns: dict[str, int]) -> Recipe:
        """Return the same, and let other accounts go on while its models are proved."""
        mine, sources, store = self._given()
        chosen = await chosen_meanwhile(mine, sources, store)
        return Recipe(mine, intervals_ns, sources, chosen).fitted()

    def _given(self) -> tuple[Settings, Sources, ModelStore]:
        """Return the account's own settings, its strategies' files, and where its models are."""
        settings = self.loaded.settings
        wanted = self.settings.strategies or tuple(settings.strategies)
        mine = settings.model_copy(
            update={
                "account": self.settings.rules,
                "strategies": {n: settings.strategies[n] for n in wanted},
            }
        )
        loaded = Loaded(mine, self.loaded.path)
        return (
            mine,
            read_sources(loaded),
            store_of(loaded, today=today(), live=self.mode == "live"),
        )


def enabled_accounts(loaded: Loaded, mode: str, say: Callable[[str], None]) -> list[Account]:
    """Return the accounts that run; the others are told of with the reason."""
    found = []
    for name, one in accounts_of(loaded.settings).items():
        if one.enabled:
            found.append(Account(loaded, name, one, "shadow" if one.shadow else mode))
        else:
            said = f"skipping account {name}: it is not enabled (accounts.{name}.enabled)"
            say(said)
            log.info(said, extra={"account": name, "told": True})
    if not found:
        raise ConfigError("accounts: none is enabled, so there is nothing to run")
    return found


def runs_of(recipe: Recipe, mode: str) -> Runs:
    """Return what a session of a recipe runs, by which promotions concern it."""
    names = [n for n in recipe.settings.strategies if n not in recipe.chosen.disabled]
    return Runs(mode, {name: recipe.strategy_hash(name) for name in names})


def check_promoted(account: Account, recipe: Recipe) -> None:
    """Raise `ConfigError` for strategies that may not go live, where evidence is needed for that.

    One that was promoted has to be what it was then, and its evidence has to be there. One that was
    taken back enters nothing, and may leave what it holds. Parameters that cannot be read say
    nothing yet: the session begins in doubt of them, and asks `prove_promoted` before that ends.
    """
    if not _needs_proof(account):
        return
    try:
        parameters = account.parameters.read()
    except ConfigError:
        return
    prove_promoted(account, runs_of(recipe, account.mode), parameters)


def prove_promoted(account: Account, runs: Runs, parameters: Parameters) -> None:
    """Raise `ConfigError` for strategies of a session that parameters do not let go live."""
    if not _needs_proof(account):
        return
    shut = parameters.shut(runs)
    for name in runs.strategies:
        if name in shut:  # it enters nothing
            continue
        last = parameters.stages.get(name)
        how = f"onefold check-transition live --strategy {name} --promote"
        if last is None or last.stage != "live":
            raise ConfigError(f"strategy {name!r} has not been promoted to live: {how}")
        if not runs.is_of(last):
            raise ConfigError(f"strategy {name!r} has changed since it was promoted: {how}")
        promoted, _, evidence = last.evidence.partition("/")
        bundle = BundleStore(account.loaded, account.name).proven(evidence, name, promoted)
        looser = looser_limits(account.settings.limits, bundle.inputs.limits)
        if looser:
            raise ConfigError(
                f"accounts.{account.name}.limits: {', '.join(looser)} would let more be traded "
                f"than when strategy {name!r} was judged: {how}"
            )


def taken_back(account: Account, runs: Runs) -> list[str]:
    """Return the strategies of a session that enter nothing, since they were taken back."""
    try:
        shut = account.parameters.read().shut(runs)
    except ConfigError:
        return []
    return [name for name in runs.strategies if name in shut]


def _needs_proof(account: Account) -> bool:
    return account.mode == "live" and account.settings.needs_evidence


def today() -> str:
    """Return the date, UTC."""
    return datetime.now(UTC).date().isoformat()


def kept(account: Account, recipe: Recipe) -> Recipe:
    """Return a live account's recipe with strategies that have lost their model, to leave only.

    They may hold positions, whose stops must not end with the model. Their models are those of the
    journal before, and say nothing any more; what else they go by enters nothing of a lot's size.
    """
    before = current(account.folder, account.mode) if account.mode == "live" else None
    if before is None or not recipe.chosen.disabled:
        return recipe
    recorded = recorded_recipe(before.start)
    remembered = recorded.chosen.models.items()
    silent = recipe._replace(chosen=Chosen({name: silenced(model) for name, model in remembered}))
    disabled = dict(recipe.chosen.disabled)
    left: dict[str, Model] = {}
    for name in recipe.chosen.disabled:
        if name not in recorded.settings.strategies or name in recorded.chosen.disabled:
            continue
        try:
            left |= asked_by(silent, name)
        except ModelError:  # it wants another model than the one that it had
            continue
        del disabled[name]
    if len(disabled) == len(recipe.chosen.disabled):
        return recipe
    back = recipe.chosen.disabled.keys() - disabled.keys()
    strategies = {
        name: _entering_nothing(one) if name in back else one
        for name, one in recipe.settings.strategies.items()
    }
    return recipe._replace(
        settings=recipe.settings.model_copy(update={"strategies": strategies}),
        # A model that others ask too says nothing to them either: it has one voice in an account.
        chosen=Chosen({**recipe.chosen.models, **left}, disabled),
    )


def _entering_nothing(one: StrategySettings) -> StrategySettings:
    """Return a strategy whose entries are too small for a lot: the size gate blocks them."""
    return one.model_copy(update={"sizing": NOTHING})


def check_abilities(plan: Plan, abilities: Abilities) -> None:
    """Raise `ConfigError` for orders that a strategy would give and the venue does not take."""
    for placement in plan.placements:
        entry, exits = placement.rules.entry, placement.rules.exits
        kinds = {"market": "exits", entry.order: "entry.order"}
        if exits.resting:
            kinds |= {"stop": "exits.resting"} if exits.stop or exits.trail else {}
            kinds |= {"limit": "exits.resting"} if exits.take else {}
        for kind, setting in kinds.items():
            if kind not in abilities.kinds:
                raise ConfigError(
                    f"strategies.{placement.name}.{setting}: this venue takes no {kind} orders"
                )
        if entry.time_in_force not in abilities.times_in_force:
            raise ConfigError(
                f"strategies.{placement.name}.entry.time_in_force: this venue takes no orders "
                f"{entry.time_in_force!r}"
            )
