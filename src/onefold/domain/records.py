"""The records that a journal line, a message or a test speaks of.

Each is a frozen struct with the tag `kind`. Names stand for indices: a record can be read without
the run's configuration. `layouts` has the same facts as numpy rows for the compiled fold.
Times are integer nanoseconds UTC; an absent number is None, never NaN. They hold no references that
could form a cycle, so the garbage collector need not look at them (`gc=False`).
"""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct, frozen=True, tag_field="kind", omit_defaults=True, gc=False):
    """Base of everything that can be a journal line."""


class Bar(Record, frozen=True, tag="bar", omit_defaults=True, gc=False):
    """One closed bar of one instrument.

    `ts` is when it closed (and could be known), `ts_open` when it began. `bid` and `ask` are the
    touch at its open where known. `to_close_s` is the number of seconds until the session closes,
    0 when it is closed, None where the instrument never closes. A bar that is `late` came too late
    to trade on, or was loaded for warm-up: features and positions see it, no strategy is asked.
    """

    instrument: str
    ts: int
    ts_open: int
    open: float
    high: float
    low: float
    close: float
    volume: float | None = None
    bid: float | None = None
    ask: float | None = None
    to_close_s: int | None = None
    late: bool = False


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """A gate of the user's own that says no to a signal: what it measured, and its threshold."""

    gate: str
    value: float | None
    threshold: float


class Signal(Record, frozen=True, tag="signal", omit_defaults=True, gc=False):
    """What a strategy wants of an instrument, and how sure it is.

    `side` as in `words.Side`. `edge` is the expected gain as a share of the price, `volatility`
    the yearly volatility as a share, `trend` a trend strength, `barrier` one unit of risk in price
    points, `price` a limit or stop price for the entry. `unready` counts features in warm-up.
    `refused` lists the user's own gates that say no, `models` the identities of the models asked.
    """

    instrument: str
    strategy: str
    ts: int
    side: int
    confidence: float = 1.0
    score: float | None = None
    edge: float | None = None
    volatility: float | None = None
    trend: float | None = None
    barrier: float | None = None
    price: float | None = None
    unready: int = 0
    refused: list[Refusal] = []
    models: list[str] = []


class Score(Record, frozen=True, tag="score", omit_defaults=True, gc=False):
    """What a model said of an instrument's bar, an input of the signals that follow.

    `model` is its identity: name, version and the start of its hash. `value` is a probability, or
    None when there is none: then `why` says that it came late, that it was no probability, or how
    the model failed.
    """

    instrument: str
    ts: int
    model: str
    value: float | None
    why: str = ""


class Decision(Record, frozen=True, tag="decision", omit_defaults=True, gc=False):
    """One verdict of the fold: an order, or the gates that prevented it.

    `values` and `thresholds` follow the order of `fold.GATES`; None where nothing was measured or
    no limit is set. `blocked` lists the gates that said no; the first is the reason. `order` is
    the order's number, or 0.
    """

    id: int
    ts: int
    instrument: str
    strategy: str
    purpose: str
    side: int
    qty: int
    price: float | None
    confidence: float
    score: float | None
    equity: float
    position: int
    values: list[float | None]
    thresholds: list[float | None]
    blocked: list[str] = []
    order: int = 0


class Order(Record, frozen=True, tag="order", omit_defaults=True, gc=False):
    """An order as sent to a venue. `qty` is in lots and positive; `side` is +1 or -1."""

    id: int
    ts: int
    instrument: str
    strategy: str
    purpose: str
    side: int
    qty: int
    order_kind: str = "market"
    price: float | None = None
    time_in_force: str = "gtc"
    expire_ts: int | None = None
    reduce_only: bool = False


class Cancel(Record, frozen=True, tag="cancel", omit_defaults=True, gc=False):
    """A request to cancel an order."""

    order: int
    ts: int
    instrument: str


class Fill(Record, frozen=True, tag="fill", omit_defaults=True, gc=False):
    """A trade of one of our orders. `qty` is in lots and positive; `fee` in the currency.

    `trade` is the venue's id for it, by which a real venue's fill is counted once. `in_kind` is a
    fee that was taken out of what was bought, in units as the venue wrote it.
    """

    id: int
    order: int
    ts: int
    instrument: str
    strategy: str
    side: int
    qty: int
    price: float
    fee: float = 0.0
    trade: str = ""
    in_kind: str = ""


class OrderNotice(Record, frozen=True, tag="notice", omit_defaults=True, gc=False):
    """What a venue says of an order apart from its fills (`words.Notice`)."""

    order: int
    ts: int
    instrument: str
    notice: str
    reason: str = ""


