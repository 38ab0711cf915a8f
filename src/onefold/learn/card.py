"""The card of a model: what it is, what it was trained on, and what it is worth, for people.

Markdown for a repository, and one HTML page that needs no network, with the plots that show at a
glance whether there is skill: areas of all folds and walks, what was said against what happened,
and what the chosen trades made beside all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from plotly.graph_objects import (  # type: ignore[import-untyped]
    Bar,
    Figure,
    Scatter,
)
from plotly.subplots import make_subplots  # type: ignore[import-untyped]

from onefold.domain.columns import Floats, Integers
from onefold.learn.evidence import LEVEL, is_skill
from onefold.learn.pages import page
from onefold.learn.policy import Learnt
from onefold.learn.train import Trained
from onefold.signals.model import Sidecar
from onefold.views.equity import DAY_NS
from onefold.views.figures import PALETTE, escape, finish
from onefold.views.statistics import level_of
from onefold.views.wording import number, percent, whole

HEIGHT = 300
POINTS_MAX = 2_000
BINS = 40
MEAN_FROM = 50
"""Events before a mean of gains is drawn: of fewer it says nothing, and hides the rest."""
LEVELS_AT = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
LEVELS_TITLE = "What a threshold lets pass, out of sample"
LEVELS_TEXT = (
    "By the calibrated score, which is the confidence of a signal: `gates.conf_min` of a filter, "
    "`enter` of `ml_direction`. The gain is that of the label. Who picks the best line has tried "
    "them all: it will be less."
)
ABOVE = {"x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
"""A legend above the plot, where it covers no title of an axis."""


class Level(NamedTuple):
    """What a threshold on the confidence lets pass, out of sample."""

    conf_min: str
    passing: str
    events: str
    won: str
    mean_gain: str


class Card(NamedTuple):
    """What a card says of a model, whatever kind it is."""

    identity: str
    verdict: str
    has_skill: bool
    facts: list[tuple[str, str]]
    skill: list[tuple[str, str]]
    importance: list[tuple[str, str, str, str]]
    figures: list[tuple[str, Figure]]
    levels: list[Level]


def _facts(
    one: Sidecar, symbols: tuple[str, ...], said: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return name and text of what a model is; `said` is what the configuration says of it."""
    days = f"{_day(one.trained_from)} to {_day(one.trained_to)}"
    return [
        ("model", one.identity),
        ("predicts", one.target),
        ("created", f"{one.created_on}, by version {one.trainer_version}"),
        ("trained on", f"{', '.join(symbols)}, {days}"),
        *said,
        ("data", one.data_hash),
        ("expires", one.expires_on),
        ("sha256", one.sha256),
        ("features", f"{len(one.features)} (schema {one.feature_schema_hash})"),
        ("libraries", ", ".join(f"{k} {v}" for k, v in one.libraries.items())),
    ]


def _skill(trained: Trained, said: str) -> list[tuple[str, str]]:
    """Return name and text of the numbers by which its skill is judged, all out of sample."""
    m = trained.sidecar.metrics
    areas = trained.evidence.fold_areas
    return [
        ("verdict", said),
        (
            "events",
            f"{_count(m['events'])}, {_count(m['independent_events'])} independent",
        ),
        ("won", percent(m["win_rate"], 1)),
        ("AUC, purged folds", f"{_area(m['auc'])} ({', '.join(map(_area, areas))})"),
        ("p-value of no skill", _p_text(m)),
        ("AUC, walking forward", _area(m["walk_forward_auc"])),
        (
            "AUC, all combinations",
            f"{_area(m['combinatorial_auc'])}, worst {_area(m['combinatorial_auc_worst'])}",
        ),
        (
            "log loss, raw scores",
            f"{_area(m['log_loss'])}, without features {_area(m['log_loss_base'])}",
        ),
        (
            "Brier score, calibrated",
            f"{_area(m['brier'])}, without features {_area(m['brier_base'])}",
        ),
        (
            "chosen",
            (
                f"{_count(m['chosen'])} events whose raw score is at least the share that won "
                f"({percent(m['win_rate'], 1)})"
            ),
        ),
        (
            "mean gain",
            (
                f"{percent(m['mean_gain'], 3)}, of the chosen {percent(m['mean_gain_chosen'], 3)} "
                f"(p-value of nothing gained {number(m['p_value_chosen'], 4)})"
            ),
        ),
        (
            "gain by score",
            f"rises by {percent(m['gain_rise'], 3)} from the lowest score to the highest",
        ),
        ("probabilistic Sharpe ratio", f"{percent(m['probabilistic_sharpe'], 1)}, of the chosen"),
        (
            "deflated Sharpe ratio",
            (
                f"{percent(m['deflated_sharpe'], 1)}, of the chosen, "
                f"{whole(int(m['trials'] or 1))} trials"
            ),
        ),
        ("confidence", _quantiles_text(trained)),
    ]


