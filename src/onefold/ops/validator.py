"""Whether bars become signals, signals decisions, decisions orders, and orders positions.

Health looks at parts; this looks at what passes between them. Each stage is judged by the heartbeat
and the end of the journal, and what is wrong has one of four names, so that it can be counted. An
account without strategies that run is silent: nothing is expected of it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, product
from typing import Annotated, Literal, NamedTuple, get_args

from pydantic import Field

from onefold.domain.rules import Rule
from onefold.ops.facts import Place, Sighting, number, table
from onefold.ops.tails import Tail, Tails

Stage = Literal["market_data", "signals", "risk", "orders", "portfolio"]
Kind = Literal["redis_unavailable", "metrics_parse_error", "validation_error", "no_recent_data"]

FIELDS: dict[str, type] = {
    "inputs": int,
    "counts": dict,
    "decisions": int,
    "positions": dict,
    "open_orders": int,
    "feeds": dict,
    "last_bars": dict,
}
"""What a heartbeat must say, and in which form."""
ASKED_MAX = 20
"""Entries that may be asked for in a row without a decision, where nothing is held or ordered."""
ORPHANS_MAX = 2
"""Bars on time that may come in a row without a signal: one is still being thought about."""


class PipelineSettings(Rule):
    """What is expected between two stages, and how often it is looked at."""

    bars_max: float = Field(
        3.0, gt=0, le=1_000, description="Intervals of a live bar after which it is overdue."
    )
    grace_s: float = Field(
        30.0, ge=0, le=3_600, description="Seconds that a bar may be later than that."
    )
    answer_s: float = Field(
        30.0, gt=0, le=3_600, description="Seconds in which a venue must say something of an order."
    )
    quarantine_max: Annotated[float, Field(ge=0, le=1)] = Field(
        0.05, description="Share of bars since the look before that may be refused."
    )
    every_s: float = Field(
        15.0, gt=0, le=3_600, description="Seconds between two looks; each counts its warnings."
    )


Finding = tuple[Kind, str]
"""An issue and what is said of it."""


class Issue(NamedTuple):
    """Something that is wrong between two stages of an account."""

    stage: Stage
    broker: str
    issue: Kind
    account: str
    detail: str


class Validator:
    """Looks at accounts again and again; `counts` has the warnings by stage, broker and issue.

    `services` returns by name why a Redis that is configured does not answer, empty where it does.
    """

    def __init__(
        self, rules: PipelineSettings, services: Callable[[], Mapping[str, str]] = dict
    ) -> None:
        self._rules, self._services = rules, services
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.last: list[Issue] = []
        self._looked = float("-inf")
        self._before: dict[str, tuple[int, int]] = {}
        self._scores: dict[str, dict[str, tuple[int, int]]] = {}

    def totals(self, places: Iterable[Place]) -> dict[tuple[str, str, str], int]:
        """Return all counts by stage, broker and issue; what may come is there with 0."""
        brokers = sorted({"paper", *(place.broker for place in places)})
        known = product(get_args(Stage), brokers, get_args(Kind))
        return {**dict.fromkeys(known, 0), **self.counts}

    def look(self, sightings: Sequence[Sighting], tails: Tails) -> list[Issue]:
        """Return what is wrong now, and count it; between two looks, what the last one found."""
        steady = time.monotonic()
        if steady - self._looked < self._rules.every_s:
            return self.last
        self._looked = steady
        now_ns = time.time_ns()
        active = [one for one in sightings if one.place.is_enabled and _expects(one)]
        down = self._services() if active else {}
        self.last = [
            issue for one in active for issue in self._of(one, tails[one.place.name], down, now_ns)
        ]
        self.counts.update((one.stage, one.broker, one.issue) for one in self.last)
        return self.last

    def _of(
        self, one: Sighting, tail: Tail, down: Mapping[str, str], now_ns: int
    ) -> Iterator[Issue]:
        broker = one.place.broker if one.mode == "live" else "paper"
        wrong = one.unreadable or "; ".join(_misfits(one))
        stages: dict[Stage, Iterable[Finding]] = {
            "market_data": chain(_unavailable(down), self._market_data(one, tail, now_ns)),
            "signals": self._signals(one, tail),
            "risk": _risk(one, tail),
            "orders": self._orders(one, tail, now_ns),
            "portfolio": _portfolio(one, tail),
        }
        if wrong:  # what cannot be read says nothing of the stages before
            stages = {"portfolio": [("metrics_parse_error", wrong)]}
        for stage, findings in stages.items():
            for issue, detail in findings:
                yield Issue(stage, broker, issue, one.place.name, detail)

    def _market_data(self, one: Sighting, tail: Tail, now_ns: int) -> Iterator[Finding]:
        for detail in self._overdue(one, now_ns):
            yield "no_recent_data", detail
        bars, refused = tail.counts.bars.total(), tail.counts.quarantined.total()
        before = self._before.get(one.place.name, (0, 0))
        self._before[one.place.name] = (bars, refused)
        new, bad = bars - before[0], refused - before[1]
        if bad > self._rules.quarantine_max * (new + bad):
            detail = f"{bad} of {new + bad} bars were refused since the last look"
            yield "validation_error", detail

    def _overdue(self, one: Sighting, now_ns: int) -> Iterator[str]:
        """Yield the symbols whose live bars are overdue while their market is open."""
        if not one.is_live_data:
            return
        started = one.beat.get("started_ts")
        for symbol, interval_ns in one.place.intervals_ns.items():
            limit_s = (1 + self._rules.bars_max) * interval_ns / 1e9 + self._rules.grace_s
            age_s = one.bar_age_s(symbol, now_ns)
            if age_s is None:  # none has come since the start
                age_s = (now_ns - started) / 1e9 if isinstance(started, int) else 0.0
            # A market that has just opened has no bar yet.
            rested = one.rests(symbol, now_ns) or one.rests(symbol, now_ns - int(limit_s * 1e9))
            if age_s > limit_s and not rested:
                yield f"the last bar of {symbol} is {age_s:,.0f} s old"

    def _signals(self, one: Sighting, tail: Tail) -> Iterator[Finding]:
        """Yield bars that nobody answers with a signal, and models that gave no score at all."""
        for symbol, bars in tail.silent.items():
            if bars > ORPHANS_MAX and symbol in one.place.traded:
                yield "no_recent_data", f"{bars} bars of {symbol} in a row had no signal"
        before = self._scores.get(one.place.name, {})
        models = {model for model, _ in tail.counts.scores}
        now = {m: (tail.counts.scores[m, True], tail.counts.scores[m, False]) for m in models}
        self._scores[one.place.name] = now
        for model, (answers, failures) in sorted(now.items()):
            was = before.get(model, (0, 0))
            if failures > was[1] and answers == was[0]:
                yield "validation_error", f"{model} gave no score {failures - was[1]} times"

    def _orders(self, one: Sighting, tail: Tail, now_ns: int) -> Iterator[Finding]:
        """Yield orders of which a real venue says nothing; a simulated one answers at its bars."""
        if one.mode != "live":
            return
        late = [
            order
            for order, ts in tail.unanswered.items()
            if (now_ns - ts) / 1e9 > self._rules.answer_s
        ]
        if late:
            detail = f"the venue has said nothing of orders {', '.join(map(str, sorted(late)))}"
            yield "no_recent_data", detail
        if tail.unknown:
            detail = f"nobody knows of orders {', '.join(map(str, sorted(tail.unknown)))}"
            yield "validation_error", detail


def _expects(one: Sighting) -> bool:
    """Return whether strategies run, or cannot be told not to."""
    return bool(one.active) or bool(one.unreadable and one.place.strategies)


def _misfits(one: Sighting) -> Iterator[str]:
    for name, kind in FIELDS.items():
        if not isinstance(one.beat.get(name), kind):
            yield f"the heartbeat's {name} is {one.beat.get(name)!r}"


def _unavailable(down: Mapping[str, str]) -> Iterator[Finding]:
    for name, why in down.items():
        if why:
            yield "redis_unavailable", f"{name}: {why}"


def _risk(one: Sighting, tail: Tail) -> Iterator[Finding]:
    """Yield parameters in doubt, and entries that nobody decides on.

    Every entry that is asked for where nothing is held is decided on, be it to block it.
    """
    if one.beat.get("doubt"):
        yield "validation_error", f"parameters: {one.beat['doubt']}"
    is_flat = not one.beat.get("positions") and not one.beat.get("open_orders")
    if is_flat and tail.asked > ASKED_MAX:
        yield "no_recent_data", f"{tail.asked} entries were asked for, and none was decided on"


def _portfolio(one: Sighting, tail: Tail) -> Iterator[Finding]:
    if one.standing == "stuck":
        yield "no_recent_data", f"no heartbeat for {one.age_s:.0f} s"
    if number(one.beat.get("equity")) is None:
        yield "validation_error", f"the equity is {one.beat.get('equity')!r}"
    for symbol, lots in table(one.beat, "positions").items():
        if not isinstance(lots, int):
            yield "validation_error", f"the position in {symbol} is {lots!r}"
    if one.mode == "live" and not one.beat.get("reconciled"):
        detail = f"not reconciled: {one.beat.get('trouble', '')}".rstrip(": ")
        yield "validation_error", detail
    if tail.damage:
        yield "validation_error", f"the journal cannot be read: {tail.damage}"
