"""What Prometheus scrapes: files of sessions, read when it asks.

The engine keeps no metrics and serves none, so nothing that is measured can delay it. Gauges and a
session's own totals come from its heartbeat; what journals say is counted from when this process
began, as the counters of any process are. A registry of its own, so that no library adds to it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from onefold.domain.sanitise import REASONS
from onefold.ops.facts import Place, Sighting, number, sight, table
from onefold.ops.health import RANK, Failed, Projected, Report, behind
from onefold.ops.tails import Tail, Tails
from onefold.ops.validator import Validator

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
"""What `Telemetry.exposition` is, for the header of the answer."""
STANDINGS = ("running", "stuck", "stopped", "failed", "not running", "never ran")

LATENCIES = {
    "tick_enqueue_delay_seconds": (
        "market_tick_enqueue_delay_seconds",
        "Time from a bar's close until it was queued.",
    ),
    "emit_latency_seconds": (
        "market_tick_emit_latency_seconds",
        "Time from the queue until all signals of a bar were recorded.",
    ),
    "tick_to_order_seconds": (
        "onefold_tick_to_order_seconds",
        "Time from the queue until a bar's orders were handed over.",
    ),
}
"""Histograms that a session keeps in its heartbeat, and what they are called here."""
INFERENCE = "inference_seconds"


class Build(NamedTuple):
    """Which program this is."""

    version: str
    build: str


class Seen(NamedTuple):
    """What one scrape is made of."""

    now_ns: int
    sightings: Sequence[Sighting]
    tails: Tails
    behind: Mapping[str, int | str]
    failures: Sequence[Failed]
    report: Report | None


class Telemetry(Collector):
    """Metrics of some accounts; keep one for the life of the process, and ask it in a thread.

    `failures` and `report` are what `ops.health` knows. A heartbeat older than `stuck_s` stands for
    a hang.
    """

    def __init__(
        self,
        places: Sequence[Place],
        validator: Validator,
        build: Build,
        *,
        stuck_s: float,
        failures: Callable[[], Sequence[Failed]],
        report: Callable[[Sequence[Projected] | str | None], Report] | None = None,
    ) -> None:
        self._places, self._build, self._stuck_s = places, build, stuck_s
        self._failures, self._report = failures, report
        self._validator = validator
        self._tails = Tails(place.name for place in places)
        self._projected: Sequence[Projected] | str | None = None
        self._turn = threading.Lock()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def exposition(self, projected: Sequence[Projected] | str | None = None) -> bytes:
        """Return all metrics in Prometheus' text format.

        `projected` is what the database says of its progress, as for `Gatherer.facts`.
        """
        with self._turn:
            self._projected = projected
            return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Return nothing: what there is depends on the accounts."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now."""
        now_ns = time.time_ns()
        sightings = [sight(place, now_ns, stuck_s=self._stuck_s) for place in self._places]
        self._tails.poll(sightings)
        self._validator.look(sightings, self._tails)
        lag = behind(sightings, self._projected) or {}
        report = self._report(self._projected) if self._report is not None else None
        seen = Seen(now_ns, sightings, self._tails, lag, self._failures(), report)
        yield InfoMetricFamily("onefold_build", "Which program this is.", self._build._asdict())
        for family in (_accounts, _money, _feeds, _strategies, _latencies, _journals, _models):
            yield from family(seen)
        yield from _process(seen)
        warnings = CounterMetricFamily(
            "validator_warnings",
            "Warnings of the pipeline validator, each look counting them anew.",
            labels=("stage", "broker", "issue"),
        )
        for labels, count in self._validator.totals(self._places).items():
            warnings.add_metric(labels, count)
        yield warnings


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=labels)


def _accounts(seen: Seen) -> Iterator[Metric]:
    """Yield how each account stands."""
    standing = _gauge("onefold_account_standing", "1 for how it stands.", "account", "standing")
    enabled = _gauge("onefold_account_enabled", "Whether it should run.", "account")
    age = _gauge("onefold_heartbeat_age_seconds", "Age of the last heartbeat.", "account")
    mode = _gauge("onefold_account_mode", "1 for the mode of the last session.", "account", "mode")
    switches = _gauge("onefold_kill_switches", "Kill switches that are on.", "account")
    flags = {
        name: _gauge(f"onefold_{name}", text, "account")
        for name, text in (
            ("killed", "Whether the whole account is halted."),
            ("reduce_only", "Whether positions may only become smaller."),
            ("reconciled", "Whether books and venue agree."),
        )
    }
    for one in seen.sightings:
        name = one.place.name
        for known in STANDINGS:
            standing.add_metric((name, known), float(one.standing == known))
        enabled.add_metric((name,), float(one.place.is_enabled))
        switches.add_metric((name,), len(one.switches))
        if one.age_s is not None:
            age.add_metric((name,), max(0.0, one.age_s))
        if one.mode:
            mode.add_metric((name, one.mode), 1.0)
        for flag, gauge in flags.items():
            if one.runs and isinstance(one.beat.get(flag), bool):
                gauge.add_metric((name,), float(one.beat[flag]))
    yield from (standing, enabled, age, mode, switches, *flags.values())


