"""U3: the dashboard in a browser, over a session that trades: pages, roles, actions, states."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from app.paper_session import PaperSession
from app.world import write_config
from onefold.api.security import Keys

from .dashboard_process import CORPUS
from .dashboards import (
    ARGUMENTS,
    CHROMIUM,
    DESKTOP,
    PAGES,
    PHONE,
    WAIT_MS,
    Dashboard,
    Look,
    assert_accessible,
    heartbeat,
    looking,
)
from .served import CONFIG, Serving

MANY = 100_000
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.skip("there is no Chromium")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


class Trading:
    """A session that trades, what keeps its database up to date, and the dashboard."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.session = PaperSession(folder, seconds_per_bar=0.05)
        path = folder / "onefold.yaml"
        limits = "account: { limits: { max_open_positions: 1 } }\n"
        path.write_text(limits + path.read_text() + "serve: { requests_per_s: 10000 }\n")
        self.session.start()
        self.serving = Serving(folder)
        self.dashboard = Dashboard(folder)
        self.key, self.url = self.dashboard.key, self.dashboard.url

    def close(self) -> None:
        self.dashboard.close()
        self.serving.close()
        self.session.close()


@pytest.fixture(scope="module")
def trading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trading]:
    found = Trading(tmp_path_factory.mktemp("trading"))
    found.serving.wait("/decisions", lambda page: len(page["items"]) > 5, passed="false", limit=10)
    found.serving.wait("/trades", lambda page: len(page["items"]) > 2, state="closed")
    yield found
    found.close()


def row(page: Page, text: str) -> Any:
    return page.locator("tr", has_text=text).first


# --- every page ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_page_can_be_read_and_operated(
    browser: Browser, trading: Trading, scheme: str, size: dict[str, int]
) -> None:
    with looking(browser, trading.url, viewport=size, color_scheme=scheme) as look:
        look.page.goto(f"{look.url}/dashboard/login")
        assert look.page.locator("label[for=key]").inner_text() == "API key"
        look.sign_in(trading.key["risk"])
        for path in PAGES:
            page = look.go(path)
            page.wait_for_function("!document.querySelector('#content .loading')")
            assert_accessible(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], path
            expect(page.locator("nav a[aria-current=page]")).to_have_count(1)
            assert page.locator(".problem:visible").all_inner_texts() == [], path


def test_it_shows_what_the_session_does_and_goes_on(browser: Browser, trading: Trading) -> None:
    with looking(browser, trading.url) as look:
        page = look.sign_in(trading.key["viewer"]).page
        expect(page.locator(".top .state")).to_have_text("paper: paper, trading")
        expect(row(page, "paper")).to_contain_text("running")
        equity = page.locator(".stats div", has_text="Equity").locator("dd").first
        page.wait_for_selector(".chart svg path", state="attached")
        assert re.fullmatch(r"[\d,]+(\.\d\d)?", equity.inner_text())
        decisions = page.locator("section[aria-label='Last decisions'] tbody tr")
        expect(decisions).to_have_count(8)
        # An update changes the text of what is there, and builds nothing anew.
        page.evaluate("document.querySelector('.stats').dataset.kept = 'yes'")
        newest = page.locator("section[aria-label='Last decisions'] time").first
        for _ in range(2):
            expect(newest).not_to_have_text(newest.inner_text())
        assert page.locator(".stats[data-kept=yes]").count() == 1


def test_a_trade_is_shown_on_its_bars(browser: Browser, trading: Trading) -> None:
    with looking(browser, trading.url) as look:
        page = look.sign_in(trading.key["viewer"]).go("trades")
        page.locator("select").first.select_option("closed")
        expect(page.locator("tbody")).not_to_contain_text("running")
        page.locator("tbody button").nth(1).click()
        expect(page.locator("tr.chosen")).to_have_count(1)
        chart = page.locator(".chart svg")
        expect(chart.get_by_text("Entry", exact=True)).to_be_visible()
        expect(chart.get_by_text("Exit", exact=True)).to_be_visible()
        expect(page.locator(".lead").first).to_contain_text("out at")


