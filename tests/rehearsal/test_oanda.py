"""OANDA's face, held against what OANDA has answered, through the real oandapyV20."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any
from warnings import catch_warnings, simplefilter

import pytest

from adapters.shared import recorded
from onefold.domain.instruments import instrument
from onefold.domain.records import Bar
from onefold.domain.rules import Costs
from onefold.rehearsal.exchange import Exchange
from onefold.rehearsal.faces.oanda import Oanda
from onefold.rehearsal.faces.oanda.access import stamp
from onefold.rehearsal.faces.oanda.face import ACCOUNT, TOKEN
from onefold.rehearsal.server import Server

with catch_warnings():
    simplefilter("ignore")
    import oandapyV20
    from oandapyV20.endpoints import (
        accounts,
        instruments,
        orders,
        positions,
        pricing,
        transactions,
    )

from venues.rig import MINUTE_NS
from venues.served import START_NS

NOT_REHEARSED = {
    # Sums in the account's money, and what only accounts of some kinds have.
    "alias", "createdByUserID", "createdTime", "marginCallMarginUsed", "marginCallPercent",
    "marginCloseoutMarginUsed", "marginCloseoutNAV", "marginCloseoutPercent",
    "marginCloseoutPositionValue", "marginCloseoutUnrealizedPL", "marginRate", "pl",
    "positionValue", "resettablePL", "withdrawalLimit",
    "unrealizedPL", "tradeIDs", "quoteHomeConversionFactors", "unitsAvailable",
    # Orders that hang on others.
    "stopLossOnFill", "replacesOrderID", "partialFill",
}  # fmt: skip


def said(kind: str, name: str) -> Any:
    return json.loads(recorded(f"oanda/{kind}.json").read_text())["responses"][name]["response"]


def missing(theirs: Any, ours: Any, path: str = "") -> Iterator[str]:
    """Yield what a recorded answer has and ours has not, or has as something else."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name, value in theirs.items():
            if name in NOT_REHEARSED:
                continue
            if name in ours:
                yield from missing(value, ours[name], f"{path}.{name}")
            else:
                yield f"{path}.{name}"
    elif isinstance(theirs, list) and isinstance(ours, list):
        if theirs and not ours:
            yield f"{path}[0]"
        for value in ours:
            yield from missing(theirs[0], value, f"{path}[]")
    elif type(theirs) is not type(ours):
        yield f"{path}: {theirs!r}, not {ours!r}"


class Desk:
    """The library's client and the exchange that it talks to."""

    def __init__(self, exchange: Exchange, server: Server) -> None:
        self.exchange, self.server = exchange, server
        environment = f"test {server.url}"
        addresses = {"api": server.url, "stream": server.url}
        oandapyV20.oandapyV20.TRADING_ENVIRONMENTS[environment] = addresses
        self.api = oandapyV20.API(TOKEN, environment, request_params={"timeout": 2})

    async def ask(self, request: Any) -> Any:
        return await asyncio.to_thread(self.api.request, request)

    async def order(self, kind: str = "MARKET", units: str = "1000", **more: Any) -> Any:
        order = {"type": kind, "instrument": "EUR_USD", "units": units, **more}
        return await self.ask(orders.OrderCreate(ACCOUNT, data={"order": order}))

    def play(self, price: float) -> None:
        start = self.exchange.bars["EURUSD"][-1].ts
        self.exchange.on_bar(
            Bar("EURUSD", start + MINUTE_NS, start, price, price, price, price, 9.0)
        )


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    euro = instrument("EURUSD", commission_bps=1.0)
    exchange = Exchange([euro], Decimal(100_000), "USD", Costs(), names_once=False)
    exchange.on_bar(Bar("EURUSD", START_NS + MINUTE_NS, START_NS, 1.1, 1.1, 1.1, 1.1, 9.0))
    server = Server(exchange, [Oanda(beat_s=0.1)])
    await server.start()
    made = Desk(exchange, server)
    try:
        yield made
    finally:
        made.api.close()
        await server.stop()


def run(case: Any) -> None:
    async def main() -> None:
        async with desk() as made, asyncio.timeout(20):
            await case(made)

    asyncio.run(main())