def _money(seen: Seen) -> Iterator[Metric]:
    """Yield what each account has, in its currency."""
    labels = ("account", "currency")
    gauges = {
        "equity": _gauge("onefold_equity", "Cash and positions at their marks.", *labels),
        "pnl": _gauge("onefold_pnl", "Profit since the journal began.", *labels),
        "pnl_today": _gauge("onefold_pnl_today", "Profit of the trading day.", *labels),
        "fees": _gauge("onefold_fees", "Fees since the journal began.", *labels),
    }
    orders = _gauge("onefold_open_orders", "Orders that may still fill.", "account")
    held = _gauge("onefold_position_lots", "Lots that are held, signed.", "account", "symbol")
    for one in seen.sightings:
        said = {**table(one.beat, "totals"), "equity": one.beat.get("equity")}
        for name, gauge in gauges.items():
            _add(gauge, (one.place.name, one.place.currency), said.get(name))
        _add(orders, (one.place.name,), one.beat.get("open_orders"))
        positions = table(one.beat, "positions")
        for symbol in sorted({*positions, *table(one.beat, "last_bars")}):
            _add(held, (one.place.name, symbol), positions.get(symbol, 0))
    yield from (*gauges.values(), orders, held)


def _add(metric: GaugeMetricFamily | CounterMetricFamily, labels: Sequence[str], said: Any) -> None:
    """Add a number that a heartbeat says; what is none is left out."""
    value = number(said)
    if value is not None:
        metric.add_metric(labels, value)


def _feeds(seen: Seen) -> Iterator[Metric]:
    """Yield how old bars are, and what is wrong with their sources."""
    labels = ("account", "symbol")
    age = _gauge("onefold_feed_age_seconds", "Age of the last live bar of a symbol.", *labels)
    rests = _gauge("onefold_market_closed", "Whether the market of a live feed rests.", *labels)
    trouble = _gauge("onefold_feed_trouble", "Whether a feed says nothing or fails.", *labels)
    inputs = _counter("onefold_inputs", "Inputs that the journal has.", "account")
    for one in seen.sightings:
        name = one.place.name
        _add(inputs, (name,), one.beat.get("inputs"))
        troubled = table(one.beat, "feeds")
        for symbol in sorted({*table(one.beat, "last_bars"), *troubled}):
            trouble.add_metric((name, symbol), float(one.runs and symbol in troubled))
            if one.is_live_data:
                _add(age, (name, symbol), one.bar_age_s(symbol, seen.now_ns))
                rests.add_metric((name, symbol), float(one.rests(symbol, seen.now_ns)))
    yield from (age, rests, trouble, inputs)


def _strategies(seen: Seen) -> Iterator[Metric]:
    """Yield how many strategies are meant to run and do, and whose models loaded."""
    many = _gauge("onefold_strategies", "Strategies by their state.", "account", "state")
    loaded: dict[str, int] = {}
    failed: dict[str, int] = {}
    for one in seen.sightings:
        name = one.place.name
        states = {
            "configured": len(one.place.strategies),
            "running": len(one.active),
            "disabled": len(one.disabled) if one.runs else 0,
        }
        for state, count in states.items():
            many.add_metric((name, state), count)
        counts = seen.tails[name].counts
        for strategy in one.place.strategies:
            loaded.setdefault(strategy, 0)
            failed.setdefault(strategy, 0)
        for strategy, _ in counts.loaded:
            loaded[strategy] = loaded.get(strategy, 0) + 1
        for strategy, _ in counts.disabled:
            failed[strategy] = failed.get(strategy, 0) + 1
    success = _counter("ml_model_load_success", "Sessions that asked its models.", "strategy_id")
    failure = _counter("ml_model_load_failure", "Sessions without its models.", "strategy_id")
    for metric, found in ((success, loaded), (failure, failed)):
        for strategy, count in sorted(found.items()):
            metric.add_metric((strategy,), count)
    yield from (many, success, failure)


def _models(seen: Seen) -> Iterator[Metric]:
    """Yield how often models were asked in a session, and how that went."""
    asked = _counter(
        "ml_inference", "Questions to a model in a session.", "account", "model", "outcome"
    )
    for one in seen.sightings:
        for model, counts in sorted(table(one.beat, "models").items()):
            for outcome, count in counts.items():
                _add(asked, (one.place.name, model, outcome), count)
    yield asked


