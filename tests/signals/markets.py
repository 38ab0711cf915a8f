"""Bars with the warts of real ones, made from a seed."""

from __future__ import annotations

import numpy as np

from onefold.domain.columns import Bars

MINUTE_NS = 60_000_000_000
START_NS = 1_704_067_200_000_000_000  # 1 January 2024, a Monday


def market(kind: str, rows: int = 420, seed: int = 0, step_ns: int = MINUTE_NS) -> Bars:
    """Return bars of one kind: see `MARKETS`."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(size=rows) * 0.01))
    if kind == "negative":
        close = 5.0 + np.cumsum(rng.normal(size=rows))
    if kind == "ticks":
        close = np.round(close, 1)
    opened = np.concatenate([close[:1], close[:-1]])
    high = np.maximum(opened, close) + np.abs(rng.normal(size=rows)) * 0.3
    low = np.minimum(opened, close) - np.abs(rng.normal(size=rows)) * 0.3
    volume = np.round(np.abs(rng.normal(size=rows)) * 1_000) + 1.0
    if kind == "ticks":
        high, low = np.ceil(high * 10) / 10, np.floor(low * 10) / 10
        volume[rng.random(rows) < 0.3] = 0.0
    if kind == "flat":
        still = slice(rows // 3, 2 * rows // 3)
        for column in (opened, high, low, close):
            column[still] = 0.1
        volume[still] = 0.0
    if kind == "holes":
        volume[rng.random(rows) < 0.2] = np.nan
        for column in (opened, high, low, close):
            column[rng.random(rows) < 0.03] = np.nan
        close[:7] = np.nan
    steps = np.ones(rows, np.int64)
    if kind in {"gaps", "holes"}:
        steps += (rng.random(rows) < 0.1) * rng.integers(1, 300, rows)
    ts = START_NS + np.cumsum(steps) * step_ns
    unknown = np.full(rows, np.nan)
    touch = (unknown, unknown) if kind != "gaps" else (opened - 0.1, opened + 0.1)
    never = np.full(rows, -1)
    return Bars._make((ts, ts - step_ns, opened, high, low, close, volume, *touch, never))


MARKETS = ("random", "ticks", "flat", "gaps", "holes", "negative")
"""Random walk; rounded with zero volumes; standing still for long; with missing bars; with unknown
prices and volumes; crossing zero."""


def same_bits(a: object, b: object) -> bool:
    """Return whether two columns agree in every bit, NaN being like NaN."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if x.shape != y.shape:
        return False
    return bool(np.all((x.view(np.int64) == y.view(np.int64)) | (np.isnan(x) & np.isnan(y))))