class Command(Record, frozen=True, tag="command", omit_defaults=True, gc=False):
    """An operator's order to the system; an empty scope means everything.

    `id` names the request that it came from, by which it is carried out once.
    """

    ts: int
    command: str
    strategy: str = ""
    instrument: str = ""
    reason: str = ""
    operator: str = ""
    id: str = ""


class Mandate(Record, frozen=True, tag="mandate", omit_defaults=True, gc=False):
    """A change that governance makes to a threshold; versions only grow.

    `parameters` is the hash of the version of parameters that it belongs to.
    """

    ts: int
    version: int
    mandate: str
    value: float
    strategy: str = ""
    instrument: str = ""
    cause: str = ""
    parameters: str = ""


class Action(Record, frozen=True, tag="action", omit_defaults=True, gc=False):
    """A split (ratio), dividend (per unit), funding (share of value), roll (gap), rate or payment.

    A payment is money of a currency that the account received (or paid, where negative) other than
    by a trade: `id` is the venue's for it, by which it is booked once, and `reason` says what for.
    """

    ts: int
    action: str
    value: float
    instrument: str = ""
    currency: str = ""
    id: str = ""
    reason: str = ""


class Adoption(Record, frozen=True, tag="adoption", omit_defaults=True, gc=False):
    """Lots that the venue holds and the books did not, put in by a person for a strategy.

    `qty` is in signed lots, and what the books change by; `price` is what they are taken over at.
    `trade` names the trade whose fee in kind took lots away, where no person but a fee did it.
    """

    ts: int
    instrument: str
    strategy: str
    qty: int
    price: float
    reason: str = ""
    operator: str = ""
    trade: str = ""


class Quarantined(Record, frozen=True, tag="quarantined", omit_defaults=True, gc=False):
    """A bar or a tick that was refused, and why."""

    instrument: str
    ts: int
    reason: str
    detail: str = ""


class SessionStart(Record, frozen=True, tag="session", omit_defaults=True, gc=False):
    """The first record of a run: what runs, on what, built from what.

    `modelled` says that orders go to a venue which confirms nothing, so that fills are simulated.
    `venue` says which venue and which account there, without secrets; `data_mode` whether bars are
    live or recorded, where they come in time.
    """

    ts: int
    mode: str
    version: str
    build: str
    config_hash: str
    config: dict[str, object]
    modelled: bool = False
    venue: str = ""
    data_mode: str = ""

    @property
    def confirmed(self) -> bool:
        """Return whether a real venue answers the orders, so that its answers are inputs."""
        return self.mode == "live" and not self.modelled


Numbers = dict[str, float | int | str | None]
"""Fields of the fold's memory by their names; NaN is None, and an infinity is inf or -inf."""


class CarriedOrder(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An order that may still fill, as the journal before left it; `slot` is the fold's own."""

    order: Order
    state: str
    slot: Numbers
    venue_id: str = ""


class Handover(Record, frozen=True, tag="handover", omit_defaults=True, gc=False):
    """What an account brings along from the journal before, when its configuration has changed.

    `journal`, `end_seq` and `end_hash` name that journal and its end. `born_ts` is when the
    account's first journal began, by which its orders are named for ever. Sleeves go by
    `strategy/symbol`. `trades` are the venue's ids of the trades booked last (symbol, id, time),
    `payments` those of payments with their times, `parts` units beyond whole lots, `rates` those
    of the new configuration that differ, `agreed_ts` when books and venue last agreed, `requests`
    what people asked for last, `flattening` what they ordered to be flat (strategy, symbol; empty
    for all).
    """

    ts: int
    journal: str
    end_seq: int
    end_hash: str
    born_ts: int
    agreed_ts: int
    account: Numbers
    currencies: dict[str, Numbers]
    instruments: dict[str, Numbers]
    strategies: dict[str, Numbers]
    sleeves: dict[str, Numbers]
    orders: list[CarriedOrder] = []
    trades: list[tuple[str, str, int]] = []
    payments: dict[str, int] = {}
    parts: dict[str, str] = {}
    rates: dict[str, float] = {}
    mandates: list[Mandate] = []
    requests: list[str] = []
    flattening: list[tuple[str, str]] = []


AnyRecord = (
    Bar
    | Score
    | Signal
    | Decision
    | Order
    | Cancel
    | Fill
    | OrderNotice
    | Command
    | Mandate
    | Action
    | Adoption
    | Quarantined
    | SessionStart
    | Handover
)
