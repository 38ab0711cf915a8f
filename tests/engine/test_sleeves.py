"""Each strategy's part of the account by day, through changes of the configuration."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from onefold.engine.sleeves import MeasuredRun, measure_run
from onefold.sim.plan import Plan
from onefold.views.equity import daily
from onefold.views.performance import Provenance, Stretch, ledger, performance
from onefold.views.result import ResultView
from support import FLAT, LONG

from .live_rig import Rig
from .test_live import bar, plan_of
from .test_succession import limited


def stretch_of(plan: Plan, run: MeasuredRun) -> Stretch:
    view = ResultView(
        instruments=plan.instruments,
        strategies=plan.names.strategies,
        gates=(),
        currency="USD",
        cash=run.cash,
        bars={},
        fill_rows=run.run.outcome.fills,
        decision_rows=run.run.outcome.decisions,
        equity_ts=run.run.ts,
        equity_values=run.run.equity,
    )
    return Stretch(view, run.curve)


async def traded(rig: Rig, prices: dict[int, float]) -> None:
    async with rig.running() as live:
        await rig.until(lambda: bool(live.session.state.account["reconciled"][0]))
        await rig.play(*(bar(n, price) for n, price in prices.items()))


def test_a_position_that_is_handed_over_is_counted_once(tmp_path: Path) -> None:
    plan = plan_of(FLAT, LONG, LONG, LONG, LONG, FLAT)
    other = limited(plan, 0.5)

    async def work() -> list[Path]:
        rig = Rig(tmp_path, plan)
        await traded(rig, {0: 100.0, 1: 100.0, 2: 104.0})
        rig.reconfigure(other)
        await traded(rig, {3: 110.0})
        rig.reconfigure(plan)
        await traded(rig, {4: 106.0, 5: 108.0, 6: 109.0, 7: 109.0})
        return rig.journals

    journals = asyncio.run(work())
    plans = (plan, other, plan)
    runs = [measure_run(path, one) for path, one in zip(journals, plans, strict=True)]
    stretches = [stretch_of(one, run) for one, run in zip(plans, runs, strict=True)]
    for run in runs:
        made = run.curve.worth[-1] - run.curve.start
        assert made.sum() == pytest.approx(run.run.equity[-1] - run.cash)
    assert any(run.curve.start[0] != 0.0 for run in runs[1:]), "a profit was taken over"
    book = ledger(stretches)
    curve = daily(
        np.concatenate([run.run.ts for run in runs]),
        np.concatenate([run.run.equity for run in runs]),
        runs[0].cash,
    )
    change = np.diff(curve.equity, prepend=runs[0].cash)
    assert np.allclose(sum(book.profit.values()), change)
    numbers = performance(book, Provenance("live", "x")).all
    assert numbers.trades == 1
    assert stretches[2].view.cash == runs[1].run.equity[-1]
