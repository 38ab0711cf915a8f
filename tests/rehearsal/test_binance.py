"""Binance's face, as ccxt's own client sees it: spot and USD-M futures, REST and WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

import ccxt
import pytest

from adapters.shared import recorded
from onefold.domain.errors import ConfigError
from onefold.rehearsal.exchange import Exchange
from onefold.rehearsal.faces.binance import Binance
from onefold.rehearsal.faces.binance.markets import candles, markets
from onefold.rehearsal.faults import FaultRule
from onefold.rehearsal.server import Server

from .worlds import MINUTE_NS, bar, client, coin, exchange_of, perpetual, serving

KINDS = ("spot", "futures")
SYMBOLS = {"spot": "BTC/USDT", "futures": "BTC/USDT:USDT"}
PATIENCE_S = 3.0

Check = Callable[[Server, Any, str], Coroutine[Any, Any, None]]


def on(kind: str, check: Check, **options: Any) -> None:
    """Run a check with a server, a client and the symbol."""

    async def main() -> None:
        exchange = exchange_of(coin() if kind == "spot" else perpetual(), names_once=False)
        async with serving(exchange) as server, client(server, kind, **options) as made:
            await check(server, made, SYMBOLS[kind])

    asyncio.run(main())


def named(name: str, **more: Any) -> dict[str, Any]:
    return {"clientOrderId": name, **more}


async def soon(waiting: Any) -> Any:
    return await asyncio.wait_for(waiting, PATIENCE_S)


async def listening(watch: Callable[..., Any], *args: Any) -> asyncio.Task[Any]:
    """Start to watch, and give the client time to subscribe."""
    task = asyncio.ensure_future(watch(*args))
    await asyncio.sleep(0.3)
    return task


# -- REST ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_markets(kind: str) -> None:
    async def check(server: Server, made: Any, symbol: str) -> None:
        await made.load_markets()
        assert list(made.markets) == [symbol]
        market = made.markets[symbol]
        tick = {"spot": 0.01, "futures": 0.1}[kind]
        assert (market["precision"]["price"], market["precision"]["amount"]) == (tick, 0.001)
        assert (market["spot"], market["linear"]) == (
            (True, None) if kind == "spot" else (False, True)
        )
        assert await made.fetch_time() == server.exchange.now_ns // 10**6

    on(kind, check)


@pytest.mark.parametrize("kind", KINDS)
def test_an_order_from_its_beginning_to_its_trade(kind: str) -> None:
    async def check(server: Server, made: Any, symbol: str) -> None:
        order = await made.create_order(symbol, "market", "buy", 1.5, None, named("a-1"))
        assert (order["status"], order["clientOrderId"]) == ("open", "a-1")
        assert [o["id"] for o in await made.fetch_open_orders(symbol)] == [order["id"]]
        await server.play(bar(1, 101, 103, 99, 102))
        order = await made.fetch_order("", symbol, named("a-1"))
        assert (order["status"], order["filled"], order["average"]) == ("closed", 1.5, 101)
        (trade,) = await made.fetch_my_trades(symbol)
        (done,) = server.exchange.trades()
        assert (trade["order"], trade["price"], trade["amount"]) == (order["id"], 101, 1.5)
        assert trade["fee"] == {"currency": "USDT", "cost": float(done.fee)}
        assert await made.fetch_open_orders(symbol) == []

    on(kind, check)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_waits_and_fills(kind: str) -> None:
    """At the futures venue it is an algo order first, with a number of its own."""

    async def check(server: Server, made: Any, symbol: str) -> None:
        await made.create_order(symbol, "market", "buy", 1, None, named("in"))
        await server.play(bar(1))
        params = named("stop", triggerPrice=95)
        placed = await made.create_order(symbol, "market", "sell", 1, None, params)
        asked = {"trigger": True} if kind == "futures" else {}
        (waiting,) = await made.fetch_open_orders(symbol, params=asked)
        assert (waiting["id"], waiting["clientOrderId"]) == (placed["id"], "stop")
        if kind == "futures":
            assert await made.fetch_open_orders(symbol) == []
            with pytest.raises(ccxt.OrderNotFound):
                await made.fetch_order("", symbol, named("stop"))
        await server.play(bar(2, 98, 99, 94, 96))
        order = await made.fetch_order("", symbol, {**named("stop"), **asked})
        assert order["status"] == "closed"
        trades = await made.fetch_my_trades(symbol)
        assert trades[-1]["price"] == 95
        if kind == "futures":
            assert trades[-1]["order"] == order["info"]["actualOrderId"] != placed["id"]
            real = await made.fetch_order(trades[-1]["order"], symbol)
            assert (real["filled"], real["clientOrderId"]) == (1, "stop")

    on(kind, check)


@pytest.mark.parametrize("kind", KINDS)
def test_cancelling(kind: str) -> None:
    async def check(server: Server, made: Any, symbol: str) -> None:
        for name in ("a", "b", "c"):
            await made.create_order(symbol, "limit", "buy", 1, 90, named(name))
        await made.cancel_order("", symbol, named("a"))
        assert [o.status for o in server.exchange.orders()] == ["cancelled", "working", "working"]
        with pytest.raises(ccxt.OrderNotFound):
            await made.cancel_order("", symbol, named("a"))
        await made.cancel_all_orders(symbol)
        assert server.exchange.working() == []

    on(kind, check)


def test_the_income_history_has_payments_and_what_trades_cost() -> None:
    async def check(server: Server, made: Any, symbol: str) -> None:
        await made.create_order(symbol, "market", "buy", 1, None, named("in"))
        await server.play(bar(1))
        server.exchange.pay(Decimal("-1.25"), "funding", "BTCUSDT")
        server.exchange.pay(Decimal(50), "transfer")
        rows = await made.fapiPrivateGetIncome()
        (trade,) = server.exchange.trades()
        assert [(r["incomeType"], r["income"], r["symbol"], r["tradeId"]) for r in rows] == [
            ("COMMISSION", str(-trade.fee), "BTCUSDT", "1"),
            ("FUNDING_FEE", "-1.25", "BTCUSDT", ""),
            ("TRANSFER", "50", "", ""),
        ]
        # A number is unique within a kind only.
        assert [r["tranId"] for r in rows] == [1, 1, 2]
        (paid,) = await made.fetch_funding_history(symbol)
        assert (paid["amount"], paid["code"]) == (-1.25, "USDT")
        (first,) = await made.fapiPrivateGetIncome({"startTime": 0, "limit": 1})
        (last,) = await made.fapiPrivateGetIncome({"limit": 1})
        assert (first, last) == (rows[0], rows[-1])
        with pytest.raises(ccxt.BadRequest, match="page"):
            await made.fapiPrivateGetIncome({"page": 2})
        server.exchange.advance(server.exchange.now_ns + 8 * 86_400 * 10**9)
        assert await made.fapiPrivateGetIncome() == [], "a week, unless it is asked for more"
        assert await made.fapiPrivateGetIncome({"startTime": 0}) == rows

    on("futures", check)


def test_a_cancellation_of_spot_has_a_client_id_of_its_own() -> None:
    async def check(_: Server, made: Any, symbol: str) -> None:
        await made.create_order(symbol, "limit", "buy", 1, 90, named("a"))
        info = (await made.cancel_order("", symbol, named("a")))["info"]
        assert info["origClientOrderId"] == "a" != info["clientOrderId"]

    on("spot", check)


@pytest.mark.parametrize(
    ("kind", "code", "amount", "price"),
    [
        ("spot", "insufficient", 10**6, 90),
        ("spot", "-1013", 1.0005, 90),
        ("spot", "-1013", 1, 90.001),
        ("futures", "-2019", 10**8, 90),
        ("futures", "-1111", 1.0005, 90),
        ("futures", "-4014", 1, 90.01),
    ],
)
def test_refusals_have_the_venues_codes(kind: str, code: str, amount: float, price: float) -> None:
    async def check(server: Server, made: Any, symbol: str) -> None:
        await made.load_markets()
        place = made.privatePostOrder if kind == "spot" else made.fapiPrivatePostOrder
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
        with pytest.raises(ccxt.BaseError, match=code):
            await place({**order, "quantity": f"{amount:f}", "price": price})
        assert server.exchange.orders() == []

    on(kind, check)


@pytest.mark.parametrize(("kind", "code"), [("spot", "-2010"), ("futures", "-4116")])
def test_a_working_orders_name_is_taken(kind: str, code: str) -> None:
    async def check(server: Server, made: Any, symbol: str) -> None:
        await made.create_order(symbol, "limit", "buy", 1, 90, named("a"))
        with pytest.raises(ccxt.ExchangeError, match=code):
            await made.create_order(symbol, "limit", "buy", 1, 90, named("a"))
        assert len(server.exchange.orders()) == 1

    on(kind, check)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", ["apiKey", "secret"])
def test_wrong_keys_are_refused(kind: str, wrong: str) -> None:
    async def check(_: Server, made: Any, symbol: str) -> None:
        made.has["fetchCurrencies"] = made.options["fetchMargins"] = False
        with pytest.raises(ccxt.AuthenticationError):
            await made.fetch_balance()
        with pytest.raises(ccxt.AuthenticationError):
            await made.create_order(symbol, "market", "buy", 1)

    on(kind, check, **{wrong: "stranger"})


def test_the_account_of_spot() -> None:
    async def check(server: Server, made: Any, symbol: str) -> None:
        await made.create_order(symbol, "market", "buy", 2, None, named("a"))
        await server.play(bar(1))
        await made.create_order(symbol, "limit", "sell", 0.5, 150, named("b"))
        await made.create_order(symbol, "limit", "buy", 1, 50, named("c"))
        balance = await made.fetch_balance()
        assert balance["BTC"] == {"free": 1.5, "used": 0.5, "total": 2.0}
        assert balance["USDT"]["total"] == float(server.exchange.cash())
        assert balance["USDT"]["used"] == pytest.approx(50 * 1.001)

    on("spot", check)


def test_the_account_of_futures() -> None:
    async def check(server: Server, made: Any, symbol: str) -> None:
        await made.create_order(symbol, "market", "sell", 2, None, named("a"))
        await server.play(bar(1, 100, 101, 99, 98))
        (position,) = await made.fetch_positions([symbol])
        assert (position["side"], position["contracts"]) == ("short", 2)
        assert (position["entryPrice"], position["unrealizedPnl"]) == (100, 4)
        balance = await made.fetch_balance()
        assert balance["USDT"]["total"] == float(server.exchange.equity())
        dual = await made.fapiPrivateGetPositionSideDual()
        assert dual == {"dualSidePosition": False}

    on("futures", check)


def test_the_dead_mans_switch_of_futures() -> None:
    async def check(server: Server, made: Any, symbol: str) -> None:
        await made.create_order(symbol, "limit", "buy", 1, 90, named("a"))
        await made.fapiPrivatePostCountdownCancelAll({"symbol": "BTCUSDT", "countdownTime": 200})
        assert server.exchange.working()
        await asyncio.sleep(0.4)
        assert not server.exchange.working()

    on("futures", check)


def test_reduce_only_and_gtd_of_futures() -> None:
    async def check(server: Server, made: Any, symbol: str) -> None:
        with pytest.raises(ccxt.ExchangeError, match="-2022"):
            await made.create_order(symbol, "market", "sell", 1, None, {"reduceOnly": True})
        until = server.exchange.now_ns // 10**6 + 700_000
        params = {"timeInForce": "GTD", "goodTillDate": until}
        await made.create_order(symbol, "limit", "buy", 1, 90, params)
        assert server.exchange.orders()[-1].expire_ts == until * 10**6

    on("futures", check)


def test_stops_of_futures_are_refused_where_orders_go() -> None:
    async def check(_: Server, made: Any, symbol: str) -> None:
        order = {"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET", "quantity": 1}
        with pytest.raises(ccxt.ExchangeError, match="-4120"):
            await made.fapiPrivatePostOrder({**order, "stopPrice": 95})

    on("futures", check)


@pytest.mark.parametrize("kind", KINDS)
def test_trades_are_given_page_by_page(kind: str) -> None:
    async def check(server: Server, made: Any, symbol: str) -> None:
        for n in range(1, 6):
            await made.create_order(symbol, "market", "buy", 1, None, named(f"n{n}"))
            await server.play(bar(n))
        last = [t["id"] for t in await made.fetch_my_trades(symbol, None, 2)]
        assert last == ["4", "5"]
        since = server.exchange.trades()[1].ts // 10**6
        assert [t["id"] for t in await made.fetch_my_trades(symbol, since, 2)] == ["2", "3"]
        params = {"fromId": 3}
        assert [t["id"] for t in await made.fetch_my_trades(symbol, None, 2, params)] == ["3", "4"]

    on(kind, check)


# -- candles ---------------------------------------------------------------------------------------


def test_the_last_candle_is_open() -> None:
    async def check(server: Server, made: Any, symbol: str) -> None:
        await server.play(bar(1, 101, 103, 99, 102), bar(2, 102.5))
        rows = await made.fetch_ohlcv(symbol, "1m")
        assert [row[1:] for row in rows] == [
            [100, 100, 100, 100, 1000],
            [101, 103, 99, 102, 1000],
            [102.5, 102.5, 102.5, 102.5, 0],
        ]
        assert rows[-1][0] == server.exchange.now_ns // 10**6

    on("spot", check)


def test_candles_of_longer_intervals_are_made_of_bars() -> None:
    exchange = exchange_of()
    for n in range(1, 8):
        exchange.on_bar(bar(n, 100 + n, 110 + n, 90 - n, 101 + n, volume=10.0))
    fives = candles(exchange, "BTCUSDT", 5 * MINUTE_NS)
    assert [(c.open, c.high, c.low, c.close, c.bars) for c in fives] == [
        (100, 114, 86, 105, 5),
        (105, 117, 83, 108, 3),
    ]
    assert candles(exchange, "BTCUSDT", 10**9) == [], "a minute tells nothing of its seconds"


# -- streams ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_account_streams_orders_and_trades(kind: str) -> None:
    async def check(server: Server, made: Any, symbol: str) -> None:
        orders = await listening(made.watch_orders, symbol)
        await made.create_order(symbol, "market", "buy", 1, None, named("a"))
        (order,) = await soon(orders)
        assert (order["clientOrderId"], order["status"]) == ("a", "open")
        trades = await listening(made.watch_my_trades, symbol)
        await server.play(bar(1, 101))
        (trade,) = await soon(trades)
        (done,) = server.exchange.trades()
        assert (trade["id"], trade["price"]) == (str(done.trade_id), 101)
        assert trade["fee"] == {"currency": "USDT", "cost": float(done.fee)}
        other = await made.create_order(symbol, "limit", "buy", 1, 90, named("b"))
        gone = await listening(made.watch_orders, symbol)
        await made.cancel_order("", symbol, named("b"))
        assert (await soon(gone))[-1]["clientOrderId"] == "b"
        assert other["id"] == "2"

    on(kind, check)


def test_a_stop_of_futures_is_streamed_through_both_services() -> None:
    async def check(server: Server, made: Any, symbol: str) -> None:
        heard: list[Any] = []
        theirs = made.handle_order_update
        made.handle_order_update = lambda c, m: (heard.append(m), theirs(c, m))
        await made.create_order(symbol, "market", "buy", 1, None, named("in"))
        await server.play(bar(1))
        watching = await listening(made.watch_orders, symbol)
        await made.create_order(symbol, "market", "sell", 1, None, named("stop", triggerPrice=95))
        await server.play(bar(2, 98, 99, 94, 96))
        await asyncio.sleep(0.1)
        said = [(m["e"], m["o"].get("X"), m["o"].get("ai", m["o"].get("i"))) for m in heard]
        assert said == [
            ("ALGO_UPDATE", "NEW", ""),
            ("ALGO_UPDATE", "TRIGGERED", "2"),
            ("ORDER_TRADE_UPDATE", "FILLED", 2),
            ("ALGO_UPDATE", "FINISHED", "2"),
        ]
        await soon(watching)

    on("futures", check)


def test_a_cancellation_is_streamed_under_a_name_of_its_own_and_a_trade_twice_if_asked() -> None:
    async def check(server: Server, made: Any, symbol: str) -> None:
        heard: list[Any] = []
        theirs = made.handle_order_update
        made.handle_order_update = lambda c, m: (heard.append(m), theirs(c, m))
        watching = await listening(made.watch_orders, symbol)
        await made.create_order(symbol, "limit", "buy", 1, 90, named("a"))
        await made.cancel_order("", symbol, named("a"))
        rule = {"on": "stream", "do": "duplicate_fill", "nth": 1}
        server.faults.add(FaultRule.model_validate(rule))
        await made.create_order(symbol, "market", "buy", 1, None, named("b"))
        await server.play(bar(1))
        await asyncio.sleep(0.1)
        assert [(m["x"], m["c"], m["C"], m["t"]) for m in heard] == [
            ("NEW", "a", "", -1),
            ("CANCELED", "cancel-1", "a", -1),
            ("NEW", "b", "", -1),
            ("TRADE", "b", "", 1),
            ("TRADE", "b", "", 1),
        ]
        await soon(watching)

    on("spot", check)


@pytest.mark.parametrize("kind", KINDS)
def test_the_market_streams_candles_and_trades(kind: str) -> None:
    async def check(server: Server, made: Any, symbol: str) -> None:
        heard: list[Any] = []
        theirs = made.handle_ohlcv
        made.handle_ohlcv = lambda c, m: (heard.append(m["k"]), theirs(c, m))
        candle = await listening(made.watch_ohlcv, symbol, "1m")
        trades = await listening(made.watch_trades, symbol)
        await server.play(bar(1, 101, 103, 99, 102), bar(2, 102.5))
        assert (await soon(candle))[-1][1:] == [101, 103, 99, 102, 1000]
        await soon(trades)
        await asyncio.sleep(0.1)
        assert [t["price"] for t in made.trades[symbol]] == [101, 99, 103, 102]
        assert [(k["x"], float(k["c"])) for k in heard] == [
            (False, 102), (True, 102), (False, 102.5),
        ]  # fmt: skip

    on(kind, check)


@pytest.mark.parametrize("kind", KINDS)
def test_an_expired_session_ends_the_stream(kind: str) -> None:
    async def check(server: Server, made: Any, symbol: str) -> None:
        watching = await listening(made.watch_orders, symbol)
        rule = {"on": "stream", "do": "expired_session", "nth": 1}
        server.faults.add(FaultRule.model_validate(rule))
        await made.create_order(symbol, "market", "buy", 1, None, named("a"))
        with pytest.raises(ccxt.BaseError):
            await soon(watching)

    on(kind, check)


# -- listings and shapes ---------------------------------------------------------------------------


def test_symbols_become_the_venues() -> None:
    plain = coin(symbol="BTCUSDT")
    swap = perpetual(symbol="ETHUSDT-PERP")
    other = coin(symbol="SPX", currency="USD")
    listed = markets([plain, swap, other])
    assert [(m.id, m.base, m.is_future) for m in listed.values()] == [
        ("BTCUSDT", "BTC", False),
        ("ETHUSDT", "ETH", True),
        ("SPXUSD", "SPX", False),
    ]
    with pytest.raises(ConfigError, match="multiplier of 50"):
        markets([perpetual(multiplier=50)])


def keys(tree: Any, prefix: str = "") -> set[str]:
    """Return the paths of all fields of a payload; those of a list's first element count."""
    if isinstance(tree, list):
        return keys(tree[0], f"{prefix}[]") if tree else set()
    if not isinstance(tree, dict):
        return {prefix}
    return {path for name, part in tree.items() for path in keys(part, f"{prefix}.{name}")}


