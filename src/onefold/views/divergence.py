"""Why two runs of the same strategies made different money: each fill's part, under a cause.

What a run has made is a sum over its fills: side x lots x point x (mark - price) less the fee, at
the marks and rates of the end. That is what the books say, exactly, whatever was bought against
what; so the difference of two runs is a sum of differences of fills, and giving every one of them
to one cause leaves nothing over. Orders are matched by the decision that they come from:

- A decision that only one run made, or that a gate stopped in one, has its fills in one run only.
  All of it goes to the first cause of that difference (`views.differences`), and so does the exit
  that was missing because the entry was, so that both together are the trade's profit.
- The same decision in both runs is walked from the one's fills to the other's, lot by lot, one
  ingredient at a time, in this order: `data` (the marks of the end, and the price that the bars of
  the other would have given at the same bar), `timing` (the price at the bar at which it was filled
  there), `fill` (the price that it had), `fee` (what was paid beyond the schedule). Lots that only
  one has go to the cause of their size; where the order was of the same size, to `fill`, or to
  `timing` while the other still works.

The order says what a price is held against: first what could be known from the market, then what
the market gave later, then what the venue made of it. In another order a move of the market between
two bars would count as slippage. The schedule of fees is the first run's, so a fee that is higher
only because the price is goes with the price.

All sums are of rational numbers, since a float is one: what is left over is left over by the
attribution, not by rounding.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import msgspec

from onefold.domain.records import Bar, Decision, Fill, Order
from onefold.views.differences import (
    Comparison,
    Kind,
    Pair,
    SeesOther,
    Sleeve,
    Told,
    compare,
    same_bar,
)

MAIN = ("data", "timing", "fill", "fee", "model", "gate", "size")
"""The classes that are always shown."""
OTHERS = ("signal", "exit", "command", "strategy", "position", "income")
"""Named classes of what is none of these: other signals of the same bars and scores, other rules of
exits, a person's commands, what only one run has, positions that came from elsewhere, and money
that came in other than by trades."""
CLASSES = (*MAIN, *OTHERS)

ACCOUNT = ""
"""The name under which money stands that belongs to no strategy."""

_CLASS: Mapping[str, str] = {"sizing": "size", "only": "strategy"}
_ZERO = Fraction(0)

Quote = Callable[[Order, Bar], float | None]
"""The price at which the first run's simulated venue fills an order in a bar, None where not."""


class Lot(NamedTuple):
    """A fill with its place among all records, and the close of the bar in which it happened."""

    fill: Fill
    place: int
    bar_ts: int


class Move(NamedTuple):
    """A split (its ratio) or a roll (its gap), by which a price before means another one after."""

    place: int
    instrument: str
    action: str
    value: float


class Facts(NamedTuple):
    """What turns an instrument's prices into the account's money at the end of a run."""

    point: float
    rate: float
    mark: float
    commission: float
    commission_rate: float


class Books(NamedTuple):
    """What one run told, and its money.

    `lots` are the fills by order, `taken` what came by no order (an opening position at its average
    price, what a person adopted). `held` are the lots of each sleeve at the end, `rolls` what rolls
    have cost by strategy, `income` what came in other than by trades, `opening` what the positions
    and currencies that were there at the start add to that; all in the account's currency at the
    rates of the end. `working` are the orders that may still fill, `change` is what the books say
    that the account has made.
    """

    told: Told
    facts: Mapping[str, Facts]
    lots: Mapping[int, Sequence[Lot]]
    taken: Sequence[Lot]
    moves: Sequence[Move]
    held: Mapping[Sleeve, int]
    rolls: Mapping[str, float]
    income: float
    opening: float
    change: float
    working: frozenset[int] = frozenset()


class Part(msgspec.Struct, frozen=True):
    """One strategy's part, or the account's own (`strategy` is empty): both runs, and the classes.

    `classes` sum up to `difference`, which is that of the second run to the first.
    """

    strategy: str
    one: float
    other: float
    difference: float
    classes: dict[str, float]
    residual: float


class Divergence(NamedTuple):
    """The parts of all strategies and of the account, the sum of all, and the decisions.

    `gaps` is how far the books of either run are from the sum over its fills: rounding, or a fault.
    """

    parts: list[Part]
    total: Part
    comparison: Comparison
    gaps: tuple[float, float]


