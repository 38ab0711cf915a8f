"""What is to go wrong, and when: a script of faults that plays the same way every time.

A venue in trouble is the situation that matters most and comes up least. Here it comes up on
demand: the third order, every fifth query, one message in twenty with a seed. A face asks `plan`
before it answers; `server` is the one place that turns the plan into behaviour.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from onefold.domain.rules import Rule

On = Literal["submit", "cancel", "query", "stream"]
Do = Literal[
    "accept_then_timeout",
    "error_after_accept",
    "reject",
    "partial",
    "fill_before_ack",
    "fill_after_cancel",
    "duplicate_fill",
    "unknown_order",
    "disconnect",
    "slow",
    "too_many",
    "expired_session",
    "clock_skew",
    "hang",
]

_PLACES: dict[str, tuple[On, ...]] = {
    "accept_then_timeout": ("submit", "cancel"),
    "error_after_accept": ("submit", "cancel"),
    "reject": ("submit", "cancel"),
    "partial": ("submit",),
    "fill_before_ack": ("submit",),
    "fill_after_cancel": ("cancel",),
    "duplicate_fill": ("stream",),
    "unknown_order": ("query", "cancel"),
    "disconnect": ("submit", "cancel", "query", "stream"),
    "slow": ("submit", "cancel", "query", "stream"),
    "too_many": ("submit", "cancel", "query"),
    "expired_session": ("submit", "cancel", "query", "stream"),
    "clock_skew": ("submit", "cancel", "query"),
    "hang": ("submit", "cancel", "query", "stream"),
}
"""Where each fault can happen."""


class Fault(NamedTuple):
    """What happens to one answer or message; `seconds` as in `FaultRule.s`."""

    do: Do
    seconds: float


class FaultRule(Rule):
    """One line of the script."""

    on: On | Literal["any"] = Field(description="submit, cancel, query, stream, or any of them.")
    do: Do = Field(description="What happens.")
    nth: int | None = Field(None, ge=1, description="Only the call of this number.")
    every: int | None = Field(None, ge=1, description="Every so many calls.")
    chance: float | None = Field(None, gt=0, le=1, description="Share of the calls, by the seed.")
    s: float = Field(
        1.0,
        ge=-86_400,
        le=86_400,
        description="Seconds: of delay (slow), of Retry-After (too_many), of skew (clock_skew).",
    )

    @model_validator(mode="after")
    def _is_one_rule(self) -> FaultRule:
        if sum(when is not None for when in (self.nth, self.every, self.chance)) != 1:
            raise ValueError("give one of nth, every and chance")
        if self.on != "any" and self.on not in _PLACES[self.do]:
            places = ", ".join(_PLACES[self.do])
            raise ValueError(f"{self.do} does not happen on {self.on}, but on {places}")
        if self.do != "clock_skew" and self.s < 0:
            raise ValueError("s must not be negative")
        return self

    def concerns(self, on: On, *, trade: bool) -> bool:
        """Return whether a call counts for this rule."""
        if self.do == "duplicate_fill" and not trade:
            return False
        return on in _PLACES[self.do] and self.on in ("any", on)


class Faults:
    """A script of faults; `chance` is drawn from the seed."""

    def __init__(self, rules: Iterable[FaultRule] = (), seed: int = 0) -> None:
        self._rules: list[FaultRule] = []
        self._counts: list[int] = []
        self._random = random.Random(seed)  # noqa: S311 - a script, no secret
        for rule in rules:
            self.add(rule)

    def add(self, rule: FaultRule) -> None:
        """Add a rule, which counts calls from now on."""
        self._rules.append(rule)
        self._counts.append(0)

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        self._rules.clear()
        self._counts.clear()

    def plan(self, on: On, *, trade: bool = False) -> Fault | None:
        """Return what is to happen to this call, by the first rule that says so.

        `trade` says that a message of the stream is about a trade.
        """
        planned = None
        for number, rule in enumerate(self._rules):
            if not rule.concerns(on, trade=trade):
                continue
            self._counts[number] += 1
            if self._strikes(rule, self._counts[number]) and planned is None:
                planned = Fault(rule.do, rule.s)
        return planned

    def _strikes(self, rule: FaultRule, count: int) -> bool:
        if rule.nth is not None:
            return count == rule.nth
        if rule.every is not None:
            return count % rule.every == 0
        return self._random.random() < (rule.chance or 0.0)