def _p_text(m: Mapping[str, float | None]) -> str:
    """Return the p-value beside the level that the verdict compares it with."""
    attempt = int(m["trials"] or 1)
    parts = ""
    if "p_value_gain" in m:
        parts = (
            f" (of winning {number(m['p_value_auc'], 4)}, of gain {number(m['p_value_gain'], 4)})"
        )
    level = number(level_of(LEVEL, attempt), 5)
    return f"{number(m['p_value'], 4)}{parts}; skill is at most {level}, attempt {whole(attempt)}"


def _said_out_of_sample(trained: Trained) -> tuple[Floats, Integers]:
    """Return calibrated scores of events that were tested, and their numbers."""
    points, scores = trained.sidecar.calibration, trained.evidence.scores
    known = np.flatnonzero(np.isfinite(scores))
    raw = scores[known]
    return (raw if points is None else np.interp(raw, points.x, points.y)), known


def _quantiles_text(trained: Trained) -> str:
    said, _ = _said_out_of_sample(trained)
    shares = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
    found = np.quantile(said, shares)
    parts = (f"{value:.3f}" for value in found)
    return "calibrated score at 0, 10, 25, 50, 75, 90, 100 % of the events: " + ", ".join(parts)


def levels(trained: Trained) -> list[Level]:
    """Return what thresholds on the confidence let pass out of sample, the lowest first."""
    said, known = _said_out_of_sample(trained)
    found = trained.sample
    won, gains, unique = (column[known] for column in (found.won, found.gains, found.unique))
    # Rounded down, so that what has exactly such a score passes.
    edges = np.unique(np.floor(np.quantile(said, LEVELS_AT) * 1_000) / 1_000)
    rows = []
    for level in edges.tolist():
        passing = said >= level
        if passing.any():
            rows.append(Level(
                f"{level:.3f}", percent(float(passing.mean()), 0), whole(int(passing.sum())),
                percent(float(np.average(won[passing] > 0, weights=unique[passing])), 1),
                percent(float(gains[passing].mean()), 3),
            ))  # fmt: skip
    return rows


def _verdict(what: str, m: Mapping[str, float | None]) -> str:
    """Return in words whether there is skill."""
    if is_skill(m):
        attempt = int(m["trials"] or 1)
        among = "" if attempt < 2 else f", attempts up to the {whole(attempt)}th counted"
        return f"skill: {what}; without any, so at most {percent(LEVEL, 1)} of the time{among}"
    tells = m.get("p_value_auc")
    if m["p_value"] is None:
        return "no skill shown: there is too little to judge by, so do not trade on it"
    if tells is not None and is_skill({**m, "p_value": tells}):
        return (
            "no skill shown: it tells what is won, but what it scores higher does not gain more "
            "beyond luck, so do not trade on it"
        )
    return "no skill shown: this may be luck, so do not trade on it"


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
        lines.append("")
    if card.levels:
        lines += [f"## {LEVELS_TITLE}", "", LEVELS_TEXT, ""]
        lines += [
            "| at least | events that pass | number | won | mean gain |",
            "|---|---|---|---|---|",
        ]
        lines += [f"| {' | '.join(level)} |" for level in card.levels]
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
    said = {"levels_title": LEVELS_TITLE, "levels_text": LEVELS_TEXT}
    return page("card.html.j2", card.identity, card.figures, card=card, **said)


