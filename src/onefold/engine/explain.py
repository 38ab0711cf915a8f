"""Explain: why a decision was made, or why there was none.

The journal is replayed, so the answer is what the fold really saw: the features and the signal, the
position, and every gate with what it measured and what it was held against.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from onefold.domain.errors import ConfigError, did_you_mean
from onefold.domain.records import Action, Bar, Command, Decision, Mandate, Signal
from onefold.domain.words import Side
from onefold.engine.replay import replay
from onefold.engine.session import Input, Session
from onefold.fold.gates import GATES
from onefold.signals.gate import Measured
from onefold.sim.plan import Plan

_SIDES = {int(side): side.name.lower() for side in Side}


class GateLine(msgspec.Struct, frozen=True):
    """One gate of one decision; `verdict` is passed, blocked, or waived for an exit."""

    gate: str
    measures: str
    value: float | None
    threshold: float | None
    passes_when: str
    verdict: str


class Explanation(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one strategy saw of one input, what it wanted, and what became of that.

    `after` says what the input was: a bar, or such as `command flatten` or `action split`, to which
    no signal belongs; `close` is then the last one before, None where there was none. `mandates`
    are what governance had changed for it by then, the last of each kind and scope.
    """

    strategy: str
    instrument: str
    after: str
    time: str
    close: float | None
    wants: str
    held_lots: int
    features: dict[str, float | None]
    mandate_version: int
    conclusion: str
    mandates: list[Mandate] = []
    decision: Decision | None = None
    signal: Signal | None = None
    gates: list[GateLine] = []
    own_gates: list[GateLine] = []


_Mandates = dict[tuple[str, str, str], Mandate]


def _remember(mandates: _Mandates, record: Input) -> None:
    if isinstance(record, Mandate):
        mandates[record.mandate, record.strategy, record.instrument] = record


def explain(path: str | Path, plan: Plan, decision: int) -> Explanation:
    """Explain a decision by its number. Raises `ConfigError` when the journal has no such one."""
    found: list[Explanation] = []
    first = last = 0
    mandates: _Mandates = {}

    def look(session: Session, record: Input, signals: list[Signal]) -> None:
        nonlocal first, last
        _remember(mandates, record)
        for made in session.decided:
            first, last = first or made.id, made.id
            if made.id == decision:
                own = (made.strategy, made.instrument)
                signal = next((s for s in signals if (s.strategy, s.instrument) == own), None)
                found.append(_explain(session, record, signal, made, own, mandates))

    replay(path, plan, seen=look)
    if not found:
        raise ConfigError(f"the journal has no decision {decision}: they go from {first} to {last}")
    return found[0]


def why_not(path: str | Path, plan: Plan, symbol: str, at: int) -> list[Explanation]:
    """Explain what every strategy did about an instrument at the last bar up to a time.

    `at` is in nanoseconds UTC. Raises `ConfigError` for an unknown symbol, or no bar before.
    """
    symbols = plan.names.symbols
    if symbol not in symbols:
        raise ConfigError(f"the run has no instrument {symbol!r}{did_you_mean(symbol, symbols)}")
    found: list[Explanation] = []
    mandates: _Mandates = {}

    def look(session: Session, bar: Input, signals: list[Signal]) -> None:
        _remember(mandates, bar)
        if not isinstance(bar, Bar) or bar.instrument != symbol or bar.ts > at:
            return
        found.clear()
        for signal in signals:
            made = [d for d in session.decided if d.strategy == signal.strategy]
            decisions: list[Decision | None] = [*made] or [None]
            own = (signal.strategy, symbol)
            found.extend(_explain(session, bar, signal, d, own, mandates) for d in decisions)

    replay(path, plan, seen=look)
    if not found:
        raise ConfigError(f"the journal has no bar of {symbol} up to {_time(at)}")
    return found


def _explain(
    session: Session,
    record: Input,
    signal: Signal | None,
    decision: Decision | None,
    own: tuple[str, str],
    mandates: _Mandates,
) -> Explanation:
    strategy, symbol = own
    names = session.names
    i = names.symbols.index(symbol)
    sleeve = session.state.sleeves[names.strategies.index(strategy) * len(names.symbols) + i]
    held = int(decision.position if decision is not None else sleeve["qty"])
    mark = float(session.state.instruments["mark"][i])
    return Explanation(
        strategy=strategy,
        instrument=symbol,
        after=_named(record),
        time=_time(record.ts),
        close=None if np.isnan(mark) else mark,
        wants=_SIDES[signal.side] if signal is not None else "nothing",
        held_lots=held,
        features={
            name: None if np.isnan(value) else value
            for name, value in session.features(symbol, strategy).items()
        },
        mandate_version=int(session.state.account["mandate_version"][0]),
        conclusion=_conclusion(signal, decision, held),
        mandates=[
            one for (_, s, i), one in mandates.items() if s in ("", strategy) and i in ("", symbol)
        ],
        decision=decision,
        signal=signal,
        gates=[] if decision is None else _gates(decision),
        own_gates=[_own_gate(one, decision) for one in session.measured(symbol, strategy)],
    )


def _named(record: Input) -> str:
    """Return in words what was folded."""
    match record:
        case Command():
            return f"command {record.command}"
        case Action():
            return f"action {record.action}"
        case Mandate():
            return f"mandate {record.mandate}"
    return "bar"


def _gates(decision: Decision) -> list[GateLine]:
    """Return every gate with its verdict; an exit is held back by a few of them only."""
    lines = []
    for gate, value, threshold in zip(GATES, decision.values, decision.thresholds, strict=True):
        if gate.name in decision.blocked:
            verdict = "blocked"
        else:
            verdict = "passed" if gate.passes(value, threshold) else "waived"
        rule = f"{gate.compares} {gate.against}"
        lines.append(GateLine(gate.name, gate.measures, value, threshold, rule, verdict))
    return lines


def _own_gate(one: Measured, decision: Decision | None) -> GateLine:
    """Return a gate of the user's own with its verdict; it holds back entries only."""
    verdict = "passed" if one.passes else "blocked"
    if decision is not None and decision.purpose != "entry" and not one.passes:
        verdict = "waived"
    value = None if np.isnan(one.value) else one.value
    rule = f"{one.compares} {one.threshold:g}"
    return GateLine(one.name, "a gate of your own", value, one.threshold, rule, verdict)


def _conclusion(signal: Signal | None, decision: Decision | None, held: int) -> str:
    if decision is None:
        return _no_decision(signal, held)
    what = f"{'buy' if decision.side > 0 else 'sell'} {decision.qty} ({decision.purpose})"
    if not decision.blocked:
        return f"{what}: all gates passed, order {decision.order}"
    others = f"; {', '.join(decision.blocked[1:])} would have too" if decision.blocked[1:] else ""
    return f"{what}: blocked by {decision.blocked[0]}{others}"


def _no_decision(signal: Signal | None, held: int) -> str:
    if signal is None:
        return "the strategy gave no signal"
    if signal.unready:
        return f"no decision: {signal.unready} features were still warming up"
    if signal.side == Side.HOLD:
        return "no decision: the strategy wanted no change (hold)"
    position = f"{held} lots are held" if held else "nothing is held"
    return (
        f"no decision: the strategy wants {_SIDES[signal.side]}, which is what is held or on its "
        f"way already ({position})"
    )


def _time(ts: int) -> str:
    return f"{np.datetime64(ts, 'ns')}Z"


def as_builtins(explanation: Explanation) -> dict[str, Any]:
    """Return an explanation as plain values for JSON."""
    return msgspec.to_builtins(explanation)  # type: ignore[no-any-return]
