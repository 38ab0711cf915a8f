"""Small worlds for the tests of views: fills, decisions and results made by hand or by seed."""

from __future__ import annotations

from typing import Any

import numpy as np

from onefold.domain.columns import Bars
from onefold.domain.instruments import Instrument, Kind
from onefold.domain.layouts import DECISION, FILL
from onefold.domain.words import Purpose
from onefold.views.buy_and_hold import Market
from onefold.views.result import ResultView

MINUTE_NS = 60_000_000_000
DAY_NS = 86_400_000_000_000
MONDAY_NS = 18_267 * DAY_NS  # 2020-01-06, the first Monday of that year
GATES = ("kill_switch", "freshness", "confidence", "trend", "edge", "max_open_positions")
STRATEGIES = ("momentum", "mean_reversion")
LOT_VALUE = 10.0

Rows = np.ndarray[Any, Any]


def share(symbol: str = "ABC", **facts: Any) -> Instrument:
    """Return an instrument of which one lot is one unit, unless told otherwise."""
    return Instrument.model_validate({"symbol": symbol, "kind": Kind.EQUITY, **facts})


def fills_of(*rows: dict[str, Any]) -> Rows:
    """Return fills with the given fields; the others are those of a plain entry of one lot."""
    fills = np.zeros(len(rows), FILL)
    for at, row in enumerate(rows):
        plain = {
            "id": at + 1,
            "order": at + 1,
            "ts": MONDAY_NS + at * MINUTE_NS,
            "side": 1,
            "qty": 1,
            "price": 100.0,
            "rate": 1.0,
            "score": np.nan,
            "purpose": Purpose.ENTRY,
        }
        for name, value in {**plain, **row}.items():
            fills[name][at] = value
    return fills


def decisions_of(*rows: dict[str, Any]) -> Rows:
    """Return decisions with the given fields; the reason is the lowest bit of `blocked`."""
    decisions = np.zeros(len(rows), DECISION)
    for at, row in enumerate(rows):
        mask = row.get("blocked", 0)
        first = (mask & -mask).bit_length() - 1
        plain = {"id": at + 1, "ts": MONDAY_NS + at * MINUTE_NS, "side": 1, "qty": 1}
        for name, value in {**plain, "reason": first, **row}.items():
            decisions[name][at] = value
    return decisions


def bars_of(ts: Rows, close: Rows) -> Bars:
    """Return bars that open, trade and close at one price."""
    unknown = np.full(len(ts), np.nan)
    never = np.full(len(ts), -1)
    return Bars(ts, ts, close, close, close, close, unknown, unknown, unknown, never)


def random_view(
    seed: int = 7,
    bars: int = 1_500,
    symbols: tuple[str, ...] = ("ES", "GC"),
    strategies: tuple[str, ...] = STRATEGIES,
    **changes: Any,
) -> ResultView:
    """Return a run of random trades on random walks, one bar a day, with books that add up.

    Every bar each sleeve may want an entry, be stopped by random gates, or leave its position.
    """
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(0.0002, 0.01, (bars, len(symbols))), axis=0)
    return traded_view(100 * np.exp(walk), rng, symbols, strategies, **changes)


def traded_view(
    close: Rows,
    rng: np.random.Generator,
    symbols: tuple[str, ...],
    strategies: tuple[str, ...],
    **changes: Any,
) -> ResultView:
    """Return a run of random trades on the given closes, [bars, symbols]."""
    ts = MONDAY_NS + (np.arange(len(close)) + 1) * DAY_NS - 1
    gates = changes.get("gates", GATES)
    held = np.zeros((len(strategies), len(symbols)), np.int64)
    fills: list[dict[str, Any]] = []
    decisions: list[dict[str, Any]] = []
    cash, curve = 100_000.0, []
    for bar, i in np.ndindex(*close.shape):
        price = float(close[bar, i])
        for s in range(len(strategies)):
            qty, purpose = _wish(rng, int(held[s, i]))
            if qty == 0:
                continue
            mask = _stopped(rng, len(gates)) if purpose is Purpose.ENTRY else 0
            order = 0 if mask else len(fills) + 1
            move = {
                "ts": ts[bar],
                "instrument": i,
                "strategy": s,
                "price": price,
                "side": 1 if qty > 0 else -1,
                "qty": abs(qty),
                "purpose": purpose,
                "order": order,
            }
            decisions.append({**move, "blocked": mask})
            if order:
                fills.append({**move, "fee": 2.0})
                held[s, i] += qty
                cash -= qty * price * LOT_VALUE + 2.0
        curve.append(cash + float((held * close[bar]).sum()) * LOT_VALUE)
    parts = {
        "instruments": tuple(share(s, multiplier=LOT_VALUE) for s in symbols),
        "strategies": strategies,
        "gates": gates,
        "currency": "USD",
        "cash": 100_000.0,
        "bars": {s: bars_of(ts, close[:, i].copy()) for i, s in enumerate(symbols)},
        "fill_rows": fills_of(*fills),
        "decision_rows": decisions_of(*decisions),
        "equity_ts": np.repeat(ts, len(symbols)),
        "equity_values": np.array(curve),
        "market": Market(traded=frozenset(symbols)),
        "facts": {"Configuration": "5f0c1a9e", "Refused bars": {"duplicate": 3, "nan": 1}},
    }
    return ResultView(**{**parts, **changes})


def _wish(rng: np.random.Generator, held: int) -> tuple[int, Purpose]:
    """Return how many lots to trade and why: in when flat, now and then out."""
    if held == 0:
        return int(rng.choice([0, 0, 0, 0, 5, -3])), Purpose.ENTRY
    if rng.random() < 0.05:
        return -held, Purpose(int(rng.integers(1, 6)))
    return 0, Purpose.SIGNAL


def _stopped(rng: np.random.Generator, gates: int) -> int:
    """Return a mask in which each gate says no in a quarter of the cases."""
    return int(rng.integers(0, 1 << gates) & rng.integers(0, 1 << gates))
