"""The rehearsal exchange as Alpaca: with recorded shapes, and Alpaca's real client."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from adapters.shared import recorded
from onefold.domain.errors import ConfigError
from onefold.domain.instruments import Instrument, instrument
from onefold.rehearsal.books import Position
from onefold.rehearsal.exchange import Exchange
from onefold.rehearsal.faces.alpaca import Alpaca
from onefold.rehearsal.faces.alpaca.face import KEY
from onefold.rehearsal.faces.alpaca.shapes import (
    account_shape,
    activity_shape,
    asset_shape,
    markets,
    number_of,
    order_id,
    order_shape,
    payment_shape,
    position_shape,
    update_shape,
)
from onefold.rehearsal.faults import FaultRule, Faults
from onefold.rehearsal.server import Server

from .worlds import bar

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from alpaca.common.exceptions import APIError
    from alpaca.data.historical import CryptoHistoricalDataClient, StockHistoricalDataClient
    from alpaca.data.requests import CryptoBarsRequest, StockBarsRequest
    from alpaca.data.timeframe import TimeFrame
    from alpaca.trading.client import TradingClient
    from alpaca.trading.enums import OrderSide, OrderStatus, TimeInForce
    from alpaca.trading.models import NonTradeActivity, TradeUpdate
    from alpaca.trading.requests import LimitOrderRequest, MarketOrderRequest, StopOrderRequest
    from alpaca.trading.stream import TradingStream

SHARE = Instrument(symbol="AAPL", tick=0.01)
COIN = instrument("BTCUSD", commission_bps=0)
BUY = {"side": OrderSide.BUY, "time_in_force": TimeInForce.GTC}


def exchange() -> Exchange:
    """Return an exchange with a share and a coin that have seen one bar at 100."""
    made = Exchange([SHARE, COIN], Decimal(100_000), "USD")
    for one in (SHARE, COIN):
        made.on_bar(bar(0, symbol=one.symbol))
    return made


Talk = Callable[[TradingClient, Server], Awaitable[None]]


def talking(talk: Talk, *rules: dict[str, Any]) -> None:
    """Let the real client talk to a face."""

    async def whole() -> None:
        faults = Faults([FaultRule.model_validate(rule) for rule in rules])
        server = Server(exchange(), [Alpaca()], faults)
        url = await server.start()
        client = TradingClient(KEY, KEY, url_override=url)
        client._retry = 0
        try:
            await talk(client, server)
        finally:
            client._session.close()
            await server.stop()

    asyncio.run(whole())


async def of(call: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.to_thread(call, *args)


# -- shapes ----------------------------------------------------------------------------------------


def keys(name: str, key: str) -> set[str]:
    found = json.loads(recorded(f"alpaca/{name}.json").read_text())[key]
    return set(found[0] if isinstance(found, list) else found)


def test_shapes_are_the_recorded_ones() -> None:
    made = exchange()
    share, coin = markets([SHARE, COIN])
    order = made.submit("name", "AAPL", 1, Decimal(2))
    made.on_bar(bar(1, symbol="AAPL"))
    (trade,) = made.trades()
    # An account that is not a broker's customer sees no commission.
    order_keys = keys("order_routes", "test_market_order.0") - {"commission"}
    assert set(order_shape(order, share)) - {"subtag", "source"} == order_keys
    assert set(account_shape(made)) >= keys("account_routes", "test_get_account.0")
    recorded_asset = keys("asset_routes", "test_get_asset.0")
    assert set(asset_shape(share)) >= recorded_asset - {"last_close_pct_change", "last_price"}
    held = Position(Decimal(2), Decimal(100))
    position = position_shape(held, share, Decimal(101))
    assert set(position) >= keys("position_routes", "test_get_all_positions.0") - {"usd"}
    activities = json.loads(recorded("alpaca/account_activities_routes.json").read_text())[
        "setup_reqmock_for_paginated_account_activities_response.0"
    ]
    (fill,) = [one for one in activities if one["activity_type"] == "FILL"]
    activity = activity_shape(trade, order, share, Decimal(2))
    assert set(activity) == set(fill) - {"account_id"}
    deposit = next(one for one in activities if one["activity_type"] == "CSD")
    paid = payment_shape(made.pay(Decimal(1), "fee", "AAPL"), share, "USD")
    # Recorded in 2022; since then they also say when they were entered, and in which currency.
    assert set(paid) - {"created_at", "currency", "symbol"} == set(deposit) - {"account_id"}
    assert len(paid["id"]) == len(deposit["id"])
    assert paid["id"].startswith(paid["date"].replace("-", "") + "000000000::")
    assert asset_shape(coin)["symbol"] == "BTC/USD"
    assert position_shape(held, coin, Decimal(1))["symbol"] == "BTCUSD"


def test_the_client_reads_what_the_stream_tells() -> None:
    made = exchange()
    (share, _) = markets([SHARE, COIN])
    order = made.submit("name", "AAPL", 1, Decimal(2))
    made.on_bar(bar(1, symbol="AAPL"))
    (trade,) = made.trades()
    read = TradeUpdate(**update_shape(order, share, trade, Decimal(2))["data"])
    assert (read.event, read.qty, read.order.status) == ("fill", 2.0, OrderStatus.FILLED)


def test_numbers_of_orders() -> None:
    assert number_of(order_id(0x1234)) == 0x1234
    assert number_of("61e69015-8549-4bfd-b9c3-01e75843f47d") == 0
    assert number_of("x") == 0


def test_only_shares_and_coins_are_listed() -> None:
    with pytest.raises(ConfigError, match="shares and coins only"):
        markets([instrument("ES")])


# -- the real client -------------------------------------------------------------------------------


def test_orders_from_being_placed_to_their_end() -> None:
    async def talk(client: TradingClient, server: Server) -> None:
        market = MarketOrderRequest(symbol="AAPL", qty=2, client_order_id="one", **BUY)
        placed = await of(client.submit_order, market)
        assert (placed.status, placed.client_order_id) == (OrderStatus.ACCEPTED, "one")
        limit = LimitOrderRequest(symbol="BTC/USD", qty=0.5, limit_price=90, **BUY)
        kept = await of(client.submit_order, limit)
        assert {one.symbol for one in await of(client.get_orders)} == {"AAPL", "BTC/USD"}
        await server.play(bar(1, 101, symbol="AAPL"))
        done = await of(client.get_order_by_client_id, "one")
        assert (done.status, done.filled_qty, done.filled_avg_price) == ("filled", "2", "101")
        (held,) = await of(client.get_all_positions)
        assert (held.symbol, held.qty, held.side) == ("AAPL", "2", "long")
        await of(client.cancel_order_by_id, kept.id)
        assert (await of(client.get_order_by_id, kept.id)).status == "canceled"
        (fill,) = await of(client.get, "/account/activities/FILL")
        assert (fill["order_id"], fill["cum_qty"], fill["price"]) == (str(done.id), "2", "101")

    talking(talk)


def test_activities_by_category() -> None:
    async def talk(client: TradingClient, server: Server) -> None:
        await of(client.submit_order, MarketOrderRequest(symbol="AAPL", qty=2, **BUY))
        await server.play(bar(1, 101, symbol="AAPL"))
        for reason in ("fee", "dividend", "funding"):
            server.exchange.pay(Decimal("-0.5"), reason, "BTCUSD")
        path = "/account/activities"
        everything = await of(client.get, path, {"direction": "asc"})
        trades = await of(client.get, path, {"category": "trade_activity"})
        payments = await of(client.get, path, {"category": "non_trade_activity"})
        assert len(everything) == len(trades) + len(payments) == 4
        assert [one["activity_type"] for one in trades] == ["FILL"]
        assert {one["activity_type"] for one in payments} == {"FEE", "DIV", "INT"}
        account = "aba134b6-217d-4fd2-b460-e3c80bbfb9b4"
        read = [NonTradeActivity(**one, account_id=account) for one in payments]
        assert {(one.symbol, one.net_amount) for one in read} == {("BTCUSD", -0.5)}
        first = await of(client.get, path, {"category": "non_trade_activity", "page_size": 1})
        token = {"category": "non_trade_activity", "page_token": first[0]["id"]}
        assert [*first, *await of(client.get, path, token)] == payments

    talking(talk)


@pytest.mark.parametrize(
    ("order", "status", "code"),
    [
        (MarketOrderRequest(symbol="NONE", qty=1, **BUY), 422, 42210000),
        (MarketOrderRequest(symbol="AAPL", qty=0.5, **BUY), 422, 42210000),
        (MarketOrderRequest(symbol="AAPL", qty=10**9, **BUY), 403, 40310000),
        (LimitOrderRequest(symbol="AAPL", qty=1, limit_price=1.001, **BUY), 422, 42210000),
        (StopOrderRequest(symbol="BTC/USD", qty=1, stop_price=99, **BUY), 422, 42210000),
        (
            MarketOrderRequest(
                symbol="BTC/USD", qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.DAY
            ),
            422,
            42210000,
        ),
        (MarketOrderRequest(symbol="AAPL", qty=1, client_order_id="x" * 129, **BUY), 422, 42210000),
    ],
)
def test_what_alpaca_refuses(order: Any, status: int, code: int) -> None:
    async def talk(client: TradingClient, server: Server) -> None:
        with pytest.raises(APIError) as refused:
            await of(client.submit_order, order)
        assert (refused.value.status_code, refused.value.code) == (status, code)
        assert server.exchange.orders() == []

    talking(talk)


def test_a_name_is_used_once_and_what_is_done_is_not_cancelled() -> None:
    async def talk(client: TradingClient, server: Server) -> None:
        order = MarketOrderRequest(symbol="AAPL", qty=1, client_order_id="one", **BUY)
        placed = await of(client.submit_order, order)
        with pytest.raises(APIError, match="must be unique"):
            await of(client.submit_order, order)
        await server.play(bar(1, symbol="AAPL"))
        with pytest.raises(APIError, match='already in \\\\"filled\\\\" state'):
            await of(client.cancel_order_by_id, placed.id)
        with pytest.raises(APIError, match="order not found"):
            await of(client.get_order_by_client_id, "two")

    talking(talk)


def test_keys_and_faults_are_told_as_alpaca_tells_them() -> None:
    async def talk(client: TradingClient, server: Server) -> None:
        stranger = TradingClient(KEY, "wrong", url_override=server.url)
        with pytest.raises(APIError) as refused:
            await of(stranger.get_account)
        assert refused.value.status_code == 401
        stranger._session.close()
        for status in (429, 500):
            with pytest.raises(APIError) as refused:
                await of(client.submit_order, MarketOrderRequest(symbol="AAPL", qty=1, **BUY))
            assert refused.value.status_code == status
        assert len(server.exchange.orders()) == 1, "the 500 came after the order was taken"

    talking(
        talk,
        {"on": "submit", "do": "too_many", "nth": 1},
        {"on": "submit", "do": "error_after_accept", "nth": 2},
    )


def test_the_stream_of_the_account_by_the_real_client() -> None:
    async def talk(client: TradingClient, server: Server) -> None:
        heard: list[Any] = []

        async def hear(update: Any) -> None:
            heard.append(update)

        url = server.url.replace("http", "ws") + "/stream"
        stream = TradingStream(KEY, KEY, url_override=url)
        stream.subscribe_trade_updates(hear)
        await stream._start_ws()
        listening = asyncio.ensure_future(stream._consume())
        order = MarketOrderRequest(symbol="AAPL", qty=2, client_order_id="one", **BUY)
        async with asyncio.timeout(5):
            while not heard:  # the subscription is under way
                await of(
                    client.submit_order,
                    LimitOrderRequest(symbol="AAPL", qty=1, limit_price=10, **BUY),
                )
                await asyncio.sleep(0.05)
        server.exchange.cancel_all()
        await server.flushed()
        await asyncio.sleep(0.1)
        assert {one.event for one in heard} == {"new", "canceled"}
        heard.clear()
        await of(client.submit_order, order)
        await server.play(bar(1, 101, symbol="AAPL"))
        await asyncio.sleep(0.1)
        assert [(one.event, one.price, one.qty) for one in heard] == [
            ("new", None, None),
            ("fill", 101.0, 2.0),
        ]
        listening.cancel()
        await stream.close()
        stranger = TradingStream(KEY, "wrong", url_override=url)
        stranger.subscribe_trade_updates(hear)
        with pytest.raises(ValueError, match="failed to authenticate"):
            await stranger._start_ws()
        await stranger.close()

    talking(talk)


def test_bars_by_the_real_client() -> None:
    async def talk(client: TradingClient, server: Server) -> None:
        for number in range(1, 6):
            await server.play(bar(number, 100.0 + number, symbol="AAPL"))
        stocks = StockHistoricalDataClient(KEY, KEY, url_override=server.url)
        coins = CryptoHistoricalDataClient(KEY, KEY, url_override=server.url)
        begin = server.exchange.bars["AAPL"][0].ts_open / 1e9
        start = datetime.fromtimestamp(begin, UTC)
        asked = {"symbol_or_symbols": "AAPL", "timeframe": TimeFrame.Minute, "start": start}
        found = (await of(stocks.get_stock_bars, StockBarsRequest(**asked)))["AAPL"]
        assert [one.open for one in found] == [100.0, 101.0, 102.0, 103.0, 104.0, 105.0]
        assert found[0].timestamp == start
        last = StockBarsRequest(**asked, limit=2, sort="desc")
        found = (await of(stocks.get_stock_bars, last))["AAPL"]
        assert [one.open for one in found] == [105.0, 104.0]
        asked["symbol_or_symbols"] = "BTC/USD"
        found = (await of(coins.get_crypto_bars, CryptoBarsRequest(**asked)))["BTC/USD"]
        assert len(found) == 1
        for one in (stocks, coins):
            one._session.close()

    talking(talk)
