"""Give every closed bar of a live source once, whatever the source repeats.

History is asked for while bars go on closing, a poll returns what the last one returned, and a
connection that was lost comes back with what was missed and more. The engine must see none of it:
history and stream have no bar in common and none between them is missing, and every bar has closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from onefold.domain.errors import ConfigError, did_you_mean
from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar, Quarantined
from onefold.domain.sanitise import Sanitiser, detail


class Closed:
    """What has been given out of each instrument so far."""

    def __init__(self, instruments: Mapping[str, Instrument], start_ts: int) -> None:
        """Begin with the bars that close after `start_ts` (nanoseconds UTC)."""
        self._instruments = instruments
        self._sanitisers = {s: Sanitiser(i, start_ts) for s, i in instruments.items()}
        self._refused: dict[str, set[tuple[int, str]]] = {symbol: set() for symbol in instruments}
        self._streaming = False

    def after(self, symbol: str) -> int:
        """Return when the last bar given out closed, in nanoseconds UTC."""
        return self._sanitisers[symbol].last_ts

    def start(self, symbol: str, ts: int) -> None:
        """Let the stream of an instrument begin with the bars that close after `ts`."""
        if not self._streaming:
            self._sanitisers[symbol] = Sanitiser(self._instruments[symbol], ts)

    def history(self, symbol: str, bars: Iterable[Bar], count: int, now_ns: int) -> list[Bar]:
        """Return the last plausible bars, at most `count`, oldest first.

        The stream goes on behind the last of them. Once it has begun, history ends where it is.
        """
        end_ts = self.after(symbol) if self._streaming else now_ns
        judge = Sanitiser(self._instruments[symbol])
        known = [bar for bar in bars if bar.ts <= end_ts and judge.check(bar, now_ns) is None]
        if known:
            self.start(symbol, known[-1].ts)
        return known[-count:] if count > 0 else []

    def stream(self, symbol: str, bars: Iterable[Bar], now_ns: int) -> list[Bar | Quarantined]:
        """Return what of the bars is new and has closed by `now_ns`, or why it was refused."""
        self._streaming = True
        after = self.after(symbol)
        events: list[Bar | Quarantined] = []
        for bar in bars:
            if after < bar.ts <= now_ns:
                events += self._judged(symbol, bar)
        # What is behind is not asked for again.
        behind = self.after(symbol)
        self._refused[symbol] = {x for x in self._refused[symbol] if x[0] > behind}
        return events

    def _judged(self, symbol: str, bar: Bar) -> list[Bar | Quarantined]:
        reason = self._sanitisers[symbol].check(bar)
        if reason is None:
            return [bar]
        # A source that is asked again repeats its faults too: each is reported once.
        if (bar.ts, reason) in self._refused[symbol]:
            return []
        self._refused[symbol].add((bar.ts, reason))
        return [Quarantined(symbol, bar.ts, reason, detail(reason, bar))]


def source_symbols(
    instruments: Mapping[str, Instrument], named: Mapping[str, str]
) -> dict[str, str]:
    """Return the source's name of each instrument: as configured, or our own.

    Raises `ConfigError` when one is named that is not traded, and when two have the same name.
    """
    for symbol in named:
        check_symbol(symbol, instruments)
    names = {symbol: named.get(symbol, symbol) for symbol in instruments}
    for symbol, name in names.items():
        others = [other for other in names if other != symbol and names[other] == name]
        if others:
            raise ConfigError(f"symbols: {symbol} and {others[0]} are both {name!r}")
    return names


def check_symbol(symbol: str, instruments: Mapping[str, Instrument]) -> None:
    """Raise `ConfigError` for a symbol that a feed was not opened for."""
    if symbol not in instruments:
        raise ConfigError(
            f"the feed has no instrument {symbol!r}{did_you_mean(symbol, instruments)}"
        )