def test_decisions_are_filtered_and_paged(browser: Browser, trading: Trading) -> None:
    with looking(browser, trading.url) as look:
        page = look.sign_in(trading.key["viewer"]).go("decisions")
        body = page.locator("section[aria-label=Decisions] tbody")
        page.get_by_label("Outcome").select_option("no")
        expect(body).not_to_contain_text("order")
        expect(body.locator("tr").first).to_contain_text("blocked")
        page.get_by_label("Outcome").select_option("yes")
        expect(body).not_to_contain_text("blocked")
        page.get_by_label("Outcome").select_option("")
        page.get_by_label("Strategy").select_option("dips")
        expect(body).not_to_contain_text("trend")
        page.get_by_label("Stopped by").select_option("open_positions")
        expect(body.locator("tr").first).to_contain_text("blocked: open positions")
        page.get_by_label("Stopped by").select_option("")
        page.get_by_label("Strategy").select_option("")
        trading.serving.wait("/decisions", lambda found: len(found["items"]) > 60, limit=100)
        newest = body.locator("time").first.get_attribute("datetime") or ""
        page.get_by_role("button", name="Older").click()
        expect(page.get_by_text("page 2")).to_be_visible()
        assert (body.locator("time").first.get_attribute("datetime") or "") < newest
        page.get_by_role("button", name="Newer").click()
        expect(page.get_by_role("button", name="Newer")).to_be_disabled()
        expect(
            page.locator("section[aria-label='What the gates stopped'] .bar").first
        ).to_be_visible()


def test_it_explains_a_blocked_trade_in_words(browser: Browser, trading: Trading) -> None:
    with looking(browser, trading.url) as look:
        page = look.sign_in(trading.key["viewer"]).go("decisions?passed=no")
        found = page.locator("td a", has_text="blocked: open positions").first
        found.wait_for()
        found.click()
        lead = page.locator(".lead")
        expect(lead).to_contain_text("The gate open positions said no")
        expect(lead).to_contain_text("is 2, and must be at most max open positions, which is 1")
        gate = page.locator("tr.blocked")
        expect(gate).to_have_count(1)
        assert gate.locator("td").all_inner_texts()[:4] == ["open positions", "blocked", "2", "1"]
        assert page.locator("section", has_text="Gates").locator("tbody tr").count() > 20
        shown = page.locator("dd time").first.get_attribute("datetime") or ""
        page.fill("input[name=symbol]", "BTCUSD")
        page.fill("input[name=at]", shown[:19].replace("T", " "))
        page.get_by_role("button", name="Ask", exact=True).click()
        expect(page.locator("h3", has_text="trend")).to_be_visible()
        expect(page.locator("h3", has_text="dips")).to_be_visible()
        page.goto(f"{look.url}/dashboard/explain?symbol=BTCUSD&at=yesterday")
        expect(page.locator(".problem").first).to_contain_text("is no time; write it as")


def test_the_journal_is_verified_by_who_may(browser: Browser, trading: Trading) -> None:
    with looking(browser, trading.url) as look:
        page = look.sign_in(trading.key["admin"]).go("journal")
        expect(page.locator("tbody")).to_contain_text(trading.session.journal().name)
        expect(page.locator("tbody")).to_contain_text("behind")
        page.get_by_role("button", name="Verify it").click()
        expect(page.locator(".verified")).to_contain_text("agree with their seals")
    with looking(browser, trading.url) as look:
        page = look.sign_in(trading.key["risk"]).go("journal")
        page.wait_for_selector("tbody")
        assert page.get_by_role("button", name="Verify it").count() == 0


# --- doing ---------------------------------------------------------------------------------------


