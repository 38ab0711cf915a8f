"""The report: one file, no network, and no name of a user's that becomes markup or script."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from onefold.views import report, wording
from onefold.views.buy_and_hold import Market
from onefold.views.figures import price_figure
from onefold.views.report import key_cards, report_html, summary_html
from onefold.views.result import ResultView

from .worlds import random_view

EVIL = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "\"'><svg onload=alert(3)>",
    "<!--<script>",
    "a&lt;b&amp;\u2028{{ 7 * 7 }}%{x}",
)


class Page(HTMLParser):
    """Collects what a browser would see: elements, their attributes and texts."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._open = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            self.scripts[-1] += data
        else:
            self.texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def evil_view() -> ResultView:
    return random_view(
        bars=300,
        symbols=EVIL[:2],
        strategies=EVIL[2:4],
        gates=EVIL,
        title=EVIL[0],
        currency="<i>",
        facts={EVIL[1]: EVIL[0], "nested": {EVIL[3]: EVIL[2]}},
    )


def test_page_is_self_contained_with_plotly_once() -> None:
    html = report_html(random_view(bars=200))
    page = Page(html)
    assert sum("plotly.js v" in script for script in page.scripts) == 1
    for tag, attributes in page.elements:
        assert tag not in {"link", "img", "iframe", "object", "embed"}
        assert "src" not in attributes
        assert not (attributes.get("href") or "#").startswith(("http", "//"))
    policy = next(a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert "default-src 'none'" in policy


def test_data_is_small_beside_the_script() -> None:
    view = random_view(bars=20_000, symbols=("A", "B", "C"))
    page = Page(report_html(view))
    data = sum(len(s) for s in page.scripts if s.startswith("{"))
    assert data < 600_000
    figures = [json.loads(s) for s in page.scripts if s.startswith("{")]
    assert len(figures) == 2 + 3


def test_numbers_on_the_page_are_the_metrics() -> None:
    view = random_view(bars=1_500)
    html = report_html(view)
    page = Page(html)
    text = " ".join(page.texts)
    for card in key_cards(view):
        assert card.value in page.texts
    assert f"{view.metrics.trades.trades:,} trades, newest first" in text
    newest = [str(trade) for trade in view.trades["id"].tail(50).reverse()]
    ids = re.findall(r'<td class="text note">(\d+)</td>', html)
    assert ids[:50] == newest
    assert "duplicate: 3 · nan: 1" in text
    assert text.count("mean_reversion") >= 2


def test_buying_and_holding_stands_beside_the_run() -> None:
    view = random_view(bars=1_500)
    page = Page(report_html(view))
    assert view.buy_and_hold is not None
    held = view.buy_and_hold.metrics
    at = page.texts.index("Buy and hold")
    cells = [text for text in page.texts[at + 1 :] if text.strip()][:5]
    assert cells == [
        wording.money(held.equity_end),
        wording.percent(held.total_return, sign=True),
        wording.percent(held.cagr, sign=True),
        wording.percent(held.max_drawdown),
        wording.number(held.sharpe),
    ]
    text = " ".join(page.texts)
    assert "equal shares of ES, GC, each at its first close" in text
    assert "without leverage and without costs" in text


def test_what_is_not_held_is_named_with_the_reason() -> None:
    view = random_view(bars=100)
    one = view.instruments[1].model_copy(update={"negative_prices": True})
    text = " ".join(Page(report_html(replace(view, instruments=(view.instruments[0], one)))).texts)
    assert "Left out: GC (its price may be at or below zero)." in text
    none = " ".join(Page(report_html(replace(view, market=Market()))).texts)
    assert "There is no comparison" in none
    assert "Buy and hold" not in none


@pytest.mark.parametrize("render", [report_html, summary_html])
def test_names_are_shown_as_text(render: object) -> None:
    assert callable(render)
    plain, page = Page(render(random_view(bars=300))), Page(render(evil_view()))
    assert page.count("script") == plain.count("script")
    assert page.count("img") == page.count("svg") == page.count("i") == 0
    assert not any(name.startswith("on") for _, a in page.elements for name in a)
    shown = EVIL if render is report_html else (EVIL[0], *EVIL[2:4])
    for name in shown[:4]:
        assert any(name in text for text in page.texts), name


def test_figures_cannot_leave_their_script_element() -> None:
    page = Page(report_html(evil_view()))
    embedded = [script for script in page.scripts if script.startswith("{")]
    assert len(embedded) == 4
    for script in embedded:
        assert not re.search(r"[<>&\u2028\u2029]", script)
        json.loads(script)


def test_unprofitable_and_profitable_months_are_told_apart_without_colour() -> None:
    page = Page(report_html(random_view(bars=400)))
    cells = [a for tag, a in page.elements if tag == "td" and "style" in a]
    assert {a["class"] for a in cells} == {"up", "down"}
    months = [t for t in page.texts if re.fullmatch(r"[+-]\d+\.\d|0\.0", t)]
    assert len(months) >= len(cells)


def test_instruments_beyond_the_limit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "ROWS_MAX", 3)
    text = " ".join(Page(report_html(random_view(bars=40, symbols=tuple("ABCDE")))).texts)
    assert "The 3 of 5 instruments with the largest profit or loss." in text


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (wording.percent(None), "\N{EM DASH}"),
        (wording.percent(0.12345), "12.35 %"),
        (wording.percent(-0.000001, sign=True), "+0.00 %"),
        (wording.percent_short(-0.0301), "-3.0"),
        (wording.percent_short(-0.0001), "0.0"),
        (wording.money(1234.5), "1,234.50"),
        (wording.money(-250_000.4, sign=True), "-250,000"),
        (wording.money(-0.001, sign=True), "+0.00"),
        (wording.number(None), "\N{EM DASH}"),
        (wording.price(4012.25), "4,012.25"),
        (wording.price(1.084251), "1.08425"),
        (wording.price(0.0000005), "0.0000005"),
        (wording.price(100.0), "100"),
        (wording.price(-37.63), "-37.63"),
        (wording.price(None), "\N{EM DASH}"),
        (wording.duration(59.0), "59.0 s"),
        (wording.duration(5_400.0), "1.5 h"),
        (wording.duration(172_800.0), "2.0 d"),
        (wording.duration(0.25), "0.25 s"),
        (wording.duration(None), "\N{EM DASH}"),
    ],
)
def test_numbers_are_written_for_people(shown: str, expected: str) -> None:
    assert shown == expected


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine to open the report")
def test_browser_draws_the_report_and_shows_evil_names_as_text(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(report_html(evil_view()), encoding="utf-8")
    dom = browse(path, tmp_path / "profile")
    assert dom.count('class="main-svg"') >= 3
    drawn = Page(dom)
    assert drawn.count("img") == 0
    # In the plot of gates the names are text of the drawing, in the page text of the tables.
    svg = dom[dom.index('data-figure="figure-gates"') :]
    assert "&lt;img src=x onerror=alert(2)&gt;" in svg[: svg.index("By strategy")]
    assert not any(name.startswith("on") for _, a in drawn.elements for name in a)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine to open the report")
def test_browser_fits_prices_and_markers_to_what_is_in_view(tmp_path: Path) -> None:
    view = random_view(bars=3_000)
    html = report_html(view)
    look = "JSON.stringify([p.layout.yaxis.range, p.data[1].marker.size])"
    script = (
        "<script>const p = document.getElementById('price'), told = document.body.dataset;"
        f"told.opened = {look};"
        f"Plotly.relayout(p, {{'xaxis.autorange': true}}).then(() => told.all = {look});"
        "</script></body>"
    )
    path = tmp_path / "report.html"
    path.write_text(html.replace("</body>", script), encoding="utf-8")
    body = next(a for t, a in Page(browse(path, tmp_path / "profile")).elements if t == "body")
    (low, high), size = json.loads(body["data-opened"] or "")
    (low_all, high_all), size_all = json.loads(body["data-all"] or "")
    symbol = view.trades["symbol"].value_counts(sort=True)["symbol"][0]
    close, start = view.bars[symbol].close, price_figure(view, symbol).layout.xaxis.range[0]
    seen = close[view.bars[symbol].ts // 1_000_000 >= start]
    assert (seen.min(), seen.max()) == pytest.approx((low, high), rel=0.1)
    assert low <= seen.min() < seen.max() <= high
    assert low_all <= close.min() < close.max() <= high_all
    assert high - low < high_all - low_all
    assert size > size_all


def browse(path: Path, profile: Path) -> str:
    """Open a page in headless Chromium and return its document after the scripts have run."""
    assert CHROMIUM is not None
    flags = (
        "headless no-sandbox disable-gpu disable-quic no-first-run disable-sync "
        "disable-background-networking disable-component-update dump-dom "
        f"virtual-time-budget=10000 user-data-dir={profile}"
    )
    run = subprocess.run(
        [CHROMIUM, *(f"--{flag}" for flag in flags.split()), path.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return run.stdout
