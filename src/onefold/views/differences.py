"""What two runs over the same inputs decided differently, and what came first of all.

A decision is known by its time, strategy, instrument and purpose, and by its number where a sleeve
decides the same twice at once. Two decisions differ when something else becomes of them: another
side or size, an order in one only, another first reason, another price of a resting order. The
cause is looked for from the outside inwards: who is there, what was seen, what was said of it,
which gate, which size. What none of these explains follows from a position, from cash or from a
count, so from an earlier difference; that is named, and its own first cause is the `root`.

*Inputs*: two runs as `Told`. *Output*: rows in the order of time. *Invariant*: a root is never a
difference that came later.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec

from onefold.domain.records import Bar, Decision, Fill, Order, Signal
from onefold.domain.rules import AccountRules, StrategyRules
from onefold.domain.words import Side
from onefold.fold.gates import GATE_NAMES, GATES

Kind = Literal[
    "only", "data", "timing", "model", "signal", "gate", "sizing", "exit", "command", "position",
    "fill", "fee",
]  # fmt: skip
"""First causes: a strategy or instrument in one run only; other bars, or bars too late to trade on;
another model or score; another signal; a gate; the size; the rules of exits; a person's command; a
position or the account's money, of which no earlier difference tells; another fill; another fee."""

Sleeve = tuple[str, str]
Told_at = tuple[int, str, str]
"""Time, strategy and instrument of a signal."""

_SIDES = {int(side): side.name.lower() for side in Side}
_BY_SIGNAL = ("entry", "signal")
_OF_STATE = frozenset({"cash", "initial_margin", "maintenance_margin"})
"""Gates whose threshold is money of the account, and no setting."""
_MONEY = _OF_STATE | {
    "daily_loss", "drawdown", "risk_budget", "gross_exposure", "net_exposure"
}  # fmt: skip
"""Gates whose value is money of the account, or held against it."""
_FROM_OUTSIDE = frozenset(GATE_NAMES[: GATE_NAMES.index("own") + 1])
"""Gates whose value comes from people, bars and signals, and not from what was traded before."""
_OPINION = (
    "side", "confidence", "edge", "volatility", "trend", "barrier", "price", "unready", "refused",
)  # fmt: skip
"""What of a signal a decision can follow from."""


class Told(NamedTuple):
    """What one run decided, and on what.

    `sleeves` are the strategies with their instruments, `rules` by strategy; `own_position` names
    those that see their own position. `signals` are by time, strategy and instrument, `bars` by
    symbol and the time of their close, `orders` by their numbers, `fills` by that of their order;
    `commands` are those of people, by time, name, strategy and instrument.
    """

    account: AccountRules
    sleeves: frozenset[Sleeve]
    rules: Mapping[str, StrategyRules]
    own_position: frozenset[str]
    decisions: Sequence[Decision]
    signals: Mapping[Told_at, Signal]
    bars: Mapping[str, Mapping[int, Bar]]
    orders: Mapping[int, Order]
    fills: Mapping[int, Sequence[Fill]]
    commands: frozenset[tuple[int, str, str, str]] = frozenset()


class Key(NamedTuple):
    """By what a decision is known in both runs; `number` counts equal ones from 0."""

    ts: int
    strategy: str
    instrument: str
    purpose: str
    number: int

    @property
    def sleeve(self) -> Sleeve:
        """Return strategy and instrument."""
        return self.strategy, self.instrument


class Pair(NamedTuple):
    """One decision as two runs made it, None where one did not; `root` is empty if they agree."""

    key: Key
    one: Decision | None
    other: Decision | None
    root: Kind | Literal[""] = ""


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """A decision that differs: what each run did, the first cause, and what it goes back to.

    `number` counts from 1. `because` is the earlier difference that it follows from; `follows` says
    in words what that was, also where it was a fill. Times are nanoseconds UTC.
    """

    number: int
    ts: int
    strategy: str
    instrument: str
    purpose: str
    baseline: str
    variant: str
    cause: Kind
    detail: str
    root: Kind
    because: int | None = None
    follows: str = ""


