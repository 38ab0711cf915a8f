"""`onefold allocate`: shares of the account for each strategy, from backtests of each alone."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import typer

from onefold.app.group import new_app
from onefold.app.output import ConfigFile, Json, emit, note, show, table
from onefold.app.settings import Loaded, load_settings
from onefold.app.vet import vet
from onefold.app.wiring import Wired
from onefold.domain.columns import Floats
from onefold.domain.errors import ConfigError
from onefold.engine.backtest import backtest
from onefold.journal import write_atomic
from onefold.learn.allocation import mandates, weights
from onefold.views.equity import daily
from onefold.views.wording import number, percent

app = new_app()


class Method(StrEnum):
    """How shares are found."""

    HRP = "hrp"
    INVERSE_VARIANCE = "inverse_variance"
    EQUAL_RISK = "equal_risk"


@app.command()
def allocate(
    config: ConfigFile = Path("onefold.yaml"),
    method: Annotated[Method, typer.Option(help="How shares are found.")] = Method.HRP,
    gross: Annotated[
        float, typer.Option(min=0.01, help="Gross exposure that is shared out, of the equity.")
    ] = 1.0,
    write: Annotated[
        Path | None, typer.Option(help="Write the mandates into this file, as JSON.")
    ] = None,
    json_: Json = False,
) -> None:
    """Weigh strategies by what each has made alone, and make mandates of their risk budgets.

    Nothing changes by it: `--write` keeps the mandates for governance, and
    `strategies.NAME.gates.risk_budget` takes a share over by hand.
    """
    loaded = load_settings(config)
    returns = {name: _returns(loaded, name) for name in loaded.settings.strategies}
    days = min(map(len, returns.values()))
    shares = weights({name: column[-days:] for name, column in returns.items()}, method.value)
    made = mandates(shares, gross, 1, time.time_ns(), f"allocation by {method.value}")
    if write is not None:
        write_atomic(write, msgspec.json.format(msgspec.json.encode(made), indent=1))
    spread = {name: float(column.std(ddof=1)) for name, column in returns.items()}
    if json_:
        emit({"method": method.value, "shares": shares, "gross": gross, "days": days})
        return
    rows = [
        (name, percent(share, 1), number(share * gross, 4), percent(spread[name], 3))
        for name, share in shares.items()
    ]
    show(table(("strategy", "share", "risk budget", "daily volatility"), rows))


def _returns(loaded: Loaded, name: str) -> Floats:
    """Return a strategy's returns by day when it trades alone."""
    alone = {name: loaded.settings.strategies[name]}
    settings = loaded.settings.model_copy(update={"strategies": alone})
    wired = Wired(Loaded(settings, loaded.path))
    for warning in wired.warnings():
        note(f"warning: {warning}")
    vet(wired.plan, wired.bars)
    run = backtest(wired.plan, wired.bars, wired.actions)
    if not len(run.fills):
        raise ConfigError(f"strategies.{name}: it never traded, so it cannot be weighed")
    return np.nan_to_num(daily(run.ts, run.equity, settings.account.cash).returns)
