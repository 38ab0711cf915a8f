"""`onefold gates`: which gates stop the entries, and whether that saves money."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import polars as pl
import typer

from onefold.app.commands.replay import note_build
from onefold.app.group import new_app
from onefold.app.journals import newest_journal
from onefold.app.output import Json, emit, note, progress, say, show, table
from onefold.app.summary import facts_table
from onefold.app.wiring import recorded_recipe
from onefold.domain.errors import ConfigError, did_you_mean
from onefold.domain.words import Purpose
from onefold.engine.counterfactual import Counterfactual, Recalled, counterfactual, recall
from onefold.engine.replay import started
from onefold.fold.gates import GATE_NAMES
from onefold.fold.memory import Rows
from onefold.sim.plan import Plan
from onefold.views.gate_value import LEVEL, GateValue, reading
from onefold.views.gates import Funnel, funnel
from onefold.views.wording import DASH, money, percent, whole

if TYPE_CHECKING:
    from rich.table import Table

app = new_app()

LAST = 500
"""Entries that are counted when nothing else is said."""
REASONS_MAX = 20
"""Combinations of strategy, symbol and gate that people are shown; JSON has all."""


@app.command()
def gates(
    journal: Annotated[
        Path | None,
        typer.Option(help="The journal's folder; by default the newest in `journal`."),
    ] = None,
    last: Annotated[
        int | None,
        typer.Option(
            help=f"Count so many of the last entries; by default {LAST}, and all for --value.",
            min=1,
        ),
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="Only the entries of one strategy.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Only the entries in one instrument.")] = None,
    value: Annotated[
        bool, typer.Option("--value", help="Tell what the stopped entries would have made.")
    ] = False,
    json_: Json = False,
) -> None:
    """Tell which gates stop the most entries, by strategy and by symbol, and what each is worth.

    The journal is replayed; with --value every stopped entry is traded by itself afterwards.
    """
    folder = journal or newest_journal(Path("journal"))
    start = started(folder)
    note_build(start)
    plan = recorded_recipe(start).plan()
    s = _index(strategy, plan.names.strategies, "strategy")
    i = _index(symbol, plan.names.symbols, "instrument")
    with progress("replay", None) as advance:
        recalled = recall(folder, plan, seen=advance)
    entries = _entries(recalled.run.outcome.decisions, s, i)
    counted = _funnel(plan, recalled, entries[-(last or LAST) :])
    worth = _worth(plan, recalled, entries[-last:] if last else entries) if value else None
    if json_:
        document = {"journal": str(folder), "last": last or LAST, **_funnel_document(counted)}
        if worth is not None:
            document["value"] = _value_document(plan, worth)
        emit(document)
        return
    show(*_funnel_tables(folder, counted))
    if worth is not None:
        _print_value(plan, worth)


def _index(name: str | None, names: tuple[str, ...], what: str) -> int | None:
    if name is None:
        return None
    if name not in names:
        raise ConfigError(f"the run has no {what} {name!r}{did_you_mean(name, names)}")
    return names.index(name)


def _entries(decisions: Rows, strategy: int | None, instrument: int | None) -> Rows:
    """Return the entries that were wanted, of a strategy and in an instrument where one is said."""
    chosen = decisions["purpose"] == Purpose.ENTRY
    for column, wanted in (("strategy", strategy), ("instrument", instrument)):
        if wanted is not None:
            chosen &= decisions[column] == wanted
    return decisions[chosen]


def _funnel(plan: Plan, recalled: Recalled, entries: Rows) -> Funnel:
    return funnel(entries, recalled.run.fills, GATE_NAMES, plan.instruments, plan.names.strategies)


def _worth(plan: Plan, recalled: Recalled, entries: Rows) -> Counterfactual:
    return counterfactual(
        plan, recalled.bars, entries, said=recalled.said, actions=recalled.actions
    )


def _stopping(counted: Funnel) -> pl.DataFrame:
    """Return the gates that stopped something, those that stopped the most first."""
    stops = (pl.col("first") > 0) | (pl.col("also") > 0)
    return counted.gates.filter(stops).sort("first", "also", descending=True, maintain_order=True)


def _funnel_document(counted: Funnel) -> dict[str, Any]:
    return {
        "wanted": counted.wanted,
        "blocked": counted.blocked,
        "passed": counted.passed,
        "ordered": counted.ordered,
        "filled": counted.filled,
        "gates": _stopping(counted).to_dicts(),
        "by_strategy": _wanted(counted.by_strategy).to_dicts(),
        "by_symbol": _wanted(counted.by_symbol).to_dicts(),
        "reasons": _top(counted.reasons).to_dicts(),
    }


def _wanted(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("wanted") > 0)


def _top(reasons: pl.DataFrame) -> pl.DataFrame:
    return reasons.sort("first", "also", descending=True, maintain_order=True)


def _funnel_tables(folder: Path, counted: Funnel) -> list[Table]:
    facts = [("journal", str(folder)), ("entries wanted", whole(counted.wanted))]
    facts += [(name, whole(getattr(counted, name))) for name in ("blocked", "passed", "filled")]
    tables = [facts_table(facts)]
    if not counted.blocked:
        return tables
    rows = [
        (gate, whole(first), whole(also), percent(share, 1))
        for gate, first, also, share in _stopping(counted).iter_rows()
    ]
    tables.append(table(("gate", "the reason", "also", "of wanted"), rows))
    for name, frame in (("strategy", counted.by_strategy), ("symbol", counted.by_symbol)):
        shown = _wanted(frame).select(
            name, "wanted", "blocked", "passed", "filled", "top_gate", "top_gate_blocked"
        )
        lines = [
            (who, *map(whole, counts), gate or DASH, whole(of))
            for who, *counts, gate, of in shown.iter_rows()
        ]
        columns = (name, "wanted", "blocked", "passed", "filled", "top gate", "by it")
        tables.append(table(columns, lines))
    reasons = [
        (*words, whole(first), whole(also))
        for *words, first, also in _top(counted.reasons).head(REASONS_MAX).iter_rows()
    ]
    tables.append(table(("strategy", "symbol", "gate", "the reason", "also"), reasons, text=3))
    return tables


def _value_document(plan: Plan, worth: Counterfactual) -> dict[str, Any]:
    values = worth.values
    return {
        "level": LEVEL,
        "currency": plan.account.currency,
        "episodes": len(worth.stopped.gain),
        "gates": msgspec.to_builtins(values),
        "reading": reading(values),
        "left_out": worth.left_out,
    }


def _print_value(plan: Plan, worth: Counterfactual) -> None:
    values = worth.values
    say()
    if values:
        show(_value_table(values, plan.account.currency))
        say()
        say(reading(values) + ".")
    else:
        say("No gate has stopped an entry, so there is nothing to value.")
    for name, why in worth.left_out.items():
        note(f"strategy {name} is left out: {why}")


def _value_table(values: list[GateValue], currency: str) -> Table:
    rows = [
        (
            one.gate,
            whole(one.first.episodes),
            _signed(one.first.mean_return),
            whole(one.alone.episodes),
            _signed(one.alone.mean_return),
            _signed(one.alone.value),
            _interval(one),
            money(one.money, sign=True),
        )
        for one in values
    ]
    columns = (
        "gate", "stopped", "mean return", "alone", "mean return", "value",
        f"{LEVEL:.0%} interval", f"{currency} saved",
    )  # fmt: skip
    return table(columns, rows)


def _signed(share: float | None) -> str:
    return percent(share, 3, sign=True)


def _interval(one: GateValue) -> str:
    if one.alone.low is None:
        return DASH
    return f"{_signed(one.alone.low)} to {_signed(one.alone.high)}"
