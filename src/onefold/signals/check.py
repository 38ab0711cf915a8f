"""Proof that features do not see the future, and that strategies and gates look at one row alone.

The built-in features are causal by construction; what a user writes is proved before it runs. The
proof is by perturbation: change what comes after a bar, and the bar's value must not change by one
bit. A finding names the feature, the row and its time, and says what to do. The changes are made
from a seed, so the same bars give the same findings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onefold.domain.columns import Bars, Floats, Integers, Signals
from onefold.domain.errors import DataError, NotCausal, NotElementwise, SignalError
from onefold.signals.elementwise import Elementwise
from onefold.signals.feature import Column, Feature, Node, rows_of
from onefold.signals.gate import Gate
from onefold.signals.signal import Held
from onefold.signals.strategy import Strategy

_ROWS_BEYOND = 32
_SUBSETS = 8
_CUTS = 5
_SHOWN_MAX = 3

Rule = Literal["stream", "future", "memory", "elementwise", "error"]


class Finding(NamedTuple):
    """One thing that a feature, a strategy or a gate does wrong, at the first row that shows it.

    `rule` is what was broken. `row` and `ts` are -1 where it concerns no row.
    """

    rule: Rule
    name: str
    row: int
    ts: int
    message: str

    def __str__(self) -> str:
        """Return the message with name and place."""
        if self.row < 0:
            return f"{self.name}: {self.message}"
        time = np.datetime_as_string(np.datetime64(self.ts, "ns"), unit="s")
        return f"{self.name}, row {self.row} ({time}Z): {self.message}"


def check_feature(feature: Feature, bars: Bars, *, seed: int = 0) -> list[Finding]:
    """Return what is wrong with a feature, as far as these bars show it.

    Proved are: the stream equals the batch; neither changing nor removing later bars changes a
    value; and where the feature says `finite`, earlier bars than its warm-up do not matter either.
    Equal means all bits. Raises DataError where there are too few bars.
    """
    least = feature.warm_up + _ROWS_BEYOND
    if bars.rows < least:
        raise DataError(f"{feature.name}: a check needs {least} bars or more, got {bars.rows}")
    try:
        whole = feature.batch(bars)
        checks = (_check_future, _check_stream, _check_memory)
        found = (check(feature, bars, whole, seed) for check in checks)
        return [finding for finding in found if finding is not None]
    except Exception as error:  # noqa: BLE001 - user code may raise anything
        return [Finding("error", feature.name, -1, -1, _said(error))]


def check_strategy(strategy: Strategy, bars: Bars, *, seed: int = 0) -> list[Finding]:
    """Return what is wrong with a strategy or its features, as far as these bars show it.

    Besides what `check_feature` proves of each feature: random rows, alone, shuffled and in part,
    give the same signals as within the whole, and so does the stream. One that needs its position
    is told random ones.
    """
    held = some_held(strategy, bars, seed)

    def batch(some: Bars, values: dict[str, Floats], rows: Integers) -> dict[str, Any]:
        own = None if held is None else Held(*(column[rows] for column in held))
        return strategy.batch(some, values, own)._asdict()

    def streamed() -> dict[str, Any]:
        stream = strategy.stream()
        told = (
            [None] * bars.rows if held is None else [Held(*one) for one in zip(*held, strict=True)]
        )
        signals = [
            stream.update(*row, held=own) for row, own in zip(rows_of(bars), told, strict=True)
        ]
        columns = zip(*signals, strict=True)
        return dict(zip(Signals._fields, map(np.array, columns), strict=True))

    return _check_rows(strategy, bars, seed, batch, streamed)


def check_gate(gate: Gate, bars: Bars, *, seed: int = 0) -> list[Finding]:
    """Return what is wrong with a gate or its features; proved is what `check_strategy` proves."""

    def batch(some: Bars, values: dict[str, Floats], _: Integers) -> dict[str, Any]:
        return {"measure": gate.batch(some, values)}

    def streamed() -> dict[str, Any]:
        stream = gate.stream()
        return {"measure": np.array([stream.update(*row) for row in rows_of(bars)])}

    return _check_rows(gate, bars, seed, batch, streamed)


def findings_of(subject: Strategy | Gate, bars: Bars) -> list[Finding]:
    """Return what is wrong with a strategy or a gate, as far as these bars show it."""
    if isinstance(subject, Gate):
        return check_gate(subject, bars)
    return check_strategy(subject, bars)


def some_held(strategy: Strategy, bars: Bars, seed: int = 0) -> Held[Floats] | None:
    """Return random positions near the market for a strategy that needs its own, else None."""
    if not strategy.needs_position:
        return None
    # Of other seeds than the order in which rows are evaluated.
    lots, price, age = (_noise(seed + i, bars.rows) for i in (101, 102, 103))
    position = np.floor(lots * 9.0) - 4.0
    flat = position == 0.0
    return Held(
        position,
        np.where(flat, np.nan, bars.close * (0.8 + 0.4 * price)),
        np.where(flat, 0.0, 1.0 + np.floor(age * 40.0)),
    )


_Batch = Callable[[Bars, dict[str, Floats], Integers], dict[str, Any]]


def _check_rows(
    subject: Elementwise, bars: Bars, seed: int, batch: _Batch, streamed: Callable[[], Any]
) -> list[Finding]:
    """Return what is wrong with a function of rows: its features, other rows, its stream."""
    distinct = dict.fromkeys(subject.features.values())
    findings = [f for feature in distinct for f in check_feature(feature, bars, seed=seed)]
    if any(finding.rule == "error" for finding in findings):
        return findings
    try:
        values = subject.feature_set.batch(bars)
        whole = {
            field: np.broadcast_to(column, bars.rows)
            for field, column in batch(bars, values, np.arange(bars.rows)).items()
        }
        found = (
            _check_elementwise(
                subject,
                bars,
                whole,
                seed,
                lambda some, rows: batch(
                    some, {name: column[rows] for name, column in values.items()}, rows
                ),
            ),
            _check_row_stream(subject, bars, whole, streamed()),
        )
        return [*findings, *(finding for finding in found if finding is not None)]
    except Exception as error:  # noqa: BLE001 - user code may raise anything
        return [*findings, Finding("error", subject.kind, -1, -1, _said(error))]


def raise_for(findings: Sequence[Finding]) -> None:
    """Raise NotCausal, NotElementwise or SignalError with the findings, or do nothing for none."""
    if not findings:
        return
    rules = {finding.rule for finding in findings}
    error: type[SignalError] = SignalError
    if "future" in rules:
        error = NotCausal
    elif "elementwise" in rules:
        error = NotElementwise
    more = f"; and {len(findings) - _SHOWN_MAX} more" if len(findings) > _SHOWN_MAX else ""
    raise error("; ".join(map(str, findings[:_SHOWN_MAX])) + more)


def _said(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}"
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if isinstance(error, SignalError) or trace is None:
        return str(error)
    return f"{text} ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})"


def _check_future(feature: Feature, bars: Bars, whole: Floats, seed: int) -> Finding | None:
    for number, cut in enumerate(_cuts(feature.warm_up, bars.rows)):
        changed = feature.batch(_perturbed(bars, cut, seed + number))[:cut]
        row = _first_difference(whole[:cut], changed)
        what = "changed"
        if row is None:
            row = _first_difference(whole[:cut], feature.batch(bars.slice(0, cut)))
            what = "missing"
        if row is not None:
            return Finding(
                "future",
                feature.name,
                row,
                int(bars.ts[row]),
                f"sees the future: its value is another one when bars from row {cut} on are {what}",
            )
    return None


def _check_stream(feature: Feature, bars: Bars, whole: Floats, _: int) -> Finding | None:
    stream = feature.stream()
    streamed = np.array([stream.update(row) for row in rows_of(bars)])
    row = _first_difference(whole, streamed)
    if row is None:
        return None
    return Finding(
        "stream",
        feature.name,
        row,
        int(bars.ts[row]),
        f"the batch gives {float(whole[row])!r} and the stream {float(streamed[row])!r}; a value "
        f"may depend on its own bar and the {feature.warm_up} before it (warm_up), and on nothing "
        "else",
    )


def _check_memory(feature: Feature, bars: Bars, whole: Floats, _: int) -> Finding | None:
    # A bar that is not known is skipped, which moves the window further back.
    if not feature.finite or not all(np.isfinite(getattr(bars, c)).all() for c in _leaves(feature)):
        return None
    for cut in _cuts(0, bars.rows - feature.warm_up - 1):
        start = cut + feature.warm_up
        tail = feature.batch(bars.slice(cut, bars.rows))[feature.warm_up :]
        row = _first_difference(whole[start:], tail)
        if row is not None:
            row += start
            return Finding(
                "memory",
                feature.name,
                row,
                int(bars.ts[row]),
                f"depends on bars before the {feature.warm_up} that it states as warm_up: state "
                "more, or say finite = False",
            )
    return None


def _leaves(node: Node) -> set[str]:
    """Return the columns that a node is computed from."""
    if isinstance(node, Column):
        return {node.column}
    return {leaf for parent in node.inputs for leaf in _leaves(parent)}


def _check_elementwise(
    subject: Elementwise,
    bars: Bars,
    whole: dict[str, Any],
    seed: int,
    part: Callable[[Bars, Integers], dict[str, Any]],
) -> Finding | None:
    order = np.argsort(_noise(seed, bars.rows))
    singles = [order[i : i + 1] for i in range(_SUBSETS)]
    parts = [order[i :: i + 1] for i in range(_SUBSETS)]
    for rows in (*parts, *singles):
        got = part(Bars._make(column[rows] for column in bars), rows)
        for field, expected in whole.items():
            at = _first_difference(expected[rows], got[field])
            if at is not None:
                row = int(rows[at])
                return Finding(
                    "elementwise",
                    subject.kind,
                    row,
                    int(bars.ts[row]),
                    f"{field} of a row depends on which other rows are evaluated with it: use only "
                    "the row's own values, and ask for the past as features",
                )
    return None


def _check_row_stream(
    subject: Elementwise, bars: Bars, whole: dict[str, Any], streamed: dict[str, Any]
) -> Finding | None:
    for field, expected in whole.items():
        row = _first_difference(expected, streamed[field])
        if row is not None:
            return Finding(
                "stream",
                subject.kind,
                row,
                int(bars.ts[row]),
                f"{field} is {expected[row]} in the batch and {streamed[field][row]} in the stream",
            )
    return None


def _cuts(first: int, rows: int) -> list[int]:
    """Return some rows between `first` and `rows`, evenly."""
    return [first + (rows - first) * (i + 1) // (_CUTS + 1) for i in range(_CUTS)]


def _first_difference(expected: NDArray[Any], got: NDArray[Any]) -> int | None:
    """Return the first row whose bits differ; all NaN are alike."""
    a, b = np.broadcast_arrays(np.asarray(expected, float), np.asarray(got, float))
    same = np.ascontiguousarray(a).view(np.int64) == np.ascontiguousarray(b).view(np.int64)
    same |= np.isnan(a) & np.isnan(b)
    return None if same.all() else int(same.argmin())


def _noise(seed: int, n: int) -> Floats:
    """Return n numbers spread over [0, 1): the SplitMix64 sequence (Steele, Lea, Flood, 2014)."""
    z = np.arange(1, n + 1, dtype=np.uint64) + np.uint64(seed * 1_000_003)
    z *= np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)) / 2.0**53


def _perturbed(bars: Bars, cut: int, seed: int) -> Bars:
    """Return the bars with everything from row `cut` on changed, still plausible."""
    n = bars.rows - cut
    noise = [_noise(seed * 7 + i, n) for i in range(7)]
    move: Callable[[Floats, Floats], Floats] = lambda x, u: x * (0.7 + 0.6 * u)  # noqa: E731
    first, last = move(bars.open[cut:], noise[0]), move(bars.close[cut:], noise[1])
    later = np.cumsum((noise[2] * 3.6e12).astype(np.int64) + 1)
    tail = Bars(
        ts=bars.ts[cut:] + later,
        ts_open=bars.ts_open[cut:] + later,
        open=first,
        high=np.maximum(first, last) + np.abs(first) * 0.1 * noise[3],
        low=np.minimum(first, last) - np.abs(first) * 0.1 * noise[4],
        close=last,
        volume=move(bars.volume[cut:], noise[5]) + 1.0,
        bid=move(bars.bid[cut:], noise[6]),
        ask=move(bars.ask[cut:], noise[6]),
        to_close_s=bars.to_close_s[cut:] + 1,
    )
    return Bars._make(
        np.concatenate([before[:cut], after]) for before, after in zip(bars, tail, strict=True)
    )
