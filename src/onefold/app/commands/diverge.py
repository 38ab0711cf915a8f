"""`onefold diverge`: why a run made other money than the backtest of the same strategies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from onefold.app.changed import backtest_of
from onefold.app.commands.diff import differences_table
from onefold.app.group import new_app
from onefold.app.output import Json, emit, note, progress, show, table
from onefold.app.summary import facts_table
from onefold.app.wiring import recorded_recipe
from onefold.domain.errors import ConfigError
from onefold.engine.diverge import Side, recalled, simulated
from onefold.engine.diverge import diverge as split
from onefold.engine.replay import started
from onefold.views.divergence import CLASSES, MAIN, Divergence, Part
from onefold.views.wording import money, whole

if TYPE_CHECKING:
    from rich.table import Table

app = new_app()

ROWS = 10
"""Decisions that people are shown when nothing else is said."""
GAP_MAX = 1e-6
"""By what share of the account the books may stray from the sum over the fills, by rounding."""


@app.command()
def diverge(
    live: Annotated[Path, typer.Argument(help="The journal that traded.", show_default=False)],
    backtest: Annotated[
        Path | None, typer.Argument(help="The journal to hold it against.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="In place of a second journal: a configuration to backtest."),
    ] = None,
    limit: Annotated[int, typer.Option(help="Decisions to show that differ.", min=0)] = ROWS,
    json_: Json = False,
) -> None:
    """Split the difference of two runs' P&L into data, timing, fill, fee, model, gate and size.

    The sum of the parts is the difference; what has another cause has a name of its own.
    """
    if (backtest is None) == (config is None):
        raise ConfigError("give a second journal, or --config with a configuration to backtest")
    with progress("diverge", None) as advance:
        ran = _recalled(live, advance)
        back = (
            _recalled(backtest, advance)
            if backtest is not None
            else _backtest(config or Path(), live, ran, advance)
        )
        found = split(ran, back)
    _warn(found, ran, back)
    against = str(backtest if backtest is not None else config)
    if json_:
        emit(_document(str(live), against, found, limit))
        return
    show(*_tables(str(live), against, found, limit, ran.plan.account.currency))


def _recalled(folder: Path, advance: Callable[[int], None]) -> Side:
    return recalled(folder, recorded_recipe(started(folder)).plan(), seen=advance)


def _backtest(config: Path, live: Path, ran: Side, advance: Callable[[int], None]) -> Side:
    start = started(live)
    made = backtest_of(config, recorded_recipe(start), start.mode, ran.bars)
    return simulated(made.plan, made.inputs, made.start, seen=advance)


def _warn(found: Divergence, live: Side, back: Side) -> None:
    """Tell where the books are not the sum over the fills: then the split explains less."""
    for gap, side, name in zip(found.gaps, (back, live), ("backtest", "live"), strict=True):
        if abs(gap) > GAP_MAX * max(1.0, side.plan.account.cash):
            note(f"warning: the books of {name} say {money(gap, sign=True)} more than its fills")
    for strategy in sorted(_strategies(live) ^ _strategies(back)):
        note(f"strategy {strategy} is in one of the two only")


def _strategies(side: Side) -> set[str]:
    return {strategy for strategy, _ in side.books.told.sleeves}


def _document(live: str, backtest: str, found: Divergence, limit: int) -> dict[str, Any]:
    compared = found.comparison
    return {
        "live": live,
        "backtest": backtest,
        "total": _plain(found.total),
        "strategies": {p.strategy: _plain(p) for p in found.parts if p.strategy},
        "account": next(_plain(p) for p in found.parts if not p.strategy),
        "books_gap": {"backtest": found.gaps[0], "live": found.gaps[1]},
        "decisions_differ": len(compared.differences),
        "by_root": compared.by_root,
        "differences": [msgspec.to_builtins(one) for one in compared.differences[:limit]],
    }


def _plain(part: Part) -> dict[str, Any]:
    return {
        "backtest": part.one,
        "live": part.other,
        "difference": part.difference,
        "classes": part.classes,
        "residual": part.residual,
    }


def _tables(live: str, backtest: str, found: Divergence, limit: int, currency: str) -> list[Table]:
    differ = found.comparison.differences
    facts = [
        ("live", live),
        ("backtest", backtest),
        ("residual", f"{found.total.residual:.1e} {currency}"),
        ("decisions that differ", whole(len(differ))),
    ]
    named = [p for p in found.parts if p.strategy or p.difference]
    parts = [*named, found.total]
    shown = [c for c in CLASSES if c in MAIN or any(p.classes[c] for p in parts)]
    rows = [
        (title, *(money(value(p), sign=True) for p in parts))
        for title, value in (
            ("backtest", _one),
            ("live", _other),
            ("difference", _difference),
            *((name, _class_of(name)) for name in shown),
        )
    ]
    columns = (currency, *(p.strategy or "account" for p in parts))
    tables = [facts_table(facts), table(columns, rows)]
    if differ and limit:
        names = ("backtest", "live")
        tables.append(differences_table(differ[:limit], names))
    return tables


def _one(part: Part) -> float:
    return part.one


def _other(part: Part) -> float:
    return part.other


def _difference(part: Part) -> float:
    return part.difference


def _class_of(name: str) -> Callable[[Part], float]:
    return lambda part: part.classes[name]
