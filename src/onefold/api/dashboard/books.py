"""Positions and orders; and trades, with the bars around the chosen one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from onefold.api.dashboard.cells import (
    ORDER_TONES,
    amount,
    at_price,
    cell,
    confidence,
    count,
    picked,
    share,
    signed,
    when,
    words,
)
from onefold.api.dashboard.charts import trade_options
from onefold.api.dashboard.desk import Desk, Panel
from onefold.api.dashboard.parts import Chart, Column, Modal, Part, Row, Table, button, select
from onefold.api.schemas import Bar, Order, Page, Position, Trade
from onefold.views.wording import DASH

PAGE = 50
BARS = 400
BEFORE_AND_AFTER = 0.6
"""Of a trade's length, how much is shown before and after it."""
BARS_AROUND = 30
NS_PER_MINUTE = 60_000_000_000
STATES = (
    ("", "All orders"),
    ("working", "Working"),
    ("filled", "Filled"),
    ("cancelled", "Cancelled"),
    ("rejected", "Rejected"),
    ("expired", "Expired"),
    ("unknown", "Unknown"),
)


class Pager:
    """Pages from the newest to the oldest, by the key of the last row that is shown."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._keys = [""]
        with panel.body, Part("div", classes="pager"):
            self._newer = button("Newer", self._back)
            self._at = Part("span", "", role="status")
            self._older = button("Older", self._on)
        self._next = ""

    @property
    def before(self) -> str:
        """Return the key of the page that is shown."""
        return self._keys[-1]

    def show(self, next_: str) -> None:
        """Say whether there is a page after this one."""
        self._next = next_
        self._at.show("" if len(self._keys) == 1 else f"page {len(self._keys)}")
        self._newer.put("disabled", None if len(self._keys) > 1 else "disabled")
        self._older.put("disabled", None if next_ else "disabled")

    def reset(self) -> None:
        """Go to the newest, since something else is asked for."""
        self._keys = [""]

    async def _on(self) -> None:
        if self._next:
            self._keys.append(self._next)
            await self._panel.refresh(now=True)

    async def _back(self) -> None:
        if len(self._keys) > 1:
            self._keys.pop()
            await self._panel.refresh(now=True)


def chooser(
    panel: Panel, chosen: dict[str, str], name: str, pager: Pager | None
) -> Callable[[str], Awaitable[None]]:
    """Return what a filter does when something else is chosen."""

    async def heard(text: str) -> None:
        chosen[name] = text.strip()[:64]
        if pager is not None:
            pager.reset()
        await panel.refresh(now=True)

    return heard


# --- positions and orders ------------------------------------------------------------------------


async def positions_page(desk: Desk, modal: Modal) -> None:
    """Build the page of positions and orders."""
    del modal
    _positions(desk)
    _orders(desk)


def _positions(desk: Desk) -> None:
    panel = desk.panel("Held now")
    with panel.content():
        table = Table(
            "Positions",
            (
                Column("Symbol"),
                Column("Strategy"),
                Column("Account", low=True),
                Column("Side", low=True),
                Column("Lots", "num"),
                Column("Entry", "num", low=True),
                Column("Mark", "num", low=True),
                Column("Value", "num"),
                Column("P&L", "num"),
                Column("Since, UTC", "time", low=True),
            ),
            empty="Nothing is held.",
        )

    def show(found: list[Position]) -> None:
        table.show([_position(one) for one in found])

    panel.feed(lambda: desk.office.positions(desk.account), show)


def _position(one: Position) -> Row:
    return Row(
        f"{one.account}/{one.strategy}/{one.symbol}",
        (
            cell(one.symbol),
            cell(one.strategy) if one.strategy else cell("not attributed yet", "quiet"),
            cell(one.account),
            cell("long" if one.lots > 0 else "short"),
            count(one.lots),
            at_price(one.entry_price),
            at_price(one.mark),
            amount(one.value),
            signed(one.pnl),
            when(one.entry_time),
        ),
    )


def _orders(desk: Desk) -> None:
    panel = desk.panel("Orders")
    chosen = {"state": "", "symbol": ""}
    with panel.content():
        table = Table(
            "Orders",
            (
                Column("Sent, UTC", "time"),
                Column("Order", "num", low=True),
                Column("Symbol"),
                Column("Strategy", low=True),
                Column("What", "what"),
                Column("Kind", low=True),
                Column("Price", "num", low=True),
                Column("Filled", "num", hint="Of its lots"),
                Column("Average", "num", low=True),
                Column("State", "word"),
            ),
            empty="No orders, or none like these.",
        )
    pager = Pager(panel)
    with panel.tools:
        select("State", STATES, "", chooser(panel, chosen, "state", pager))

    async def ask() -> Page[Order]:
        return await desk.office.orders(desk.account, **chosen, before=pager.before, limit=PAGE)

    def show(found: Page[Order]) -> None:
        table.show([_order(one) for one in found.items])
        pager.show(found.next)

    panel.feed(ask, show)


def _order(one: Order) -> Row:
    return Row(
        f"{one.account}/{one.id}",
        (
            when(one.time),
            count(one.id),
            cell(one.symbol),
            cell(one.strategy),
            cell(f"{one.side} {one.lots:,} ({words(one.purpose)})"),
            cell(one.kind),
            at_price(one.price),
            cell(share(one.filled / one.lots, 0) if one.lots else DASH),
            at_price(one.average),
            cell(words(one.state), ORDER_TONES.get(one.state, "quiet"), hint=one.reason),
        ),
    )


# --- trades --------------------------------------------------------------------------------------


async def trades_page(desk: Desk, modal: Modal) -> None:
    """Build the page of trades, with the chart of the one that is chosen."""
    del modal
    chart = _TradeChart(desk)
    panel = desk.panel("Round trips")
    chosen = {"state": ""}
    found_by_id: dict[str, Trade] = {}

    async def pick(id_: str) -> None:
        trade = found_by_id.get(id_)
        if trade is not None:
            chart.choose(id_, trade)
            table.show([_trade(one, chart.chosen) for one in found_by_id.values()])
            await chart.panel.refresh(now=True)

    with panel.content():
        table = Table("Round trips", _TRADE_COLUMNS, empty="No trades yet.", picked=pick)
    pager = Pager(panel)
    with panel.tools:
        states = (("", "All trades"), ("open", "Running"), ("closed", "Ended"))
        select("Which", states, "", chooser(panel, chosen, "state", pager))

    async def ask() -> Page[Trade]:
        is_open = {"": None, "open": True, "closed": False}[chosen["state"]]
        return await desk.office.trades(
            desk.account, is_open=is_open, before=pager.before, limit=PAGE
        )

    def show(found: Page[Trade]) -> None:
        found_by_id.clear()
        found_by_id.update({_trade_id(one): one for one in found.items})
        if not chart.chosen and found_by_id:
            first = next(iter(found_by_id))
            chart.choose(first, found_by_id[first])
        elif chart.chosen in found_by_id:
            chart.choose(chart.chosen, found_by_id[chart.chosen])
        table.show([_trade(one, chart.chosen) for one in found.items])
        pager.show(found.next)

    panel.feed(ask, show)
    await panel.refresh()


_TRADE_COLUMNS = (
    Column("Entry, UTC", "time"),
    Column("Symbol"),
    Column("Strategy", low=True),
    Column("Side"),
    Column("Lots", "num", low=True),
    Column("Entry at", "num", low=True),
    Column("Exit, UTC", "time", low=True),
    Column("Exit at", "num", low=True),
    Column("P&L", "num"),
    Column("P&L, %", "num", low=True),
    Column("Fees", "num", low=True),
    Column("Why it ended", low=True),
    Column("Score", "num", low=True, hint="Of the model, at the entry"),
    Column("IBS", "num", low=True, hint="Internal bar strength at the entry"),
)


def _trade_id(one: Trade) -> str:
    return f"{one.account}/{one.id}"


def _trade(one: Trade, chosen: str) -> Row:
    id_ = _trade_id(one)
    is_open = one.exit_time is None
    return Row(
        id_,
        (
            when(one.entry_time),
            picked(one.symbol),
            cell(one.strategy),
            cell(one.side),
            count(one.entry_size),
            at_price(one.entry_price),
            cell("running", "quiet") if is_open else when(one.exit_time),
            at_price(one.exit_price),
            signed(one.pnl),
            signed(one.pnl_percent),
            amount(one.fees),
            cell(words(one.exit_reason or DASH)),
            confidence(one.ml_score),
            confidence(one.ibs_entry),
        ),
        "chosen" if id_ == chosen else "",
    )


class _TradeChart:
    """The bars around a trade."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.chosen = ""
        self._trade: Trade | None = None
        self.panel = desk.panel("Chosen trade")
        with self.panel.content():
            self._text = Part("p", "", "lead")
            self._box = Part("div")
            self._chart: Chart | None = None
        self.panel.feed(self._ask, self._show, every_s=4.0)

    def choose(self, id_: str, trade: Trade) -> None:
        """Show another trade, or the same with what is new of it."""
        self.chosen, self._trade = id_, trade

    async def _ask(self) -> tuple[Trade | None, list[Bar]]:
        trade = self._trade
        if trade is None:
            return None, []
        office, account, symbol = self._desk.office, trade.account, trade.symbol
        end = trade.exit_time or 0
        around = BARS_AROUND * NS_PER_MINUTE
        if end:
            around += int((end - trade.entry_time) * BEFORE_AND_AFTER)
            end += around
        first = await office.bars(account, symbol, until=trade.entry_time, limit=BARS_AROUND)
        since = first[0].time if first else trade.entry_time
        return trade, await office.bars(account, symbol, since=since, until=end, limit=BARS)

    def _show(self, told: tuple[Trade | None, list[Bar]]) -> None:
        trade, bars = told
        if trade is None:
            self._text.show("Choose a trade by its symbol to see the bars around it.", "empty")
            return
        self._text.show(told_of(trade), "lead")
        if not bars:
            self._box.clear()
            self._chart = None
            with self._box:
                Part("p", "The database has no bars of this time.", "empty")
            return
        label = f"Price of {trade.symbol} with entry and exit"
        options: dict[str, Any] = trade_options(bars, trade)
        if self._chart is None:
            self._box.clear()
            with self._box:
                self._chart = Chart(label, options)
        else:
            self._chart.show(options, label)


def told_of(trade: Trade) -> str:
    """Return a trade in a sentence."""
    entry = f"{trade.strategy} {trade.side} {trade.entry_size:,} {trade.symbol}"
    said = f"{entry} at {at_price(trade.entry_price)['text']}"
    if trade.exit_time is None:
        return f"{said}; it runs, with {signed(trade.pnl)['text']}."
    why = words(trade.exit_reason or "")
    return (
        f"{said}, out at {at_price(trade.exit_price)['text']}"
        f"{f' by {why}' if why else ''}: {signed(trade.pnl)['text']}."
    )
