"""The card of a model: what it is, what it was trained on, and what it is worth, for people.

Markdown for a repository, and one HTML page that needs no network, with the plots that show at a
glance whether there is skill: areas of all folds and walks, what was said against what happened,
and what the chosen trades made beside all of them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from plotly.graph_objects import (  # type: ignore[import-untyped]
    Bar,
    Figure,
    Histogram,
    Scatter,
)

from onefold.learn.evidence import LEVEL
from onefold.learn.pages import page
from onefold.learn.policy import Learnt
from onefold.learn.train import Trained
from onefold.signals.model import Sidecar
from onefold.views.equity import DAY_NS
from onefold.views.figures import PALETTE, escape, finish
from onefold.views.wording import number, percent, whole

HEIGHT = 300
POINTS_MAX = 2_000


class Card(NamedTuple):
    """What a card says of a model, whatever kind it is."""

    identity: str
    verdict: str
    has_skill: bool
    facts: list[tuple[str, str]]
    skill: list[tuple[str, str]]
    importance: list[tuple[str, str, str, str]]
    figures: list[tuple[str, Figure]]


def _facts(one: Sidecar, symbols: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return name and text of what a model is."""
    days = f"{_day(one.trained_from)} to {_day(one.trained_to)}"
    return [
        ("model", one.identity),
        ("predicts", one.target),
        ("created", f"{one.created_on}, by version {one.trainer_version}"),
        ("trained on", f"{', '.join(symbols)}, {days}"),
        ("data", one.data_hash),
        ("expires", one.expires_on),
        ("sha256", one.sha256),
        ("features", f"{len(one.features)} (schema {one.feature_schema_hash})"),
        ("libraries", ", ".join(f"{k} {v}" for k, v in one.libraries.items())),
    ]


def _skill(trained: Trained, said: str) -> list[tuple[str, str]]:
    """Return name and text of the numbers by which its skill is judged, all out of sample."""
    m = trained.evidence.metrics
    areas = trained.evidence.fold_areas
    return [
        ("verdict", said),
        (
            "events",
            f"{_count(m['events'])}, {_count(m['independent_events'])} independent",
        ),
        ("won", percent(m["win_rate"], 1)),
        ("AUC, purged folds", f"{_area(m['auc'])} ({', '.join(map(_area, areas))})"),
        ("p-value of no skill", f"{number(m['p_value'], 4)}, {_count(m['trials'])} tried"),
        ("AUC, walking forward", _area(m["walk_forward_auc"])),
        (
            "AUC, all combinations",
            f"{_area(m['combinatorial_auc'])}, worst {_area(m['combinatorial_auc_worst'])}",
        ),
        ("log loss", f"{_area(m['log_loss'])}, without features {_area(m['log_loss_base'])}"),
        (
            "mean gain",
            f"{percent(m['mean_gain'], 3)}, of the chosen {percent(m['mean_gain_chosen'], 3)}",
        ),
        ("probabilistic Sharpe ratio", percent(m["probabilistic_sharpe"], 1)),
        (
            "deflated Sharpe ratio",
            f"{percent(m['deflated_sharpe'], 1)}, {whole(int(m['trials'] or 1))} trials",
        ),
    ]


def _verdict(what: str, trials: float | None, *, has_skill: bool) -> str:
    """Return in words whether there is skill."""
    if not has_skill:
        return "no skill shown: this may be luck, so do not trade on it"
    among = "" if not trials or trials < 2 else f", the best of {_count(trials)} counted"
    return f"skill: without any, such {what} at most {percent(LEVEL, 1)} of the time{among}"


def markdown(card: Card) -> str:
    """Return a card as Markdown."""
    lines = [f"# {card.identity}", "", f"**{card.verdict}**", ""]
    for title, rows in (("What it is", card.facts), ("What it is worth", card.skill)):
        lines += [f"## {title}", "", "| | |", "|---|---|"]
        lines += [f"| {name} | {text} |" for name, text in rows]
        lines.append("")
    if card.importance:
        lines += ["## Features", "", "| feature | gain in trees | fall when shuffled | alone |"]
        lines += ["|---|---|---|---|"]
        lines += [f"| `{name}` | {a} | {b} | {c} |" for name, a, b, c in card.importance]
    return "\n".join(lines) + "\n"


def importance_rows(trained: Trained) -> list[tuple[str, str, str, str]]:
    """Return a line for each feature, the most important first."""
    one = trained.importance
    texts = trained.sidecar.features
    order = np.argsort(-one.mda, kind="stable")
    return [
        (texts[k], percent(one.mdi[k], 1), f"{one.mda[k]:+.4f}", _area(float(one.alone[k])))
        for k in order
    ]


def html(card: Card) -> str:
    """Return a card as one HTML page."""
    return page("card.html.j2", card.identity, card.figures, card=card)


def card_of(trained: Trained) -> Card:
    """Return the card of a model that was trained on labels."""
    shown = trained.evidence
    said = _verdict("an area comes", shown.metrics["trials"], has_skill=shown.has_skill)
    return Card(
        trained.sidecar.identity,
        said,
        shown.has_skill,
        _facts(trained.sidecar, trained.sample.symbols),
        _skill(trained, said),
        importance_rows(trained),
        _figures(trained),
    )


