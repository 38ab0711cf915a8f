"""What of a run is in the sample of a model that traded in it.

Results over bars that a model was trained on say nothing of its skill, and look better than any
others. So they carry that mark wherever they are kept, and not only on the screen of the person who
made them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from onefold.domain.columns import Integers
from onefold.views.wording import percent


class Learned(NamedTuple):
    """A model that strategies asked in a run, and the time that it was trained on.

    Times are in nanoseconds UTC, 0 where nobody knows.
    """

    identity: str
    strategies: tuple[str, ...]
    trained_from: int
    trained_to: int

    def in_sample(self, ts: Integers) -> float | None:
        """Return the share of times that lie in its sample; None where that is not known."""
        if not self.trained_to:
            return None
        inside = (ts >= self.trained_from) & (ts <= self.trained_to)
        return float(inside.mean()) if len(ts) else 0.0

    def trained(self) -> str:
        """Return in words what time it was trained on."""
        if not self.trained_to:
            return "trained on an unknown time"
        return f"trained on {_day(self.trained_from)} to {_day(self.trained_to)}"

    def verdict(self, ts: Integers) -> str:
        """Return in words how much of some times is in its sample."""
        share = self.in_sample(ts)
        if share is None:
            return "it is not known what is in its sample"
        if share == 0.0:
            return "out of sample"
        if share == 1.0:
            return "IN SAMPLE: all of these results, which say nothing about its skill"
        return (
            f"IN SAMPLE until {_day(self.trained_to)} ({percent(share, 0)} of the bars): results "
            "up to then say nothing about its skill"
        )

    def text(self, ts: Integers) -> str:
        """Return everything in one line."""
        return f"{self.identity} ({', '.join(self.strategies)}), {self.trained()}; " + (
            self.verdict(ts)
        )

    def as_dict(self, ts: Integers) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "identity": self.identity,
            "strategies": list(self.strategies),
            "trained_from": _day(self.trained_from) if self.trained_to else None,
            "trained_to": _day(self.trained_to) if self.trained_to else None,
            "share_in_sample": self.in_sample(ts),
        }


def _day(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1e9, UTC).date().isoformat()
