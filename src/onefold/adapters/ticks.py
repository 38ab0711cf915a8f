"""Ticks become bars here, whoever sends them: judged one by one, then built, then judged as bars.

A tick stream has faults that bars hide: a repeated trade is volume that nobody traded, a crossed
quote is a price that nobody could get, a tick from tomorrow silences today. Each is refused with a
reason of `domain.sanitise`. What is left goes through the same builder as research uses, so a
recorded day of ticks gives live the bars that `bars_from_ticks` gives at once, bit for bit.

A time bar is closed by the first tick after it or, when nothing is traded, by the time that the
caller gives to `close`. There is no clock in here, so a replay closes what the session closed. A
tick that comes for a bar that is closed already is refused as `late`: the bar is out, and has been
traded on.
"""

from __future__ import annotations

from math import isinf, isnan
from typing import Literal, NamedTuple

from onefold.domain.bounds import NUMBER_MAX
from onefold.domain.calendars import seconds_to_close_at
from onefold.domain.errors import ConfigError
from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar, Quarantined
from onefold.domain.sanitise import BEFORE_ALL_NS, Sanitiser, detail
from onefold.signals.bars import BarBuilder, BarKind
from onefold.signals.feature import BarRow
from onefold.signals.timeframe import interval_ns

SECOND_NS = 1_000_000_000

AHEAD_NS_MAX = 5 * SECOND_NS
"""How far a tick may be ahead of our clock: clocks differ, but not by more than this."""

IDS_KEPT = 10_000
"""Trades remembered by their id. Older ones that come again are out of order anyway."""


class Trade(NamedTuple):
    """One trade: `ts` in nanoseconds UTC, `size` in units, `trade_id` empty where there is none."""

    ts: int
    price: float
    size: float
    trade_id: str = ""


class Quote(NamedTuple):
    """The best bid and ask from `ts` (nanoseconds UTC) on."""

    ts: int
    bid: float
    ask: float


Tick = Trade | Quote


