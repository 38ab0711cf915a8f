"""`onefold diff`: what would have been decided under a change, and what that is worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
import typer

from onefold.adapters.models import ModelStore
from onefold.app.changed import configured, mandates_of, with_model
from onefold.app.group import new_app
from onefold.app.output import Json, emit, note, progress, show, table
from onefold.app.summary import facts_table
from onefold.app.wiring import Recipe, pins_of, recorded_recipe
from onefold.domain.errors import ConfigError
from onefold.domain.records import SessionStart
from onefold.engine.diff import Change, Diff, Version
from onefold.engine.diff import diff as compare_versions
from onefold.engine.replay import started
from onefold.views.differences import Difference
from onefold.views.wording import DASH, money, whole

if TYPE_CHECKING:
    from rich.table import Table

app = new_app()

ROWS = 20
"""Decisions that people are shown when nothing else is said."""
SAID = {
    "recorded": "the recorded decisions, which this build does not give; the variant is this build",
    "reproduced": "equal to the recorded decisions, bit for bit",
    "recomputed": "NOT the recorded decisions: this build decides otherwise",
    "twin": "the run's twin at the simulated venue, not the real fills",
}


@app.command()
def diff(
    folder: Annotated[Path, typer.Argument(help="The journal's folder.", show_default=False)],
    config: Annotated[
        Path | None, typer.Option(help="Another configuration, for the same inputs.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="STRATEGY=NAME", help="Another model, NAME or NAME@VERSION."),
    ] = None,
    mandate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT", help="A mandate, conf_min=0.6@STRATEGY/SYMBOL, or a file of mandates."
        ),
    ] = None,
    models: Annotated[Path, typer.Option(help="The store that --model takes from.")] = Path(
        "models"
    ),
    limit: Annotated[
        int | None,
        typer.Option(help=f"Decisions to show; by default {ROWS}, and all with --json.", min=0),
    ] = None,
    json_: Json = False,
) -> None:
    """Tell which decisions of a journal a change would have changed, why, and what it is worth.

    Without a change, the recorded decisions are compared with those of this build.
    """
    start = started(folder)
    recipe = recorded_recipe(start)
    changed = _changed(recipe, start, config, model or [], models)
    change = Change(None if changed is None else changed.plan(), mandates_of(mandate or []))
    with progress("diff", None) as advance:
        found = compare_versions(folder, recipe.plan(), change, seen=advance)
    for version, what in ((found.one, "baseline"), (found.other, "variant")):
        if version.left_out:
            note(f"{version.left_out:,} inputs speak of what the {what} does not have")
    if json_:
        emit(_document(folder, found, limit))
        return
    shown = found.comparison.differences[: ROWS if limit is None else limit]
    show(*_tables(folder, found, shown, recipe.settings.account.currency))


def _changed(
    recipe: Recipe, start: SessionStart, config: Path | None, models: Sequence[str], folder: Path
) -> Recipe | None:
    """Return the changed recipe, or None where neither configuration nor models change."""
    if config is None and not models:
        return None
    changed = recipe if config is None else configured(config, recipe, start.mode)
    for text in models:
        # What the journal itself says of pickles counts for nothing: a pickle is a program.
        store = ModelStore(folder, pins={} if config is None else pins_of(changed.settings))
        changed = with_model(changed, text, store)
    for name, why in changed.chosen.disabled.items():
        if name not in recipe.chosen.disabled:
            note(f"warning: strategy {name} does not trade in the variant: {why}")
    if not set(changed.settings.strategies) & set(recipe.settings.strategies):
        names = ", ".join(recipe.settings.strategies)
        raise ConfigError(f"{config} has none of the journal's strategies ({names})")
    return changed


def _document(folder: Path, found: Diff, limit: int | None) -> dict[str, Any]:
    rows = found.comparison.differences
    return {
        "journal": str(folder),
        "baseline": found.baseline,
        "first_mismatch": found.why or None,
        "inputs": found.inputs,
        "decisions": {
            "baseline": len(found.one.told.decisions),
            "variant": len(found.other.told.decisions),
            "differ": len(rows),
        },
        "by_cause": found.comparison.by_cause,
        "by_root": found.comparison.by_root,
        "pnl": {"baseline": _made(found.one), "variant": _made(found.other)},
        "differences": [
            {**msgspec.to_builtins(one), "time": _time(one.ts)}
            for one in (rows if limit is None else rows[:limit])
        ],
    }


def _made(version: Version) -> dict[str, Any] | None:
    if version.made is None:
        return None
    by = {
        name: {"closed": one.closed, "open": one.open, "total": one.total}
        for name, one in version.made.items()
    }
    return {"total": version.total, "strategies": by}


def _tables(folder: Path, found: Diff, shown: Sequence[Difference], currency: str) -> list[Table]:
    comparison = found.comparison
    facts = [
        ("journal", str(folder)),
        ("baseline", SAID[found.baseline]),
        ("inputs", whole(found.inputs)),
        ("decisions", f"{len(found.one.told.decisions):,}, {len(found.other.told.decisions):,}"),
        ("differ", f"{len(comparison.differences):,} ({len(shown):,} shown)"),
    ]
    if found.why:
        facts.insert(2, ("first mismatch", found.why))
    tables = [facts_table(facts)]
    if shown:
        tables.append(differences_table(shown, ("baseline", "variant")))
    if comparison.differences:
        causes = comparison.by_cause | dict.fromkeys(comparison.by_root, 0)
        rows = [
            (kind, whole(comparison.by_cause.get(kind, 0)), whole(comparison.by_root.get(kind, 0)))
            for kind in causes
        ]
        tables.append(table(("cause", "decisions", "go back to it"), rows))
    tables.append(_worth(found, currency))
    return tables


def differences_table(shown: Sequence[Difference], names: tuple[str, str]) -> Table:
    """Return a line per decision that differs; `names` are those of the two runs."""
    rows = [
        (
            f"#{one.number}",
            _time(one.ts),
            f"{one.strategy}/{one.instrument}",
            one.purpose,
            one.baseline,
            one.variant,
            f"{one.cause}: {one.detail}" + (f"; after {one.follows}" if one.follows else ""),
        )
        for one in shown
    ]
    columns = ("", "time", "sleeve", "purpose", *names, "first cause")
    return table(columns, rows, text=len(columns))


def _worth(found: Diff, currency: str) -> Table:
    """Return what both versions made, by strategy and in all."""
    one, other = found.one.made or {}, found.other.made or {}
    is_known = found.one.made is not None
    rows = []
    for name in dict.fromkeys((*one, *other)):
        parts = [version.get(name) for version in (one, other)]
        totals = [None if part is None else part.total for part in parts]
        split = [x for p in parts for x in ((p.closed, p.open) if p else (None, None))]
        rows.append((name, *(money(x, sign=True) for x in split), _change(totals, is_known)))
    totals = [found.one.total, found.other.total]
    rows.append(("the account", money(totals[0], sign=True), "", money(totals[1], sign=True), "",
                 _change(totals, is_known)))  # fmt: skip
    columns = (f"{currency}", "baseline", "open", "variant", "open", "effect")
    return table(columns, rows)


def _change(totals: Sequence[float | None], is_known: bool) -> str:
    """Return the effect; a strategy that only one version has made nothing in the other."""
    before, after = totals
    if not is_known:
        return DASH
    return money((after or 0.0) - (before or 0.0), sign=True)


def _time(ts: int) -> str:
    return f"{np.datetime64(ts, 'ns').astype('M8[s]')}Z"
