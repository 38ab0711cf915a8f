"""Run the works with nautilus_trader: its event-driven engine, with strategies in Python.

A market order sent when a bar arrives fills at that bar's close, which is how this engine treats
bars, so it is compared with the reference for fills at the close. Accounts are of the hedging
kind: netting keeps one position for ever and gets slower the more it has traded. Turning frames
into its bars is timed apart, as preparation.
"""
# mypy: disable-error-code="import-not-found,import-untyped,misc"

from __future__ import annotations

from decimal import Decimal
from typing import Any

import nautilus_trader
import pandas as pd
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.indicators import SimpleMovingAverage
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.data import BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, TraderId, Venue
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.persistence.wranglers import BarDataWrangler
from nautilus_trader.trading.strategy import Strategy

from benchmarks import worker, works

RULE = works.Rule(fill_at="same_close")
VENUE = Venue("SIM")
# The work has no limit on liquidity, but this engine fills no more than a share of a bar's volume.
VOLUME_FACTOR = 1_000.0


class Trading(Strategy):
    """Trade one unit of one instrument, remembering the position that a sale has to close."""

    def __init__(self, bar_type: BarType) -> None:
        """Start flat."""
        super().__init__()
        self.bar_type = bar_type
        self.unit = Quantity.from_int(1)
        self.is_long = False
        self.fills = 0
        self.position_id: Any = None

    def on_start(self) -> None:
        """Ask for the bars."""
        self.subscribe_bars(self.bar_type)

    def change_side(self) -> None:
        """Send the order that turns flat into long or long into flat."""
        self.is_long = not self.is_long
        side = OrderSide.BUY if self.is_long else OrderSide.SELL
        order = self.order_factory.market(self.bar_type.instrument_id, side, self.unit)
        self.submit_order(order, position_id=None if self.is_long else self.position_id)

    def on_order_filled(self, event: Any) -> None:
        """Count the fill and keep the position it belongs to."""
        self.fills += 1
        self.position_id = event.position_id


class Crossover(Trading):
    """Hold one unit while the fast average is above the slow one."""

    def __init__(self, bar_type: BarType, fast: int, slow: int) -> None:
        """Build both averages."""
        super().__init__(bar_type)
        self.quick = SimpleMovingAverage(fast)
        self.calm = SimpleMovingAverage(slow)

    def on_start(self) -> None:
        """Have the engine feed the averages before the bars."""
        self.register_indicator_for_bars(self.bar_type, self.quick)
        self.register_indicator_for_bars(self.bar_type, self.calm)
        super().on_start()

    def on_bar(self, _bar: Any) -> None:
        """Send an order when the side changes."""
        if self.calm.initialized and (self.quick.value > self.calm.value) != self.is_long:
            self.change_side()


class EveryBar(Trading):
    """Trade on every bar."""

    def on_bar(self, _bar: Any) -> None:
        """Change sides."""
        self.change_side()


class Portfolio(Strategy):
    """Follow the rule on many instruments with a cap on the number of positions."""

    def __init__(self, bar_types: list[BarType]) -> None:
        """Build both averages of every instrument."""
        super().__init__()
        self.bar_types = bar_types
        self.averages = {
            bar_type.instrument_id: (
                SimpleMovingAverage(works.FAST),
                SimpleMovingAverage(works.SLOW),
            )
            for bar_type in bar_types
        }
        self.units: dict[Any, int] = {}
        self.position_ids: dict[Any, Any] = {}
        self.fills = 0

    def on_start(self) -> None:
        """Have the engine feed the averages before the bars."""
        for bar_type in self.bar_types:
            for average in self.averages[bar_type.instrument_id]:
                self.register_indicator_for_bars(bar_type, average)
            self.subscribe_bars(bar_type)

    def on_bar(self, bar: Any) -> None:
        """Leave, or enter while a slot is free."""
        instrument_id = bar.bar_type.instrument_id
        quick, calm = self.averages[instrument_id]
        if not calm.initialized:
            return
        wanted, held = quick.value > calm.value, self.units.get(instrument_id)
        if wanted and held is None and len(self.units) < works.W2_MAX_POSITIONS:
            units = self.units[instrument_id] = int(works.W2_TICKET / bar.close.as_double())
            self.send(instrument_id, OrderSide.BUY, units, None)
        elif held is not None and not wanted:
            del self.units[instrument_id]
            self.send(instrument_id, OrderSide.SELL, held, self.position_ids[instrument_id])

    def send(self, instrument_id: Any, side: OrderSide, units: int, position_id: Any) -> None:
        """Send a market order."""
        order = self.order_factory.market(instrument_id, side, Quantity.from_int(units))
        self.submit_order(order, position_id=position_id)

    def on_order_filled(self, event: Any) -> None:
        """Count the fill and keep the position it belongs to."""
        self.fills += 1
        self.position_ids[event.instrument_id] = event.position_id


def instrument(name: str) -> CurrencyPair:
    """Return an instrument priced in ten-thousandths and traded in whole units."""
    return CurrencyPair(
        instrument_id=InstrumentId(Symbol(name), VENUE),
        raw_symbol=Symbol(name),
        base_currency=BTC,
        quote_currency=USDT,
        price_precision=4,
        size_precision=0,
        price_increment=Price.from_str("0.0001"),
        size_increment=Quantity.from_str("1"),
        ts_event=0,
        ts_init=0,
        maker_fee=Decimal("0.0001"),
        taker_fee=Decimal("0.0001"),
        margin_init=Decimal(0),
        margin_maint=Decimal(0),
    )