class Comparison(NamedTuple):
    """All decisions of two runs side by side, and those of them that differ."""

    pairs: list[Pair]
    differences: list[Difference]

    @property
    def by_cause(self) -> dict[str, int]:
        """Return how many decisions differ by their own cause, the most frequent first."""
        return dict(Counter(one.cause for one in self.differences).most_common())

    @property
    def by_root(self) -> dict[str, int]:
        """Return how many decisions differ by what they go back to, the most frequent first."""
        return dict(Counter(one.root for one in self.differences).most_common())


class Cause(NamedTuple):
    """Why a decision differs; one that is not `settled` may follow from an earlier difference.

    `of_money` says that it follows from what the account had made until then.
    """

    kind: Kind
    detail: str
    settled: bool = True
    of_money: bool = False


class _Link(NamedTuple):
    """An earlier difference that others can follow from, and when it began."""

    root: Kind
    text: str
    ts: int
    number: int | None = None


SeesOther = Callable[[str, str, int], bool]


class Reckoner(Protocol):
    """What a comparison is told of money while it goes on, pair by pair in the order of time."""

    def fills_differ(self, mine: Order, theirs: Order) -> Kind | None:
        """Return how the fills of two orders for the same decision differ, None where not."""

    def settle(self, pair: Pair) -> None:
        """Hear of a pair whose root is known."""

    def ruling(self, ts: int) -> Kind | None:
        """Return the root that most of the difference in money goes back to by then, or None."""


class Fills:
    """The reckoner that looks at fills only: they differ, or not."""

    def __init__(self, one: Told, other: Told) -> None:
        self._one, self._other = one, other

    def fills_differ(self, mine: Order, theirs: Order) -> Kind | None:
        """Return `fill` where the orders were filled otherwise."""
        ours, others = self._one.fills.get(mine.id, ()), self._other.fills.get(theirs.id, ())
        facts = [[(f.ts, f.qty, f.price, f.fee) for f in fills] for fills in (ours, others)]
        return None if facts[0] == facts[1] else "fill"

    def settle(self, pair: Pair) -> None:
        """Do nothing: no money is counted."""

    def ruling(self, ts: int) -> Kind | None:  # noqa: ARG002 - the signature is the protocol's
        """Return None: the latest difference is taken."""
        return None


def compare(
    one: Told,
    other: Told,
    *,
    reckoner: Reckoner | None = None,
    sees_other: SeesOther = lambda _strategy, _symbol, _ts: False,
) -> Comparison:
    """Return all decisions side by side, with the first cause of each difference.

    `sees_other` says whether a strategy's features of an instrument's bar differ because the bars
    do.
    """
    reckoner = reckoner or Fills(one, other)
    chain = _Chain(one, other, reckoner)
    pairs: list[Pair] = []
    rows: list[Difference] = []

    def settled(pair: Pair) -> None:
        pairs.append(pair)
        reckoner.settle(pair)

    for key, mine, theirs in _paired(one.decisions, other.decisions):
        chain.advance(key.ts)
        if _same(mine, theirs, one, other):
            settled(Pair(key, mine, theirs))
            chain.watch(key, mine, theirs)
            continue
        cause = _cause(key, mine, theirs, one, other, sees_other)
        cause, link = chain.explain(key, cause, mine, theirs)
        root = link.root if link is not None else cause.kind
        row = Difference(
            number=len(rows) + 1,
            ts=key.ts,
            strategy=key.strategy,
            instrument=key.instrument,
            purpose=key.purpose,
            baseline=_did(mine, one),
            variant=_did(theirs, other),
            cause=cause.kind,
            detail=cause.detail,
            root=root,
            because=None if link is None else link.number,
            follows="" if link is None else link.text,
        )
        rows.append(row)
        settled(Pair(key, mine, theirs, root))
        said = f"#{row.number}, the {key.purpose} of {key.strategy} in {key.instrument}"
        chain.add(key.sleeve, _Link(root, said, key.ts, row.number), moves=True)
    return Comparison(pairs, rows)


def _paired(
    one: Sequence[Decision], other: Sequence[Decision]
) -> Iterator[tuple[Key, Decision | None, Decision | None]]:
    """Yield the decisions of both runs side by side, in the order of time."""
    ours, theirs = _keyed(one), _keyed(other)
    order: dict[Key, tuple[int, int, int]] = {}
    for decisions in (theirs, ours):  # where both have it, the first run says when
        for number, key in enumerate(decisions):
            order[key] = (key.ts, number, 0)
    for key in sorted(order, key=order.__getitem__):
        yield key, ours.get(key), theirs.get(key)


