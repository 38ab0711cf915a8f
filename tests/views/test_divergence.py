"""The ledger of a divergence: which cause rules at a time. Whole runs are in `engine`."""

from __future__ import annotations

from typing import Any

from onefold.domain.records import Decision, Fill, Order
from onefold.views.differences import Key, Pair, Told
from onefold.views.divergence import Books, Facts, Lot, _Ledger
from support import account_of, bar


def test_what_rules_is_worth_the_most_at_the_marks_of_the_time() -> None:
    def books(price: float, *, gated: bool) -> Books:
        fill = Fill(1, 1, 1, "ABC", "s", 1, 10, price)
        order = Order(1, 1, "ABC", "s", "entry", 1, 10)
        closes = {"ABC": {n: bar(n, 100.0 + n) for n in range(5)}}
        facts = {"ABC": Facts(1.0, 1.0, 200.0, 0.0, 0.0)}
        nothing: dict[Any, Any] = {}
        told = Told(
            account_of(), frozenset({("s", "ABC")}), nothing, frozenset(), [], nothing, closes,
            {1: order}, nothing,
        )  # fmt: skip
        lots = nothing if gated else {1: [Lot(fill, 1, 1)]}
        return Books(told, facts, lots, [], [], nothing, nothing, 0.0, 0.0, 0.0)

    decision = Decision(
        1, 1, "ABC", "s", "entry", 1, 10, 100.0, 1.0, None, 1e4, 0, [], [], [], order=1
    )
    ledger = _Ledger(books(100.0, gated=False), books(100.0, gated=True), lambda _o, _b: None)
    assert ledger.ruling(0) is None
    key = Key(1, "s", "ABC", "entry", 0)
    ledger.settle(Pair(key, decision, None, "gate"))
    ledger.amounts["s", "fill"] += 50
    # Ten lots from 100 to 200 are 1,000 at the end, but at 101 they are only 10 so far.
    assert ledger.ruling(1) == "fill"
    assert ledger.ruling(4) == "fill"
    ledger.amounts["s", "fill"] -= 45
    assert ledger.ruling(1) == "gate"
