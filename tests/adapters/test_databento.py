"""Databento: the real client against local servers, its recorded files, and its records as bars."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import databento_dbn as dbn
import pytest
import zstandard
from pydantic import ValidationError

from onefold.adapters.databento import DatabentoConfig, DatabentoFeed, read_dbn
from onefold.adapters.databento.parse import price, ticks
from onefold.adapters.recorded import RecordedFeed
from onefold.adapters.ticks import Quote, Trade
from onefold.domain.errors import ConfigError, DataError, VenueUncertain
from onefold.domain.instruments import Instrument, instrument
from onefold.domain.records import Bar, Quarantined

from . import feed_conformance as conformance
from .databento_servers import DATASET, KEY, NUMBER, Databento, heartbeat
from .feed_conformance import DEADLINE_S, MINUTE_NS, SYMBOL, bar, bars, opened, take
from .made import ns
from .shared import recorded

SECOND_NS = 10**9
GRACE_NS = 0
TRANSIT_NS = 2_000_000


def fixed(number: float) -> int:
    return round(number * 10**9)


def ohlcv(bar: Bar, rtype: int = 33) -> dbn.OHLCVMsg:
    sides = [fixed(x) for x in (bar.open, bar.high, bar.low, bar.close)]
    return dbn.OHLCVMsg(rtype, 1, NUMBER, bar.ts_open, *sides, int(bar.volume or 0))


def trade(ts: int, number: float, size: int) -> dbn.TradeMsg:
    action, side = dbn.Action.TRADE, dbn.Side.BID
    sent = ts - TRANSIT_NS
    return dbn.TradeMsg(1, NUMBER, sent, fixed(number), size, action, side, 0, ts)


def trades_of(bar: Bar) -> list[dbn.TradeMsg]:
    """Return four trades that make a bar; the first was sent before the bar began."""
    size = int(bar.volume or 0) // 4
    sides = enumerate((bar.open, bar.high, bar.low, bar.close))
    return [trade(bar.ts_open + i * SECOND_NS, side, size) for i, side in sides]


class DatabentoRig:
    """The feed at servers of ours, with bars as they come or made of trades."""

    def __init__(self, bars_from: str, folder: Path) -> None:
        self.start_ns = time.time_ns() // MINUTE_NS * MINUTE_NS - 120 * MINUTE_NS
        self.bars_from = bars_from
        self.source = Databento("AAA", folder)
        self._begun: Bar | None = None
        self._urls = ("", "")

    async def start(self) -> None:
        self._urls = await self.source.start()

    async def stop(self) -> None:
        await self.source.stop()

    def feed(self, symbol: str = SYMBOL, **changes: Any) -> DatabentoFeed:
        options = {
            "key": KEY,
            "dataset": DATASET,
            "symbols": {SYMBOL: "AAA"} if symbol == SYMBOL else {},
            "bars_from": self.bars_from,
            "url": self._urls[0],
            "live_url": self._urls[1],
            "grace_s": GRACE_NS / SECOND_NS,
            "deadline_s": DEADLINE_S,
            "retries": 1,
        }
        config = DatabentoConfig(**{**options, **changes})
        instruments = {symbol: Instrument(symbol=symbol)}
        clock = lambda: self.source.now_ns  # noqa: E731
        return DatabentoFeed(config, instruments, {symbol: MINUTE_NS}, clock)

    def play(self, *bars: Bar) -> None:
        for one in bars:
            self._at(one.ts)
            if self.bars_from == "ohlcv":
                self.source.send(ohlcv(one))
            else:
                self.source.send(*trades_of(one)[2 if one == self._begun else 0 :])
        self.source.tell(heartbeat(bars[-1].ts + GRACE_NS))

    def begin(self, bar: Bar) -> None:
        self._at(bar.ts - 1)
        if self.bars_from == "trades":
            self._begun = bar
            self.source.send(*trades_of(bar)[:2])

    def spoil(self, bar: Bar) -> None:
        self._at(bar.ts)
        if self.bars_from == "ohlcv":
            self.source.send(ohlcv(Bar(SYMBOL, bar.ts, bar.ts_open, 5.0, 5.0, 0.0, 5.0)))
        else:
            self.source.send(trade(bar.ts_open, 0.0, 1))

    def lose(self) -> None:
        self.source.lose()

    def restore(self) -> None:
        self.source.lost = False

    def hang(self) -> None:
        self.source.hangs = True

    def _at(self, ts: int) -> None:
        self.source.now_ns = self.source.end_ns = ts


@pytest.fixture(params=["ohlcv", "trades"])
def rig(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatabentoRig:
    made = DatabentoRig(request.param, tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(made.source.certificate))
    return made


@conformance.conforms("Databento")
def test_conformance(case: Callable[[Any], Awaitable[None]], rig: DatabentoRig) -> None:
    conformance.run(case, rig)


def test_a_wrong_key_is_told_at_once(rig: DatabentoRig) -> None:
    async def case(rig: DatabentoRig) -> None:
        rig.play(*bars(rig, 0, 3))
        with pytest.raises(ConfigError, match="key refused"):
            await rig.feed(key="db-wrong").open()
        feed = rig.feed()
        await feed.open()
        feed._config = rig.feed(key="db-wrong")._config
        with pytest.raises(ConfigError, match="Databento refused the key: Authentication failed"):
            await take(feed.stream(), 1)

    conformance.run(case, rig)


def test_a_gateway_that_goes_silent_is_lost(rig: DatabentoRig) -> None:
    async def case(rig: DatabentoRig) -> None:
        feed = await opened(rig)
        impatient = rig.feed(silence_s=0.3)
        await impatient.open()
        began = time.monotonic()
        with pytest.raises(VenueUncertain, match=r"silent for 0\.3 s"):
            await take(impatient.stream(), 1)
        assert time.monotonic() - began < 3.0
        await feed.close()

    conformance.run(case, rig)


def test_heartbeats_keep_a_quiet_stream_alive(rig: DatabentoRig) -> None:
    async def case(rig: DatabentoRig) -> None:
        await opened(rig)
        feed = rig.feed(silence_s=0.3)
        await feed.open()
        async with aclosing(feed.stream()) as stream:
            waiting = asyncio.ensure_future(take(stream, 1))
            for _ in range(8):
                await asyncio.sleep(0.1)
                rig.source.tell(heartbeat(rig.source.now_ns))
            rig.play(bar(rig, 3))
            assert await waiting == [bar(rig, 3)]

    conformance.run(case, rig)


def test_a_gap_of_days_is_filled_from_history(rig: DatabentoRig) -> None:
    async def case(rig: DatabentoRig) -> None:
        rig.start_ns -= 3 * 24 * 60 * MINUTE_NS
        feed = await opened(rig)
        assert await feed.history(SYMBOL, 3) == bars(rig, 0, 3)
        rig.play(*bars(rig, 3, 2))
        two_days = 2 * 24 * 60
        rig.play(*bars(rig, two_days, 2))
        async with aclosing(feed.stream()) as stream:
            assert await take(stream, 4) == [*bars(rig, 3, 2), *bars(rig, two_days, 2)]
            rig.play(bar(rig, two_days + 2))
            assert await take(stream, 1) == [bar(rig, two_days + 2)]
        # The gateway was asked for no more than it has.
        (asked,) = rig.source.subscribed
        assert int(asked["start"]) > rig.source.now_ns - 24 * 60 * MINUTE_NS

    conformance.run(case, rig)


def test_a_gap_that_nobody_can_fill_is_not_passed_over(rig: DatabentoRig) -> None:
    async def case(rig: DatabentoRig) -> None:
        feed = await opened(rig)
        async with aclosing(feed.stream()) as stream:
            rig.play(bar(rig, 3))
            assert await take(stream, 1) == [bar(rig, 3)]
        rig.source.now_ns += 2 * 24 * 60 * MINUTE_NS
        with pytest.raises(VenueUncertain, match=r"A: history of GLBX\.MDP3 ends before what the"):
            await take(feed.stream(), 1)

    conformance.run(case, rig)


def test_an_error_of_the_gateway_ends_the_stream(rig: DatabentoRig) -> None:
    async def case(rig: DatabentoRig) -> None:
        feed = await opened(rig)
        async with aclosing(feed.stream()) as stream:
            rig.play(bar(rig, 3))
            await take(stream, 1)
            rig.source.tell(dbn.ErrorMsg(rig.source.now_ns, "slow client"))
            with pytest.raises(VenueUncertain, match="slow client"):
                await take(stream, 1)

    conformance.run(case, rig)


@pytest.mark.parametrize("status", [429, 503])
def test_trouble_with_history_is_uncertain(status: int, rig: DatabentoRig) -> None:
    async def case(rig: DatabentoRig) -> None:
        feed = await opened(rig)
        rig.source.status = status
        with pytest.raises(VenueUncertain):
            await feed.history(SYMBOL, 3)
        asked = len(rig.source.asked)
        if status == 429:
            with pytest.raises(VenueUncertain, match="left alone"):
                await feed.history(SYMBOL, 3)
            assert len(rig.source.asked) == asked, "it was asked to wait a minute"

    conformance.run(case, rig)


def test_history_reaches_over_a_weekend(rig: DatabentoRig) -> None:
    async def case(rig: DatabentoRig) -> None:
        rig.start_ns -= 3 * 24 * 60 * MINUTE_NS
        feed = await opened(rig)
        rig._at(rig.start_ns + 2 * 24 * 60 * MINUTE_NS)
        assert await feed.history(SYMBOL, 3) == bars(rig, 0, 3)

    conformance.run(case, rig)


def test_mistakes_in_the_settings() -> None:
    one = {"A": Instrument(symbol="A")}
    config = DatabentoConfig(key=KEY, dataset=DATASET)
    assert KEY not in repr(config)
    with pytest.raises(ConfigError, match=r"A: Databento has bars of 1s, 1m, 1h and 1d, none of"):
        DatabentoFeed(config, one, {"A": 5 * MINUTE_NS})
    with pytest.raises(ValidationError, match="must begin with https"):
        DatabentoConfig(key=KEY, dataset=DATASET, url="http://127.0.0.1:1")
    with pytest.raises(ValidationError, match="not a host and a port"):
        DatabentoConfig(key=KEY, dataset=DATASET, live_url="127.0.0.1")


# --- records and files ---------------------------------------------------------------------------


def test_prices_are_the_nearest_floats() -> None:
    assert price(3_702_750_000_000) == 3702.75
    assert price(100_000_001) == 0.100000001
    assert price(-37_630_000_000) == -37.63
    assert price(2**63 - 1) != price(2**63 - 1), "NaN: there is none"


def test_what_is_no_trade_makes_no_tick() -> None:
    cancel = dbn.TradeMsg(1, NUMBER, 5, 5, 5, dbn.Action.CANCEL, dbn.Side.BID, 0, 6)
    assert ticks(cancel) == []
    assert ticks(trade(10**9, 1.5, 5)) == [Trade(10**9, 1.5, 5.0)]


def test_recorded_bars() -> None:
    path = recorded("databento/GLBX.MDP3/test_data.ohlcv-1m.dbn.zst")
    found = list(read_dbn(path, instrument("ES"), MINUTE_NS))
    start = ns("2020-12-28T00:00:00")
    assert [(b.ts - start) // MINUTE_NS for b in found] == [1, 2, 3, 4]
    first = found[0]
    assert isinstance(first, Bar)
    assert (first.open, first.high, first.low, first.close) == (3702.75, 3704.75, 3702.5, 3704.75)
    assert (first.instrument, first.volume, first.ts_open) == ("ES", 306.0, start)


def test_bars_of_recorded_trades_are_those_that_databento_made() -> None:
    nvda = Instrument(symbol="NVDA")
    trades = recorded("databento/XNAS.ITCH/test_data.trades.dbn.zst")
    theirs = list(
        read_dbn(recorded("databento/XNAS.ITCH/test_data.ohlcv-1s.dbn.zst"), nvda, SECOND_NS)
    )
    mine = list(read_dbn(trades, nvda, SECOND_NS))
    assert len(mine) == 3
    assert mine == theirs[:3]


@pytest.mark.parametrize(
    "folder", ["EQUS.MINI", "GLBX.MDP3", "IFEU.IMPACT", "NDEX.IMPACT", "XNAS.ITCH"]
)
def test_every_recorded_dataset_can_be_read(folder: str) -> None:
    one = Instrument(symbol="X")
    for schema, interval_ns in (("1s", SECOND_NS), ("1m", MINUTE_NS), ("1h", 60 * MINUTE_NS)):
        path = recorded(f"databento/{folder}/test_data.ohlcv-{schema}.dbn.zst")
        found = list(read_dbn(path, one, interval_ns))
        assert len(found) == 4
        assert all(isinstance(event, Bar) for event in found)
    for schema in ("trades", "tbbo"):
        path = recorded(f"databento/{folder}/test_data.{schema}.dbn.zst")
        assert not [e for e in read_dbn(path, one, SECOND_NS) if isinstance(e, Quarantined)]


def test_bars_of_several_venues_are_not_mixed() -> None:
    one = Instrument(symbol="X")
    with pytest.raises(DataError, match=r"X: .* for each of several venues; make bars of its trad"):
        list(read_dbn(recorded("databento/OPRA.PILLAR/test_data.ohlcv-1m.dbn.zst"), one, MINUTE_NS))
    trades = recorded("databento/OPRA.PILLAR/test_data.trades.dbn.zst")
    assert len(list(read_dbn(trades, one, SECOND_NS))) == 1


def test_recorded_quotes_are_the_touch() -> None:
    path = recorded("databento/GLBX.MDP3/test_data.tbbo.dbn.zst")
    decoder = dbn.DBNDecoder(compression=dbn.Compression.ZSTD)
    _, first, *_ = decoder.write_and_decode(path.read_bytes())
    quote, traded = ticks(first)
    assert isinstance(quote, Quote)
    assert (quote.bid, quote.ask) == (3702.5, 3702.75)
    assert isinstance(traded, Trade)
    assert quote.ts == traded.ts


def dbn_file(path: Path, schema: str, symbols: dict[str, int], records: list[Any]) -> Path:
    """Write a file as Databento does."""
    days = {"start_date": dt.date(2020, 1, 1), "end_date": dt.date(2030, 1, 1)}
    mappings: list[Any] = [
        SimpleNamespace(raw_symbol=name, intervals=[SimpleNamespace(**days, symbol=str(number))])
        for name, number in symbols.items()
    ]
    head = dbn.Metadata(
        dataset=DATASET,
        start=0,
        end=2**62,
        stype_in=dbn.SType.RAW_SYMBOL,
        stype_out=dbn.SType.INSTRUMENT_ID,
        schema=dbn.Schema.from_str(schema),
        symbols=list(symbols),
        mappings=mappings,
    ).encode()
    path.write_bytes(zstandard.compress(head + b"".join(map(bytes, records))))
    return path


def test_a_file_of_trades_becomes_a_live_feed(tmp_path: Path) -> None:
    start = ns("2024-01-08T12:00:00")
    made = [
        Bar(
            "A", start + (i + 1) * MINUTE_NS, start + i * MINUTE_NS, 5.0 + i, 7.0 + i, 4.0, 6.0, 8.0
        )
        for i in range(4)
    ]
    records = [record for one in made for record in trades_of(one)]
    path = dbn_file(tmp_path / "a.dbn.zst", "trades", {"AAA": NUMBER}, records)
    one = {"A": Instrument(symbol="A")}

    async def played() -> list[Bar | Quarantined]:
        feed = RecordedFeed(read_dbn(path, one["A"], MINUTE_NS), one)
        await feed.open()
        return [event async for event in feed.stream()]

    assert asyncio.run(played()) == made[:3], "the last has not closed"


def test_what_a_file_may_be_wrong_in(tmp_path: Path) -> None:
    one = Instrument(symbol="A")
    both = {"AAA": NUMBER, "AAB": 12}
    start = ns("2024-01-08T12:00:00")
    minute = ohlcv(Bar("A", start + MINUTE_NS, start, 5.0, 7.0, 4.0, 6.0, 8.0))
    path = dbn_file(tmp_path / "two.dbn.zst", "ohlcv-1m", both, [minute])
    assert len(list(read_dbn(path, one, MINUTE_NS, symbol="AAA"))) == 1
    assert list(read_dbn(path, one, MINUTE_NS, symbol="AAB")) == []
    with pytest.raises(DataError, match=r"2 symbols, not None; name one: AAA, AAB"):
        read_dbn(path, one, MINUTE_NS)
    with pytest.raises(DataError, match="did you mean"):
        read_dbn(path, one, MINUTE_NS, symbol="AAC")
    with pytest.raises(DataError, match="holds ohlcv-1m, not bars of 300 seconds"):
        read_dbn(path, one, 5 * MINUTE_NS, symbol="AAA")
    book = dbn_file(tmp_path / "mbo.dbn.zst", "mbo", both, [])
    with pytest.raises(DataError, match="holds mbo, of which no bars can be made"):
        read_dbn(book, one, MINUTE_NS, symbol="AAA")
    with pytest.raises(DataError, match="does not exist"):
        read_dbn(tmp_path / "none.dbn", one, MINUTE_NS)
    (tmp_path / "text.dbn").write_text("price,size\n")
    with pytest.raises(DataError, match="not a DBN file"):
        read_dbn(tmp_path / "text.dbn", one, MINUTE_NS)
    torn = tmp_path / "torn.dbn"
    torn.write_bytes(zstandard.decompress(path.read_bytes(), 10**6)[:-8])
    with pytest.raises(DataError, match="damaged"):
        list(read_dbn(torn, one, MINUTE_NS, symbol="AAA"))