def _keyed(decisions: Sequence[Decision]) -> dict[Key, Decision]:
    seen: Counter[tuple[int, str, str, str]] = Counter()
    found = {}
    for one in decisions:
        base = (one.ts, one.strategy, one.instrument, one.purpose)
        found[Key(*base, seen[base])] = one
        seen[base] += 1
    return found


def _same(mine: Decision | None, theirs: Decision | None, one: Told, other: Told) -> bool:
    """Return whether the same became of a decision in both runs."""
    if mine is None or theirs is None:
        return False
    if mine.blocked or theirs.blocked:
        return mine.side == theirs.side and mine.blocked[:1] == theirs.blocked[:1]
    if (mine.side, mine.qty) != (theirs.side, theirs.qty):
        return False
    return _resting_price(mine, one) == _resting_price(theirs, other)


def _resting_price(decision: Decision, told: Told) -> float | None:
    """Return the price that an order waits for at the venue, None for an order at the market."""
    order = told.orders.get(decision.order)
    return None if order is None or order.order_kind == "market" else order.price


def _did(decision: Decision | None, told: Told) -> str:
    if decision is None:
        return "nothing"
    what = f"{'buy' if decision.side > 0 else 'sell'} {decision.qty}"
    if decision.blocked:
        return f"{what}, stopped by {decision.blocked[0]}"
    price = _resting_price(decision, told)
    return what if price is None else f"{what} at {price:.6g}"


def _cause(
    key: Key,
    mine: Decision | None,
    theirs: Decision | None,
    one: Told,
    other: Told,
    sees_other: SeesOther,
) -> Cause | None:
    """Return the cause that the decision itself shows, None where it must lie in the past."""
    found = _from_outside(key, one, other)
    if found is not None:
        return found
    if key.purpose in _BY_SIGNAL:
        found = _of_signal(key, one, other, sees_other)
        if found is not None:
            return found
    if key.purpose != "signal" and _bars_differ(key, mine, theirs, one, other):
        return Cause("data", "the two saw different bars")
    if mine is None or theirs is None:
        return None
    if mine.blocked != theirs.blocked and (mine.blocked[:1] != theirs.blocked[:1]):
        return _of_gate(mine, theirs)
    if mine.qty != theirs.qty and key.purpose == "entry":
        rules = [told.rules[key.strategy].sizing for told in (one, other)]
        settled = rules[0] != rules[1] or mine.equity == theirs.equity
        return Cause("sizing", f"{mine.qty} -> {theirs.qty} lots", settled, of_money=True)
    return None


def _from_outside(key: Key, one: Told, other: Told) -> Cause | None:
    """Return the cause that lies in what runs, in a person's command or in the account's limits."""
    if (key.sleeve in one.sleeves) != (key.sleeve in other.sleeves):
        return Cause("only", f"only one of the two has {key.strategy} in {key.instrument}")
    if key.purpose == "command" and one.commands != other.commands:
        return Cause("command", "a command was given in one of the two only")
    if key.purpose == "risk" and one.account.limits != other.account.limits:
        return Cause("gate", "the limits of the account differ")
    return None


def _of_signal(key: Key, one: Told, other: Told, sees_other: SeesOther) -> Cause | None:
    """Return how the signals of a decision differ, None where they do not."""
    at = (key.ts, key.strategy, key.instrument)
    mine, theirs = one.signals.get(at), other.signals.get(at)
    if mine is None or theirs is None:
        return None if mine is theirs else _unheard(key, one, other)
    fields = [f for f in _OPINION if getattr(mine, f) != getattr(theirs, f)]
    if not fields:
        return None
    if mine.models != theirs.models:
        names = [", ".join(s.models) or "no model" for s in (mine, theirs)]
        return Cause("model", f"{names[0]} -> {names[1]}")
    if sees_other(key.strategy, key.instrument, key.ts):
        return Cause("data", "the features differ, as the bars do")
    if mine.models and mine.score != theirs.score:
        return Cause("model", f"score {_number(mine.score)} -> {_number(theirs.score)}")
    if fields == ["refused"]:
        return _of_own_gate(mine, theirs)
    if key.strategy in one.own_position:  # it may have been told another position
        return Cause("signal", _words(fields[0], mine, theirs), settled=False)
    return Cause("signal", _words(fields[0], mine, theirs))