class TickBars:
    """Make the bars of one instrument from its ticks.

    `kind` and `size` are as in `signals.bars.BarBuilder`: `"time"` and an interval such as `"5m"`,
    or ticks, units or money per bar. Bars are made of trades, with the quote that stood at their
    open as their touch; or of quotes, as mids, without volume. `grace_ns` is how long `close` waits
    beyond the end of a time bar for ticks that are still on their way.
    """

    def __init__(
        self,
        instrument: Instrument,
        kind: BarKind = "time",
        size: float | str = "1m",
        *,
        prices: Literal["trades", "quotes"] = "trades",
        grace_ns: int = 0,
    ) -> None:
        """Begin with nothing; raises `ConfigError` for a size that does not fit the kind."""
        if prices == "quotes" and kind in ("volume", "dollar"):
            raise ConfigError(f"quotes have no volume: make {kind} bars of trades")
        self._instrument = instrument
        self._kind: BarKind = kind
        self._size = size
        self._length_ns = interval_ns(str(size)) if kind == "time" else 0
        self._of_trades = prices == "trades"
        self._grace_ns = grace_ns
        self.begin(BEFORE_ALL_NS)

    def begin(self, ts: int) -> None:
        """Begin anew at `ts`: drop the bar in progress, pass over ticks before `ts`.

        After a lost connection, with the end of the last bar that was given out: what comes again
        is not counted twice, and a bar with a hole in it is never given out.
        """
        self._builder = BarBuilder(self._kind, self._size)
        self._sanitiser = Sanitiser(self._instrument, after=ts)
        self._begin_ts = self._closed_ts = ts
        self._trade_ts = self._quote_ts = ts
        self._touch: Quote | None = None
        self._open_touch: Quote | None = None
        self._empty = True
        self._ids: dict[str, None] = {}

    def update(self, tick: Tick, now_ns: int | None = None) -> list[Bar | Quarantined]:
        """Take a tick and return the bar that it closes, if any, or why it was refused.

        With `now_ns` (UTC) ticks of the future are refused as well.
        """
        if tick.ts < self._begin_ts:
            return []
        reason = self._reason(tick, now_ns)
        if reason is not None:
            return [Quarantined(self._instrument.symbol, tick.ts, reason, _numbers(tick))]
        if isinstance(tick, Quote):
            self._quote_ts = tick.ts
            if self._of_trades:
                self._touch = tick
                return []
            return self._add(tick.ts, (tick.bid + tick.ask) / 2, 0.0, tick)
        self._trade_ts = tick.ts
        self._remember(tick.trade_id)
        return self._add(tick.ts, tick.price, tick.size, self._touch) if self._of_trades else []

    def close(self, now_ns: int) -> list[Bar | Quarantined]:
        """Return the time bar in progress once `now_ns` has passed its end and the grace."""
        return self._closed(self._builder.flush(now_ns - self._grace_ns))

    def _add(
        self, ts: int, price: float, size: float, touch: Quote | None
    ) -> list[Bar | Quarantined]:
        rows = self._builder.update(ts, price, size)
        if self._kind == "time":
            # The tick that closes a time bar is the first of the next one.
            made = self._closed(rows)
            self._start(touch)
            return made
        self._start(touch)
        return self._closed(rows)

    def _start(self, touch: Quote | None) -> None:
        if self._empty:
            self._open_touch, self._empty = touch, False

    def _closed(self, rows: list[BarRow]) -> list[Bar | Quarantined]:
        if not rows:
            return []
        bar = self._bar(rows[0])
        self._closed_ts, self._empty = bar.ts, True
        reason = self._sanitiser.check(bar)
        if reason is None:
            return [bar]
        return [Quarantined(bar.instrument, bar.ts, reason, detail(reason, bar))]

    def _bar(self, row: BarRow) -> Bar:
        touch = self._open_touch
        left = seconds_to_close_at(self._instrument.calendar, row.ts, self._length_ns)
        return Bar(
            instrument=self._instrument.symbol,
            ts=row.ts,
            ts_open=row.ts_open,
            open=row.open,
            high=row.high,
            low=row.low,
            close=row.close,
            volume=row.volume if self._of_trades else None,
            bid=None if touch is None else touch.bid,
            ask=None if touch is None else touch.ask,
            to_close_s=left if left >= 0 else None,
        )

    def _remember(self, trade_id: str) -> None:
        if trade_id:
            self._ids[trade_id] = None
            if len(self._ids) > IDS_KEPT:
                del self._ids[next(iter(self._ids))]

    def _reason(self, tick: Tick, now_ns: int | None) -> str | None:
        return self._price_reason(tick) or self._time_reason(tick, now_ns)

    def _price_reason(self, tick: Tick) -> str | None:
        values = tick[1:3]
        if any(isnan(x) for x in values):
            return "nan"
        if any(isinf(x) for x in values):
            return "infinite"
        if any(abs(x) >= NUMBER_MAX for x in values):
            return "too_large"
        prices = values if isinstance(tick, Quote) else values[:1]
        if not self._instrument.negative_prices and min(prices) <= 0:
            return "not_positive"
        if isinstance(tick, Quote):
            return "crossed" if tick.bid > tick.ask else None
        return "negative_volume" if tick.size < 0 else None

    def _time_reason(self, tick: Tick, now_ns: int | None) -> str | None:
        if now_ns is not None and tick.ts > now_ns + AHEAD_NS_MAX:
            return "future"
        if isinstance(tick, Trade) and tick.trade_id in self._ids:
            return "duplicate"
        if tick.ts < (self._quote_ts if isinstance(tick, Quote) else self._trade_ts):
            return "out_of_order"
        makes_bars = isinstance(tick, Trade) == self._of_trades
        is_late = makes_bars and self._kind == "time" and tick.ts < self._closed_ts
        return "late" if is_late else None


def _numbers(tick: Tick) -> str:
    if isinstance(tick, Quote):
        return f"bid {tick.bid} ask {tick.ask}"
    named = f" id {tick.trade_id}" if tick.trade_id else ""
    return f"price {tick.price} size {tick.size}{named}"
