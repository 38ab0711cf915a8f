"""The catalogue of instruments against an independent table of contract facts (D8)."""

from __future__ import annotations

import csv

import pytest

from onefold.domain.instruments import CATALOG, Kind

from .shared import shared

EXCHANGES = ("cme", "cbot", "comex", "nymex", "eurex", "hkfe")


def test_catalogue_matches_the_published_table() -> None:
    path = shared("lean/symbol-properties-database.csv")
    with path.open(encoding="utf-8") as lines:
        rows = csv.DictReader(line for line in lines if not line.startswith("#"))
        table = {r["symbol"]: r for r in rows if r["market"] in EXCHANGES and r["type"] == "future"}
    futures = [one for one in CATALOG.values() if one.kind is Kind.FUTURE]
    known = [one for one in futures if one.symbol in table]
    assert len(known) > len(futures) * 0.9
    for one in known:
        row = table[one.symbol]
        # The table has grains and meats in dollars, the exchange and the data quote cents.
        cents = 100.0 if row.get("price_magnifier") else 1.0
        assert one.multiplier * cents == pytest.approx(float(row["contract_multiplier"])), (
            one.symbol
        )
        assert one.tick / cents == pytest.approx(float(row["minimum_price_variation"])), one.symbol
        assert one.currency == row["quote_currency"], one.symbol