def test_the_kill_switch_from_a_phone_reaches_the_session(
    browser: Browser, trading: Trading
) -> None:
    options = {"viewport": PHONE, "has_touch": True, "is_mobile": True, "color_scheme": "dark"}
    with looking(browser, trading.url, **options) as look:
        page = look.sign_in(trading.key["operator"]).page
        assert page.get_by_role("button", name="Resume").count() == 0
        page.locator("button.big").click()
        page.get_by_label("Reason (may be left out)").fill("looks odd")
        hold = page.locator("button.hold")
        hold.click()  # a touch is not enough
        page.wait_for_timeout(1_500)
        assert not heartbeat(trading.folder)["killed"]
        assert_accessible(page)
        hold.hover()
        page.mouse.down()
        expect(page.locator("dialog[open]")).to_have_count(0)
        page.mouse.up()
        trading.session.wait(lambda beat: beat["killed"])
        expect(page.locator(".banner")).to_contain_text("Trading is stopped. paper: looks odd")
        expect(page.locator(".said")).to_contain_text("Stop. paper: done.")
        expect(page.locator(".top .state")).to_have_text("paper: paper, stopped")
        assert_accessible(page)
    _resume(browser, trading)
    _typed(browser, trading)
    _resume(browser, trading, key_again=False)


def _resume(browser: Browser, trading: Trading, *, key_again: bool = True) -> None:
    """Resuming takes the role risk, a reason, and one's own key once more."""
    with looking(browser, trading.url) as look:
        page = look.sign_in(trading.key["risk"]).page
        page.get_by_role("button", name="Resume").click()
        dialog = page.locator("dialog[open]")
        if key_again:
            dialog.get_by_role("button", name="Resume").click()
            expect(dialog.get_by_role("alert")).to_contain_text("give your key again")
            dialog.get_by_label("Your key again").fill(trading.key["admin"])
            dialog.get_by_role("button", name="Resume").click()
            expect(dialog.get_by_role("alert")).to_contain_text("not the key that is signed in")
        dialog.get_by_label("Your key again").fill(trading.key["risk"])
        dialog.get_by_role("button", name="Resume").click()
        expect(dialog.get_by_role("alert")).to_contain_text("Give a reason")
        assert heartbeat(trading.folder)["killed"]
        dialog.get_by_label("Reason").fill("looked at it")
        dialog.get_by_role("button", name="Resume").click()
        expect(dialog).to_have_count(0)
        trading.session.wait(lambda beat: not beat["killed"])
        expect(page.locator(".top .state")).to_have_text("paper: paper, trading")
    found = [r for r in trading.session.records() if type(r).__name__ == "Command"]
    by = [(one.command, one.operator, one.reason) for one in found]
    assert ("resume", "risk1", "looked at it") in by


def _typed(browser: Browser, trading: Trading) -> None:
    """Whoever cannot hold a button types a word; the keyboard alone is enough."""
    with looking(browser, trading.url) as look:
        page = look.sign_in(trading.key["operator"]).page
        page.locator(".top button.danger").focus()
        page.keyboard.press("Enter")
        field = page.get_by_label("or type KILL")
        field.fill("KIL")
        page.wait_for_timeout(300)
        assert page.locator("dialog[open]").count() == 1
        field.fill("KILL")
        expect(page.locator("dialog[open]")).to_have_count(0)
        trading.session.wait(lambda beat: beat["killed"])


def test_who_may_not_is_shown_nothing_to_do(browser: Browser, trading: Trading) -> None:
    actions = {
        "viewer": set(),
        "operator": {"Stop trading", "Reduce only", "Close everything", "Suppress"},
        "risk": {"Resume", "Set a value", "Watch", "Release"},
    }
    actions["risk"] |= actions["operator"]
    every = actions["risk"]
    for role, may in actions.items():
        with looking(browser, trading.url) as look:
            look.sign_in(trading.key[role])
            shown: set[str] = set()
            for path in ("", "governance"):
                page = look.go(path)
                shown |= {text.strip() for text in page.locator("button").all_inner_texts()}
            assert shown & every == may, role


