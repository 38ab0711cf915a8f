"""The catalogue's facts and how they are changed (D8)."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from onefold.domain.calendars import check_calendar
from onefold.domain.errors import ConfigError
from onefold.domain.instruments import CATALOG, Instrument, Kind, instrument


@pytest.mark.parametrize(
    "symbol", ["6A", "6C", "6M", "6E", "CL", "GC", "SI", "HG", "ES", "NQ", "ZN"]
)
def test_the_futures_that_users_name_are_there(symbol: str) -> None:
    assert instrument(symbol).kind is Kind.FUTURE
    assert instrument(symbol).margined


def test_value_of_a_tick() -> None:
    # CME contract specifications, in dollars.
    for symbol, value in {"ES": 12.5, "CL": 10.0, "ZN": 15.625, "6E": 6.25, "GC": 10.0}.items():
        one = instrument(symbol)
        assert one.tick * one.point_value == pytest.approx(value)


def test_energy_may_trade_below_zero_and_metals_not() -> None:
    assert instrument("CL").negative_prices
    assert instrument("NG").negative_prices
    assert not instrument("GC").negative_prices
    assert not instrument("ES").negative_prices


@pytest.mark.parametrize("calendar", sorted({one.calendar for one in CATALOG.values()}))
def test_every_calendar_exists(calendar: str) -> None:
    check_calendar(calendar)


def test_a_fact_can_be_changed_and_the_catalogue_stays() -> None:
    assert instrument("ES", commission=1.1).commission == 1.1
    assert instrument("ES").commission == 2.5


def test_an_unknown_symbol_needs_its_kind() -> None:
    with pytest.raises(ConfigError, match="did you mean 'EURUSD'"):
        instrument("EURSUD")
    assert instrument("SPY", kind="equity").point_value == 1.0


def test_a_wrong_fact_is_refused() -> None:
    with pytest.raises(ValidationError):
        Instrument(symbol="X", tick=-1)
    with pytest.raises(ValidationError):
        instrument("ES", multiplyer=3)