def engine() -> BacktestEngine:
    """Return an engine with one simulated venue, silent and without a closing analysis."""
    config = BacktestEngineConfig(
        trader_id=TraderId("BENCH-1"),
        logging=LoggingConfig(bypass_logging=True),
        run_analysis=False,
    )
    built = BacktestEngine(config)
    built.add_venue(
        VENUE,
        OmsType.HEDGING,
        AccountType.MARGIN,
        [Money(works.CASH, USDT)],
        base_currency=USDT,
        default_leverage=Decimal(10),
    )
    return built


def profit(built: BacktestEngine, instruments: list[CurrencyPair]) -> float:
    """Return realised and unrealised profit of the account."""
    total = float(built.portfolio.account(VENUE).balance_total(USDT)) - works.CASH
    for each in instruments:
        open_profit = built.portfolio.unrealized_pnl(each.id)
        total += float(open_profit) if open_profit is not None else 0.0
    return total


def minute_engine(bars: int) -> tuple[BacktestEngine, CurrencyPair, BarType]:
    """Return an engine that holds the first bars of W1."""
    traded = instrument("X")
    bar_type = BarType.from_str(f"{traded.id}-1-MINUTE-LAST-EXTERNAL")
    index = pd.to_datetime(works.minute_times(bars), unit="ns", utc=True)
    frame = pd.DataFrame(works.minute_bars(bars), index=index)
    built = engine()
    built.add_instrument(traded)
    built.add_data(BarDataWrangler(bar_type, traded).process(frame))
    return built, traded, bar_type


def outcome(built: BacktestEngine, traded: CurrencyPair, strategy: Trading) -> works.Outcome:
    """Read profit, fills and position from a finished engine."""
    position = float(built.portfolio.net_position(traded.id))
    return works.Outcome(profit=profit(built, [traded]), fills=strategy.fills, position=position)


def single(size: int, *, every_bar: bool) -> worker.Measurement:
    """Run W1 or W4 once over `size` bars."""
    (built, traded, bar_type), prepare = worker.timed(lambda: minute_engine(size))
    strategy = EveryBar(bar_type) if every_bar else Crossover(bar_type, works.FAST, works.SLOW)
    built.add_strategy(strategy)
    _, timing = worker.measure(built.run, warm_runs=0)
    outcomes = {"": outcome(built, traded, strategy)}
    return worker.Measurement(
        timing, outcomes, prepare=prepare, note="fills at the close", rule=RULE
    )


def w1(size: int) -> worker.Measurement:
    """Run the crossover on one symbol."""
    return single(size, every_bar=False)


def w4(size: int) -> worker.Measurement:
    """Trade on every bar."""
    return single(size, every_bar=True)


def w3(size: int) -> worker.Measurement:
    """Evaluate pairs of averages, resetting the engine in between."""
    (built, traded, bar_type), prepare = worker.timed(lambda: minute_engine(works.W3_BARS))
    pairs = works.W3_PAIRS[:size]

    def evaluate(fast: int, slow: int) -> works.Outcome:
        strategy = Crossover(bar_type, fast, slow)
        built.add_strategy(strategy)
        built.run()
        result = outcome(built, traded, strategy)
        built.reset()
        built.clear_strategies()
        return result

    def run() -> dict[str, works.Outcome]:
        return {f"{fast}/{slow}": evaluate(fast, slow) for fast, slow in pairs}

    outcomes, timing = worker.measure(run, warm_runs=0)
    return worker.Measurement(
        timing, outcomes, prepare=prepare, note="fills at the close", rule=RULE
    )


def daily_engine(symbols: int) -> tuple[BacktestEngine, list[CurrencyPair], list[BarType]]:
    """Return an engine that holds the first symbols of W2, every day in column order."""
    columns = works.daily_bars(symbols)
    columns["volume"] *= VOLUME_FACTOR
    index = pd.bdate_range(works.W2_FIRST_DAY, periods=works.W2_DAYS, tz="UTC")
    built, traded, bar_types = engine(), [], []
    for symbol in range(symbols):
        each = instrument(f"S{symbol:03d}")
        bar_type = BarType.from_str(f"{each.id}-1-DAY-LAST-EXTERNAL")
        frame = pd.DataFrame({name: columns[name][:, symbol] for name in columns}, index=index)
        built.add_instrument(each)
        built.add_data(BarDataWrangler(bar_type, each).process(frame), sort=False)
        traded.append(each)
        bar_types.append(bar_type)
    built.sort_data()
    return built, traded, bar_types


def w2(size: int) -> worker.Measurement:
    """Run the portfolio."""
    (built, traded, bar_types), prepare = worker.timed(lambda: daily_engine(size))
    strategy = Portfolio(bar_types)
    built.add_strategy(strategy)
    _, timing = worker.measure(built.run, warm_runs=0)
    result = works.Outcome(
        profit=profit(built, traded), fills=strategy.fills, position=float(len(strategy.units))
    )
    return worker.Measurement(
        timing, {"": result}, prepare=prepare, note="fills at the close", rule=RULE
    )


WORKS = {"w1": w1, "w2": w2, "w3": w3, "w4": w4}

if __name__ == "__main__":
    worker.main("nautilus_trader", nautilus_trader.__version__, WORKS)