def test_governance_is_changed_with_a_reason_and_a_key(browser: Browser, trading: Trading) -> None:
    with looking(browser, trading.url) as look:
        page = look.sign_in(trading.key["risk"]).go("governance")
        page.get_by_role("button", name="Set a value").click()
        dialog = page.locator("dialog[open]")
        dialog.get_by_label("What").select_option("conf_min")
        dialog.get_by_label("Strategy").select_option("dips")
        dialog.get_by_label("Value").fill("much")
        dialog.get_by_label("Reason").fill("too many weak ones")
        dialog.get_by_label("Your key again").fill(trading.key["risk"])
        dialog.get_by_role("button", name="Set").click()
        expect(dialog.get_by_role("alert")).to_contain_text("'much' is no number")
        dialog.get_by_label("Value").fill("0.35")
        dialog.get_by_role("button", name="Set").click()
        expect(page.locator(".said")).to_contain_text("is in force")
        expect(page.locator("section", has_text="In force").first).to_contain_text("0.35")
        page.wait_for_selector(".chart svg path", state="attached")
        page.get_by_role("button", name="Suppress").click()
        dialog.get_by_label("Symbol").select_option("BTCUSD")
        dialog.get_by_label("Reason").fill("a test of it")
        dialog.get_by_role("button", name="Suppress").click()
        held = page.locator("section[aria-label='Suppressed and watched']")
        expect(held.locator("tbody")).to_contain_text("a test of it")
        page.get_by_role("button", name="Release").click()
        dialog.get_by_label("Symbol").select_option("BTCUSD")
        dialog.get_by_label("Reason").fill("looked at")
        dialog.get_by_role("button", name="Release").click()  # the key was given a moment ago
        expect(held).to_contain_text("Nothing is held back.")
        page.get_by_role("button", name="Go back").last.click()
        dialog.get_by_label("Reason").fill("all as at first")
        dialog.get_by_role("button", name="Go back to version 1").click()
        expect(page.locator(".said")).to_contain_text("is in force")
        by = [v["by"] for v in trading.serving.get("/governance", account="paper")["versions"]]
        assert set(by) == {"risk1"}


# --- the keyboard --------------------------------------------------------------------------------


def test_the_keyboard_is_enough(browser: Browser, trading: Trading) -> None:
    with looking(browser, trading.url) as look:
        page = look.sign_in(trading.key["operator"]).page
        page.keyboard.press("Tab")
        skip = page.locator(".skip")
        expect(skip).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#content")).to_be_focused()
        page.keyboard.press("Tab")
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(outline) == "solid"
        page.keyboard.press("?")
        expect(page.locator("#help")).to_be_visible()
        assert_accessible(page)
        page.keyboard.press("?")
        expect(page.locator("#help")).to_be_hidden()
        page.keyboard.press("g")
        page.keyboard.press("t")
        page.wait_for_url("**/dashboard/trades")
        page.wait_for_selector("#content .panel")
        page.locator("select").first.focus()
        page.keyboard.press("g")
        page.keyboard.press("o")
        page.wait_for_timeout(300)
        assert page.url.endswith("/trades")  # it was meant for the list


def test_the_theme_is_chosen_and_kept(browser: Browser, trading: Trading) -> None:
    with looking(browser, trading.url, color_scheme="dark") as look:
        page = look.sign_in(trading.key["viewer"]).page
        ground = "getComputedStyle(document.body).backgroundColor"
        dark = page.evaluate(ground)
        page.get_by_role("button", name="Theme").click()
        assert page.evaluate(ground) != dark
        page.reload()
        page.wait_for_selector("#content .panel")
        assert page.evaluate("document.documentElement.dataset.theme") == "light"


def test_times_are_utc_and_told_locally(browser: Browser, trading: Trading) -> None:
    with looking(browser, trading.url, timezone_id="Asia/Kolkata", locale="en-GB") as look:
        page = look.sign_in(trading.key["viewer"]).go("decisions")
        time_ = page.locator("td time").first
        time_.hover()
        utc = time_.get_attribute("datetime") or ""
        title = time_.get_attribute("title") or ""
        assert utc.endswith("Z")
        hour, minute = int(utc[11:13]), int(utc[14:16])
        local = (hour * 60 + minute + 330) % 1_440
        assert f"{local // 60:02}:{local % 60:02}" in title


