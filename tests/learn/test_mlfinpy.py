"""M8: what research computes is what mlfinpy computes, where both mean the same.

The oracles of `learn_oracles` are ours, so a wrong reading of the book could be in them and in what
they check. mlfinpy (MIT licence, read and run but not copied) was written by others from the same
book. It runs in an environment of its own, like the peers of the benchmarks, which is made when it
is not there; where it cannot be made, the tests skip, which in CI is a failure.

Where mlfinpy has another convention, the docstring of the question says so, and the inputs are
chosen such that both must give the same: no tolerance covers a difference of convention. Rows and
splits are equal; numbers are within what the order of summing makes of doubles.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from filelock import FileLock

from onefold.data import SAMPLES, sample_path
from onefold.domain.columns import Bars, Integers
from onefold.domain.convert import to_columns
from onefold.learn import labels as labelled
from onefold.learn import weights as weighed
from onefold.learn.labels import Labels
from onefold.learn.validation import CombinatorialPurged, PurgedKFold, Spans
from onefold.signals import fracdiff
from support import LONG, SHORT, Scripted, bars_of

from .test_labels import plan_of, walk

HERE = Path(__file__).parent
ROUNDING = 1e-12
STOP, TAKE, MAX_BARS = 0.0207, 0.0311, 12
WALKS = range(2)


class Question(NamedTuple):
    """What mlfinpy is asked, and what we say; `tolerance` is absolute."""

    asked: Mapping[str, Any]
    ours: Mapping[str, Any]
    tolerance: float = ROUNDING


@cache
def bars_called(sample: str) -> Bars:
    """Return a random walk by its seed, or a packaged sample as if it had a bar a minute."""
    if sample not in SAMPLES:
        return walk(int(sample.removeprefix("walk ")), 1_200)
    frame = pl.read_parquet(sample_path(sample))
    return to_columns(bars_of(frame.select("open", "high", "low", "close").rows()))


def trades(bars: Bars, events: Integers, side: int) -> Labels:
    """Return what our fold and venue make of events with a stop, a target and a time exit."""
    always = Scripted(side=(side,), start=int(bars.ts[0]))
    exits = {"stop": STOP, "take": TAKE, "max_bars": MAX_BARS}
    return labelled.trades(plan_of(always, exits=exits), bars, events)


def scanned(bars: Bars) -> Labels:
    """Return labels that overlap, of many lengths, at the events of the filter."""
    return labelled.trend(bars.close, labelled.cusum(bars.close, 0.03), 20)


def barriers_of_closes(bars: Bars, side: int) -> Question:
    """Ask for the first touch of three barriers, and what it gains, where there are closes only.

    - mlfinpy enters at the event's close and leaves at the close that is beyond a barrier; a trade
      of ours does both at the next open, and its barriers are watched from low to high. So the
      bars here open at the close before and reach no further than open and close. Its label is
      known a bar later, at the close of the bar that it leaves in.
    - A barrier that is touched exactly counts for us and not for mlfinpy: these widths make none.
    - mlfinpy counts time on the clock, we count bars: there is one bar a second. Without a touch
      its events near the end have no end, ours no label: there are none.
    - For a side, mlfinpy's return is that of its log, which for a short is not what a trade gains:
      it is asked for the return of the price, and we take the sign.
    """
    before = np.r_[bars.close[0], bars.close[:-1]]
    flat = bars._replace(
        open=before, high=np.maximum(before, bars.close), low=np.minimum(before, bars.close)
    )
    events = np.arange(0, bars.rows - MAX_BARS - 1, 11)
    found = trades(flat, events, side)
    asked = {"prices": bars.close, "events": events, "last": MAX_BARS, "side": side}
    return Question(
        {**asked, "take": TAKE, "stop": STOP},
        {"end": found.end - 1, "gain": found.gain * side},
    )


def barriers_within_bars(bars: Bars, side: int) -> Question:
    """Ask for the bar of the first touch in real bars, gaps over barriers included.

    mlfinpy has one price a row: it is told every bar as open, low, high and close, and begins at
    the open that we enter at. What it gains is not compared, since it leaves where it touches.
    """
    events = np.arange(0, bars.rows - MAX_BARS - 1, 11)
    found = trades(bars, events, side)
    prices = np.column_stack([bars.open, bars.low, bars.high, bars.close]).ravel()
    asked = {"prices": prices, "events": 4 * (events + 1), "last": 4 * MAX_BARS - 1, "side": side}
    return Question({**asked, "take": TAKE, "stop": STOP}, {"bar": found.end - 1})


def cusum(bars: Bars, threshold: float) -> Question:
    """Ask for the rows at which the filter of log returns fires.

    mlfinpy fires above the threshold, we do at it: no sum is exactly there. It resets the side
    that fired, we reset both: the other one is at zero then.
    """
    ours = labelled.cusum(bars.close, threshold)
    return Question({"close": bars.close, "threshold": threshold}, {"row": ours})


def differences(bars: Bars, d: float, threshold: float) -> Question:
    """Ask for fractional differences of fixed width, the rows without a value included.

    Both drop the weights from the first one on that is below the threshold. Of a series shorter
    than the window mlfinpy shortens the window, we give no value: the series are longer. Prices
    of thousands are summed, so the tolerance is that of them.
    """
    ours = fracdiff(d, threshold).batch(bars)
    asked = {"close": bars.close, "d": d, "threshold": threshold}
    return Question(asked, {"value": ours}, ROUNDING * float(bars.close.max()))


def weights(bars: Bars, oldest: float) -> Question:
    """Ask for concurrency, uniqueness, attribution of returns and decay.

    mlfinpy counts the event's own bar to its label, we count from the bar after it, the first whose
    return is of the label: it is told that the events are one bar later.
    """
    labels = scanned(bars)
    unique = weighed.uniqueness(labels, bars.rows)
    rows = np.arange(labels.row[0] + 1, labels.end.max() + 1)
    ours = {
        "row": rows,
        "concurrency": weighed.concurrency(labels, bars.rows)[rows],
        "uniqueness": unique,
        "attribution": weighed.attribution(labels, bars.close),
        "decay": weighed.decayed(unique, oldest),
    }
    asked = {"close": bars.close, "start": labels.row + 1, "end": labels.end, "oldest": oldest}
    return Question(asked, ours)


def direction(bars: Bars, horizon: int) -> Question:
    """Ask for the return after some bars, and whether it is a rise.

    mlfinpy looks one row ahead: it is told every so manieth close. Equal closes are no rise for us
    and 0 for mlfinpy, so what is compared is whether the sign is 1.
    """
    events = np.arange(0, bars.rows - horizon, horizon)
    found = labelled.direction(bars.close, events, horizon)
    prices = bars.close[: events[-1] + horizon + 1 : horizon]
    return Question({"prices": prices}, {"gain": found.gain, "won": found.won})


def trend(bars: Bars, least: int, horizon: int) -> Question:
    """Ask for the most significant trend from each event on.

    mlfinpy counts points where we count bars between them, tries no trend over its whole window,
    and wants a whole window of rows: it is told one point more, and two.
    """
    events = np.arange(0, bars.rows - horizon - 1, 11)
    found = labelled.trend(bars.close, events, horizon, least)
    asked = {"close": bars.close, "events": events, "points": least + 1, "window": horizon + 2}
    return Question(asked, {"end": found.end, "gain": found.gain, "won": found.won})


def tables(splits: Any, rows: int) -> dict[str, Any]:
    """Return splits as tables of a row for each, true where an event is in it."""
    parts = zip(*splits, strict=True)
    return {
        name: np.array([np.isin(np.arange(rows), chosen) for chosen in part])
        for name, part in zip(("training", "tested"), parts, strict=True)
    }


def purge(bars: Bars, embargo: float) -> Question:
    """Ask what may be trained on beside each fold, of events in any order.

    mlfinpy's function is told the span of the fold, the embargo added to its end.
    """
    found = scanned(bars)
    labels = found.take(np.random.default_rng(5).permutation(len(found.row)))
    folds = PurgedKFold(Spans(labels.row, labels.end), 5, embargo)
    tested = folds.folds()
    asked = {
        "start": labels.row,
        "end": labels.end,
        "begins": [labels.row[fold].min() for fold in tested],
        "ends": [labels.end[fold].max() + folds.embargo for fold in tested],
    }
    return Question(asked, {"training": tables(folds.split(), len(labels.row))["training"]})


def kfold(bars: Bars, embargo: float) -> Question:
    """Ask for the purged folds in order of time.

    - mlfinpy takes a fold to begin where its first label *ends* and to end where its last one does,
      which leaves in training what overlaps that first label: each fold's first label has no
      length here, and the others have the same.
    - Its embargo is a share of the number of events, ours one of the time: there is an event each
      bar, and both shares are as many bars.
    """
    rows, folds, horizon = 1_000, 5, 10
    start = np.arange(rows)
    end = labelled.direction(bars.close, start, horizon).end
    end[:: rows // folds] = start[:: rows // folds]
    ours = PurgedKFold(Spans(start, end), folds, embargo)
    assert ours.embargo == int(rows * embargo)
    asked = {"start": start, "end": end, "folds": folds, "embargo": embargo}
    return Question(asked, tables(ours.split(), rows))


def combinatorial(bars: Bars, groups: int, tested: int) -> Question:
    """Ask for all combinations of folds.

    - mlfinpy takes a fold to end with its last label, we with its latest: no label here ends
      before an earlier one.
    - It fails on events that are alone in their time: each is there twice, as of two instruments,
      and the folds are such that they part no pair.
    - Its embargo is always none, so ours is none.
    """
    labels = scanned(bars)
    events = np.arange(len(labels.row) // groups * groups)
    start = np.repeat(labels.row[events], 2)
    end = np.repeat(np.maximum.accumulate(labels.end[events]), 2)
    ours = CombinatorialPurged(Spans(start, end), groups, tested, 0.0)
    asked = {"start": start, "end": end, "groups": groups, "tested": tested}
    return Question(asked, tables(ours.split(), len(start)))


Ask = Callable[..., Question]

QUESTIONS: dict[str, tuple[str, Ask, tuple[Any, ...]]] = {
    "long barriers, closes": ("barriers", barriers_of_closes, (LONG,)),
    "short barriers, closes": ("barriers", barriers_of_closes, (SHORT,)),
    "long barriers, bars": ("barriers", barriers_within_bars, (LONG,)),
    "short barriers, bars": ("barriers", barriers_within_bars, (SHORT,)),
    "cusum 0.013": ("cusum", cusum, (0.013,)),
    "cusum 0.031": ("cusum", cusum, (0.031,)),
    "fracdiff 0.35": ("fracdiff", differences, (0.35, 1e-3)),
    "fracdiff 0.8": ("fracdiff", differences, (0.8, 1e-4)),
    "fracdiff 1.3": ("fracdiff", differences, (1.3, 1e-4)),
    "weights": ("weights", weights, (0.3,)),
    "direction": ("direction", direction, (3,)),
    "trend": ("trend", trend, (4, 20)),
    "purge": ("purge", purge, (0.02,)),
    "k-fold": ("kfold", kfold, (0.01,)),
    "combinatorial": ("combinatorial", combinatorial, (6, 2)),
}
"""By name: who answers in `mlfinpy_answers`, who asks here, and with what."""

CASES = [(q, s) for s in (*(f"walk {n}" for n in WALKS), *SAMPLES) for q in QUESTIONS]


@cache
def question(name: str, sample: str) -> Question:
    _, ask, arguments = QUESTIONS[name]
    return ask(bars_called(sample), *arguments)


@pytest.fixture(scope="module")
def python() -> Path:
    """Return the interpreter that has mlfinpy, making its environment when it is not there."""
    pins = (HERE / "mlfinpy_requirements.txt").read_text("utf-8").splitlines()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE.parents[1])
        from benchmarks.environments import VENVS, Build, install_build, last_line
    VENVS.mkdir(parents=True, exist_ok=True)
    ours = sys.version_info[:2] in {(3, 11), (3, 12)}
    build = Build(tuple(p for p in pins if not p.startswith("#")), None if ours else "3.12")
    with FileLock(VENVS / "mlfinpy.lock"):
        try:
            return install_build("mlfinpy", build).python
        except subprocess.CalledProcessError as error:
            pytest.skip(f"mlfinpy cannot be installed: {last_line(error.stderr)}")
        except FileNotFoundError as error:
            pytest.skip(f"mlfinpy cannot be installed: {error}")


@pytest.fixture(scope="module")
def answers(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """Return all that mlfinpy says; it is started once, since importing it takes seconds."""
    folder = tmp_path_factory.mktemp("mlfinpy")
    asked = {
        f"{QUESTIONS[name][0]}|{name}, {sample}|{array}": values
        for name, sample in CASES
        for array, values in question(name, sample).asked.items()
    }
    files = folder / "asked.npz", folder / "answered.npz"
    np.savez(files[0], **asked)
    done = subprocess.run(
        [python, HERE / "mlfinpy_answers.py", *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    with np.load(files[1]) as file:
        return dict(file)


READ: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "bar": lambda said: said["end"] // 4,
    "won": lambda said: said["sign"] > 0,
}
"""What is compared under another name than mlfinpy's answer."""


@pytest.mark.parametrize(("name", "sample"), CASES, ids=[f"{q}, {s}" for q, s in CASES])
def test_mlfinpy_says_the_same(name: str, sample: str, answers: Mapping[str, Any]) -> None:
    begins = f"{QUESTIONS[name][0]}|{name}, {sample}|"
    said = {key.removeprefix(begins): a for key, a in answers.items() if key.startswith(begins)}
    _, ours, tolerance = question(name, sample)
    for array, values in ours.items():
        theirs = READ[array](said) if array in READ else said[array]
        assert len(values) >= 5
        assert len(np.unique(values)) > 1, "all alike: this would compare nothing"
        exact = values.dtype.kind != "f"
        np.testing.assert_allclose(
            values, theirs, rtol=0.0, atol=0.0 if exact else tolerance, err_msg=array
        )
