"""What the governor would do to an account now: its numbers, its history, and the verdict.

Times are those of the journal's clock: a change counts from when the session has folded it, so that
a recording of years ago is governed as it would have been then.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from onefold.app.governing import Governed
from onefold.app.recall import Recalled, recalled
from onefold.app.transitions import evidence_of
from onefold.domain.errors import ConfigError
from onefold.domain.records import Mandate
from onefold.governance.governor import Change, Governable, LeftAlone, Proposal, govern
from onefold.governance.parameters import CONF_MIN, Entry, Hold, Key, Parameters, Version
from onefold.governance.transitions import leaves_bounds
from onefold.journal import decode, read
from onefold.views.performance import Stretch, ledger, sleeve_performance

GOVERNOR = "governor"


class Verdict(NamedTuple):
    """What is to be changed, what is left alone and why, who is taken back, what has run out."""

    proposals: list[Proposal]
    left: list[LeftAlone]
    demoted: dict[str, str]
    expired: list[Hold]

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is to be changed."""
        return not (self.proposals or self.demoted or self.expired)


def verdict(one: Governed, journal: Path) -> Verdict:
    """Return what the governor makes of an account's journal, which is replayed for it."""
    found = recalled(journal)
    parameters = one.file.read()
    told = mandate_times(journal)
    if parameters.number > max(told, default=0):
        last = max(told, default=0)
        raise ConfigError(
            f"{journal} knows mandates up to {last}, and the parameters have {parameters.number}: "
            "run the account first, so that what was changed before can show what it does"
        )
    is_recorded = found.start.data_mode != "live"
    now_ts = int(found.view.equity_ts[-1]) if is_recorded else time.time_ns()
    sleeves = _sleeves(one, found, parameters, told)
    ruling = govern(sleeves, one.settings.governance.governor, now_ts=now_ts, is_live=one.is_live)
    wall_ts = time.time_ns()
    expired = [h for h in parameters.holds if h.expires_ts and h.expires_ts <= wall_ts]
    return Verdict(*ruling, _demoted(one, found, parameters), expired)


def mandate_times(journal: Path) -> dict[int, int]:
    """Return when each mandate was folded, by its number."""
    mandates = (decode(e, Mandate) for e in read(journal) if e.kind == "mandate")
    return {mandate.version: mandate.ts for mandate in mandates}


def _sleeves(
    one: Governed, found: Recalled, parameters: Parameters, told: dict[int, int]
) -> list[Governable]:
    histories = {
        sleeve: _history(parameters, Key(CONF_MIN, *sleeve), told) for sleeve in one.sleeves()
    }
    book = ledger([Stretch(found.view, found.curve)])
    since = {s: history[-1][0] for s, (history, _) in histories.items() if history}
    governed = []
    for numbers in sleeve_performance(book, since):
        sleeve = (numbers.strategy, numbers.symbol)
        if sleeve not in histories:
            continue
        history, reset_ts = histories[sleeve]
        key = Key(CONF_MIN, *sleeve)
        value = parameters.values.get(key, one.configured(key)) or 0.0
        governed.append(Governable(*sleeve, value, numbers, history, reset_ts))
    return governed


def _history(
    parameters: Parameters, key: Key, told: dict[int, int]
) -> tuple[list[Change], int | None]:
    """Return the changes of a threshold, and when a person made one last."""
    history: list[Change] = []
    reset_ts = None
    for version in parameters.applied:
        for change in version.changes:
            if change.key == key and change.number in told:
                ts = told[change.number]
                history.append((ts, change.before, change.value))
                reset_ts = ts if version.by != GOVERNOR and not version.approves else reset_ts
    return history, reset_ts


def _demoted(one: Governed, found: Recalled, parameters: Parameters) -> dict[str, str]:
    """Return the strategies in this journal's stage that have left their bounds, and why."""
    rules = one.settings.governance.transitions
    why = {}
    for name, version in parameters.stages.items():
        if version.stage == found.start.mode and name in found.view.strategies:
            said = leaves_bounds(evidence_of(found, name, 0), rules)
            if said:
                why[name] = said
    return why


def applied(one: Governed, verdict: Verdict) -> list[Version]:
    """Put a verdict into the account's parameters; what needs approval only waits for it."""
    made = []
    for waits in (False, True):
        chosen = [p for p in verdict.proposals if p.needs_approval == waits]
        if chosen:
            made.append(_extended(one, chosen, waits=waits))
    for name, why in verdict.demoted.items():
        hold, stage = Hold("suppress", "stage", name), _before(one, name)
        made.append(one.extend(lambda p: p.held(hold, _entry(why), stage=stage)))  # noqa: B023
    for hold in verdict.expired:
        gone = Hold("release", hold.holder, hold.strategy, hold.instrument)
        made.append(one.extend(lambda p: p.held(gone, _entry("its time is over"))))  # noqa: B023
    return made


def _extended(one: Governed, proposals: list[Proposal], *, waits: bool) -> Version:
    keys = {Key(CONF_MIN, p.strategy, p.instrument): p for p in proposals}
    raised = sum(p.value > p.before for p in proposals)
    cause = f"{raised} raised, {len(proposals) - raised} lowered"
    return one.extend(
        lambda p: p.changed(
            [(key, x.value) for key, x in keys.items()],
            one.configured,
            _entry(cause),
            proposed=waits,
            causes={key: x.cause for key, x in keys.items()},
        )
    )


def _before(one: Governed, name: str) -> str:
    """Return the stage before the one that a strategy is in."""
    stage = one.file.read().stages[name].stage
    return {"live": "paper", "paper": "shadow"}.get(stage, "shadow")


def _entry(cause: str) -> Entry:
    return Entry(time.time_ns(), GOVERNOR, cause)
