"""The records as numpy rows: what compiled code reads and writes, and what results are made of.

Names become indices into the run's lists of strategies and instruments. Every field has eight
bytes: no hidden gaps, so that equal rows have equal bytes, and one integer type, so that numba
compiles each function once.
"""

from __future__ import annotations

import numpy as np

DECISION = np.dtype(
    [
        ("id", "i8"),
        ("ts", "i8"),
        ("qty", "i8"),
        ("price", "f8"),
        ("confidence", "f8"),
        ("score", "f8"),
        ("equity", "f8"),
        ("position", "i8"),
        ("blocked", "i8"),
        ("order", "i8"),
        ("instrument", "i8"),
        ("strategy", "i8"),
        ("purpose", "i8"),
        ("side", "i8"),
        ("reason", "i8"),
    ]
)
"""A verdict: `blocked` is a bit mask over the gates, `reason` the first set bit or -1."""

GATES = 35
"""The number of gates; `fold.gates` names them."""

TRACE = np.dtype([("value", "f8", (GATES,)), ("threshold", "f8", (GATES,))])
"""What every gate measured for a decision, and what it was held against."""

ORDER = np.dtype(
    [
        ("id", "i8"),
        ("ts", "i8"),
        ("qty", "i8"),
        ("price", "f8"),
        ("expire_ts", "i8"),
        ("instrument", "i8"),
        ("strategy", "i8"),
        ("purpose", "i8"),
        ("side", "i8"),
        ("kind", "i8"),
        ("time_in_force", "i8"),
        ("reduce_only", "i8"),
        ("cancel", "i8"),
    ]
)
"""An instruction to a venue: a new order, or with `cancel` set the cancellation of order `id`."""

FILL = np.dtype(
    [
        ("id", "i8"),
        ("order", "i8"),
        ("ts", "i8"),
        ("qty", "i8"),
        ("price", "f8"),
        ("fee", "f8"),
        ("rate", "f8"),
        ("score", "f8"),
        ("equity", "f8"),
        ("instrument", "i8"),
        ("strategy", "i8"),
        ("side", "i8"),
        ("purpose", "i8"),
    ]
)
"""A folded fill, with the exchange rate and the equity right after it."""

VENUE_EVENT = np.dtype(
    [
        ("order", "i8"),
        ("id", "i8"),
        ("ts", "i8"),
        ("qty", "i8"),
        ("price", "f8"),
        ("fee", "f8"),
        ("instrument", "i8"),
        ("strategy", "i8"),
        ("side", "i8"),
        ("notice", "i8"),
    ]
)
"""What a venue says of an order: a fill (`notice` is -1) or a `words.Notice`."""

EVENT = np.dtype(
    [
        ("ts", "i8"),
        ("high", "f8"),
        ("low", "f8"),
        ("close", "f8"),
        ("to_close_s", "i8"),
        ("confidence", "f8"),
        ("score", "f8"),
        ("edge", "f8"),
        ("volatility", "f8"),
        ("trend", "f8"),
        ("barrier", "f8"),
        ("price", "f8"),
        ("unready", "i8"),
        ("refusals", "i8"),
        ("id", "i8"),
        ("order", "i8"),
        ("qty", "i8"),
        ("fee", "f8"),
        ("value", "f8"),
        ("version", "i8"),
        ("instrument", "i8"),
        ("strategy", "i8"),
        ("currency", "i8"),
        ("kind", "i8"),
        ("side", "i8"),
        ("what", "i8"),
    ]
)
"""One input of the fold; which fields count depends on `kind` (`words.EventKind`). `what` is the
kind of a notice, command, mandate or action; a scope of -1 means all."""