def _latencies(seen: Seen) -> Iterator[Metric]:
    """Yield the histograms that sessions keep, with their bounds."""
    for key, (name, text) in LATENCIES.items():
        metric = HistogramMetricFamily(name, text, labels=("account",))
        for one in seen.sightings:
            _histogram(metric, (one.place.name,), table(one.beat, "latency").get(key))
        yield metric
    inference = HistogramMetricFamily(
        "ml_inference_latency_seconds", "Time that a model took.", labels=("account", "strategy")
    )
    for one in seen.sightings:
        _histogram(inference, (one.place.name, "all"), table(one.beat, "latency").get(INFERENCE))
    yield inference


def _histogram(metric: HistogramMetricFamily, labels: Sequence[str], said: Any) -> None:
    """Add `{bounds, counts, sum}`: counts of each bucket by itself, one more than bounds."""
    if not isinstance(said, dict):
        return
    bounds, counts, total = said.get("bounds"), said.get("counts"), number(said.get("sum"))
    if not isinstance(bounds, list) or not isinstance(counts, list) or total is None:
        return
    if len(counts) != len(bounds) + 1 or not all(isinstance(c, int) for c in counts):
        return
    buckets, below = [], 0
    for bound, count in zip([*map(str, map(float, bounds)), "+Inf"], counts, strict=True):
        below += count
        buckets.append((bound, below))
    metric.add_metric(labels, buckets, total)


def _journals(seen: Seen) -> Iterator[Metric]:
    """Yield what journals have said since this process began."""
    account = "account"
    bars = _counter("onefold_bars", "Bars that were folded.", account, "symbol")
    late = _counter("onefold_late_bars", "Bars too late to trade on.", account, "symbol")
    refused = _counter("onefold_quarantined", "Refused bars.", account, "symbol", "reason")
    dead = _counter("trading_dlq_messages", "Messages that were put aside.", account, "reason")
    signals = _counter("onefold_signals", "Signals of strategies.", account, "strategy")
    decided = _counter(
        "onefold_decisions", "Decisions by the gate that was the reason.", account, "strategy",
        "gate",
    )  # fmt: skip
    orders = _counter("onefold_orders", "What became of orders.", account, "state")
    fills = _counter("onefold_fills", "Trades of our orders.", account, "strategy", "symbol")
    commands = _counter("onefold_commands", "Commands that were folded.", account, "command")
    activity = _gauge(
        "trading_last_activity_timestamp_unix", "When a stage was last seen to do something.",
        "service", "stage", "broker",
    )  # fmt: skip
    last: dict[tuple[str, str], float] = {}
    for one in seen.sightings:
        tail: Tail = seen.tails[one.place.name]
        counts = tail.counts
        for metric, found in (
            (bars, counts.bars),
            (late, counts.late),
            (refused, counts.quarantined),
            (signals, counts.signals),
            (decided, counts.decisions),
            (orders, counts.orders),
            (fills, counts.fills),
            (commands, counts.commands),
        ):
            _count(metric, one.place.name, found)
        aside = dict.fromkeys(REASONS, 0)
        for (_, reason), count in counts.quarantined.items():
            aside[reason] = aside.get(reason, 0) + count
        _count(dead, one.place.name, aside)
        for stage, when in tail.seen.items():
            key = (stage, one.place.broker if one.mode == "live" else "paper")
            last[key] = max(when, last.get(key, 0.0))
    for (stage, broker), when in sorted(last.items()):
        activity.add_metric(("onefold", stage, broker), when)
    yield from (bars, late, refused, dead, signals, decided, orders, fills, commands, activity)


def _count(metric: CounterMetricFamily, account: str, found: Mapping[Any, int]) -> None:
    for key, count in sorted(found.items()):
        labels = key if isinstance(key, tuple) else (key,)
        metric.add_metric((account, *labels), count)


def _process(seen: Seen) -> Iterator[Metric]:
    """Yield what is around the sessions: the database, failures, health."""
    lag = _gauge("onefold_projector_lag_records", "Records the database lacks.", "account")
    stopped = _gauge("onefold_projector_stopped", "Whether it does not go on.", "account")
    for name, found in sorted(seen.behind.items()):
        stopped.add_metric((name,), float(isinstance(found, str)))
        if isinstance(found, int):
            lag.add_metric((name,), found)
    failures = _counter("onefold_failures", "Failures that were survived.", "component")
    for one in sorted(seen.failures):
        failures.add_metric((one.component,), one.total)
    yield from (lag, stopped, failures)
    if seen.report is not None:
        verdict = _gauge("onefold_health", "0 healthy, 1 degraded, 2 unhealthy.", "check")
        for check in seen.report.checks:
            verdict.add_metric((check.name,), RANK[check.status])
        yield verdict
