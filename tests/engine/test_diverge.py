"""Divergence: each cause that is planted carries the whole difference, and nothing is left over."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

import some_models
from onefold.domain.errors import ConfigError, JournalError
from onefold.domain.records import Action, Bar, Command, Fill, OrderNotice
from onefold.engine.diff import Change, diff
from onefold.engine.diverge import diverge, recalled, simulated
from onefold.signals import Columns, Strategy, strategy
from onefold.signals.model import Model
from onefold.views.divergence import CLASSES, Divergence
from support import (
    FLAT,
    LONG,
    SHORT,
    Scripted,
    World,
    account_of,
    at,
    bar,
    future,
    rules_of,
    share,
    start_of,
    world,
)

from .live_rig import Rig
from .live_twin import Answer, Broker, Saying, trade_live
from .test_live import bar as live_bar
from .test_live import plan_of
from .test_succession import limited

TOLERANCE = 1e-9
BARS = 60
SIDES = (FLAT, LONG, LONG, LONG, FLAT, SHORT, SHORT, FLAT, LONG, LONG, FLAT, FLAT)
"""What the scripted strategy wants, over and over; orders fill at the open of the bar after."""


def prices(seed: int, symbol: str = "ABC", bars: int = BARS) -> list[Bar]:
    """Return a random walk with a gap between every close and the next open."""
    draw = random.Random(seed)
    made, last = [], 100.0
    for number in range(bars):
        start = round(last + draw.choice((-0.2, 0.1, 0.3)), 2)
        close = round(start + draw.uniform(-1.0, 1.0), 2)
        high, low = max(start, close) + 0.2, min(start, close) - 0.2
        made.append(bar(number, start, high, low, close, symbol=symbol, volume=1_000.0))
        last = close
    return made


def scripted(confidence: tuple[float, ...] = (1.0,), shift: int = 0) -> Scripted:
    sides = tuple(SIDES[(n + shift) % len(SIDES)] for n in range(BARS))
    return Scripted(side=sides, confidence=confidence)


def plain(
    bars: Iterable[Bar] | None = None,
    *,
    facts: Mapping[str, Any] | None = None,
    account: Mapping[str, Any] | None = None,
    confidence: tuple[float, ...] = (1.0,),
    inputs: Iterable[Any] = (),
    **rules: Any,
) -> World:
    """Return a world of one scripted strategy that buys ten lots, with a fee and slippage."""
    return world(
        scripted(confidence),
        prices(1) if bars is None else bars,
        rules=rules_of(sizing={"kind": "fixed", "lots": 10}, **rules),
        account=account_of(**{"cash": 1e5, "costs": {"slippage_ticks": 1}, **(account or {})}),
        instruments=[share(**{"commission": 0.5, **(facts or {})})],
        inputs=list(inputs),
    )


def learned(seed: int = 3, conf_min: float = 0.0) -> World:
    """Return a world of a strategy with a model, which sees a relative strength of five bars."""
    artifact = some_models.artifact_of("onnx")
    sidecar = some_models.sidecar_of(artifact)
    # A model of arithmetic: its score is the relative strength itself.
    model = Model(sidecar, lambda rows: rows[:, 0] / 100.0)

    class Store:
        def get(self, _name: str) -> Model:
            return model

    made = strategy("ml_direction", models=Store(), model="dips", enter=0.55, leave=0.45)
    rules = rules_of(sizing={"kind": "fixed", "lots": 10}, gates={"conf_min": conf_min})
    return world(made, prices(seed), rules=rules, account=account_of(cash=1e5))


def simulated_journal(one: World, folder: Path) -> Path:
    one.session(folder)
    return folder


def compared(
    back: World, live: World, tmp_path: Path, broker: Broker | None = None, **more: Any
) -> Divergence:
    """Run one world as a simulation and one live, and split the difference."""
    journal = simulated_journal(back, tmp_path / "back")
    traded = trade_live(live.plan, live.feed(), tmp_path / "live", broker, **more)
    return diverge(recalled(traded, live.plan), recalled(journal, back.plan))


def only(found: Divergence, name: str, *, least: float = 0.01) -> float:
    """Check that one class carries the whole difference, in every part; return the amount."""
    for part in (*found.parts, found.total):
        assert abs(part.residual) <= TOLERANCE
        assert math.isclose(part.classes[name], part.difference, abs_tol=TOLERANCE)
        for other in CLASSES:
            assert other == name or abs(part.classes[other]) <= TOLERANCE, (other, part)
    assert abs(found.total.difference) > least
    assert max(map(abs, found.gaps)) < 1e-6
    return found.total.difference


class Worse(Broker):
    """One fill costs more than it should: in price, in fee, or because it comes a bar later."""

    def __init__(self, nth: int, *, price: float = 0.0, fee: float = 0.0) -> None:
        self.nth, self.price, self.fee, self.seen = nth, price, fee, 0

    def answered(self, answer: Answer) -> Iterable[Answer]:
        if not isinstance(answer, Fill):
            return [answer]
        self.seen += 1
        if self.seen != self.nth:
            return [answer]
        worse = answer.price + answer.side * self.price
        return [msgspec.structs.replace(answer, price=worse, fee=answer.fee + self.fee)]


class Slow(Broker):
    """One fill comes one bar later, at the open of that bar, worsened by the slippage as well."""

    def __init__(self, nth: int, slippage: float) -> None:
        self.nth, self.slippage, self.seen = nth, slippage, 0
        self.held: Fill | None = None

    def answered(self, answer: Answer) -> Iterable[Answer]:
        if isinstance(answer, Fill):
            self.seen += 1
            if self.seen == self.nth:
                self.held = answer
                return []
        return [answer]

    def opened(self, bar: Bar) -> Iterable[Answer]:
        if self.held is None or self.held.instrument != bar.instrument:
            return []
        late, self.held = self.held, None
        price = bar.open + late.side * self.slippage
        return [msgspec.structs.replace(late, ts=bar.ts_open, price=price)]


class Thin(Broker):
    """Every other entry fills in two parts at two prices, and then not to its end."""

    def __init__(self) -> None:
        self.seen, self.ids = 0, 1_000

    def answered(self, answer: Answer) -> Iterable[Answer]:
        if not isinstance(answer, Fill) or answer.qty < 10:
            return [answer]
        self.seen += 1
        if self.seen % 4 != 1:
            return [answer]
        self.ids += 2
        first = msgspec.structs.replace(answer, id=self.ids, qty=4, fee=2.0)
        price = answer.price + 0.03 * answer.side
        second = msgspec.structs.replace(answer, id=self.ids + 1, qty=3, fee=1.5, price=price)
        return [first, second, OrderNotice(answer.order, answer.ts, answer.instrument, "cancelled")]


def test_a_live_run_that_was_filled_as_expected_diverges_in_nothing(tmp_path: Path) -> None:
    one = plain()
    found = compared(one, one, tmp_path)
    assert found.comparison.differences == []
    assert len(found.comparison.pairs) > 15
    assert found.total.difference == 0.0
    assert all(value == 0.0 for part in found.parts for value in part.classes.values())
    assert found.total.one == pytest.approx(float(one.run().equity[-1]) - 1e5)


def test_another_close_is_data(tmp_path: Path) -> None:
    bars = prices(1)
    # The strategy is scripted, so only the mark of the end and a fill's price can differ.
    bars[-1] = msgspec.structs.replace(bars[-1], close=bars[-1].close + 2.0, high=200.0)
    sides = (*SIDES[:-2], LONG, LONG)
    made = [replace_sides(plain(rows), sides) for rows in (prices(1), bars)]
    only(compared(*made, tmp_path), "data")


def replace_sides(one: World, sides: tuple[int, ...]) -> World:
    script = Scripted(side=tuple(sides[n % len(sides)] for n in range(BARS)))
    placed = replace(one.plan.placements[0], strategy=script)
    return World(replace(one.plan, placements=(placed,)), one.bars, one.inputs)


def test_another_open_moves_the_fill_and_is_data(tmp_path: Path) -> None:
    bars = prices(1)
    bars[2] = msgspec.structs.replace(bars[2], open=bars[2].open - 0.5, low=bars[2].low - 0.5)
    assert only(compared(plain(), plain(bars), tmp_path), "data") == pytest.approx(5.0)


def test_signals_that_turn_with_the_bars_are_data(tmp_path: Path) -> None:
    def made(bars: list[Bar]) -> World:
        return world(
            strategy("crossover", fast=3, slow=8),
            bars,
            rules=rules_of(sizing={"kind": "fixed", "lots": 10}, exits={"stop": 0.01}),
            account=account_of(cash=1e5),
        )

    bars = prices(4, bars=200)
    other = list(bars)
    low = other[30].low - 4.0
    other[30] = msgspec.structs.replace(other[30], close=low, low=low)
    found = compared(made(bars), made(other), tmp_path)
    only(found, "data")
    assert set(found.comparison.by_root) == {"data"}
    assert len(found.comparison.differences) > 1


def test_a_fill_one_bar_later_is_timing(tmp_path: Path) -> None:
    found = compared(plain(), plain(), tmp_path, Slow(nth=3, slippage=0.01))
    only(found, "timing")
    assert found.comparison.differences == []


def test_a_venue_that_is_a_bar_away_is_timing(tmp_path: Path) -> None:
    slow = {"costs": {"slippage_ticks": 1, "latency_ms": 30_000}}
    back, live = plain(), plain(account=slow)
    found = diverge(
        recalled(simulated_journal(live, tmp_path / "a"), live.plan),
        recalled(simulated_journal(back, tmp_path / "b"), back.plan),
    )
    only(found, "timing")


def test_a_bar_too_late_to_trade_on_is_timing(tmp_path: Path) -> None:
    one = plain()
    late = [
        msgspec.structs.replace(x, late=True) if isinstance(x, Bar) and x.ts == at(1) else x
        for x in one.feed()
    ]
    journal = simulated_journal(one, tmp_path / "back")
    traded = trade_live(one.plan, late, tmp_path / "live")
    found = diverge(recalled(traded, one.plan), recalled(journal, one.plan))
    only(found, "timing")
    assert found.comparison.differences[0].detail.startswith("the bar came too late")


def test_a_worse_price_is_fill(tmp_path: Path) -> None:
    amount = only(compared(plain(), plain(), tmp_path, Worse(nth=4, price=0.07)), "fill")
    assert amount == pytest.approx(-0.7)


def test_a_fee_that_follows_the_price_goes_with_it(tmp_path: Path) -> None:
    back = plain(facts={"commission": 0.0, "commission_bps": 100.0})

    class Consistent(Worse):
        def answered(self, answer: Answer) -> Iterable[Answer]:
            [said] = super().answered(answer)
            if isinstance(said, Fill):
                said = msgspec.structs.replace(said, fee=said.qty * said.price * 0.01)
            return [said]

    amount = only(compared(back, back, tmp_path, Consistent(nth=1, price=0.1)), "fill")
    assert amount == pytest.approx(-10 * 0.1 * 1.01)


def test_a_higher_commission_is_fee(tmp_path: Path) -> None:
    back, live = plain(), plain(facts={"commission": 0.9})
    amount = only(compared(back, live, tmp_path), "fee")
    fills = len(back.run().fills)
    assert fills > 10
    assert amount == pytest.approx(-0.4 * 10 * fills)


def test_one_fee_too_many_is_fee(tmp_path: Path) -> None:
    found = compared(plain(), plain(), tmp_path, Worse(nth=2, fee=3.25))
    assert only(found, "fee") == pytest.approx(-3.25)


def test_another_score_is_model(tmp_path: Path) -> None:
    one = learned()
    inference = Saying(lambda n, score: 0.0 if n == 12 else score)
    found = compared(one, one, tmp_path, inference=inference)
    only(found, "model")
    assert found.comparison.differences[0].cause == "model"
    assert set(found.comparison.by_root) == {"model"}


def test_a_score_that_differs_as_the_bars_do_is_data(tmp_path: Path) -> None:
    back, live = learned(), learned()
    bars = prices(3)
    low = bars[14].low - 4.0
    bars[14] = msgspec.structs.replace(bars[14], close=low, low=low)
    live = World(live.plan, world(scripted(), bars).bars, [])
    found = compared(back, live, tmp_path)
    only(found, "data")


def test_a_stricter_threshold_is_gate(tmp_path: Path) -> None:
    doubts = tuple(0.9 if n % 12 in (1, 2, 3) else 0.5 for n in range(BARS))
    back = plain(confidence=doubts)
    live = plain(confidence=doubts, gates={"conf_min": 0.6})
    found = compared(back, live, tmp_path)
    only(found, "gate")
    assert found.comparison.differences[0].detail.startswith("confidence 0.5 (at least ")


def test_a_kill_switch_of_one_run_is_gate(tmp_path: Path) -> None:
    one = plain()
    feed = [*one.feed()]
    feed.insert(4, Command(at(3), "kill", reason="a test"))
    feed.insert(30, Command(at(28), "resume", reason="a test"))
    journal = simulated_journal(one, tmp_path / "back")
    traded = trade_live(one.plan, feed, tmp_path / "live")
    found = diverge(recalled(traded, one.plan), recalled(journal, one.plan))
    only(found, "gate")


def test_a_position_that_a_person_flattened_is_command(tmp_path: Path) -> None:
    one = plain()
    feed = [*one.feed()]
    feed.insert(4, Command(at(3), "flatten", reason="a test"))
    journal = simulated_journal(one, tmp_path / "back")
    traded = trade_live(one.plan, feed, tmp_path / "live")
    found = diverge(recalled(traded, one.plan), recalled(journal, one.plan))
    only(found, "command")


def test_another_size_is_size(tmp_path: Path) -> None:
    back, live = plain(), plain()
    rules = back.plan.placements[0].rules.model_copy(
        update={"sizing": rules_of(sizing={"kind": "fixed", "lots": 7}).sizing}
    )
    placed = replace(live.plan.placements[0], rules=rules)
    live = World(replace(live.plan, placements=(placed,)), live.bars, [])
    amount = only(compared(back, live, tmp_path), "size")
    assert amount == pytest.approx(-0.3 * (float(back.run().equity[-1]) - 1e5))


def two(conf_min: float = 0.0, bars: Mapping[str, list[Bar]] | None = None) -> World:
    """Return a world of two strategies in two instruments, one of them a future."""
    rows = bars or {"ABC": prices(1), "FUT": prices(2, "FUT")}
    doubts = tuple(0.9 if n % 12 in (1, 2, 3) else 0.5 for n in range(BARS))
    return world(
        {
            "sure": (scripted(), rules_of(sizing={"kind": "fixed", "lots": 10}), ["ABC"]),
            "shy": (
                scripted(doubts, shift=2),
                rules_of(sizing={"kind": "fixed", "lots": 2}, gates={"conf_min": conf_min}),
                ["FUT"],
            ),
        },
        [b for part in rows.values() for b in part],
        account=account_of(cash=1e5),
        instruments=[share(commission=0.5), future(commission=2.0, tick=0.01)],
    )


def test_two_causes_are_told_apart(tmp_path: Path) -> None:
    gate = only(compared(two(), two(0.6), tmp_path / "gate"), "gate")
    found = compared(two(), two(0.6), tmp_path / "both", Worse(nth=1, price=0.2))
    total = found.total.classes
    assert total["gate"] == pytest.approx(gate, abs=TOLERANCE)
    assert total["fill"] == pytest.approx(-2.0, abs=TOLERANCE)
    assert found.total.difference == pytest.approx(gate - 2.0, abs=TOLERANCE)
    assert {n for n, v in total.items() if abs(v) > TOLERANCE} == {"gate", "fill"}
    by = {part.strategy: part for part in found.parts}
    assert by["sure"].classes["fill"] == by["sure"].difference
    assert by["shy"].classes["gate"] == by["shy"].difference


def test_sizes_follow_the_cause_of_the_money_and_not_the_latest(tmp_path: Path) -> None:
    doubts = tuple(0.9 if n % 12 in (1, 2, 3) else 0.5 for n in range(BARS))

    def made(conf_min: float, fee: float) -> World:
        sizes = {"kind": "fraction", "fraction": 0.45}
        rules = (rules_of(sizing=sizes), rules_of(sizing=sizes, gates={"conf_min": conf_min}))
        return world(
            {"sure": (scripted(), rules[0], ["ABC"]), "shy": (scripted(doubts), rules[1], ["XYZ"])},
            [*prices(1), *prices(9, "XYZ")],
            account=account_of(cash=4e4),
            instruments=[share(commission=fee), share("XYZ", commission=fee)],
        )

    gate = only(compared(made(0.0, 0.001), made(0.6, 0.001), tmp_path / "a"), "gate")
    found = compared(made(0.0, 0.001), made(0.6, 0.002), tmp_path / "b")
    lots = sum(fill.qty for fills in recalled(
        tmp_path / "b" / "live", made(0.6, 0.002).plan
    ).books.told.fills.values() for fill in fills)  # fmt: skip
    # Every fill costs a little more, and none of what the gate has done goes to the fees.
    assert -1.1 * 0.001 * lots < found.total.classes["fee"] < 0.0
    assert found.total.classes["gate"] == pytest.approx(gate, rel=0.05)
    sized = [d for d in found.comparison.differences if d.cause == "sizing"]
    assert sized
    assert {d.root for d in sized if d.strategy == "sure"} == {"gate"}


def test_data_and_a_fee_are_told_apart(tmp_path: Path) -> None:
    bars = {"ABC": prices(1), "FUT": prices(2, "FUT")}
    changed = bars["ABC"][2]
    bars["ABC"][2] = msgspec.structs.replace(changed, open=changed.open - 0.5, low=changed.low - 1)
    found = compared(two(), two(bars=bars), tmp_path, Worse(nth=1, fee=1.25))
    total = found.total.classes
    assert total["data"] == pytest.approx(5.0)
    assert total["fee"] == pytest.approx(-1.25)
    assert {n for n, v in total.items() if abs(v) > TOLERANCE} == {"data", "fee"}


def test_partial_fills_at_two_prices_are_fill(tmp_path: Path) -> None:
    found = compared(plain(), plain(), tmp_path, Thin())
    only(found, "fill")
    exits = [d for d in found.comparison.differences if d.purpose != "entry"]
    assert exits
    assert {d.root for d in exits} == {"fill"}
    assert exits[0].follows == "the fill of the entry of s in ABC"


def test_a_worse_price_that_changes_later_sizes_and_stops_is_still_fill(tmp_path: Path) -> None:
    def made() -> World:
        return world(
            scripted(),
            prices(5),
            rules=rules_of(sizing={"kind": "fraction", "fraction": 0.9}, exits={"stop": 0.004}),
            account=account_of(cash=1e4),
        )

    found = compared(made(), made(), tmp_path, Worse(nth=1, price=1.5))
    only(found, "fill")
    assert len(found.comparison.differences) > 3


def test_splits_dividends_and_rolls_leave_nothing_over(tmp_path: Path) -> None:
    actions = [
        Action(at(14), "dividend", 0.5, "ABC"),
        Action(at(26), "split", 1.7, "ABC"),
        Action(at(16), "roll", 0.75, "FUT"),
        Action(at(40), "payment", 12.5, currency="USD"),
    ]
    back = two()
    live = two(0.6)
    back, live = (World(w.plan, w.bars, list(actions)) for w in (back, live))
    found = compared(back, live, tmp_path, Thin())
    assert abs(found.total.residual) <= TOLERANCE
    assert max(map(abs, found.gaps)) < 1e-6
    assert found.total.classes["fill"] != 0.0
    assert found.total.classes["gate"] != 0.0
    parts = [sum(part.classes.values()) for part in found.parts]
    assert sum(parts) == pytest.approx(found.total.difference, abs=TOLERANCE)


def test_lots_that_are_missing_over_a_split_are_fill(tmp_path: Path) -> None:
    actions = [Action(at(n), "split", 2.0, "ABC") for n in (2, 26)]
    back = plain(inputs=actions)
    only(compared(back, back, tmp_path, Thin()), "fill")


def test_resting_stops_fill_in_the_same_bar_in_both(tmp_path: Path) -> None:
    back = plain(exits={"stop": 0.004, "resting": True})
    found = compared(back, back, tmp_path / "honest")
    stops = [o for o in found.comparison.pairs if o.key.purpose == "stop"]
    assert stops
    assert found.comparison.differences == []
    assert all(value == 0.0 for value in found.total.classes.values())
    worse = compared(back, back, tmp_path / "worse", Worse(nth=2, price=0.3))
    assert only(worse, "fill") == pytest.approx(-3.0)


class Above(Strategy):
    """Long above 100, without a feature."""

    def extract_features(self) -> dict[str, Any]:
        return {}

    def predict_signal(self, x: Columns) -> Any:
        return self.signal(x.close > 100.0)


def test_a_strategy_without_features_sees_the_bar_itself(tmp_path: Path) -> None:
    def made(bars: list[Bar]) -> World:
        rules = rules_of(sizing={"kind": "fixed", "lots": 10})
        return world(Above(), bars, rules=rules, account=account_of(cash=1e5))

    bars = prices(1)
    other = list(bars)
    other[20] = msgspec.structs.replace(other[20], close=90.0, low=90.0)
    other[21] = msgspec.structs.replace(other[21], close=110.0, high=110.0)
    found = compared(made(bars), made(other), tmp_path)
    only(found, "data")
    assert found.comparison.differences[0].detail == "the features differ, as the bars do"


def test_random_trouble_of_all_kinds_leaves_nothing_over(tmp_path: Path) -> None:
    class Chaos(Broker):
        def __init__(self, seed: int) -> None:
            self.draw = random.Random(seed)

        def answered(self, answer: Answer) -> Iterable[Answer]:
            if not isinstance(answer, Fill):
                return [answer]
            worse = answer.side * self.draw.choice((0.0, 0.05, -0.02))
            fee = answer.fee + self.draw.choice((0.0, 0.3))
            return [msgspec.structs.replace(answer, price=answer.price + worse, fee=fee)]

    for seed in range(4):
        draw = random.Random(seed)
        bars = {"ABC": prices(1), "FUT": prices(2, "FUT")}
        for rows in bars.values():
            n = draw.randrange(5, BARS)
            rows[n] = msgspec.structs.replace(rows[n], close=rows[n].low)
        folder = tmp_path / str(seed)
        found = compared(two(), two(draw.choice((0.0, 0.6)), bars), folder, Chaos(seed))
        assert abs(found.total.residual) <= TOLERANCE
        assert max(map(abs, found.gaps)) < 1e-6
        assert sum(found.total.classes.values()) == pytest.approx(
            found.total.difference, abs=TOLERANCE
        )


def test_a_configuration_can_be_the_other_side(tmp_path: Path) -> None:
    one = plain()
    traded = trade_live(one.plan, one.feed(), tmp_path / "live", Worse(nth=4, price=0.07))
    back = simulated(one.plan, one.feed(), start_of(), seen=None)
    assert only(diverge(recalled(traded, one.plan), back), "fill") == pytest.approx(-0.7)


def test_what_was_handed_over_is_counted_from_the_start_of_the_journal(tmp_path: Path) -> None:
    plan = plan_of(FLAT, LONG, LONG, LONG, LONG, FLAT)

    async def traded(rig: Rig, closes: Mapping[int, float]) -> None:
        async with rig.running() as live:
            await rig.until(lambda: bool(live.session.state.account["reconciled"][0]))
            await rig.play(*(live_bar(n, price) for n, price in closes.items()))

    async def work() -> list[Path]:
        rig = Rig(tmp_path, plan)
        await traded(rig, {0: 100.0, 1: 100.0, 2: 104.0, 3: 107.0})
        rig.reconfigure(limited(plan, 0.5))
        await traded(rig, {4: 106.0, 5: 108.0, 6: 109.0, 7: 109.0})
        return rig.journals

    journals = asyncio.run(work())
    first, second = (
        recalled(path, one) for path, one in zip(journals, (plan, limited(plan, 0.5)), strict=True)
    )
    found = diverge(second, first)
    assert max(map(abs, found.gaps)) < 1e-9
    assert abs(found.total.residual) <= TOLERANCE
    assert (found.total.one, found.total.other) == (3.0, 2.0)  # bought at 104, 107 at the start
    inherited = diff(journals[1], limited(plan, 0.5), Change(plan))
    assert inherited.baseline == "twin"
    exits = [d for d in inherited.one.told.decisions if d.purpose == "signal"]
    assert [d.position for d in exits] == [1]  # the twin leaves what it has inherited


def test_runs_of_other_strategies_or_currencies_are_refused(tmp_path: Path) -> None:
    one = plain()
    side = recalled(simulated_journal(one, tmp_path / "one"), one.plan)
    named = replace(one.plan.placements[0], name="other")
    other = World(replace(one.plan, placements=(named,)), one.bars, [])
    theirs = recalled(simulated_journal(other, tmp_path / "other"), other.plan)
    with pytest.raises(ConfigError, match=r"no strategy in common: s/ABC against other/ABC"):
        diverge(side, theirs)
    euros = replace(side.plan, account=account_of(currency="EUR"))
    with pytest.raises(ConfigError, match="in EUR and USD"):
        diverge(side._replace(plan=euros), side)


def test_an_empty_journal_is_refused(tmp_path: Path) -> None:
    one = plain()
    one.session(tmp_path / "none", first=0)
    with pytest.raises(JournalError, match="there is no journal"):
        recalled(tmp_path / "none", one.plan)


def test_a_point_is_worth_what_the_instrument_says(tmp_path: Path) -> None:
    one = two()
    live = compared(one, one, tmp_path, Worse(nth=3, price=0.25))
    # The third fill is two lots of a future of 50 a point.
    assert only(live, "fill") == pytest.approx(-0.25 * 50 * 2)
