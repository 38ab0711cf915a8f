"""How much to trade, when to leave, and what may stop it: the rules a user writes down.

The same models validate the configuration file, the library's arguments and what the fold is built
from, so a rule has one name, one unit and one explanation. Shares are fractions (0.02 is 2 %).
None always means no limit.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from onefold.domain.bounds import COUNT_MAX, LOTS_MAX, NUMBER_MAX, SECONDS_MAX

Number = Annotated[float, Field(ge=-NUMBER_MAX, le=NUMBER_MAX)]
Lots = Annotated[int, Field(le=LOTS_MAX)]
Count = Annotated[int, Field(le=COUNT_MAX)]
Seconds = Annotated[int, Field(le=SECONDS_MAX)]


class Rule(BaseModel):
    """Base of all rules: unchangeable, and no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FixedSize(Rule):
    """Always the same number of lots."""

    kind: Literal["fixed"] = "fixed"
    lots: Lots = Field(1, ge=1, description="Lots per entry.")


class NotionalSize(Rule):
    """Always the same value."""

    kind: Literal["notional"]
    value: Number = Field(gt=0, description="Value per entry in the account's currency.")


class FractionSize(Rule):
    """A share of the account's equity."""

    kind: Literal["fraction"]
    fraction: float = Field(gt=0, le=20, description="Value of an entry as a share of equity.")


class VolatilitySize(Rule):
    """As much as makes the position's expected yearly volatility a share of equity."""

    kind: Literal["volatility"]
    target: float = Field(gt=0, le=5, description="Yearly volatility wanted, as a share of equity.")
    fraction_max: float = Field(1.0, gt=0, le=20, description="Largest value as a share of equity.")


class RiskSize(Rule):
    """As much as loses a share of equity when the stop is hit."""

    kind: Literal["risk"]
    fraction: float = Field(gt=0, le=1, description="Share of equity lost at the stop.")
    fraction_max: float = Field(1.0, gt=0, le=20, description="Largest value as a share of equity.")


class BetSize(Rule):
    """More when the model is surer: 2 N(z) - 1 with z = (p - 1/2) / sqrt(p (1 - p)).

    Lopez de Prado, Advances in Financial Machine Learning (2018), section 10.3, two classes.
    """

    kind: Literal["bet"]
    fraction: float = Field(gt=0, le=20, description="Value at full confidence, share of equity.")
    step: float = Field(0.0, ge=0, le=1, description="Round the bet to this step; 0 does not.")


Sizing = Annotated[
    FixedSize | NotionalSize | FractionSize | VolatilitySize | RiskSize | BetSize,
    Field(discriminator="kind"),
]


class Exits(Rule):
    """When a position is left besides its strategy's own wish."""

    stop: Number | None = Field(None, gt=0, description="Stop distance from the entry, in units.")
    take: Number | None = Field(None, gt=0, description="Profit target distance, in units.")
    trail: Number | None = Field(None, gt=0, description="Trailing stop distance, in units.")
    unit: Literal["price", "barrier"] = Field(
        "price",
        description="price: a unit is the entry price (0.02 is 2 %); barrier: the signal's barrier "
        "(such as one average true range).",
    )
    max_bars: Count | None = Field(None, ge=1, description="Leave after so many bars.")
    session_close_s: Seconds | None = Field(
        None, ge=0, description="Leave when the session closes within so many seconds."
    )
    resting: bool = Field(
        False,
        description="Keep stop and target as working orders at the venue (filled inside a bar) "
        "instead of a market order after the bar that touched them.",
    )


