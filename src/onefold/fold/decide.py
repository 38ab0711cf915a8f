"""One decision: an intent, all gates, one row.

*Inputs*: the state and what is intended. *Output*: a row in `Out.decisions` and its trace, the
value and threshold of every gate. *Invariant*: nothing is ordered without such a row.
"""

from __future__ import annotations

import math

from onefold._compile import kernel_part
from onefold.fold.gates import evaluate_nb, first_nb
from onefold.fold.memory import Rows
from onefold.fold.state import (
    account_of,
    currency_of,
    decision_row_of,
    instrument_of,
    intent_of,
    sleeve_of,
    trace_row_of,
)


@kernel_part
def intend_nb(
    state: Rows,
    s: int,
    i: int,
    ts: int,
    side: int,
    qty: int,
    price: float,
    purpose: int,
    kind: int,
) -> None:
    """Put an intent into the state's scratch row; a signal's opinion is added by the caller."""
    intent, instrument = intent_of(state), instrument_of(state, i)
    intent.ts, intent.qty, intent.price = ts, qty, price
    intent.value = (
        qty * abs(price) * instrument.point * currency_of(state, instrument.currency).rate
    )
    intent.instrument, intent.strategy = i, s
    intent.side, intent.purpose, intent.kind = side, purpose, kind
    intent.confidence, intent.unready, intent.refusals = 1.0, 0.0, 0.0
    intent.score = sleeve_of(state, s, i).score
    intent.edge, intent.trend = math.nan, math.nan


@kernel_part
def decide_nb(state: Rows, out: Rows) -> bool:
    """Evaluate the intent against all gates and write the decision; return whether it passed."""
    account, intent = account_of(state), intent_of(state)
    n = out.decisions_used
    out.decisions_used += 1
    account.decisions += 1
    # A trace that nobody keeps is written to one row, which stays in the cache.
    blocked = evaluate_nb(state, trace_row_of(out, n if out.trace_rows > 1 else 0))
    row = decision_row_of(out, n)
    row.id, row.ts, row.qty, row.price = account.decisions, intent.ts, intent.qty, intent.price
    row.confidence, row.score = intent.confidence, intent.score
    row.equity = account.equity
    row.position = sleeve_of(state, intent.strategy, intent.instrument).qty
    row.blocked, row.reason, row.order = blocked, first_nb(blocked), 0
    row.instrument, row.strategy = intent.instrument, intent.strategy
    row.purpose, row.side = intent.purpose, intent.side
    return blocked == 0
