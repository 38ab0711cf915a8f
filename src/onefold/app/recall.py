"""A journal as people look at it: replayed once, with its view, its days, and the proof of both."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from onefold.app.output import progress
from onefold.app.results import view_of
from onefold.app.wiring import Recipe, recorded_recipe
from onefold.domain.convert import to_columns
from onefold.domain.records import Action, Bar, Record, SessionStart
from onefold.engine.replay import started
from onefold.engine.sleeves import measure_run
from onefold.journal import Head, head
from onefold.views.activity import Activity
from onefold.views.result import ResultView
from onefold.views.sleeves import SleeveCurve


class Recalled(NamedTuple):
    """A journal that has been replayed without a mismatch.

    `curve` has the sleeves by day. `records` were compared, up to the sealed `end`; `mandate` is
    the last one in force.
    """

    folder: Path
    start: SessionStart
    recipe: Recipe
    view: ResultView
    curve: SleeveCurve
    activity: Activity
    records: int
    end: Head
    mandate: int


def recalled(folder: Path) -> Recalled:
    """Replay a journal with what it has recorded, and return what it tells.

    Raises as `engine.replay.replay`.
    """
    start = started(folder)
    recipe = recorded_recipe(start)
    plan = recipe.plan()
    end = head(folder)
    activity = Activity()
    bars: dict[str, list[Bar]] = defaultdict(list)
    actions: list[Action] = []
    with progress("replay", end.seq) as advance:
        seen = 0

        def see(record: Record) -> None:
            nonlocal seen
            activity.see(record)
            if isinstance(record, Bar):
                bars[record.instrument].append(record)
            elif isinstance(record, Action):
                actions.append(record)
            seen += 1
            advance(seen)

        measured = measure_run(folder, plan, records=see)
    columns = {symbol: to_columns(found) for symbol, found in bars.items()}
    view = view_of(plan, columns, measured.run, actions, title=folder.name)
    return Recalled(
        folder,
        start,
        recipe,
        replace(view, cash=measured.cash),
        measured.curve,
        activity,
        measured.records,
        end,
        int(measured.run.state.account["mandate_version"][0]),
    )
