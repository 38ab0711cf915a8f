"""Reviews: what a person takes out of trading, marks, or lets go, for a reason and a time."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from onefold.app.governing import Governed, entry
from onefold.domain.errors import ConfigError
from onefold.governance.parameters import Parameters
from onefold.governance.versions import NS_PER_S, Hold, Version

TS_MAX = 2**63 - 1
Reviewed = Literal["suppress", "watch", "release"]


def reviewed(parameters: Parameters) -> list[tuple[Version, Hold]]:
    """Return what is suppressed or watched now, with the last version that says so."""
    said = {version.hold: version for version in parameters.applied}
    return [(said[hold], hold) for hold in parameters.holds]


def review(
    one: Governed,
    action: Reviewed,
    scope: tuple[str, str],
    reason: str,
    until: str = "",
    by: str = "",
) -> Version:
    """Suppress, watch or release a scope (strategy, instrument), and keep it.

    `until` is the day on which it ends by itself. Raises `ConfigError`.
    """
    strategy, instrument = scope
    if not strategy and not instrument:
        raise ConfigError(
            f"say what to {action}: --strategy, --instrument or both; to stop all of an account, "
            "use `onefold reduce-only` or `onefold emergency-stop`"
        )
    if action != "release":  # what is gone from the configuration can still be let go
        one.check_takeable(strategy, instrument)
    end_ts = _end_of(until, time.time_ns())
    hold = Hold(action, "review", strategy, instrument, end_ts)
    return one.extend(lambda p: p.held(hold, entry(reason, by=by)))


def _end_of(until: str, now_ts: int) -> int:
    """Return the time at which a hold ends by itself, 0 for never."""
    if not until:
        return 0
    try:
        day = date.fromisoformat(until)
        end = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
        end_ts = int(end.timestamp()) * NS_PER_S
    except (ValueError, OverflowError):
        raise ConfigError(f"--until {until!r} is no day; write 2026-12-31") from None
    if end_ts > TS_MAX:
        raise ConfigError(f"--until {until} is too far away")
    if end_ts <= now_ts:
        raise ConfigError(f"--until {until} is over already")
    return end_ts