def test_the_shapes_are_oandas() -> None:
    async def case(made: Desk) -> None:
        named = {"clientExtensions": {"id": "myID"}, "timeInForce": "GTC", "price": "1.00000"}
        new = await made.order("LIMIT", "-1000", **{**named, "price": "1.20000"})
        await made.order("LIMIT", "1000", **{**named, "clientExtensions": {"id": "other"}})
        gone = await made.ask(orders.OrderCancel(ACCOUNT, "@myID"))
        await made.order(units="2000")
        made.play(1.1)
        details = orders.OrderDetails(ACCOUNT, new["orderCreateTransaction"]["id"])
        since = transactions.TransactionsSinceID(ACCOUNT, params={"id": new["lastTransactionID"]})
        pairs = [
            (said("orders", "_v3_accounts_accountID_orders_create"), new),
            (said("orders", "_v3_accounts_accountID_order_cancel"), gone),
            (said("orders", "_v3_accounts_accountID_order_details"), await made.ask(details)),
            (
                said("orders", "_v3_accounts_accountID_orders_pending"),
                await made.ask(orders.OrdersPending(ACCOUNT)),
            ),
            (
                said("accounts", "_v3_account_by_accountID_summary"),
                await made.ask(accounts.AccountSummary(ACCOUNT)),
            ),
            (
                said("accounts", "_v3_account_by_accountID_instruments"),
                await made.ask(accounts.AccountInstruments(ACCOUNT)),
            ),
            (
                said("positions", "_v3_accounts_accountID_openpositions"),
                await made.ask(positions.OpenPositions(ACCOUNT)),
            ),
            (
                said("pricing", "_v3_accounts_accountID_pricing"),
                await made.ask(pricing.PricingInfo(ACCOUNT, params={"instruments": "EUR_USD"})),
            ),
            (
                said("transactions", "_v3_accounts_accountID_transactions"),
                await made.ask(transactions.TransactionList(ACCOUNT)),
            ),
            (
                said("instruments", "_v3_instruments_instrument_candles"),
                await made.ask(
                    instruments.InstrumentsCandles("EUR_USD", params={"granularity": "M1"})
                ),
            ),
        ]
        # A comment is the client's own, and a market order is triggered by nothing.
        optional = (".comment", ".orders[].triggerCondition", ".orders[].price")
        for theirs, ours in pairs:
            assert [one for one in missing(theirs, ours) if not one.endswith(optional)] == []
        closing = await made.ask(since)
        assert [one["type"] for one in closing["transactions"]] == [
            "LIMIT_ORDER",
            "ORDER_CANCEL",
            "MARKET_ORDER",
            "ORDER_FILL",
        ]

    run(case)


def test_a_fill_says_what_it_opened_reduced_and_closed() -> None:
    async def case(made: Desk) -> None:
        fills: list[Any] = []
        for units, price in (("3000", 1.1), ("-1000", 1.2), ("-4000", 1.3), ("2000", 1.25)):
            last = (await made.order(units=units))["lastTransactionID"]
            made.play(price)
            since = transactions.TransactionsSinceID(ACCOUNT, params={"id": last})
            fills += (await made.ask(since))["transactions"]
        opened, reduced, turned, closed = fills
        assert opened["tradeOpened"]["units"] == "3000"
        assert reduced["tradeReduced"]["units"] == "-1000"
        assert reduced["tradeReduced"]["tradeID"] == opened["id"]
        assert turned["tradesClosed"][0]["units"] == "-2000"
        assert turned["tradeOpened"]["units"] == "-2000"
        assert closed["tradesClosed"][0]["tradeID"] == turned["id"]
        profits = [Decimal(fill["pl"]) for fill in fills]
        assert profits == [0, 100, 400, 100]
        costs = sum(Decimal(fill["commission"]) for fill in fills)
        assert Decimal(closed["accountBalance"]) == 100_000 + sum(profits) - costs
        recorded_fill = said("trades", "_v3_account_accountID_trades_close")["orderFillTransaction"]
        assert not list(missing(recorded_fill, {**closed, "financing": "0.0000"}))

    run(case)


def test_a_payment_is_a_transaction_of_its_moment() -> None:
    async def case(made: Desk) -> None:
        last = (await made.order())["lastTransactionID"]
        made.play(1.1)
        made.exchange.pay(Decimal("-0.25"), "funding", "EURUSD")
        now = made.exchange.now_ns
        made.play(1.2)
        made.exchange.pay(Decimal("0.75"), "dividend", "EURUSD")
        made.exchange.pay(Decimal("0.50"), "interest")
        since = transactions.TransactionsSinceID(ACCOUNT, params={"id": last})
        fill, financing, dividend, interest = (await made.ask(since))["transactions"]
        assert fill["type"] == "ORDER_FILL"
        assert (financing["type"], financing["financing"]) == ("DAILY_FINANCING", "-0.25")
        assert financing["time"] == stamp(now)
        (part,) = financing["positionFinancings"]
        assert (part["instrument"], part["financing"]) == ("EUR_USD", "-0.25")
        assert dividend["type"] == "DIVIDEND_ADJUSTMENT"
        assert (dividend["instrument"], dividend["dividendAdjustment"]) == ("EUR_USD", "0.75")
        assert (interest["financing"], interest["positionFinancings"]) == ("0.50", [])
        summary = (await made.ask(accounts.AccountSummary(ACCOUNT)))["account"]
        assert interest["accountBalance"] == summary["balance"]
        assert interest["id"] == summary["lastTransactionID"]
        times = {"from": stamp(now), "to": stamp(now), "type": "DAILY_FINANCING"}
        found = await made.ask(transactions.TransactionList(ACCOUNT, params=times))
        assert found["count"] == 1

    run(case)


