"""What is wrong with the bars of a session, by instrument: told when it begins and when it ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from onefold.domain.calendars import seconds_to_close_at
from onefold.domain.instruments import Instrument
from onefold.engine.worries import Worries

SILENT_BARS = 2
"""Bars beyond those that make one late, after which a feed that says nothing is told of."""


class FeedHealth:
    """The trouble with each instrument's feed, and which feeds are silent."""

    def __init__(self) -> None:
        self._trouble: dict[str, str] = {}
        self._silent: set[str] = set()
        self._worries = Worries("onefold.market_data.feed", "feed")

    def lost(self, symbols: Iterable[str], reason: str, error: BaseException) -> None:
        """Take note that something went wrong."""
        known = tuple(symbols)
        self._trouble.update(dict.fromkeys(known, reason))
        self._worries.about(", ".join(known), reason, error)

    def well(self, symbols: Iterable[str]) -> None:
        """Forget what was wrong with a feed that speaks again, of resting markets too."""
        if self._trouble:
            known = tuple(symbols)
            for symbol in known:
                self._trouble.pop(symbol, None)
            for what in {", ".join(known), *known}:
                self._worries.over(what)

    def silences(
        self,
        instruments: Iterable[Instrument],
        ages_bars: Mapping[str, float],
        now_ts: int,
        late_bars: float,
    ) -> list[str]:
        """Return a line for each instrument whose market is open and which has fallen silent.

        `ages_bars` says how many bar intervals ago the last bar of an instrument closed.
        """
        said = []
        for one in instruments:
            symbol, bars = one.symbol, ages_bars.get(one.symbol, 0.0)
            is_silent = bars > late_bars + SILENT_BARS
            if not is_silent or seconds_to_close_at(one.calendar, now_ts) == 0:
                self._silent.discard(symbol)
                self._worries.over(f"bars of {symbol}")
            elif symbol not in self._silent:
                self._silent.add(symbol)
                said.append(f"no bar of {symbol} for {bars:.0f} bars")
                self._worries.about(f"bars of {symbol}", said[-1], symbol=symbol, told=True)
        return said

    def as_plain(self) -> dict[str, str]:
        """Return what is wrong, by instrument."""
        return {**dict.fromkeys(sorted(self._silent), "silent"), **self._trouble}