def _words(field: str, mine: Signal, theirs: Signal) -> str:
    values = [getattr(signal, field) for signal in (mine, theirs)]
    if field == "side":
        return "wants {} -> {}".format(*(_SIDES[value] for value in values))
    if field == "refused":
        return "gates of your own differ"
    return "{} {} -> {}".format(field, *(_number(value) for value in values))


def _of_own_gate(mine: Signal, theirs: Signal) -> Cause:
    found = {one.gate: one for one in (*mine.refused, *theirs.refused)}
    said = [{r.gate for r in signal.refused} for signal in (mine, theirs)]
    [*names] = sorted(said[0] ^ said[1]) or sorted(found)
    gate = found[names[0]]
    detail = f"own gate {gate.gate}: {_number(gate.value)} against {_number(gate.threshold)}"
    return Cause("gate", detail)


def _unheard(key: Key, one: Told, other: Told) -> Cause:
    """Return why one run has no signal where the other has."""
    bars = [told.bars.get(key.instrument, {}).get(key.ts) for told in (one, other)]
    if (bars[0] is None) != (bars[1] is None):
        return Cause("data", "a bar is missing in one of the two")
    if bars[0] is not None and bars[1] is not None and bars[0].late != bars[1].late:
        return Cause("timing", "the bar came too late to trade on in one of the two")
    return Cause("signal", "only one of the two has a signal")


def _bars_differ(
    key: Key, mine: Decision | None, theirs: Decision | None, one: Told, other: Told
) -> bool:
    """Return whether the bars differ at which an exit was decided, or an entry sized."""
    if key.purpose == "entry":
        if mine is None or theirs is None or mine.blocked or theirs.blocked:
            return False
        if mine.price == theirs.price:
            return False
    bars = [told.bars.get(key.instrument, {}).get(key.ts) for told in (one, other)]
    return not same_bar(bars[0], bars[1])


def same_bar(one: Bar | None, other: Bar | None) -> bool:
    """Return whether two bars are the same but for being late."""
    if one is None or other is None:
        return one is other
    return msgspec.structs.replace(one, late=False) == msgspec.structs.replace(other, late=False)


def _of_gate(mine: Decision, theirs: Decision) -> Cause:
    """Return the gate that stopped one of two decisions: its threshold differs, or its value."""
    gate = next(g for g in GATE_NAMES if (g in mine.blocked) != (g in theirs.blocked))
    if mine.blocked and theirs.blocked:
        first = [GATE_NAMES.index(one.blocked[0]) for one in (mine, theirs)]
        gate = GATE_NAMES[min(first)]
    n = GATE_NAMES.index(gate)
    value, variant_value = (one.values[n] for one in (mine, theirs))
    limit, variant_limit = (one.thresholds[n] for one in (mine, theirs))
    rule = GATES[n].compares
    if gate == "size":
        settled = mine.equity == theirs.equity
        return Cause("sizing", f"{mine.qty} -> {theirs.qty} lots", settled, of_money=True)
    detail = (
        f"{gate} {_number(value)} ({rule} {_number(limit)}) -> "
        f"{_number(variant_value)} ({rule} {_number(variant_limit)})"
    )
    settled = gate in _FROM_OUTSIDE or (limit != variant_limit and gate not in _OF_STATE)
    return Cause("gate", detail, settled, of_money=gate in _MONEY)


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "none" if value is None else str(value)