class Gates(Rule):
    """What may stop a strategy's entries."""

    conf_min: float = Field(0.0, ge=0, le=1, description="Least confidence of a signal.")
    trend_max: Number | None = Field(None, description="Largest trend strength of a signal.")
    edge_ratio_min: Number | None = Field(
        None, ge=0, description="Least expected edge as a multiple of the cost of a round trip."
    )
    rearm: bool = Field(
        True, description="After a stop, target or time exit wait for the signal to change first."
    )
    cool_down_s: Seconds = Field(0, ge=0, description="Seconds to wait after an exit.")
    loss_streak_max: Count | None = Field(None, ge=1, description="Losing trades in a row.")
    orders_per_day: Count | None = Field(None, ge=1, description="Entry orders a day.")
    risk_budget: Number | None = Field(
        None, gt=0, description="Largest value in use by the strategy, as a share of equity."
    )
    max_position: Lots | None = Field(None, ge=1, description="Lots per instrument.")
    repeat_max: Count | None = Field(
        None, ge=1, description="Fills within the window that disable the strategy until reset."
    )
    repeat_window_s: Seconds = Field(60, ge=1, description="The window of repeat_max.")


class Entry(Rule):
    """How an entry is ordered."""

    order: Literal["market", "limit", "stop"] = Field(
        "market", description="limit and stop use the signal's price."
    )
    time_in_force: Literal["gtc", "day", "gtd", "ioc"] = Field("gtc", description="How long.")
    valid_for_s: Seconds | None = Field(
        None, ge=1, description="For gtd: seconds until it expires."
    )


class FreeSlot(StrEnum):
    """When a position stops counting against `max_open_positions`."""

    SENT = "sent"
    FILLED = "filled"


class Limits(Rule):
    """What the whole account may do."""

    max_open_positions: Count | None = Field(None, ge=1, description="Positions held or entering.")
    free_slot: FreeSlot = Field(
        FreeSlot.FILLED, description="A position's slot is free when its exit is filled or sent."
    )
    daily_loss: float | None = Field(None, gt=0, le=1, description="Loss since the day's start.")
    drawdown: float | None = Field(None, gt=0, le=1, description="Loss from the highest equity.")
    flatten_on_stop: bool = Field(False, description="Close all when one of these two is hit.")
    gross_exposure: Number | None = Field(None, gt=0, description="Sum of values / equity.")
    net_exposure: Number | None = Field(None, gt=0, description="Net value / equity.")
    price_collar: Number | None = Field(
        None, gt=0, description="Largest distance of an order's price from the last, as a share."
    )
    max_order_lots: Lots | None = Field(None, ge=1, description="Lots per order.")
    max_order_value: Number | None = Field(None, gt=0, description="Value per order.")
    max_open_orders: int = Field(512, ge=1, le=100_000, description="Orders working at once.")
    messages_max: Count | None = Field(None, ge=1, description="Orders and cancels per window.")
    messages_window_s: float = Field(
        1.0, gt=0, le=SECONDS_MAX, description="The window of messages_max."
    )
    freshness_bars: Number = Field(2.0, gt=0, description="Largest age of data, in bars.")
    session_hours: bool = Field(False, description="Enter only while the session is open.")


class Costs(Rule):
    """How the simulated venue fills."""

    fill: Literal["next_open", "next_close"] = Field(
        "next_open", description="Where market orders fill; next_close for data of closes only."
    )
    slippage_bps: float = Field(0.0, ge=0, le=10_000, description="Worsens market and stop fills.")
    slippage_ticks: Number = Field(0.0, ge=0, description="Worsens them by ticks.")
    volume_share: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Largest share of a bar's volume that all orders together take; needs volume.",
    )
    latency_ms: float = Field(
        0.0,
        ge=0,
        le=3_600_000,
        description="Time until an order is at the venue; it meets nothing that began before.",
    )
    at_touch: bool = Field(True, description="Use bid and ask where the data has them.")


class StrategyRules(Rule):
    """Everything that applies to one strategy."""

    sizing: Sizing = Field(default_factory=FixedSize)
    exits: Exits = Field(default_factory=Exits)
    gates: Gates = Field(default_factory=Gates)
    entry: Entry = Field(default_factory=Entry)


class AccountRules(Rule):
    """Everything that applies to one account."""

    name: str = Field("paper", pattern=r"^[a-z][a-z0-9_]{0,15}$", description="Short name.")
    currency: str = Field("USD", min_length=3, max_length=5, description="Base currency.")
    cash: Number = Field(100_000.0, gt=0, description="Starting cash in the base currency.")
    limits: Limits = Field(default_factory=Limits)
    costs: Costs = Field(default_factory=Costs)