def diverge(one: Books, other: Books, quote: Quote, sees_other: SeesOther) -> Divergence:
    """Split the difference of what two runs made, of the other to the one, into classes."""
    ledger = _Ledger(one, other, quote)
    compared = compare(one.told, other.told, reckoner=ledger, sees_other=sees_other)
    amounts: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    for (strategy, kind), amount in ledger.amounts.items():
        amounts[strategy, _CLASS.get(kind, kind)] += amount
    for sign, books, seen in ((-1, one, ledger.used[0]), (1, other, ledger.used[1])):
        for strategy, name, amount in _besides(books, seen):
            amounts[strategy, name] += sign * amount
    return _divergence(one, other, amounts, compared)


def _order(decision: Decision | None, told: Told) -> Order | None:
    return None if decision is None or not decision.order else told.orders[decision.order]


def _divergence(
    one: Books, other: Books, amounts: Mapping[tuple[str, str], Fraction], compared: Comparison
) -> Divergence:
    made = _made(one), _made(other)
    names = dict.fromkeys([*made[0], *made[1]])
    parts = []
    for name in [*(n for n in names if n), ACCOUNT]:
        mine = {c: amounts.get((name, c), _ZERO) for c in CLASSES}
        parts.append(_part(name, made[0].get(name, _ZERO), made[1].get(name, _ZERO), mine))
    totals = [sum(x.values(), _ZERO) for x in made]
    of_all = {c: sum((v for (_, k), v in amounts.items() if k == c), _ZERO) for c in CLASSES}
    gaps = [books.change - float(total) for books, total in zip((one, other), totals, strict=True)]
    total = _part("all", totals[0], totals[1], of_all)
    return Divergence(parts, total, compared, (gaps[0], gaps[1]))


def _part(name: str, one: Fraction, other: Fraction, classes: Mapping[str, Fraction]) -> Part:
    left = other - one - sum(classes.values(), _ZERO)
    return Part(
        name,
        float(one),
        float(other),
        float(other - one),
        {c: float(amount) for c, amount in classes.items()},
        float(left),
    )


def _made(books: Books) -> dict[str, Fraction]:
    """Return what each strategy has made, as the sum over its fills, and the account besides."""
    made = dict.fromkeys(sorted({s for s, _ in books.told.sleeves}), _ZERO)
    made[ACCOUNT] = _ZERO
    for lots in books.lots.values():
        for lot in lots:
            made[lot.fill.strategy] += _worth(books, lot, lot.fill.qty)
    for strategy, _, amount in _besides(books, set(books.lots)):
        made[strategy] += amount
    return made


def _besides(books: Books, ordered: set[int]) -> Iterator[tuple[str, str, Fraction]]:
    """Yield strategy, class and amount of all money but that of the orders."""
    for order, lots in books.lots.items():
        if order not in ordered:
            for lot in lots:
                yield lot.fill.strategy, "position", _worth(books, lot, lot.fill.qty)
    for lot in books.taken:
        yield lot.fill.strategy, "position", _worth(books, lot, lot.fill.qty)
    for (strategy, symbol), rest in _rests(books).items():
        facts = books.facts[symbol]
        if rest:
            worth = rest * Fraction(facts.mark) * Fraction(facts.point) * Fraction(facts.rate)
            yield strategy, "income", worth
    for strategy, cost in books.rolls.items():
        yield strategy, "fee", -Fraction(cost)
    yield ACCOUNT, "income", Fraction(books.income)
    yield ACCOUNT, "position", Fraction(books.opening)


def _rests(books: Books) -> dict[Sleeve, Fraction]:
    """Return by sleeve what is held beyond the sum of the fills: parts of lots lost to splits."""
    rests = {sleeve: Fraction(lots) for sleeve, lots in books.held.items()}
    for lot in (*(x for lots in books.lots.values() for x in lots), *books.taken):
        ratio = _moved(books, lot)[0]
        rests[lot.fill.strategy, lot.fill.instrument] -= lot.fill.side * lot.fill.qty * ratio
    return rests


def _moved(books: Books, lot: Lot) -> tuple[Fraction, Fraction]:
    """Return what a lot has become by the end, and the gaps that it has paid, in its own points."""
    ratio, gaps = Fraction(1), _ZERO
    for move in books.moves:
        if move.place > lot.place and move.instrument == lot.fill.instrument:
            if move.action == "split":
                ratio *= Fraction(move.value)
            else:
                gaps += ratio * Fraction(move.value)
    return ratio, gaps


