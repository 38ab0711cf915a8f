"""The golden worlds: small recorded inputs whose journals are kept, line by line.

A change in any decision shows as a difference of `tests/golden/*.jsonl`. When it is meant, write
them anew with

    ONEFOLD_WRITE_GOLDEN=1 pytest tests/engine/test_golden.py

and look at the difference before it is committed. Inputs come from seeds, through arithmetic that
is the same everywhere; nothing of them depends on a clock or on the machine.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from onefold.domain.records import Action, Bar, Command, Mandate
from onefold.signals import strategies as built_in
from support import (
    DAY_NS,
    MINUTE_NS,
    Scripted,
    World,
    account_of,
    at,
    future,
    rules_of,
    share,
    world,
)

FOLDER = Path(__file__).parents[1] / "golden"


def walk(
    seed: int, rows: int, symbol: str, start: float, step: float, tick: float, step_ns: int
) -> list[Bar]:
    """Return bars of a random walk in whole ticks, so that no rounding differs anywhere."""
    chance = random.Random(seed)
    price, bars = round(start / tick), []
    size = max(1, round(step / tick))
    for n in range(rows):
        open_ = price + chance.randint(-size // 4, size // 4)
        price = open_ + chance.randint(-size, size)
        high, low = (f(open_, price) for f in (max, min))
        high, low = high + chance.randint(0, size // 2), low - chance.randint(0, size // 2)
        ts = at(n, step_ns)
        prices = (round(x * tick, 6) for x in (open_, high, low, price))
        volume = float(chance.randint(0, 40) * 10)
        bars.append(Bar(symbol, ts, ts - step_ns, *prices, volume))
    return bars


def brackets() -> World:
    """Return a share with resting stops and targets, partial fills, a split and a dividend."""
    chance = random.Random(11)
    sides = tuple(chance.choice([1, 1, -1, 0, 2]) for _ in range(24))
    return world(
        Scripted(side=sides, score=tuple(n / 24 for n in range(24))),
        walk(1, 24, "ABC", 50.0, 0.8, 0.01, MINUTE_NS),
        rules=rules_of(
            sizing={"kind": "fraction", "fraction": 0.5},
            exits={"stop": 0.01, "take": 0.02, "resting": True},
            gates={"orders_per_day": 8},
        ),
        account=account_of(costs={"volume_share": 0.5, "slippage_bps": 2.0}),
        instruments=(share(commission=0.005),),
        inputs=[
            Action(at(8), "split", 2.0, "ABC"),
            Action(at(9), "split", 0.5, "ABC"),
            Action(at(14), "dividend", 0.1, "ABC"),
        ],
    )


def desks() -> World:
    """Two strategies on a future and a coin, sharing limits; a kill switch and a mandate."""
    bars = walk(2, 20, "FUT", 3_000.0, 12.0, 0.25, MINUTE_NS)
    bars += walk(3, 20, "COIN", 900.0, 9.0, 0.01, MINUTE_NS)
    chance = random.Random(12)
    sides = [tuple(chance.choice([1, 1, -1, 0]) for _ in range(20)) for _ in range(2)]
    coin = share("COIN", lot=0.001, commission_bps=10.0, short=False)
    return world(
        {
            "trend": (
                Scripted(side=sides[0], confidence=(0.7,), barrier=(6.0,)),
                rules_of(
                    sizing={"kind": "risk", "fraction": 0.01, "fraction_max": 5.0},
                    exits={"stop": 2.0, "trail": 1.5, "unit": "barrier"},
                ),
                ["FUT"],
            ),
            "bet": (
                Scripted(side=sides[1], confidence=(0.55, 0.7, 0.9, 0.6), price=(899.0, 902.0)),
                rules_of(
                    sizing={"kind": "bet", "fraction": 0.6, "step": 0.1},
                    entry={"order": "limit", "time_in_force": "gtd", "valid_for_s": 180},
                    gates={"conf_min": 0.5, "cool_down_s": 60},
                ),
                ["COIN", "FUT"],
            ),
        },
        bars,
        account=account_of(limits={"max_open_positions": 2, "daily_loss": 0.05}),
        instruments=(future(commission=2.5), coin),
        inputs=[
            Mandate(at(5), 1, "conf_min", 0.65, "bet", cause="too many losses"),
            Command(at(9), "kill", "trend", operator="ops", reason="a look"),
            Command(at(12), "resume", "trend", operator="ops"),
            Command(at(17), "flatten", operator="ops"),
        ],
    )


def crossing() -> World:
    """Return a built-in strategy on daily bars in another currency, with its features."""
    pair = future("EURUSD", tick=0.00001, multiplier=1.0, margin_initial=0.05)
    index = future("IDX", currency="EUR", multiplier=10.0, tick=1.0, commission=1.0)
    bars = walk(4, 40, "IDX", 3_500.0, 60.0, 1.0, DAY_NS)
    bars += walk(5, 40, "EURUSD", 1.1, 0.004, 0.00001, DAY_NS)
    return world(
        {
            "cross": (
                built_in.Crossover(fast=2, slow=5, short=True),
                rules_of(
                    sizing={"kind": "fraction", "fraction": 1.5},
                    exits={"max_bars": 6},
                    gates={"cool_down_s": 3 * 86_400, "rearm": False},
                ),
                ["IDX"],
            )
        },
        bars,
        account=account_of(limits={"drawdown": 0.2}, costs={"slippage_ticks": 1.0}),
        instruments=(index, pair),
        rate_pairs={"EURUSD": "EUR"},
        inputs=[Action(at(20, DAY_NS), "roll", 25.0, "IDX")],
        interval_ns=DAY_NS,
    )


CASES: dict[str, Callable[[], World]] = {
    "brackets": brackets,
    "crossing": crossing,
    "desks": desks,
}