# --- what is missing, late, old, wrong, or hostile -----------------------------------------------


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Any]:
    """Return how a dashboard is served over an empty folder, with an office of a kind."""
    write_config(tmp_path, CONFIG)
    made: list[Dashboard] = []

    def serve(office: str = "plain", idle_s: float = 3_600.0) -> Dashboard:
        made.append(Dashboard(tmp_path, office, idle_s))
        return made[-1]

    yield serve
    for one in made:
        one.close()


def test_before_anything_has_run_pages_say_so(browser: Browser, served: Any) -> None:
    dashboard = served()
    with looking(browser, dashboard.url) as look:
        look.sign_in(dashboard.key["viewer"])
        for path in PAGES:
            page = look.go(path)
            page.wait_for_function("!document.querySelector('#content .loading')")
            assert page.locator("#content").inner_text()
            assert "Traceback" not in page.content()
            assert_accessible(page)
        page = look.go("")
        expect(page.locator(".top .state")).to_have_text("paper: not running")
        expect(page.get_by_text("There is no equity yet")).to_be_visible()


def test_an_office_that_fails_is_told_in_place(browser: Browser, served: Any) -> None:
    dashboard = served("failing")
    with looking(browser, dashboard.url) as look:
        look.sign_in(dashboard.key["admin"])
        for path in PAGES:
            page = look.go(path, "#content")
            expect(page.locator(".problem:visible").first).to_be_visible()
            expect(page.locator("h1")).to_have_count(1)
            text = page.content()
            assert "Traceback" not in text
            assert "secret detail" not in text
        page = look.go("")
        told = " ".join(page.locator(".problem:visible").all_inner_texts())
        assert "the file of accounts is damaged" in told
        assert "the log of the server says why" in told
        expect(page.locator(".top .state")).to_have_text("state unknown")
        page = look.go("?account=paper", "#content")
        page.get_by_role("button", name="Stop trading").first.click()
        expect(page.locator("dialog[open] select")).to_have_value("paper")
    assert "secret detail of a bug" in (dashboard.folder / "dashboard.err").read_text()


def test_what_takes_long_is_awaited_and_the_rest_shown(browser: Browser, served: Any) -> None:
    dashboard = served("slow")
    with looking(browser, dashboard.url) as look:
        page = look.sign_in(dashboard.key["viewer"]).page
        late = page.locator("section[aria-label='Last decisions']")
        expect(late.locator(".loading")).to_be_visible()
        expect(row(page, "paper")).to_be_visible()
        expect(late).to_contain_text("Nothing was decided yet.")
        expect(late.locator(".loading")).to_be_hidden()


def test_an_old_heartbeat_is_shown_as_old(browser: Browser, served: Any) -> None:
    dashboard = served("old")
    with looking(browser, dashboard.url) as look:
        page = look.sign_in(dashboard.key["viewer"]).page
        expect(page.locator(".top .state.old")).to_have_text("paper: no word for 1.6 min")
        expect(page.locator("tr.old")).to_contain_text("1.6 min")
        expect(page.locator(".banner.old")).to_contain_text("what is shown of it is old")


def test_texts_that_want_to_be_markup_stay_texts(browser: Browser, served: Any) -> None:
    dashboard = served("hostile")
    with looking(browser, dashboard.url) as look:
        look.sign_in(dashboard.key["admin"])
        for path in ("", "positions", "decisions", "strategies", "health"):
            page = look.go(path)
            page.wait_for_timeout(1_500)
            for sight in page.locator("#content a, #content button").all()[:40]:
                assert not (sight.get_attribute("href") or "").startswith("javascript")
            assert page.evaluate("window.hurt") is None, path
            assert page.locator("#content img, #content script, #content svg animate").count() == 0
        page = look.go("positions")
        cells = page.locator("section[aria-label='Held now'] td:first-child").all_inner_texts()
        assert cells == list(CORPUS)
        page = look.go(f"?account={CORPUS[0]}", "#content")
        expect(page.locator(".problem").first).to_contain_text("<img src=x")
        assert page.evaluate("window.hurt") is None


