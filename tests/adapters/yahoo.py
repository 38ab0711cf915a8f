"""A small server that answers as Yahoo's chart endpoint does, and can fail as it can."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from onefold.domain.records import Bar

SECOND_NS = 10**9
DAY_S = 86_400


class Yahoo:
    """Bars by symbol; what has not closed by `now_ns` is in the answer too, as in the real one."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Bar]] = {}
        self.zone = "UTC"
        self.status = 200
        self.lost = False
        self.hangs = False
        self.asked: list[str] = []
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        app = web.Application()
        app.router.add_get("/v8/finance/chart/{symbol}", self._chart)
        app.router.add_get("/{rest:.*}", self._other)
        # What hangs must not keep the server from stopping.
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def stop(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _chart(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        await self._trouble(request)
        symbol = request.match_info["symbol"]
        if self.status != 200:
            return web.Response(status=self.status, text="busy")
        if symbol not in self.rows:
            reason = "No data found, symbol may be delisted"
            error = {"code": "Not Found", "description": reason}
            return web.json_response({"chart": {"result": None, "error": error}}, status=404)
        start_s = int(request.query.get("period1", 0))
        end_s = int(request.query.get("period2", 2**40))
        rows = [b for b in self.rows[symbol] if start_s <= b.ts_open // SECOND_NS < end_s]
        answer = {"chart": {"result": [self._result(symbol, rows)], "error": None}}
        return web.json_response(answer)

    async def _other(self, request: web.Request) -> web.Response:
        await self._trouble(request)
        return web.Response(text="crumb") if "crumb" in request.path else web.Response(status=404)

    async def _trouble(self, request: web.Request) -> None:
        if self.hangs:
            await asyncio.sleep(3_600)
        if self.lost:
            assert request.transport is not None
            request.transport.abort()
            await asyncio.sleep(3_600)

    def _result(self, symbol: str, rows: list[Bar]) -> dict[str, Any]:
        opens = [one.ts_open // SECOND_NS for one in rows]
        first, last = (opens[0] - DAY_S, opens[-1] + DAY_S) if rows else (0, DAY_S)
        period = {"timezone": self.zone, "start": first, "end": last, "gmtoffset": 0}
        meta = {
            "currency": "USD",
            "symbol": symbol,
            "exchangeName": "X",
            "instrumentType": "EQUITY",
            "exchangeTimezoneName": self.zone,
            "timezone": self.zone,
            "gmtoffset": 0,
            "regularMarketPrice": 1.0,
            "regularMarketTime": last,
            "priceHint": 2,
            "validRanges": ["1d", "5d", "max"],
            "currentTradingPeriod": {"pre": period, "regular": period, "post": period},
            "tradingPeriods": [[period]],
        }
        sides = {name: [getattr(one, name) for one in rows] for name in ("open", "high", "low")}
        quote = {**sides, "close": [x.close for x in rows], "volume": [x.volume for x in rows]}
        if not rows:
            return {"meta": meta, "indicators": {"quote": [{}]}}
        return {"meta": meta, "timestamp": opens, "indicators": {"quote": [quote]}}
