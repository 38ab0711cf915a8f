"""M1, M6, S3: what models say is an input: asked once, within a deadline, and replayed."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import some_models
from onefold.domain.errors import ModelError, ReplayMismatch
from onefold.domain.records import AnyRecord, Bar, Score
from onefold.engine.backtest import backtest
from onefold.engine.inference import EXPIRED, LATE, NOT_ASKED, UNDECIDED, Inference
from onefold.engine.recorder import Recorder
from onefold.engine.replay import replay
from onefold.engine.session import Session
from onefold.journal import Journal, decode, read
from onefold.signals import strategy
from onefold.signals.model import Model
from onefold.sim.exchange import SimulatedVenue
from onefold.sim.market import Market
from onefold.sim.plan import Placement, Plan
from support import MINUTE_NS, account_of, bars_of, rules_of, share, start_of, today

ROWS = 300


class Store:
    """A store with one model."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def get(self, _name: str) -> Model:
        return self.model


def model_of(predict: Any) -> Model:
    return Model(some_models.sidecar_of(some_models.artifact_of("onnx")), predict)


def halves(rows: Any) -> Any:
    """Say something of every row that depends on it alone."""
    return np.modf(np.abs(rows[:, 0] * 0.37 + rows[:, 1]))[0]


def plan_of(model: Model) -> Plan:
    """Two strategies with the same model on one instrument, one of them a filter."""
    store, rules = Store(model), rules_of(gates={"conf_min": 0.4})
    return Plan(
        account_of(),
        (share("ABC"),),
        (
            Placement("dips", strategy("ml_ibs", models=store, model="dips"), rules, ("ABC",)),
            Placement(
                "follow", strategy("ml_direction", models=store, model="dips"), rules_of(), ("ABC",)
            ),
        ),
        (MINUTE_NS,),
    )


def some_bars() -> list[Bar]:
    chance = np.random.default_rng(3)
    close = 100 * np.exp(np.cumsum(chance.normal(0, 0.01, ROWS)))
    open_ = np.r_[100.0, close[:-1]]
    high = np.maximum(open_, close) * (1 + chance.uniform(0, 0.004, ROWS))
    low = np.minimum(open_, close) * (1 - chance.uniform(0, 0.004, ROWS))
    return bars_of(zip(open_, high, low, close, strict=True))


def run(
    plan: Plan, folder: Path, *, bars: list[Bar] | None = None, inference: Inference | None = None
) -> Session:
    """Run a session that goes on where its journal ends."""
    with Journal.open(folder, today=today) as journal:
        entries = read(folder) if journal.head.seq else iter(())
        session = Session(
            plan,
            SimulatedVenue(plan.book(), plan.names),
            Recorder(entries, journal),
            start_of(),
            inference=inference,
        )
        session.resume()
        session.run(bars or some_bars())
    return session


def scores(folder: Path) -> list[Score]:
    return [decode(e, AnyRecord) for e in read(folder) if e.kind == "score"]  # type: ignore[arg-type,misc]


def columns(bars: list[Bar]) -> Market:
    from onefold.domain.convert import to_columns

    return Market(("ABC",), {"ABC": to_columns(bars)})


def test_backtest_session_and_replay_are_identical_and_ask_once_a_bar(tmp_path: Path) -> None:
    asked = []

    def counted(rows: Any) -> Any:
        asked.append(len(rows))
        return halves(rows)

    plan = plan_of(model_of(counted))
    batch = backtest(plan, columns(some_bars()))
    asked.clear()
    session = run(plan, tmp_path)
    assert session.result().fingerprint == batch.fingerprint
    assert len(batch.fills) > 10
    said = scores(tmp_path)
    assert len(said) == len(asked) == ROWS - plan.placements[0].strategy.warm_up
    assert session.inference.counts[said[0].model] == {"scores": len(said), "late": 0, "failed": 0}
    asking = [decode(e, AnyRecord) for e in read(tmp_path) if e.kind == "signal"]  # type: ignore[arg-type]
    assert {tuple(one.models) for one in asking} == {(said[0].model,)}
    # A replay asks nobody: the model need not even be there.
    remembered = plan_of(model_of(None))
    assert replay(tmp_path, remembered).run.fingerprint == batch.fingerprint
    assert len(asked) == len(said)
    assert replay(tmp_path, plan, models=True).run.fingerprint == batch.fingerprint
    assert len(asked) == 2 * len(said)
    with pytest.raises(ReplayMismatch, match='"kind":"score"'):
        replay(tmp_path, plan_of(model_of(lambda rows: 1.0 - halves(rows))), models=True)


def test_a_restart_takes_what_was_said_from_the_journal(tmp_path: Path) -> None:
    whole, bars = tmp_path / "whole", some_bars()
    expected = run(plan_of(model_of(halves)), whole).result().fingerprint
    cut, asked = tmp_path / "cut", []

    def counted(rows: Any) -> Any:
        asked.append(rows)
        return halves(rows)

    run(plan_of(model_of(halves)), cut, bars=bars[:200])
    again = run(plan_of(model_of(counted)), cut)
    assert again.result().fingerprint == expected
    assert len(asked) == ROWS - 200