class _Chain:
    """The differences so far: what a later one can follow from.

    What moved a position explains a position, and what was only paid otherwise the levels of its
    exits; both by sleeve, since a position is what its strategy made of it. Counts are explained by
    the latest move of the account, money by what most of it goes back to.
    """

    def __init__(self, one: Told, other: Told, reckoner: Reckoner) -> None:
        self._one, self._other, self._reckoner = one, other, reckoner
        self._moved: dict[Sleeve, _Link] = {}
        self._priced: dict[Sleeve, _Link] = {}
        self._roots: dict[Kind, _Link] = {}
        self._last: _Link | None = None
        self._last_moved: _Link | None = None
        self._coming: list[tuple[int, int, Sleeve, _Link, bool]] = []
        self._watched = 0
        self._held = _positions(one), _positions(other)

    def add(self, sleeve: Sleeve, link: _Link, *, moves: bool) -> None:
        """Take note of a difference, and whether it moved a position."""
        if moves:
            self._moved[sleeve] = self._last_moved = link
        else:
            self._priced[sleeve] = link
        self._roots[link.root] = self._last = link

    def watch(self, key: Key, mine: Decision | None, theirs: Decision | None) -> None:
        """Take note of how fills of the same decision differ, from the first of them on."""
        if mine is None or theirs is None or not (mine.order and theirs.order):
            return
        orders = self._one.orders[mine.order], self._other.orders[theirs.order]
        kind = self._reckoner.fills_differ(*orders)
        if kind is None:
            return
        ours = self._one.fills.get(mine.order, ())
        others = self._other.fills.get(theirs.order, ())
        when = min((f.ts for f in (*ours, *others)), default=key.ts)
        moves = kind == "timing" or sum(f.qty for f in ours) != sum(f.qty for f in others)
        said = f"the fill of the {key.purpose} of {key.strategy} in {key.instrument}"
        self._watched += 1
        entry = (when, self._watched, key.sleeve, _Link(kind, said, when), moves)
        heapq.heappush(self._coming, entry)

    def advance(self, ts: int) -> None:
        """Take note of the fills up to a time."""
        while self._coming and self._coming[0][0] <= ts:
            _, _, sleeve, link, moves = heapq.heappop(self._coming)
            self.add(sleeve, link, moves=moves)

    def explain(
        self, key: Key, cause: Cause | None, mine: Decision | None, theirs: Decision | None
    ) -> tuple[Cause, _Link | None]:
        """Return the cause of a difference, and what it follows from where that came earlier."""
        if cause is not None and cause.settled:
            return cause, None
        if cause is not None and cause.of_money:
            kind = self._reckoner.ruling(key.ts)
            return cause, self._last if kind is None else self._roots.get(kind, self._last)
        if cause is not None and cause.kind == "gate":
            return cause, self._moved.get(key.sleeve) or self._last_moved or self._last
        agree = self._agree(key, mine, theirs)
        link = self._of_sleeve(key, agree=agree)
        if cause is not None:
            return (Cause("position", cause.detail), link) if link else (cause, None)
        exits = [t.rules[key.strategy].exits for t in (self._one, self._other)]
        if exits[0] != exits[1] and agree and key.purpose not in _BY_SIGNAL:
            return Cause("exit", "the rules of exits differ"), None
        link = link or self._last
        if link is None and agree and key.purpose not in _BY_SIGNAL:
            return Cause("exit", "only one of the two leaves"), None
        detail = "position or orders differ" if link is not None else "the books differ"
        return Cause("position", detail), link

    def _of_sleeve(self, key: Key, *, agree: bool) -> _Link | None:
        """Return the earlier difference of a sleeve that explains what it holds, or its levels."""
        moved, priced = self._moved.get(key.sleeve), self._priced.get(key.sleeve)
        if moved is None or priced is None or not agree or key.purpose in _BY_SIGNAL:
            return moved or priced
        return priced if priced.ts > moved.ts else moved

    def _agree(self, key: Key, mine: Decision | None, theirs: Decision | None) -> bool:
        """Return whether both runs held the same when a decision was due."""
        if mine is not None and theirs is not None:
            return mine.position == theirs.position
        known, held = (mine, self._held[1]) if mine is not None else (theirs, self._held[0])
        ts, qty = held.get(key.sleeve, ([], [0]))
        about = {qty[bisect_left(ts, key.ts)], qty[bisect_right(ts, key.ts)]}
        return known is not None and known.position in about


def _positions(told: Told) -> dict[Sleeve, tuple[list[int], list[int]]]:
    """Return by sleeve the times of the fills, and the lots held before the first and after each.

    What a split or a person changed is not among them.
    """
    fills: dict[Sleeve, list[Fill]] = defaultdict(list)
    for parts in told.fills.values():
        for fill in parts:
            fills[fill.strategy, fill.instrument].append(fill)
    found = {}
    for sleeve, rows in fills.items():
        rows.sort(key=lambda fill: (fill.ts, fill.id))
        held = [0]
        for fill in rows:
            held.append(held[-1] + fill.side * fill.qty)
        found[sleeve] = [fill.ts for fill in rows], held
    return found