@pytest.mark.parametrize(
    ("order", "status", "words"),
    [
        ({"units": "1000000000"}, 400, "UNITS_LIMIT_EXCEEDED"),
        ({"units": "1500"}, 400, "UNITS_PRECISION_EXCEEDED"),
        ({"units": "10"}, 400, "UNITS_MIMIMUM_NOT_MET"),
        ({"units": 1000}, 400, "Invalid value specified for 'units'"),
        ({"kind": "LIMIT", "price": "1.000001"}, 400, "PRICE_PRECISION_EXCEEDED"),
        ({"timeInForce": "GTC"}, 400, "TIME_IN_FORCE_INVALID"),
        ({"instrument": "EUR_XXX"}, 400, "Invalid value specified for 'instrument'"),
    ],
)
def test_what_oanda_refuses(order: dict[str, Any], status: int, words: str) -> None:
    async def case(made: Desk) -> None:
        with pytest.raises(oandapyV20.V20Error, match=words) as refused:
            await made.order(**order)
        assert refused.value.code == status
        assert made.exchange.orders() == []

    run(case)


def test_a_name_is_free_again_when_its_order_is_done_and_only_pending_ones_are_found_by_it() -> (
    None
):
    async def case(made: Desk) -> None:
        named = {"clientExtensions": {"id": "a"}, "price": "1.00000"}
        await made.order("LIMIT", **named)
        assert (await made.ask(orders.OrderDetails(ACCOUNT, "@a")))["order"]["state"] == "PENDING"
        with pytest.raises(oandapyV20.V20Error, match="CLIENT_ORDER_ID_ALREADY_EXISTS"):
            await made.order("LIMIT", **named)
        await made.ask(orders.OrderCancel(ACCOUNT, "@a"))
        for request in (orders.OrderDetails(ACCOUNT, "@a"), orders.OrderCancel(ACCOUNT, "@a")):
            with pytest.raises(oandapyV20.V20Error, match=r"NO_SUCH_ORDER|ORDER_DOESNT_EXIST"):
                await made.ask(request)
        await made.order("LIMIT", **named)
        assert len(made.exchange.orders()) == 2

    run(case)


def test_an_order_without_margin_is_made_and_cancelled() -> None:
    async def case(made: Desk) -> None:
        answer = await made.order(units="50000000")
        assert answer["orderCancelTransaction"]["reason"] == "INSUFFICIENT_MARGIN"
        number = answer["orderCreateTransaction"]["id"]
        assert answer["relatedTransactionIDs"] == [number, answer["lastTransactionID"]]
        details = await made.ask(orders.OrderDetails(ACCOUNT, number))
        assert details["order"]["state"] == "CANCELLED"

    run(case)


def test_strangers_learn_nothing() -> None:
    async def case(made: Desk) -> None:
        with pytest.raises(oandapyV20.V20Error) as refused:
            await made.ask(accounts.AccountSummary("101-001-1-002"))
        assert refused.value.code == 403
        made.api.client.headers["Authorization"] = "Bearer other"
        listening = transactions.TransactionsStream(ACCOUNT)
        for request in (accounts.AccountSummary(ACCOUNT), orders.OrdersPending(ACCOUNT)):
            with pytest.raises(oandapyV20.V20Error, match="Insufficient authorization") as refused:
                await made.ask(request)
            assert refused.value.code == 401
        with pytest.raises(oandapyV20.V20Error, match="Insufficient authorization"):
            await asyncio.to_thread(next, made.api.request(listening))

    run(case)


def test_the_streams_have_lines_and_heartbeats() -> None:
    async def case(made: Desk) -> None:
        heard: dict[str, list[Any]] = {"account": [], "prices": []}
        ends = {"account": "ORDER_FILL", "prices": "PRICE"}

        def listen(name: str, request: Any) -> None:
            lines = made.api.request(request)
            for line in lines:
                heard[name].append(line)
                beats = [one for one in heard[name] if one["type"] == "HEARTBEAT"]
                if len(beats) > 2 and any(one["type"] == ends[name] for one in heard[name]):
                    return

        wanted = {"instruments": "EUR_USD"}
        threads = [
            threading.Thread(target=listen, args=(name, request))
            for name, request in (
                ("account", transactions.TransactionsStream(ACCOUNT)),
                ("prices", pricing.PricingStream(ACCOUNT, params=wanted)),
            )
        ]
        for thread in threads:
            thread.start()
        while made.server.streams < 2:  # noqa: ASYNC110 - the server does not say when it has one
            await asyncio.sleep(0.01)
        await made.order()
        made.play(1.1)
        for thread in threads:
            await asyncio.to_thread(thread.join)
        kinds = [line["type"] for line in heard["account"] if line["type"] != "HEARTBEAT"]
        assert kinds == ["MARKET_ORDER", "ORDER_FILL"]
        theirs = said("transactions", "_v3_accounts_transactions_stream")[0]
        (beat, *_) = [line for line in heard["account"] if line["type"] == "HEARTBEAT"]
        assert not list(missing(theirs, beat))
        price = next(line for line in heard["prices"] if line["type"] == "PRICE")
        theirs = said("pricing", "_v3_accounts_accountID_pricing_stream")[0]
        assert not list(missing(theirs, price))

    run(case)
