"""`onefold readiness`: what a day or a week of a session was like."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from onefold.app.drifting import drift_of
from onefold.app.governing import Account, Governed, governed, newest_of
from onefold.app.group import Group, new_app
from onefold.app.output import ConfigFile, Json, emit, note, say
from onefold.app.recall import Recalled, recalled
from onefold.app.transitions import CHANGED, models_of
from onefold.domain.errors import ConfigError
from onefold.engine.diverge import diverge, twin
from onefold.engine.diverge import recalled as ran
from onefold.governance.readiness import (
    Report,
    StrategyLine,
    TwinLine,
    gates_of,
    markdown,
    summed,
    verdicts,
)
from onefold.governance.transitions import stable_days
from onefold.journal import write_atomic
from onefold.views.equity import DAY_NS
from onefold.views.sleeves import daily_profit

app = new_app(Group, "Report on a day or a week of a session.")

CONFIG = Path("onefold.yaml")
WEEK = 7
CENT = 0.01
Day = Annotated[str, typer.Option(help="The last day, 2026-11-27; the session's last otherwise.")]
Source = Annotated[Path | None, typer.Option(help="Report on this journal.")]


@app.command()
def daily(
    config: ConfigFile = CONFIG,
    account: Account = "",
    day: Day = "",
    journal: Source = None,
    json_: Json = False,
) -> None:
    """Report on one day: activity, data, gates, failures, replay, drift, profit."""
    _report("daily", 1, config, account, day, journal, json_)


@app.command()
def weekly(
    config: ConfigFile = CONFIG,
    account: Account = "",
    day: Day = "",
    journal: Source = None,
    json_: Json = False,
) -> None:
    """Report on the seven days up to one."""
    _report("weekly", WEEK, config, account, day, journal, json_)


def _report(
    kind: str,
    length: int,
    config: Path,
    account: str,
    day: str,
    journal: Path | None,
    json_: bool,
) -> None:
    one = governed(config, account)
    wanted = _day(day)
    found = recalled(journal or newest_of(one))
    if not found.activity.days:
        raise ConfigError(f"{found.folder} has no bar so far, so there is nothing to report on")
    last = wanted or found.activity.days[-1].day
    made = report(one, found, kind, last - timedelta(days=length - 1), last)
    folder = one.loaded.resolve(one.settings.paths.governance) / "readiness" / one.name
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{kind}-{last}"
    text = markdown(made)
    encoded = msgspec.json.format(msgspec.json.encode(made), indent=1)
    write_atomic(folder / f"{name}.json", encoded + b"\n")
    write_atomic(folder / f"{name}.md", text.encode())
    if json_:
        emit({"files": [str(folder / f"{name}.{x}") for x in ("json", "md")], **_plain(made)})
        return
    say(text)
    note(f"written to {folder / name}.json and .md")


def _plain(made: Report) -> dict[str, object]:
    plain: dict[str, object] = msgspec.to_builtins(made)
    return {**plain, "is_stable": made.is_stable}


def _day(text: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--day {text!r} is no day; write 2026-11-27") from None


def report(one: Governed, found: Recalled, kind: str, first: date, last: date) -> Report:
    """Return the report on some days of a replayed journal. Raises `ConfigError` for none."""
    until = [day for day in found.activity.days if day.day <= last]
    days = [day for day in until if day.day >= first]
    if not days:
        known = found.activity.days
        raise ConfigError(
            f"there is no bar from {first} to {last}; the journal goes from {known[0].day} to "
            f"{known[-1].day}"
        )
    rules = one.settings.governance.stability
    parameters = one.file.read()
    return Report(
        account=one.name,
        mode=found.start.mode,
        data_mode=found.start.data_mode,
        kind=kind,
        first=days[0].day,
        last=days[-1].day,
        journal=str(found.folder),
        head=f"{found.end.seq} {found.end.hash}",
        records=found.records,
        stable_days=stable_days(until, rules),
        wanted_days=rules.days,
        days=verdicts(until, first, rules),
        totals=summed(days),
        gates=gates_of(days),
        halts=[text for day in days for text in day.halts],
        stops=[text for day in days for text in day.stops],
        reconciled=days[-1].reconciled,
        equity=_equity(found, last),
        currency=found.view.currency,
        strategies=_strategies(found, days[0].day, last),
        drift=_drift(found),
        parameters=f"version {len(parameters.versions)}, {parameters.number} mandates in the file, "
        f"{found.mandate} in force in the journal",
        divergence=_divergence(found),
    )


def _equity(found: Recalled, last: date) -> float:
    """Return the equity at the end of a day."""
    end = datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1)
    before = found.view.equity.filter(found.view.equity["time"] <= end)
    return float(before["equity"][-1]) if before.height else found.view.cash


def _strategies(found: Recalled, first: date, last: date) -> list[StrategyLine]:
    view = found.view
    epoch = date(1970, 1, 1)
    numbers = view.daily.days
    within = (numbers >= (first - epoch).days) & (numbers <= (last - epoch).days)
    profits = daily_profit(view, found.curve, view.daily)
    exits = view.trades["exit_time"].dt.epoch("ns") - 1
    closed = view.trades.filter(
        (exits // DAY_NS).is_between((first - epoch).days, (last - epoch).days)
    )
    lines = []
    for name in view.strategies:
        mine = closed.filter(strategy=name)
        made = sum(float(p[within].sum()) for (s, _), p in profits.items() if s == name)
        won = int((mine["pnl"] > 0).sum())
        lines.append(StrategyLine(name, made, mine.height, won, float(mine["fees"].sum())))
    return lines


def _divergence(found: Recalled) -> TwinLine | None:
    if not found.start.confirmed:
        return None
    plan = found.recipe.plan()
    split = diverge(ran(found.folder, plan), twin(found.folder, plan)).total
    parts = {name: value for name, value in split.classes.items() if abs(value) >= CENT / 2}
    return TwinLine(found.activity.days[0].day, split.other, split.one, parts)


def _drift(found: Recalled) -> dict[str, list[str]] | None:
    asked = {
        identity: model
        for name in found.view.strategies
        for identity, model in models_of(found, name).items()
    }
    if not asked:
        return None
    return {
        identity: [d.name for d in drift_of(model, found.folder) if d.verdict == CHANGED]
        for identity, model in asked.items()
    }
