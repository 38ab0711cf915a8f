"""How patient a live session and its desk are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onefold.engine.latency import BUCKETS_MS


@dataclass(frozen=True)
class LiveRules:
    """How a live session keeps time; all in seconds but `late_bars`, which is in bar intervals.

    `on_stop` says what becomes of entries that still work when the session ends in good order.
    Bars wait `compare_s` for the first comparison with the venue. Every `check_s` it is seen to it
    that what was to be flattened and was refused is tried again, and that silent feeds are told of.
    Every `measure_s` it is logged how long everything takes; `latency_buckets_ms` are the upper
    bounds of the buckets in which that is counted.
    """

    late_bars: float = 2.0
    poll_s: float = 0.02
    reconnect_s: float = 0.5
    reconnect_max_s: float = 30.0
    stop_s: float = 10.0
    compare_s: float = 30.0
    check_s: float = 5.0
    measure_s: float = 60.0
    latency_buckets_ms: tuple[float, ...] = BUCKETS_MS
    on_stop: Literal["cancel", "keep"] = "cancel"


@dataclass(frozen=True)
class DeskRules:
    """How patient a desk is; all in seconds.

    `overlap_s` is how far before the last agreement it asks for trades, since venues list them
    late. An order that was not found until `unknown_s` halts its instrument. Payments are asked for
    at most every `reconcile_s`, back to `payments_back_s` ago, since venues enter them late. After
    each connection all is compared again after `again_s`: what happened until it was up is told by
    nobody.
    """

    reconcile_s: float = 300.0
    payments_back_s: float = 3 * 86_400.0
    unknown_s: float = 30.0
    retry_s: float = 0.25
    retry_max_s: float = 5.0
    overlap_s: float = 60.0
    settle_s: float = 0.5
    tries: int = 4
    skew_max_s: float = 2.0
    dead_man_s: float = 0.0
    again_s: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0)