def test_another_model_does_not_go_on_with_a_journal(tmp_path: Path) -> None:
    model = model_of(halves)
    run(plan_of(model), tmp_path, bars=some_bars()[:50])
    other = Model(msgspec.structs.replace(model.sidecar, version=2), halves)
    with pytest.raises(ReplayMismatch, match=r"dips@0#.*recomputed.*dips@2#"):
        run(plan_of(other), tmp_path)


def test_a_late_answer_is_discarded_and_the_replay_knows_it(tmp_path: Path) -> None:
    """M6: the model sleeps on one bar; the next one is late too, since it is still asleep."""
    slow = {"left": 60}

    def sleeps(rows: Any) -> Any:
        slow["left"] -= 1
        if slow["left"] == 0:
            time.sleep(1.0)
        return halves(rows)

    plan = plan_of(model_of(sleeps))
    inference = Inference(deadline_s=0.2)
    asked = time.monotonic()
    live = run(plan, tmp_path, bars=some_bars()[:75], inference=inference)
    assert time.monotonic() - asked < 0.9
    late = [one for one in scores(tmp_path) if one.why == LATE]
    assert len(late) > 1
    assert all(one.value is None for one in late)
    assert inference.counts[late[0].model]["late"] == len(late)
    assert replay(tmp_path, plan_of(model_of(None))).run.fingerprint == live.result().fingerprint
    again = replay(tmp_path, plan_of(model_of(halves)), models=True)
    assert again.run.fingerprint == live.result().fingerprint
    time.sleep(1.0)
    answer = inference.ask(model_of(halves).score, lambda _: 0.5, (1.0,))
    assert answer == (0.5, ""), "once awake it answers again"


def test_a_model_that_expires_while_a_session_runs_says_nothing_more(tmp_path: Path) -> None:
    day = {"today": "2026-11-20"}
    sidecar = msgspec.structs.replace(model_of(halves).sidecar, expires_on="2026-11-21")
    asked = []

    def counted(rows: Any) -> Any:
        asked.append(rows)
        if len(asked) == 50:
            day["today"] = "2026-11-21"
        return halves(rows)

    plan = plan_of(Model(sidecar, counted))
    live = run(plan, tmp_path, inference=Inference(today=lambda: str(day["today"])))
    assert len(asked) == 50
    expired = [one for one in scores(tmp_path) if one.why == EXPIRED]
    assert len(expired) > 100
    again = replay(tmp_path, plan_of(Model(sidecar, halves)), models=True)
    assert again.run.fingerprint == live.result().fingerprint


def test_a_model_that_is_taken_back_while_a_session_runs_says_nothing_more() -> None:
    """Expiry is what was decided too, and members' dates; what cannot be read is no permission."""
    model, day = model_of(halves), {"decided": ""}
    blend = Model(msgspec.structs.replace(model.sidecar, name="both"), halves, members=[model])
    row, inference = (50.0, 0.5, 0.01), Inference(today=lambda: "2026-11-21")

    def decided() -> str:
        if day["decided"] == "unreadable":
            raise ModelError("state.json cannot be read")
        return day["decided"]

    model.decided = decided
    for said, answer in (
        ("", ""),
        ("2026-11-22", ""),
        ("2026-11-21", EXPIRED),
        ("unreadable", UNDECIDED),
        ("", ""),
    ):
        day["decided"] = said
        for one in (model, blend):
            value, why = inference.ask(one.score, one.score.open(), row)
            assert why == answer
            assert (value is None) == bool(answer)
    assert {EXPIRED, UNDECIDED, LATE} == NOT_ASKED


def test_a_model_that_hangs_silences_itself_alone() -> None:
    inference, ends = Inference(deadline_s=0.1), threading.Event()
    good = model_of(halves)
    hung = Model(
        msgspec.structs.replace(good.sidecar, name="hung"),
        lambda rows: ends.wait(60.0) and halves(rows),
    )
    row = (50.0, 0.5, 0.01)
    for _ in range(2):
        assert inference.ask(hung.score, hung.score.open(), row) == (None, LATE)
        assert inference.ask(good.score, good.score.open(), row)[1] == ""
    ends.set()


@pytest.mark.parametrize(
    ("fails", "why"),
    [
        (lambda rows: np.full(len(rows), 7.0), "no probability"),
        (lambda rows: np.full(len(rows), np.nan), "no probability"),
        (lambda _: 1 / 0, "failed: ZeroDivisionError"),
    ],
)
def test_a_model_that_fails_keeps_its_strategies_out_and_the_session_going(
    tmp_path: Path, fails: Any, why: str
) -> None:
    session = run(plan_of(model_of(fails)), tmp_path, inference=Inference(deadline_s=5.0))
    said = scores(tmp_path)
    assert len(said) > 100
    assert all(one.value is None and why in one.why for one in said)
    assert len(session.result().fills) == 0


def test_an_error_that_nobody_foresaw_ends_no_thread() -> None:
    inference, score = Inference(deadline_s=5.0), model_of(halves).score

    def fails(_values: Any) -> float:
        raise KeyError("unforeseen")

    assert inference.ask(score, fails, (1.0,)) == (None, "KeyError: 'unforeseen'")
    assert inference.ask(score, lambda _: 0.5, (1.0,)) == (0.5, "")


def test_a_model_that_only_remembers_cannot_score() -> None:
    with pytest.raises(ModelError, match="only remembered here"):
        model_of(None).scores(np.zeros((1, 3)))
