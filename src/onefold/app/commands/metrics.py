"""`onefold metrics`: what each strategy has made of each instrument, as evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from onefold.app.commands.replay import note_build
from onefold.app.group import new_app
from onefold.app.journals import newest_journal
from onefold.app.output import Json, emit, progress, show, table
from onefold.app.results import view_of
from onefold.app.summary import facts_table
from onefold.app.wiring import recorded_recipe
from onefold.domain.errors import ConfigError
from onefold.engine.replay import started
from onefold.engine.sleeves import measure_run
from onefold.journal import head, write_atomic
from onefold.views.equity import DAY_NS
from onefold.views.performance import (
    Ledger,
    Performance,
    PerformanceMetrics,
    Provenance,
    Source,
    Stretch,
    ledger,
    performance,
)
from onefold.views.wording import DASH, money, number, percent, whole

if TYPE_CHECKING:
    from rich.table import Table

app = new_app()

NAME = "performance_metrics.json"
DATA_MODES = {"simulate": "backtest"}
"""What a session's mode is called here, where that differs: a simulation plays recorded bars."""


@app.command()
def metrics(
    journal: Annotated[
        list[Path] | None,
        typer.Option(
            help="A journal's folder, any number of times; by default the newest in `journal`."
        ),
    ] = None,
    last_days: Annotated[
        int | None, typer.Option(help="Count only the last days of the journals.", min=1)
    ] = None,
    write: Annotated[
        Path, typer.Option(help="The file to write; a folder gets one of the usual name.")
    ] = Path(NAME),
    json_: Json = False,
) -> None:
    """Measure every strategy, symbol and both, and write performance_metrics.json.

    The journals are replayed. Several are measured as one account: they must be of one mode and
    must not overlap.
    """
    book, provenance = measured(journal or [newest_journal(Path("journal"))])
    since = None
    if last_days is not None and book.end_ts is not None:
        since = book.end_ts - last_days * DAY_NS
    made = performance(book, provenance, since_ts=since)
    place = write / NAME if write.is_dir() else write
    _write(place, made)
    if json_:
        emit(made.as_dict())
        return
    facts = [
        ("data", f"{made.data_mode}, {made.currency}, {whole(made.all.days)} days"),
        ("journals", ", ".join(source.journal for source in made.journals)),
        ("written to", str(place)),
    ]
    show(facts_table(facts), _table(made), _calibration_table(made.all))


def measured(folders: Sequence[Path]) -> tuple[Ledger, Provenance]:
    """Return what the journals of an account hold, and where it comes from.

    Raises ConfigError for journals of several modes or that overlap, and as `engine.replay.replay`.
    """
    starts = {folder: started(folder) for folder in folders}
    ordered = sorted(starts, key=lambda folder: starts[folder].ts)
    modes = sorted({start.mode for start in starts.values()})
    if len(modes) > 1:
        raise ConfigError(f"these journals are of several modes ({', '.join(modes)}): measure "
                          "each mode by itself")  # fmt: skip
    sources, stretches = [], []
    for folder in ordered:
        end, config_hash = head(folder), starts[folder].config_hash
        sources.append(Source(folder.resolve().name, config_hash, end.seq, end.hash))
        stretches.append(_stretch(folder))
    data_mode = DATA_MODES.get(modes[0], modes[0])
    return ledger(stretches), Provenance(data_mode, sources[-1].config_hash, sources)


def _stretch(folder: Path) -> Stretch:
    """Replay a journal."""
    start = started(folder)
    note_build(start)
    plan = recorded_recipe(start).plan()
    with progress("replay", None) as advance:
        found = measure_run(folder, plan, seen=advance)
    view = view_of(plan, {}, found.run, ())
    return Stretch(replace(view, cash=found.cash), found.curve)


def _write(place: Path, made: PerformanceMetrics) -> None:
    text = msgspec.json.format(msgspec.json.encode(made), indent=2)
    try:
        write_atomic(place, text + b"\n")
    except OSError as error:
        raise ConfigError(f"{place} cannot be written: {error.strerror}") from error


def _table(made: PerformanceMetrics) -> Table:
    rows = [_row(one) for group in (made.sleeves, made.strategies, made.symbols) for one in group]
    columns = (
        "strategy", "symbol", "trades", "won", f"{made.level:.0%} interval", "break even",
        "mean return", "Sharpe", "error", "probable", "drawdown", "profit factor", "turnover",
        "P&L", "Brier",
    )  # fmt: skip
    return table(columns, [*rows, _row(made.all)], text=2)


def _row(one: Performance) -> tuple[str, ...]:
    return (
        one.strategy or "all",
        one.symbol or "all",
        whole(one.trades),
        percent(one.win_rate, 1),
        _interval(one),
        percent(one.break_even, 1),
        percent(one.mean_return, 2, sign=True),
        number(one.sharpe),
        number(one.sharpe_error),
        percent(one.probabilistic_sharpe, 1),
        percent(one.max_drawdown, 1),
        number(one.profit_factor),
        number(one.turnover),
        money(one.pnl, sign=True),
        number(one.brier, 3),
    )


def _interval(one: Performance) -> str:
    if one.win_rate_low is None:
        return DASH
    return f"{percent(one.win_rate_low, 0)} to {percent(one.win_rate_high, 0)}"


def _calibration_table(one: Performance) -> Table:
    rows = [(number(b.confidence), percent(b.won, 1), whole(b.trades)) for b in one.calibration]
    return table(("confidence", "won", "trades"), rows, text=0)
