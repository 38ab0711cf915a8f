"""`onefold allocate`: shares of the account for each strategy, from backtests of each alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import StrEnum
from functools import reduce
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import typer

from onefold.app.group import new_app
from onefold.app.output import ConfigFile, Json, emit, note, say, show, table
from onefold.app.settings import Loaded, load_settings
from onefold.app.vet import vet
from onefold.app.wiring import Wired
from onefold.domain.columns import Floats, Integers
from onefold.domain.errors import ConfigError
from onefold.domain.rules import Sizing
from onefold.domain.words import Purpose
from onefold.engine.backtest import backtest
from onefold.fold.gates import Gate
from onefold.journal import write_atomic
from onefold.learn.allocation import mandates, scaled, weights
from onefold.views.equity import Daily, daily
from onefold.views.wording import DASH, number, percent

app = new_app()


class Method(StrEnum):
    """How shares are found."""

    HRP = "hrp"
    INVERSE_VARIANCE = "inverse_variance"
    EQUAL_RISK = "equal_risk"


class Alone(NamedTuple):
    """What a strategy made alone, and the most of the equity that it had in use, as it is sized."""

    made: Daily
    used: float


@app.command()
def allocate(
    config: ConfigFile = Path("onefold.yaml"),
    method: Annotated[Method, typer.Option(help="How shares are found.")] = Method.HRP,
    gross: Annotated[
        float, typer.Option(min=0.01, help="What is shared out: 1 is the whole equity once.")
    ] = 1.0,
    write: Annotated[
        Path | None, typer.Option(help="Write the mandates into this file, as JSON.")
    ] = None,
    json_: Json = False,
) -> None:
    """Weigh strategies by what each has made alone, and say how to size each by its share.

    Nothing changes by it. A share is taken over by the strategy's sizing; the risk budget is the
    limit beside it, and stops orders that are larger. `--write` keeps the budgets as mandates.
    """
    loaded = load_settings(config)
    alone = {name: _alone(loaded, name) for name in loaded.settings.strategies}
    days, returns = _together({name: one.made for name, one in alone.items()})
    shares = weights(returns, method.value)
    budgets = {name: share * gross for name, share in shares.items()}
    made = mandates(shares, gross, 1, time.time_ns(), f"allocation by {method.value}")
    if write is not None:
        write_atomic(write, msgspec.json.format(msgspec.json.encode(made), indent=1))
    sizes = {n: loaded.settings.strategies[n].sizing for n in shares}
    advised = {name: scaled(size, budgets[name]) for name, size in sizes.items()}
    correlations = np.atleast_2d(np.corrcoef(np.column_stack(list(returns.values())).T))
    if json_:
        emit(
            {
                "method": method.value,
                "shares": shares,
                "gross": gross,
                "days": len(days),
                "from": _day(days[0]),
                "to": _day(days[-1]),
                "risk_budgets": budgets,
                "largest_use": {name: one.used for name, one in alone.items()},
                "sizing_now": {name: size.model_dump() for name, size in sizes.items()},
                "sizing": {n: None if a is None else a.model_dump() for n, a in advised.items()},
                "correlations": dict(zip(shares, correlations.tolist(), strict=True)),
            }
        )
    else:
        _show(alone, returns, shares, budgets, sizes, advised)
        say(f"\nsizing to set: the sizing now times share times gross ({gross:g})")
        say(f"by {method.value}, from {_day(days[0])} to {_day(days[-1])}, {len(days):,} days\n")
        if len(shares) > 1:
            rows = [
                (name, *(number(float(c)) for c in row))
                for name, row in zip(shares, correlations, strict=True)
            ]
            show(table(("correlation by day", *shares), rows))
    for name, one in alone.items():
        _warn(name, one.used, budgets[name], advised[name])


def _show(
    alone: Mapping[str, Alone],
    returns: Mapping[str, Floats],
    shares: Mapping[str, float],
    budgets: Mapping[str, float],
    sizes: Mapping[str, Sizing],
    advised: Mapping[str, Sizing | None],
) -> None:
    """Print the shares, and what to set."""
    rows = [
        (
            name,
            _size_text(sizes[name]),
            _size_text(advised[name]),
            percent(shares[name], 1),
            number(budgets[name], 4),
            number(alone[name].used),
            percent(float(returns[name].std(ddof=1)), 3),
        )
        for name in shares
    ]
    heads = ("sizing now", "sizing to set", "share", "risk budget", "largest use now")
    show(table(("strategy", *heads, "daily volatility"), rows, text=3))


def _warn(name: str, used: float, budget: float, advised: Sizing | None) -> None:
    """Say where a budget would stop what it is a share for."""
    path = f"strategies.{name}"
    if advised is None:
        note(f"warning: {path}: lots are whole, and one is more than its share; trade less of it")
    if used > budget:
        note(
            f"warning: {path}: as it is sized now it has up to {used:.2f} of the equity in use, "
            f"more than a risk_budget of {budget:.4f}: the gate would stop such entries whole. "
            "Change its sizing first"
        )
    if advised is not None and used * budget > budget:
        note(
            f"warning: {path}: sized as shown it has up to {used * budget:.2f} of the equity in "
            f"use, so give it no smaller risk_budget than that"
        )


def _size_text(size: Sizing | None) -> str:
    """Return a sizing in words."""
    if size is None:
        return DASH
    facts = size.model_dump()
    kind = facts.pop("kind")
    said = ", ".join(f"{name} {value:g}" for name, value in facts.items() if value)
    return said if kind in facts else f"{kind}: {said}"


def _day(day: int) -> str:
    return str(np.datetime64(int(day), "D"))


def _together(made: Mapping[str, Daily]) -> tuple[Integers, dict[str, Floats]]:
    """Return the days that all have, and the returns of each on those."""
    days = reduce(np.intersect1d, [one.days for one in made.values()])
    return days, {n: np.nan_to_num(d.returns[np.isin(d.days, days)]) for n, d in made.items()}


def _alone(loaded: Loaded, name: str) -> Alone:
    """Return what a strategy makes when it trades alone, without the budget that is looked for."""
    one = loaded.settings.strategies[name]
    free = one.model_copy(update={"gates": one.gates.model_copy(update={"risk_budget": None})})
    settings = loaded.settings.model_copy(update={"strategies": {name: free}})
    wired = Wired(Loaded(settings, loaded.path))
    for warning in wired.warnings():
        note(f"warning: {warning}")
    vet(wired.plan, wired.bars)
    run = backtest(wired.plan, wired.bars, wired.actions)
    if not len(run.fills):
        raise ConfigError(f"strategies.{name}: it never traded, so it cannot be weighed")
    outcome = run.outcome
    ordered = (outcome.decisions["purpose"] == Purpose.ENTRY) & (outcome.decisions["order"] > 0)
    used = outcome.trace["value"][ordered, Gate.RISK_BUDGET]
    return Alone(daily(run.ts, run.equity, settings.account.cash), float(used.max(initial=0.0)))