@pytest.mark.parametrize(
    ("name", "path", "kind"),
    [
        ("spot/http_json/account_response.json", "privateGetAccount", "spot"),
        ("spot/http_json/order_response.json", "privateGetOrder", "spot"),
        ("spot/http_json/open_orders_response.json", "privateGetOpenOrders", "spot"),
        ("spot/http_json/account_trades_response.json", "privateGetMyTrades", "spot"),
        ("futures/http_json/order_response.json", "fapiPrivateGetOrder", "futures"),
        ("futures/http_json/position_risk.json", "fapiPrivateV2GetPositionRisk", "futures"),
        ("futures/http_json/balance.json", "fapiPrivateV2GetBalance", "futures"),
        ("futures/http_json/account_info_v2.json", "fapiPrivateV2GetAccount", "futures"),
    ],
)
def test_answers_have_the_fields_of_recorded_ones(name: str, path: str, kind: str) -> None:
    example = json.loads(recorded(f"nautilus/binance/{name}").read_text())

    async def check(server: Server, made: Any, symbol: str) -> None:
        await made.load_markets()
        await made.create_order(symbol, "market", "buy", 1, None, named("a"))
        await server.play(bar(1))
        await made.create_order(symbol, "limit", "buy", 1, 90, named("b"))
        answer = await getattr(made, path)({"symbol": "BTCUSDT", "origClientOrderId": "b"})
        missing = keys(example) - keys(answer)
        assert {m for m in missing if not m.startswith(NOT_OURS)} == set()

    on(kind, check)


NOT_OURS = (".commissionRates", ".preventedMatchId", ".preventedQuantity", ".tradeGroupId")


def test_the_urls_are_those_that_are_served() -> None:
    async def main() -> None:
        async with serving(exchange_of()) as server:
            urls = Binance.urls(server.url)
            assert urls["spot"] == f"{server.url}/api/v3"
            served = {
                route.resource.canonical
                for route in server._runner.app.router.routes()
                if route.resource is not None
            }
            for url in urls.values():
                path = "/" + url.split("/", 3)[3]
                assert any(one.startswith(path) for one in served), path

    asyncio.run(main())


def test_one_exchange_serves_both_venues() -> None:
    exchange = Exchange([coin(), perpetual(symbol="BTCUSDT-PERP")], exchange_of().cash(), "USDT")
    assert [m.id for m in markets(exchange.instruments.values()).values()] == ["BTCUSDT"] * 2
