"""`onefold fake-venue`: a venue on this machine, to rehearse a session with no money at stake.

It plays the configuration's bars and fills orders as the simulated venue does, but over the network
and in a real venue's language, so that everything between here and there is rehearsed too: the
client library, the keys, the streams, and with `--fault` what happens when they fail.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from decimal import Decimal
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from onefold.adapters.calls import library
from onefold.adapters.files import load
from onefold.app.configfile import parse_value
from onefold.app.explained import explained
from onefold.app.group import new_app
from onefold.app.output import ConfigFile, Json, emit, note, show
from onefold.app.settings import Loaded, SyntheticData, load_settings
from onefold.app.summary import facts_table
from onefold.app.wiring import file_config, made_bars
from onefold.domain.convert import to_records
from onefold.domain.errors import ConfigError
from onefold.domain.records import Bar
from onefold.rehearsal.exchange import Exchange
from onefold.rehearsal.faults import FaultRule, Faults

if TYPE_CHECKING:
    from onefold.rehearsal.player import Player
    from onefold.rehearsal.server import Server

app = new_app()

KEY = "rehearsal"
"""What every face takes for a key, a secret, a token or a password."""


class FaceName(StrEnum):
    """Whose language the venue speaks."""

    ALPACA = "alpaca"
    BINANCE = "binance"
    KITE = "kite"
    OANDA = "oanda"
    TRADERSPOST = "traderspost"


@app.command()
def fake_venue(
    config: ConfigFile = Path("onefold.yaml"),
    face: Annotated[FaceName, typer.Option(help="Whose language it speaks.")] = FaceName.BINANCE,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port on loopback; 0 takes a free one.")
    ] = 8777,
    speed: Annotated[
        float, typer.Option(min=0, help="Times real time; 0 plays as fast as it can.")
    ] = 1.0,
    past: Annotated[
        int, typer.Option(min=0, help="Bars that are over when it starts: the warm-up.")
    ] = 500,
    as_recorded: Annotated[
        bool, typer.Option("--as-recorded", help="Keep the dates; else bars are moved to now.")
    ] = False,
    fault: Annotated[
        list[str] | None,
        typer.Option(help="What goes wrong, such as '{on: submit, do: hang, nth: 3}'."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of faults that happen by chance.")] = 0,
    json_: Json = False,
) -> None:
    """Serve a rehearsal venue on this machine, playing the configured bars.

    It runs until it is interrupted; nothing of it is kept.
    """
    library("aiohttp")
    loaded = load_settings(config)
    faults = Faults(_rules(fault or []), seed)
    bars = _bars(loaded)
    past = min(past, len(bars))
    from onefold.rehearsal.player import Player, redated  # noqa: PLC0415 - needs the extra

    if not as_recorded:
        bars = redated(bars, time.time_ns(), past)
    exchange = _exchange(loaded)
    for bar in bars[:past]:
        exchange.on_bar(bar)
    clock = None if as_recorded else time.time_ns
    player = partial(Player, bars=bars[past:], speed=speed or None, now=clock)
    asyncio.run(_serve(exchange, faults, face, port, player, as_json=json_))


async def _serve(
    exchange: Exchange,
    faults: Faults,
    face: FaceName,
    port: int,
    player: Callable[[Server], Player],
    *,
    as_json: bool,
) -> None:
    """Serve and play until interrupted."""
    server = _server(exchange, faults, face, port)
    try:
        base = await server.start()
    except OSError as error:
        raise ConfigError(f"--port {port} cannot be used: {error.strerror}") from None
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):  # Windows has no such handlers: Ctrl-C interrupts there
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
    _tell(base, face, exchange, as_json=as_json)
    playing = asyncio.ensure_future(_play(player(server), stop))
    try:
        await stop.wait()
    finally:
        playing.cancel()
        await server.stop()
    with suppress(asyncio.CancelledError):
        await playing


async def _play(player: Player, stop: asyncio.Event) -> None:
    """Play to the end, after which orders rest; an error ends the venue."""
    try:
        await player.run()
    except Exception:
        stop.set()
        raise
    note("all bars are played; still serving")


def _server(exchange: Exchange, faults: Faults, face: FaceName, port: int) -> Server:
    from onefold.rehearsal.server import Server  # noqa: PLC0415 - needs the extra

    return Server(exchange, [_class_of(face)()], faults, port)


def _class_of(face: FaceName) -> Any:
    """Return the class of a face, whose module needs the extra."""
    from onefold.rehearsal.faces.alpaca import Alpaca  # noqa: PLC0415
    from onefold.rehearsal.faces.binance import Binance  # noqa: PLC0415
    from onefold.rehearsal.faces.kite import Kite  # noqa: PLC0415
    from onefold.rehearsal.faces.oanda import Oanda  # noqa: PLC0415
    from onefold.rehearsal.faces.traderspost import TradersPost  # noqa: PLC0415

    return {
        FaceName.ALPACA: Alpaca,
        FaceName.BINANCE: Binance,
        FaceName.KITE: Kite,
        FaceName.OANDA: Oanda,
        FaceName.TRADERSPOST: TradersPost,
    }[face]


def _tell(base: str, face: FaceName, exchange: Exchange, *, as_json: bool) -> None:
    """Print where it is and with which keys it is entered."""
    facts = {"face": face.value, "url": base, "key": KEY, "secret": KEY}
    urls = _class_of(face).urls(base)
    if as_json:
        emit({**facts, "urls": urls, "instruments": list(exchange.instruments)})
    else:
        rows = [*facts.items(), *urls.items(), ("instruments", ", ".join(exchange.instruments))]
        show(facts_table(rows))
        note("serving; Ctrl-C ends it")
    # Who reads this waits for it, while we go on.
    sys.stdout.flush()


def _rules(texts: Iterable[str]) -> list[FaultRule]:
    """Return the rules of `--fault`. Raises ConfigError that says what is wrong with which."""
    rules = []
    for text in texts:
        try:
            rules.append(FaultRule.model_validate(parse_value(text)))
        except ValidationError as error:
            raise ConfigError(f"--fault {text}: {'; '.join(explained(error, FaultRule))}") from None
    return rules


def _bars(loaded: Loaded) -> list[Bar]:
    """Return all bars in order of time. Raises ConfigError, DataError."""
    if not loaded.settings.data:
        raise ConfigError(f"{loaded.path}: data: there is no instrument with data; add one")
    found: list[Bar] = []
    for symbol, source in loaded.settings.data.items():
        if isinstance(source, SyntheticData):
            one = made_bars(source.synthetic)
        else:
            one = load(file_config(loaded, source), now=time.time_ns())
        found += to_records(one.bars, symbol)
    return sorted(found, key=lambda bar: bar.ts)


def _exchange(loaded: Loaded) -> Exchange:
    settings = loaded.settings
    account = settings.account
    return Exchange(
        [settings.instruments[symbol] for symbol in settings.data],
        Decimal(str(account.cash)),
        account.currency,
        account.costs,
        rates={name: Decimal(str(rate)) for name, rate in settings.rates.items()},
        # As at Binance, where the name of an order that is done may be used again.
        names_once=False,
    )