def policy_card(learnt: Learnt) -> Card:
    """Return the card of a policy."""
    m = learnt.sidecar.metrics
    said = _verdict("returns come", m["trials"], has_skill=learnt.has_skill)
    rows = [
        ("verdict", said),
        (
            "Sharpe ratio on unseen days",
            f"{number(m['sharpe_unseen'])} ({_count(m['days_unseen'])} days)",
        ),
        ("p-value of no skill", f"{number(m['p_value'], 4)}, {_count(m['trials'])} tried"),
        ("probabilistic Sharpe ratio", percent(m["probabilistic_sharpe"], 1)),
        (
            "Sharpe ratio on seen days",
            f"{number(m['sharpe_seen'])} ({_count(m['days_seen'])} days): in sample",
        ),
    ]
    facts = _facts(learnt.sidecar, learnt.symbols)
    curve = [("What it made", _curve_figure(learnt))]
    return Card(learnt.sidecar.identity, said, learnt.has_skill, facts, rows, [], curve)


def _curve_figure(learnt: Learnt) -> Figure:
    figure = Figure()
    for name, curve, role in (("seen", learnt.seen, "faint"), ("unseen", learnt.unseen, "gain")):
        made = np.cumsum(np.nan_to_num(curve.returns))
        time = (curve.days * (DAY_NS // 1_000_000)).astype(float)
        line = {"color": PALETTE[role]}
        figure.add_trace(Scatter(x=time, y=made, mode="lines", name=name, line=line))
    figure.update_yaxes(title="sum of daily returns", tickformat=".1%")
    return finish(figure, HEIGHT)


def _figures(trained: Trained) -> list[tuple[str, Figure]]:
    return [
        ("Area under the curve, out of sample", _areas_figure(trained)),
        ("What was said against what happened", _calibration_figure(trained)),
        ("Trades that it chooses, beside all", _gains_figure(trained)),
        ("Scores of events that were won and lost", _scores_figure(trained)),
        ("Features", _importance_figure(trained)),
    ]


def _areas_figure(trained: Trained) -> Figure:
    shown, figure = trained.evidence, Figure()
    for name, areas, role in (
        ("purged folds", shown.fold_areas, "gain"),
        ("walking forward", shown.walk_areas, "loss"),
        ("combinations", shown.path_areas, "ink"),
    ):
        at = [f"{name} {n}" for n in range(1, len(areas) + 1)]
        figure.add_trace(Bar(x=at, y=areas, name=name, marker={"color": PALETTE[role]}))
    figure.add_hline(y=0.5, line={"dash": "dot", "color": PALETTE["ink"]})
    known = [a for a in (*shown.fold_areas, *shown.walk_areas, *shown.path_areas) if a == a]  # noqa: PLR0124
    figure.update_yaxes(range=[min(0.4, *known) - 0.02, max(0.6, *known) + 0.02])
    figure.update_xaxes(showticklabels=False)
    return finish(figure, HEIGHT, time_axis=False)


def _calibration_figure(trained: Trained) -> Figure:
    points, figure = trained.sidecar.calibration, Figure()
    if points is not None:
        figure.add_trace(Scatter(
            x=points.x, y=points.y, mode="lines+markers", name="share that won",
            line={"color": PALETTE["gain"]},
        ))  # fmt: skip
    figure.add_trace(Scatter(
        x=[0, 1], y=[0, 1], mode="lines", name="as said",
        line={"dash": "dot", "color": PALETTE["faint"]},
    ))  # fmt: skip
    figure.update_xaxes(title="score out of sample", range=[0, 1])
    figure.update_yaxes(title="share that won", range=[0, 1])
    return finish(figure, HEIGHT, time_axis=False)


def _gains_figure(trained: Trained) -> Figure:
    found, scores = trained.sample, trained.evidence.scores
    base = trained.evidence.metrics["win_rate"] or 0.5
    figure = Figure()
    step = max(1, found.rows // POINTS_MAX)
    time = (found.spans.start[::step] // 1_000_000).astype(float)
    for name, chosen, role in (
        ("all events", np.ones(found.rows, bool), "faint"),
        ("chosen", scores >= base, "gain"),
    ):
        gains = np.cumsum(np.where(chosen, found.gains, 0.0))[::step]
        line = {"color": PALETTE[role]}
        figure.add_trace(Scatter(x=time, y=gains, mode="lines", name=name, line=line))
    figure.update_yaxes(title="sum of gains", tickformat=".0%")
    return finish(figure, HEIGHT)


def _scores_figure(trained: Trained) -> Figure:
    said, won = trained.evidence.scores, trained.sample.won
    figure = Figure()
    for name, which, role in (("lost", won <= 0, "loss"), ("won", won > 0, "gain")):
        known = which & np.isfinite(said)
        figure.add_trace(Histogram(
            x=said[known], name=name, nbinsx=40, opacity=0.6, marker={"color": PALETTE[role]}
        ))  # fmt: skip
    figure.update_layout(barmode="overlay")
    figure.update_xaxes(title="score out of sample")
    return finish(figure, HEIGHT, time_axis=False)


def _importance_figure(trained: Trained) -> Figure:
    one = trained.importance
    order = np.argsort(one.mda, kind="stable")
    names = [escape(trained.sidecar.features[k]) for k in order]
    figure = Figure()
    for name, values, role in (
        ("gain in trees (in sample)", one.mdi, "faint"),
        ("fall of the area when shuffled", one.mda, "gain"),
    ):
        bar: dict[str, Any] = {"orientation": "h", "marker": {"color": PALETTE[role]}}
        figure.add_trace(Bar(x=values[order], y=names, name=name, **bar))
    return finish(figure, max(HEIGHT, 28 * len(names) + 120), time_axis=False)


def _count(value: float | None) -> str:
    return whole(int(value or 0))


def _area(value: float | None) -> str:
    return number(value, 4)


def _day(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1e9, UTC).date().isoformat()