def test_who_does_nothing_is_signed_out(browser: Browser, served: Any) -> None:
    dashboard = served(idle_s=4.0)
    with looking(browser, dashboard.url) as look:
        page = look.sign_in(dashboard.key["operator"]).page
        page.wait_for_url("**/dashboard/login**")
        page.goto(f"{look.url}/dashboard/")
        assert "/login" in page.url


def test_an_action_asks_for_the_role_as_it_is_now(browser: Browser, served: Any) -> None:
    dashboard = served()
    with looking(browser, dashboard.url) as look:
        page = look.sign_in(dashboard.key["operator"]).page
        page.locator("button.big").click()
        page.wait_for_selector("dialog[open]")
        file = dashboard.folder / "keys.json"
        file.write_text(file.read_text().replace('"operator",', '"viewer",'))
        page.get_by_label("or type KILL").fill("KILL")
        said = page.locator("dialog[open] [role=alert]")
        expect(said).to_contain_text("this takes the role operator; the key 'operator1' is viewer")
        assert not (dashboard.folder / "journal/paper/control").exists()
        Keys(file).revoke("operator1")
        page.wait_for_url("**/dashboard/login**")
    said = (dashboard.folder / "dashboard.err").read_text()
    assert '"action": "kill every account: stopped on the dashboard"' in said
    assert "refused: this takes the role operator" in said


# --- how fast ------------------------------------------------------------------------------------


def test_it_opens_quickly_with_many_decisions_behind_it(browser: Browser, tmp_path: Path) -> None:
    session = PaperSession(tmp_path, seconds_per_bar=0.01)
    session.start()
    serving = Serving(tmp_path)
    try:
        serving.wait("/decisions", lambda page: len(page["items"]) >= 100, limit=100)
    finally:
        serving.close()
        session.close()
    _multiply(tmp_path / "onefold.db")
    Keys(tmp_path / "keys.json").revoke("process0")
    dashboard = Dashboard(tmp_path)
    try:
        with looking(browser, dashboard.url) as look:
            look.sign_in(dashboard.key["viewer"])
            took = [_opened(look) for _ in range(5)]
            print("first paint, data; seconds:", took)
            # The best of some: the machine has other things to do as well.
            assert min(data for _, data in took) < 2.0, took
            page = look.go("decisions")
            assert page.locator("section[aria-label=Decisions] tbody tr").count() == 50
    finally:
        dashboard.close()


def _multiply(path: Path) -> None:
    """Write the decisions that are there again and again, each later than those before."""
    with sqlite3.connect(path) as base:
        names = [one[1] for one in base.execute("PRAGMA table_info(decisions)")]
        while True:
            [(count, last, first, ts)] = base.execute(
                "SELECT count(*), max(id), min(ts), max(ts) FROM decisions"
            )
            if count >= MANY:
                break
            moved = {"id": f"id + {last}", "ts": f"ts + {ts - first}"}
            into = ", ".join(f'"{name}"' for name in names)
            values = ", ".join(moved.get(name, f'"{name}"') for name in names)
            taken = f"SELECT {values} FROM decisions"  # noqa: S608 - names of columns
            base.execute(f"INSERT INTO decisions ({into}) {taken}")
    base.close()


def _opened(look: Look) -> tuple[float, float]:
    """Open the overview; return the seconds until the first paint and until the data are there."""
    began = time.monotonic()
    look.page.goto(f"{look.url}/dashboard/", wait_until="commit")
    look.page.wait_for_selector("section[aria-label='Last decisions'] tbody tr >> nth=7")
    look.page.wait_for_selector(".chart svg path", state="attached")
    data_s = time.monotonic() - began
    paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
    return look.page.evaluate(paint) / 1e3, data_s