def card_of(trained: Trained, said: Sequence[tuple[str, str]] = ()) -> Card:
    """Return the card of a model that was trained on labels.

    `said` are names and texts of what the configuration says of it.
    """
    shown = trained.evidence
    what = "it tells what is won, and what it scores higher gains more"
    verdict = _verdict(what, shown.metrics)
    return Card(
        trained.sidecar.identity,
        verdict,
        shown.has_skill,
        _facts(trained.sidecar, trained.sample.symbols, said),
        _skill(trained, verdict),
        importance_rows(trained),
        _figures(trained),
        levels(trained),
    )


def policy_card(learnt: Learnt, said: Sequence[tuple[str, str]] = ()) -> Card:
    """Return the card of a policy; `said` is as in `card_of`."""
    m = learnt.sidecar.metrics
    verdict = _verdict("it gains on days that it has not seen", m)
    if m["sharpe_unseen"] is None:
        verdict = "it never traded on unseen days: there is nothing to judge, so no skill is shown"
    rows = [
        ("verdict", verdict),
        ("Sharpe ratio on unseen days", _made_text(m, "unseen")),
        ("p-value of no skill", _p_text(m)),
        ("probabilistic Sharpe ratio", percent(m["probabilistic_sharpe"], 1)),
        ("Sharpe ratio on seen days", f"{_made_text(m, 'seen')}: in sample"),
    ]
    facts = _facts(learnt.sidecar, learnt.symbols, said)
    curve = [("What it made", _curve_figure(learnt))]
    return Card(learnt.sidecar.identity, verdict, learnt.has_skill, facts, rows, [], curve, [])


def _made_text(m: Mapping[str, float | None], part: str) -> str:
    """Return what a policy made in a part of the time, or that it made nothing."""
    ratio, days = m[f"sharpe_{part}"], _count(m[f"days_{part}"])
    return f"it never traded ({days} days)" if ratio is None else f"{number(ratio)} ({days} days)"


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
    least = percent(trained.evidence.metrics["win_rate"], 1)
    return [
        ("Area under the curve (AUC), out of sample", _areas_figure(trained)),
        ("Calibration (reliability)", _calibration_figure(trained)),
        (
            f"Mean gain of the chosen (raw score of {least} or more) beside all",
            _gains_figure(trained),
        ),
        ("Raw scores of events that were won and lost", _scores_figure(trained)),
        ("Features", _importance_figure(trained)),
    ]


def _areas_figure(trained: Trained) -> Figure:
    """Return every area with twice the error that it has by chance, about the line of chance."""
    shown, figure = trained.evidence, Figure()
    for name, areas, errors, role in (
        ("fold", shown.fold_areas, shown.fold_errors, "gain"),
        ("walk", shown.walk_areas, shown.walk_errors, "loss"),
        ("combination", shown.path_areas, shown.path_errors, "ink"),
    ):
        figure.add_trace(Scatter(
            x=[f"{name} {n}" for n in range(1, len(areas) + 1)], y=areas, mode="markers",
            name=f"{name}s", marker={"color": PALETTE[role], "size": 9},
            error_y={"type": "data", "array": [2.0 * e for e in errors], "thickness": 1.2},
            hovertemplate="%{x}<br>%{y:.4f} ± %{error_y.array:.4f}<extra></extra>",
        ))  # fmt: skip
    line = {"dash": "dot", "color": PALETTE["ink"]}
    figure.add_hline(y=0.5, line=line, annotation_text="chance", annotation_position="bottom right")
    figure.update_yaxes(title="AUC, ± 2 errors by chance")
    figure.update_xaxes(type="category", tickangle=-45)
    return finish(figure, HEIGHT + 60, time_axis=False).update_layout(legend=ABOVE)


def _calibration_figure(trained: Trained) -> Figure:
    points, figure = trained.sidecar.calibration, Figure()
    if points is None:
        return finish(figure, HEIGHT, time_axis=False)
    ends = [min(points.x + points.y), max(points.x + points.y)]
    margin = max(0.01, 0.08 * (ends[1] - ends[0]))
    fitted = [max(0.0, ends[0] - margin), min(1.0, ends[1] + margin)]
    figure.add_trace(Scatter(
        x=fitted, y=fitted, mode="lines", name="as said",
        line={"dash": "dot", "color": PALETTE["faint"]},
    ))  # fmt: skip
    figure.add_trace(Scatter(
        x=points.x, y=points.y, mode="lines+markers", name="share that won",
        line={"color": PALETTE["gain"]},
    ))  # fmt: skip
    figure.update_xaxes(title="raw score out of sample", range=fitted)
    figure.update_yaxes(title="share that won", range=fitted)
    return finish(figure, HEIGHT + 60, time_axis=False).update_layout(legend=ABOVE)


