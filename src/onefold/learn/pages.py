"""The pages that research writes: one HTML file each, which opens anywhere without a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jinja2
from plotly.graph_objects import Figure  # type: ignore[import-untyped]
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.ChoiceLoader(
        [jinja2.PackageLoader("onefold.learn"), jinja2.PackageLoader("onefold.views")]
    ),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(template: str, title: str, figures: Sequence[tuple[str, Figure]], **facts: Any) -> str:
    """Return a page with its plots, each under a heading."""
    return _ENVIRONMENT.get_template(template).render(
        title=title,
        figures=[
            (
                heading,
                figure.to_html(
                    full_html=False,
                    include_plotlyjs=False,
                    div_id=f"plot-{n}",
                    config={"displaylogo": False},
                ),
            )
            for n, (heading, figure) in enumerate(figures)
        ],
        plotly=get_plotlyjs(),
        **facts,
    )
