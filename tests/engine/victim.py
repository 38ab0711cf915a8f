"""A simulated session in a process of its own, to be killed at any moment.

Usage: python victim.py JOURNAL_FOLDER. Prints `running` when it begins, and the fingerprint of the
finished run when it is let live to the end.
"""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

from onefold.adapters.synthetic import SyntheticConfig, generate
from onefold.domain.convert import to_records
from onefold.domain.instruments import Instrument, Kind
from onefold.domain.records import SessionStart
from onefold.domain.rules import AccountRules, Costs, Exits, Gates, StrategyRules
from onefold.engine.simulate import simulate
from onefold.signals import strategy
from onefold.sim.plan import Placement, Plan

BARS = 1_500
START = SessionStart(
    ts=0, mode="simulate", version="test", build="test", config_hash="1", config={}
)


def plan() -> Plan:
    """Return a plan with resting orders, so that a kill can hit every kind of record."""
    instrument = Instrument(symbol="MADE", kind=Kind.FUTURE, tick=0.01, commission=1.0)
    exits = Exits(stop=0.004, take=0.006, trail=0.01, max_bars=40, resting=True)
    rules = StrategyRules(exits=exits, gates=Gates(cool_down_s=120))
    placements = (
        Placement("trend", strategy("crossover", fast=5, slow=20, short=True), rules, ("MADE",)),
        Placement("revert", strategy("mean_reversion"), StrategyRules(), ("MADE",)),
    )
    costs = Costs(slippage_ticks=1, volume_share=0.01)
    return Plan(AccountRules(costs=costs), (instrument,), placements, (60_000_000_000,))


def config() -> SyntheticConfig:
    """Return the made market."""
    return SyntheticConfig(instrument=plan().instruments[0], bars=BARS, seed=11)


def main(folder: Path) -> None:
    """Run, or go on with, the session."""
    print("running", flush=True)
    session = simulate(
        plan(),
        to_records(generate(config()), "MADE"),
        folder,
        START,
        today=lambda: dt.date(2026, 1, 1),
        segment_bytes=400_000,
    )
    print(session.result().fingerprint, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
