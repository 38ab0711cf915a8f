"""What the governor would do to an account now: its numbers, its history, and the verdict.

Times are those of the journal's clock: a change counts from when the session has folded it, so that
a recording of years ago is governed as it would have been then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from onefold.app.governing import GOVERNOR, Governed
from onefold.app.recall import Recalled, recalled
from onefold.app.transitions import evidence_of
from onefold.domain.errors import ConfigError
from onefold.engine.succession import mandates_in
from onefold.governance.governor import Change, Governable, LeftAlone, Proposal, govern
from onefold.governance.parameters import Parameters
from onefold.governance.transitions import leaves_bounds
from onefold.governance.versions import CONF_MIN, Entry, Hold, Key, Version
from onefold.views.equity import DAY_NS
from onefold.views.performance import Stretch, ledger, sleeve_performance


class Verdict(NamedTuple):
    """What is to be changed, what is left alone and why, who is taken back, what has run out."""

    proposals: list[Proposal]
    left: list[LeftAlone]
    demoted: dict[str, str]
    expired: list[Hold]
    head: str

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is to be changed."""
        return not (self.proposals or self.demoted or self.expired)


def verdict(one: Governed, journal: Path) -> Verdict:
    """Return what the governor makes of an account's journal, which is replayed for it."""
    found = recalled(journal)
    parameters = one.file.read()
    told = {number: mandate.ts for number, mandate in mandates_in(journal).items()}
    if found.recipe.settings.account.name != one.name:
        raise ConfigError(f"{journal} is of another account than {one.name!r}")
    is_recorded = found.start.data_mode != "live"
    now_ts = int(found.view.equity_ts[-1]) if is_recorded else time.time_ns()
    sleeves, waiting = _sleeves(one, found, parameters, told)
    ruling = govern(sleeves, one.settings.governance.governor, now_ts=now_ts, is_live=one.is_live)
    ruling.left.extend(waiting)
    wall_ts = time.time_ns()
    expired = [h for h in parameters.holds if h.expires_ts and h.expires_ts <= wall_ts]
    demoted = _demoted(one, found, parameters, told)
    return Verdict(*ruling, demoted, expired, parameters.head)


def _sleeves(
    one: Governed, found: Recalled, parameters: Parameters, told: dict[int, int]
) -> tuple[list[Governable], list[LeftAlone]]:
    """Return what can be governed, and the sleeves whose last change has yet to be seen."""
    histories = {
        sleeve: _history(parameters, Key(CONF_MIN, *sleeve), told) for sleeve in one.sleeves()
    }
    book = ledger([Stretch(found.view, found.curve)])
    since = {s: history[-1][0] for s, (history, _) in histories.items() if history}
    proposed = {c.key for v in parameters.waiting for c in v.changes}
    last = {c.key: c.number for v in parameters.applied for c in v.changes}
    governed, waiting = [], []
    for numbers in sleeve_performance(book, since):
        sleeve = (numbers.strategy, numbers.symbol)
        if sleeve not in histories:
            continue
        history, reset = histories[sleeve]
        key = Key(CONF_MIN, *sleeve)
        if key in proposed:
            waiting.append(LeftAlone(*sleeve, "a proposal of before waits for approval"))
            continue
        if last.get(key, 0) and last[key] not in told:
            waiting.append(LeftAlone(*sleeve, "its last change has not reached the journal yet"))
            continue
        value = parameters.values.get(key, one.configured(key)) or 0.0
        governed.append(Governable(*sleeve, value, numbers, history, reset))
    return governed, waiting


def _history(parameters: Parameters, key: Key, told: dict[int, int]) -> tuple[list[Change], int]:
    """Return the changes of a threshold, and how many there were when a person made one last.

    A person has made what they proposed, whoever approved it; what the governor proposed stays its
    own when a person agrees.
    """
    history: list[Change] = []
    reset = 0
    for version in parameters.applied:
        made = parameters.versions[version.approves - 1] if version.approves else version
        for change in version.changes:
            if change.key == key and change.number in told:
                history.append((told[change.number], change.before, change.value))
                reset = reset if made.by == GOVERNOR else len(history)
    return history, reset


def _demoted(
    one: Governed, found: Recalled, parameters: Parameters, told: dict[int, int]
) -> dict[str, str]:
    """Return the strategies in this journal's stage that have left their bounds, and why.

    They are judged from the day on which they came into it, as the journal has it: what they lost
    before was forgiven when they were promoted again. There is no stage before shadow.
    """
    rules = one.settings.governance.transitions
    came = {}
    for version in parameters.applied:
        reached = [told[c.number] for c in version.changes if c.number in told]
        if version.stage and version.hold is not None and reached:
            came[version.hold.strategy] = version.stage, min(reached) // DAY_NS
    why = {}
    for name, (stage, first_day) in came.items():
        if stage == found.start.mode != "shadow" and name in found.view.strategies:
            said = leaves_bounds(evidence_of(found, name, 0, first_day), rules)
            if said:
                why[name] = said
    return why


def applied(one: Governed, verdict: Verdict) -> list[Version]:
    """Put a verdict into the account's parameters; what needs approval only waits for it.

    Raises `ConfigError` when somebody else has changed them since the verdict: what he did must not
    be undone by what was thought before.
    """
    made: list[Version] = []

    def extend(make: Callable[[Parameters], Version]) -> None:
        head = made[-1].hash if made else verdict.head

        def checked(parameters: Parameters) -> Version:
            if parameters.head != head:
                raise ConfigError(
                    f"{one.file.path} was changed while the journal was judged: govern again"
                )
            return make(parameters)

        made.append(one.extend(checked))

    for name, why in verdict.demoted.items():
        stage, hold = _before(one, name), Hold("suppress", "stage", name)
        extend(partial(Parameters.held, hold=hold, entry=_entry(why), stage=stage))
    for waits in (False, True):
        chosen = [p for p in verdict.proposals if p.needs_approval == waits]
        if chosen:
            extend(_proposed(one, chosen, waits=waits))
    for hold in verdict.expired:
        gone = Hold("release", hold.holder, hold.strategy, hold.instrument)
        extend(partial(Parameters.held, hold=gone, entry=_entry("its time is over")))
    return made


def _proposed(
    one: Governed, proposals: list[Proposal], *, waits: bool
) -> Callable[[Parameters], Version]:
    keys = {Key(CONF_MIN, p.strategy, p.instrument): p for p in proposals}
    raised = sum(p.value > p.before for p in proposals)
    cause = f"{raised} raised, {len(proposals) - raised} lowered"
    return lambda p: p.changed(
        [(key, x.value) for key, x in keys.items()],
        one.configured,
        _entry(cause),
        proposed=waits,
        causes={key: x.cause for key, x in keys.items()},
    )


def _before(one: Governed, name: str) -> str:
    """Return the stage before the one that a strategy is in."""
    stage = one.file.read().stages[name].stage
    return {"live": "paper", "paper": "shadow"}.get(stage, "shadow")


def _entry(cause: str) -> Entry:
    return Entry(time.time_ns(), GOVERNOR, cause)