def _worth(
    books: Books,
    lot: Lot,
    lots: int,
    *,
    price: Fraction | None = None,
    fee: Fraction | None = None,
) -> Fraction:
    """Return what some lots of a fill have made by the end, at its own price and fee or others."""
    facts, fill = books.facts[lot.fill.instrument], lot.fill
    price = Fraction(fill.price) if price is None else price
    fee = _fee(fill, lots) if fee is None else fee
    ratio, gaps = _moved(books, lot)
    gain = Fraction(facts.mark) * ratio - gaps - price
    return (fill.side * lots * Fraction(facts.point) * gain - fee) * Fraction(facts.rate)


def _fee(fill: Fill, lots: int) -> Fraction:
    return Fraction(fill.fee) * lots / fill.qty if fill.qty else Fraction(fill.fee)


class _Ledger:
    """What each pair of decisions makes of the difference, as the comparison comes to it.

    `amounts` are by strategy and kind, `used` the orders of either run that were met.
    """

    def __init__(self, one: Books, other: Books, quote: Quote) -> None:
        self.amounts: dict[tuple[str, Kind], Fraction] = defaultdict(Fraction)
        self.used: tuple[set[int], set[int]] = (set(), set())
        self._one, self._other = one, other
        self._walk = _Walk(one, other, quote)
        self._lots: dict[tuple[str, Kind], int] = defaultdict(int)
        self._closes = {s: sorted(bars) for s, bars in other.told.bars.items()}

    def fills_differ(self, mine: Order, theirs: Order) -> Kind | None:
        """Return the class that most of the difference of two orders' fills belongs to."""
        pairs = ((self._one, mine), (self._other, theirs))
        facts = [
            [(x.bar_ts, x.fill.qty, x.fill.price, x.fill.fee) for x in b.lots.get(o.id, ())]
            for b, o in pairs
        ]
        if facts[0] == facts[1]:
            return None
        amounts: dict[Kind, Fraction] = defaultdict(Fraction)
        for kind, amount, _ in self._walk.steps(mine, theirs, "fill"):
            amounts[kind] += amount
        if not any(amounts.values()):
            return "timing" if [f[0] for f in facts[0]] != [f[0] for f in facts[1]] else "fill"
        return max(amounts, key=lambda name: abs(amounts[name]))

    def settle(self, pair: Pair) -> None:
        """Count what a pair makes of the difference."""
        mine, theirs = _order(pair.one, self._one.told), _order(pair.other, self._other.told)
        for order, seen in zip((mine, theirs), self.used, strict=True):
            if order is not None:
                seen.add(order.id)
        key = pair.key
        for kind, amount, lots in self._walk.steps(mine, theirs, pair.root or "fill"):
            self.amounts[key.strategy, kind] += amount
            self._lots[key.instrument, kind] += lots

    def ruling(self, ts: int) -> Kind | None:
        """Return the kind to which most of the difference in money goes back at a time.

        Amounts are those of the end; what is held in one run only is taken to the marks of the
        time. It is a choice between causes and not a sum, so floats do.
        """
        worth: dict[Kind, float] = defaultdict(float)
        for (_, of), amount in self.amounts.items():
            worth[of] += float(amount)
        for (symbol, of), lots in self._lots.items():
            facts, mark = self._other.facts.get(symbol), self._mark(symbol, ts)
            if lots and facts is not None and mark is not None:
                worth[of] -= lots * facts.point * facts.rate * (facts.mark - mark)
        most: Kind = max(worth, key=lambda kind: abs(worth[kind]), default="fill")
        return most if worth[most] else None

    def _mark(self, symbol: str, ts: int) -> float | None:
        """Return the last close of an instrument up to a time."""
        closes = self._closes.get(symbol, [])
        at = bisect_right(closes, ts)
        return self._other.told.bars[symbol][closes[at - 1]].close if at else None


Step = tuple[Kind, Fraction, int]
"""A class, an amount of it, and the lots that one run holds more, or less, because of it."""