def _gains_figure(trained: Trained) -> Figure:
    """Return the mean gain of all events so far, and of the chosen among them."""
    found, scores = trained.sample, trained.evidence.scores
    base, figure = trained.evidence.metrics["win_rate"] or 0.5, Figure()
    for name, which, role in (
        ("all events", np.isfinite(scores), "faint"),
        ("chosen", scores >= base, "gain"),
    ):
        at = np.flatnonzero(which)
        if len(at) <= MEAN_FROM:
            continue
        means = np.cumsum(found.gains[at]) / np.arange(1, len(at) + 1)
        shown = np.arange(MEAN_FROM, len(at), max(1, len(at) // POINTS_MAX))
        time = (found.spans.start[at[shown]] // 1_000_000).astype(float)
        line = {"color": PALETTE[role]}
        figure.add_trace(Scatter(x=time, y=means[shown], mode="lines", name=name, line=line))
    figure.add_hline(y=0.0, line={"dash": "dot", "color": PALETTE["ink"]})
    figure.update_yaxes(title="mean gain up to then", tickformat=".2%")
    return finish(figure, HEIGHT).update_layout(legend=ABOVE)


def _scores_figure(trained: Trained) -> Figure:
    """Return densities, so that won and lost can be compared where one is rarer."""
    said, won = trained.evidence.scores, trained.sample.won
    known, figure = np.isfinite(said), Figure()
    low, high = float(said[known].min()), float(said[known].max())
    edges = np.linspace(low, high if high > low else low + 1e-3, BINS + 1)
    for name, which, role in (("lost", won <= 0, "loss"), ("won", won > 0, "gain")):
        density, _ = np.histogram(said[which & known], edges, density=True)
        figure.add_trace(Scatter(
            x=np.repeat(edges, 2), y=np.r_[0.0, np.repeat(density, 2), 0.0], mode="lines",
            name=name, line={"color": PALETTE[role], "width": 1.6}, fill="tozeroy",
            fillcolor=PALETTE[role] + "22",
        ))  # fmt: skip
    figure.update_xaxes(title="raw score out of sample")
    figure.update_yaxes(title="density")
    return finish(figure, HEIGHT, time_axis=False).update_layout(legend=ABOVE)


def _importance_figure(trained: Trained) -> Figure:
    """Return three measures beside each other, each on an axis of its own."""
    one = trained.importance
    order = np.argsort(one.mda, kind="stable")
    names = [escape(trained.sidecar.features[k]) for k in order]
    parts = (
        ("MDI: share of the gain in trees<br>(in sample)", one.mdi, "faint", 0.0),
        ("MDA: fall of the AUC when shuffled<br>(out of sample)", one.mda, "gain", 0.0),
        ("SFI: AUC alone<br>(out of sample)", one.alone, "ink", 0.5),
    )
    figure = make_subplots(
        rows=1, cols=3, shared_yaxes=True, subplot_titles=[title for title, *_ in parts],
        horizontal_spacing=0.04,
    )  # fmt: skip
    for column, (_, values, role, middle) in enumerate(parts, start=1):
        bar: dict[str, Any] = {"orientation": "h", "marker": {"color": PALETTE[role]}}
        figure.add_trace(
            Bar(x=values[order] - middle, y=names, base=middle, showlegend=False, **bar),
            row=1, col=column,
        )  # fmt: skip
        figure.add_vline(x=middle, line={"color": PALETTE["ink"], "width": 1}, row=1, col=column)
    finish(figure, max(HEIGHT, 28 * len(names) + 140), time_axis=False)
    figure.update_annotations(font_size=12)
    return figure.update_layout(margin={"t": 70})


def _count(value: float | None) -> str:
    return whole(int(value or 0))


def _area(value: float | None) -> str:
    return number(value, 4)


def _day(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1e9, UTC).date().isoformat()
