"""Where the dashboard is put into the server: its gate, its pages, and NiceGUI behind them."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from nicegui import app as inner
from nicegui import core, ui

from onefold.api.config import ServeSettings
from onefold.api.dashboard.books import positions_page, trades_page
from onefold.api.dashboard.decisions import decisions_page, explain_page
from onefold.api.dashboard.desk import Shared
from onefold.api.dashboard.frame import add_pages
from onefold.api.dashboard.gate import Gate
from onefold.api.dashboard.governing import governance_page, transitions_page
from onefold.api.dashboard.library import strategies_page
from onefold.api.dashboard.overview import overview
from onefold.api.dashboard.records import backtests_page, health_page, journal_page
from onefold.api.dashboard.resources import PREFIX, nonce_scripts
from onefold.api.dashboard.sessions import IDLE_S, Sessions
from onefold.api.office import Office
from onefold.api.routes.guard import Services, open_to_all
from onefold.api.security import Keys

KEPT_IN = "dashboard.json"
RECONNECT_S = 5.0
KEPT_MESSAGES = 200

BUILDS = {
    "/": overview,
    "/positions": positions_page,
    "/trades": trades_page,
    "/decisions": decisions_page,
    "/explain": explain_page,
    "/strategies": strategies_page,
    "/governance": governance_page,
    "/transitions": transitions_page,
    "/journal": journal_page,
    "/health": health_page,
    "/backtests": backtests_page,
}


def mount(
    app: FastAPI, office: Office, config: ServeSettings, keys: Keys, *, idle_s: float = IDLE_S
) -> None:
    """Serve the dashboard under `/dashboard`, once in a process: NiceGUI has one application.

    `app` is what `create_app` made; the file with the secret of sessions lies beside that of the
    keys. Raises `ConfigError` when others can read it.
    """
    services: Services = app.state.services
    sessions = Sessions(
        keys.path.with_name(KEPT_IN), keys, idle_s=idle_s, confirm_s=config.confirm_s
    )
    nonce_scripts()
    add_pages(Shared(office, services, sessions), BUILDS)
    core.app.config.socket_io_js_transports = ["websocket"]  # the gate knows no other

    async def to_dashboard(request: Request) -> Response:
        """Lead to the dashboard."""
        del request
        return RedirectResponse(f"{PREFIX}/", 307)

    app.add_api_route("/", to_dashboard, include_in_schema=False, **open_to_all())
    ui.run_with(
        app,
        mount_path=PREFIX,
        title="Onefold",
        favicon="data:,",
        dark=None,
        language="en-US",
        tailwind=False,
        storage_secret=None,
        show_welcome_message=False,
        reconnect_timeout=RECONNECT_S,
        message_history_length=KEPT_MESSAGES,
        binding_refresh_interval=None,
    )
    inner.add_middleware(Gate, services=services, sessions=sessions)
