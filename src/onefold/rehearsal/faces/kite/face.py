"""The face itself: Kite Connect for the holder of one access token."""

from __future__ import annotations

from aiohttp import web

from onefold.rehearsal.exchange import Refusal
from onefold.rehearsal.faces.kite.access import KEY, Access, refused
from onefold.rehearsal.faces.kite.desk import Desk
from onefold.rehearsal.faces.kite.ticker import Ticker
from onefold.rehearsal.server import Server


class Kite:
    """Kite Connect; `product` is how everything is held: CNC, NRML or MIS."""

    def __init__(self, key: str = KEY, token: str = KEY, product: str = "CNC") -> None:
        self._access = Access(key, token)
        self._product = product
        self._server: Server | None = None

    def routes(self, server: Server) -> list[web.RouteDef]:
        """Return all routes. Raises `ConfigError` for an instrument that cannot be listed."""
        self._server = server
        desk = Desk(self, server, self._access, self._product)
        return [*desk.routes(), *Ticker(desk, self._access).routes()]

    def failed(
        self, refusal: Refusal, request: web.Request, retry_after_s: float = 0.0
    ) -> web.Response:
        """Return how Kite says no."""
        now_ns = 0 if self._server is None else self._server.now_ns()
        return refused(refusal, request, retry_after_s, now_ns)

    def name_of(self, tag: str) -> str:
        """Return the name under which the exchange keeps an order with a tag."""
        return tag

    @staticmethod
    def urls(base: str) -> dict[str, str]:
        """Return the URLs to give a client, by what they are for."""
        return {"root": base, "ticker": base.replace("http", "ws", 1)}