class _Walk:
    """Goes from the fills of one run's order to those of the other's, one ingredient at a time."""

    def __init__(self, one: Books, other: Books, quote: Quote) -> None:
        self._one, self._other, self._quote = one, other, quote

    def steps(self, mine: Order | None, theirs: Order | None, root: Kind) -> Iterator[Step]:
        """Yield what the orders for one decision make of a difference."""
        ours = self._lots(self._one, mine)
        others = self._lots(self._other, theirs)
        if mine is None or theirs is None or mine.side != theirs.side:
            for sign, books, rest in ((-1, self._one, ours), (1, self._other, others)):
                for lot, lots in rest:
                    yield root, sign * _worth(books, lot, lots), sign * lot.fill.side * lots
            return
        while ours and others:
            (lot, lots), (their, their_lots) = ours[0], others[0]
            common = min(lots, their_lots)
            for kind, amount in self._steps(mine, lot, their, common):
                yield kind, amount, 0
            ours[0], others[0] = (lot, lots - common), (their, their_lots - common)
            ours = ours if ours[0][1] else ours[1:]
            others = others if others[0][1] else others[1:]
        sized = abs(mine.qty - theirs.qty)
        # What still works at the end fills later; what does not has been left unfilled.
        missing: tuple[Kind, Kind] = (
            "timing" if theirs.id in self._other.working else "fill",
            "timing" if mine.id in self._one.working else "fill",
        )
        for sign, books, rest, wants, kind_of_rest in (
            (-1, self._one, ours, sized if mine.qty > theirs.qty else 0, missing[0]),
            (1, self._other, others, sized if theirs.qty > mine.qty else 0, missing[1]),
        ):
            for kind, lot, lots in _shared(rest, wants, root, kind_of_rest):
                yield kind, sign * _worth(books, lot, lots), sign * lot.fill.side * lots

    @staticmethod
    def _lots(books: Books, order: Order | None) -> list[tuple[Lot, int]]:
        lots = () if order is None else books.lots.get(order.id, ())
        return [(lot, lot.fill.qty) for lot in lots]

    def _steps(
        self, order: Order, mine: Lot, theirs: Lot, lots: int
    ) -> Iterator[tuple[Kind, Fraction]]:
        """Yield class and amount of each ingredient that is replaced for some lots."""
        price, fee = Fraction(mine.fill.price), _fee(mine.fill, lots)
        before = _worth(self._one, mine, lots)
        at_price = _worth(self._other, theirs, lots, price=price, fee=fee)
        yield "data", at_price - before
        for kind, to in self._prices(order, mine, theirs):
            fee += self._schedule(mine, lots, to) - self._schedule(mine, lots, price)
            price = to
            after = _worth(self._other, theirs, lots, price=price, fee=fee)
            yield kind, after - at_price
            at_price = after
        yield "fee", _worth(self._other, theirs, lots) - at_price

    def _prices(self, order: Order, mine: Lot, theirs: Lot) -> Iterator[tuple[Kind, Fraction]]:
        """Yield the prices on the way from one fill's to the other's, each with its class."""
        symbol = mine.fill.instrument
        bars, their_bars = (b.told.bars.get(symbol, {}) for b in (self._one, self._other))
        price = Fraction(mine.fill.price)
        here, there = bars.get(mine.bar_ts), their_bars.get(mine.bar_ts)
        if there is not None and not same_bar(here, there):
            price += self._move(order, here, there) or 0
            yield "data", price
        if mine.bar_ts != theirs.bar_ts:
            start = there if there is not None else here
            move = self._move(order, start, their_bars.get(theirs.bar_ts))
            price = Fraction(theirs.fill.price) if move is None else price + move
            yield "timing", price
        yield "fill", Fraction(theirs.fill.price)

    def _move(self, order: Order, start: Bar | None, end: Bar | None) -> Fraction | None:
        """Return how the price of an order moves from one bar to another; None if not known."""
        if start is None or end is None:
            return None
        before, after = self._quote(order, start), self._quote(order, end)
        return None if before is None or after is None else Fraction(after) - Fraction(before)

    def _schedule(self, lot: Lot, lots: int, price: Fraction) -> Fraction:
        """Return the fee of some lots by the first run's schedule."""
        facts = self._one.facts[lot.fill.instrument]
        value = abs(lots * Fraction(facts.point) * price)
        return lots * Fraction(facts.commission) + value * Fraction(facts.commission_rate)


def _shared(
    rest: Sequence[tuple[Lot, int]], wanted: int, root: Kind, unmatched: Kind
) -> Iterator[tuple[Kind, Lot, int]]:
    """Yield lots that only one run has: the last go to what made its order larger."""
    left = sum(lots for _, lots in rest)
    for lot, lots in rest:
        unfilled = min(lots, max(0, left - wanted))
        if unfilled:
            yield unmatched, lot, unfilled
        if lots > unfilled:
            yield root, lot, lots - unfilled
        left -= lots
