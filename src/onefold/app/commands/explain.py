"""`onefold explain`: why it traded, or why it did not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from onefold.app.commands.replay import note_build
from onefold.app.group import new_app
from onefold.app.journals import newest_journal
from onefold.app.output import Json, emit, say, show, table
from onefold.app.summary import facts_table
from onefold.app.wiring import recorded_recipe
from onefold.domain.errors import ConfigError
from onefold.domain.records import Mandate
from onefold.engine.explain import Explanation, as_builtins, why_not
from onefold.engine.explain import explain as explain_decision
from onefold.engine.replay import started

app = new_app()

SECOND_NS = 1_000_000_000
DATE_CHARACTERS = len("2020-12-31")


@app.command()
def explain(
    decision: Annotated[
        int | None, typer.Argument(metavar="[ID]", help="A decision's number.", min=1)
    ] = None,
    symbol: Annotated[
        str | None,
        typer.Option("--why-not", metavar="SYMBOL", help="Explain what was not traded."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="With --why-not: 2008-10-10 or 2008-10-10T14:30, UTC."),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(help="The journal's folder; by default the newest in `journal`."),
    ] = None,
    json_: Json = False,
) -> None:
    """Tell why a decision was made, or why nothing was traded: features, signal, every gate.

    Give a decision's number, or --why-not with --at, which explains the last bar up to that time.
    """
    if (decision is None) == (symbol is None) or (symbol is None) != (at is None):
        raise ConfigError("give a decision's number, or --why-not SYMBOL with --at TIME")
    folder = journal or newest_journal(Path("journal"))
    start = started(folder)
    note_build(start)
    plan = recorded_recipe(start).plan()
    if decision is not None:
        found = [explain_decision(folder, plan, decision)]
    else:
        found = why_not(folder, plan, symbol or "", parse_time(at or ""))
    if json_:
        emit([as_builtins(one) for one in found])
        return
    for number, one in enumerate(found):
        if number:
            say()
        _print(one)


def parse_time(text: str) -> int:
    """Return a time in nanoseconds UTC; a date alone means the end of that day."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"--at {text!r} is no time; write 2008-10-10 or 2008-10-10T14:30"
        ) from None
    if len(text) <= DATE_CHARACTERS:
        moment += timedelta(days=1)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * SECOND_NS + moment.microsecond * 1_000


def _print(one: Explanation) -> None:
    features = ", ".join(f"{name} {_number(value)}" for name, value in one.features.items())
    rows = [
        ("strategy", f"{one.strategy} on {one.instrument}"),
        (one.after, f"{one.time}, close {_number(one.close)}"),
        ("features", features or "none"),
        ("wants", one.wants),
        ("holds", f"{one.held_lots} lots"),
        ("conclusion", one.conclusion),
    ]
    rows[3:3] = _said(one)
    rows += [("mandate", _mandate(mandate)) for mandate in one.mandates]
    if one.decision is not None:
        rows.insert(0, ("decision", str(one.decision.id)))
    tables = [facts_table(rows)]
    # A gate without a limit that measured nothing has nothing to tell.
    lines = [
        (
            g.gate,
            g.verdict,
            _number(g.value),
            _number(g.threshold),
            f"{g.measures}: {g.passes_when}",
        )
        for g in (*one.gates, *one.own_gates)
        if g.value is not None or g.threshold is not None
    ]
    if lines:
        tables.append(table(("gate", "verdict", "value", "threshold", "meaning"), lines, text=5))
    show(*tables)


def _said(one: Explanation) -> list[tuple[str, str]]:
    """Return what models said, where some were asked."""
    if one.signal is None or not one.signal.models:
        return []
    return [("score", f"{_number(one.signal.score)} by {', '.join(one.signal.models)}")]


def _mandate(one: Mandate) -> str:
    scope = "/".join(filter(None, (one.strategy, one.instrument))) or "everything"
    return f"{one.version}: {one.mandate} {one.value:g} of {scope}; {one.cause}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"
