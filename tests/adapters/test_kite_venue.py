"""The venue suite on Kite's real client, against the rehearsal exchange's Kite."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from onefold.adapters.kite import KiteConfig, KiteVenue
from onefold.adapters.kite.parse import ABILITIES, name_of
from onefold.domain.instruments import Instrument
from onefold.rehearsal.faces.kite import Kite
from onefold.rehearsal.faces.kite.access import KEY
from venues.conformance import Case, conforms, run
from venues.rig import Rig
from venues.served import served

DEADLINE_S = 0.5
SHARE = Instrument(symbol="INFY", currency="INR", tick=0.05, commission_bps=10, calendar="24/7")
LISTED = {SHARE.symbol: SHARE}


class NamedKite(Kite):
    """Kite, with the exchange's books under the names that the suite knows orders by."""

    def name_of(self, tag: str) -> str:
        return name_of(tag) or tag


def config(url: str, **changes: Any) -> KiteConfig:
    """Return the settings of an account whose calls end soon."""
    options = {
        "url": url,
        "api_key": KEY,
        "access_token": KEY,
        "deadline_s": DEADLINE_S,
        "retries": 2,
        "calls_per_second": 200,
    }
    return KiteConfig.model_validate({**options, **changes})


def rig_of(**changes: Any) -> AbstractAsyncContextManager[Rig]:
    """Return a rig around the adapter."""
    return served(
        NamedKite(),
        SHARE,
        lambda url: KiteVenue(config(url, **changes), LISTED),
        lambda url: KiteVenue(config(url, api_key="stranger"), LISTED),
    )


@conforms("Zerodha Kite", ABILITIES)
def test_kite_conforms(case: Case) -> None:
    run(case, rig_of())
