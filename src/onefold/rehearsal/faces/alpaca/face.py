"""The face itself: trading, market data and streams under one pair of keys.

One port answers for what Alpaca serves from four hosts; their paths do not overlap.
"""

from __future__ import annotations

from aiohttp import web

from onefold.rehearsal.exchange import Refusal
from onefold.rehearsal.faces.alpaca.data import Data
from onefold.rehearsal.faces.alpaca.desk import Access, Desk, refused
from onefold.rehearsal.faces.alpaca.streams import Streams
from onefold.rehearsal.server import Server

KEY = "rehearsal"


class Alpaca:
    """Alpaca, for the holder of one pair of keys."""

    def __init__(self, key: str = KEY, secret: str = KEY) -> None:
        self._access = Access(key, secret)

    def routes(self, server: Server) -> list[web.RouteDef]:
        """Return all routes. Raises `ConfigError` for an instrument that cannot be listed."""
        desk = Desk(self, server, self._access)
        return [*desk.routes(), *Data(desk).routes(), *Streams(desk).routes()]

    def failed(
        self,
        refusal: Refusal,
        request: web.Request,  # noqa: ARG002 - a no is the same whatever was asked
        retry_after_s: float = 0.0,
    ) -> web.Response:
        """Return how Alpaca says no."""
        return refused(refusal, retry_after_s)

    @staticmethod
    def urls(base: str) -> dict[str, str]:
        """Return the URLs to give a client, by what they are for."""
        stream = base.replace("http", "ws", 1)
        return {
            "trading and data": base,
            "account stream": f"{stream}/stream",
            "stock stream": f"{stream}/v2/iex",
            "crypto stream": f"{stream}/v1beta3/crypto/us",
        }
