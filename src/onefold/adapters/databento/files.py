"""Files of Databento (DBN): bars as they are, or made of the trades in them.

A file says itself what it holds, in which dataset, and of which symbols, so all that is left to say
is which instrument of ours it is. It is read piece by piece: a day of trades may not fit in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from onefold.adapters.calls import library
from onefold.adapters.databento.parse import (
    SCHEMAS,
    TRADE_SCHEMAS,
    OneVenue,
    bar,
    ids_of,
    ticks,
)
from onefold.adapters.recorded import bars_of_ticks
from onefold.adapters.ticks import TickBars
from onefold.domain.calendars import SECOND_NS
from onefold.domain.errors import DataError, did_you_mean
from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar, Quarantined
from onefold.domain.sanitise import Sanitiser, detail

PIECE_BYTES = 2**16
ZSTD = bytes.fromhex("28b52ffd")
"""How a compressed file begins."""


def read_dbn(
    path: Path, instrument: Instrument, interval_ns: int, *, symbol: str | None = None
) -> Iterator[Bar | Quarantined]:
    """Yield the bars of a file (.dbn, .dbn.zst), and what was refused with the reason.

    `symbol` is Databento's name, needed where the file has several. Bars are taken as they are and
    must be of the interval; trades are built into bars of it. Raises `DataError` for a file that
    cannot be read or holds something else.
    """
    records = _decoded(path)
    head = next(records)
    schema = str(head.schema)
    wanted = _ids(head, path, symbol)
    records = (one for one in records if one.instrument_id in wanted)
    if schema in TRADE_SCHEMAS:
        builder = TickBars(instrument, "time", f"{interval_ns // SECOND_NS}s")
        return bars_of_ticks(chain.from_iterable(map(ticks, records)), builder)
    if schema not in SCHEMAS.values():
        known = ", ".join((*TRADE_SCHEMAS, *SCHEMAS.values()))
        raise DataError(f"{path} holds {schema}, of which no bars can be made; known: {known}")
    if SCHEMAS.get(interval_ns) != schema:
        raise DataError(f"{path} holds {schema}, not bars of {interval_ns / SECOND_NS:g} seconds")
    return _bars(records, instrument, interval_ns)


def _bars(
    records: Iterable[Any], instrument: Instrument, interval_ns: int
) -> Iterator[Bar | Quarantined]:
    sanitiser, venue = Sanitiser(instrument), OneVenue()
    for record in records:
        venue.check(instrument.symbol, record)
        made = bar(record, instrument, interval_ns)
        reason = sanitiser.check(made)
        yield (
            made
            if reason is None
            else Quarantined(made.instrument, made.ts, reason, detail(reason, made))
        )


def _decoded(path: Path) -> Iterator[Any]:
    """Yield what a file holds and then its records, all in the newest version of the format."""
    dbn = library("databento_dbn")
    if not path.is_file():
        raise DataError(f"{path} does not exist, or is a folder")
    with path.open("rb") as file:
        packed = file.peek(len(ZSTD)).startswith(ZSTD)
        decoder = dbn.DBNDecoder(
            upgrade_policy=dbn.VersionUpgradePolicy.UPGRADE_TO_V3,
            compression=dbn.Compression.ZSTD if packed else dbn.Compression.NONE,
        )
        try:
            while piece := file.read(PIECE_BYTES):
                yield from decoder.write_and_decode(piece)
        except (ValueError, dbn.DBNError) as error:
            raise DataError(f"{path} is not a DBN file, or damaged: {error}") from error
    if decoder.buffer():
        raise DataError(f"{path} is damaged: it ends within a record")


def _ids(head: Any, path: Path, symbol: str | None) -> set[int]:
    symbols = ids_of(head)
    names = sorted(set(symbols.values()))
    if symbol is None and len(names) == 1:
        symbol = names[0]
    if symbol not in names:
        hint = did_you_mean(symbol, names) if symbol else f"; name one: {', '.join(names[:10])}"
        raise DataError(f"{path} has {len(names)} symbols, not {symbol!r}{hint}")
    return {number for number, name in symbols.items() if name == symbol}
