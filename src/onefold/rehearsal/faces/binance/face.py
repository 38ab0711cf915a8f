"""The face itself: both venues and their streams under one key.

`urls` are those that a client library has to be given in place of Binance's own: hosts differ, the
paths below them are the venue's, except that `/stream` and `/fstream` tell spot and futures apart.
"""

from __future__ import annotations

from aiohttp import web

from onefold.rehearsal.exchange import Refusal
from onefold.rehearsal.faces.binance.access import Access, refused
from onefold.rehearsal.faces.binance.futures import Futures
from onefold.rehearsal.faces.binance.markets import markets
from onefold.rehearsal.faces.binance.spot import Spot
from onefold.rehearsal.faces.binance.streams import Streams
from onefold.rehearsal.server import Server

KEY = "rehearsal"


class Binance:
    """Binance, for the holder of one key."""

    def __init__(self, key: str = KEY, secret: str = KEY) -> None:
        self._access = Access(key, secret)

    def routes(self, server: Server) -> list[web.RouteDef]:
        """Return all routes. Raises `ConfigError` for an instrument that cannot be listed."""
        listed = markets(server.exchange.instruments.values()).values()
        spot = Spot(self, server, self._access, listed)
        futures = Futures(self, server, self._access, listed)
        return [*spot.routes(), *futures.routes(), *Streams(spot, futures).routes()]

    def failed(
        self, refusal: Refusal, request: web.Request, retry_after_s: float = 0.0
    ) -> web.Response:
        """Return how Binance says no."""
        return refused(refusal, request, retry_after_s)

    @staticmethod
    def urls(base: str) -> dict[str, str]:
        """Return the URLs to give a client, by what they are for."""
        stream = base.replace("http", "ws", 1)
        return {
            "spot": f"{base}/api/v3",
            "futures": f"{base}/fapi/v1",
            "spot stream": f"{stream}/stream/ws",
            "spot account stream": f"{stream}/ws-api/v3",
            "futures stream": f"{stream}/fstream/ws",
        }
