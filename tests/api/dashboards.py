"""A browser that looks at the dashboard, and what must hold of every page that it sees."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

from onefold.api.security import ROLES, Keys

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]
CHROMIUM = "/usr/bin/chromium"
STARTED = """
import runpy, sys
from onefold.app.main import WithoutPandas
sys.meta_path.insert(0, WithoutPandas())
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script in a process that starts as those of the command line do."""
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
PAGES = (
    "",
    "positions",
    "trades",
    "decisions",
    "explain",
    "strategies",
    "governance",
    "transitions",
    "journal",
    "health",
    "backtests",
)
WAIT_MS = 60_000


class Dashboard:
    """The dashboard of a folder in a process, with a key for each role."""

    def __init__(self, folder: Path, office: str = "plain", idle_s: float = 3_600.0) -> None:
        self.folder = folder
        keys = Keys(folder / "keys.json")
        self.key = {role: keys.add(f"{role}1", role) for role in ROLES}
        script = Path(__file__).with_name("dashboard_process.py")
        self._said = (folder / "dashboard.err").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-c", STARTED, str(script), str(folder), office, str(idle_s)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (folder / "dashboard.err").read_text()
        self.url = f"http://127.0.0.1:{int(line)}"

    def close(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.communicate(timeout=30)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.communicate()
            self._said.close()


class Look:
    """A visitor's window: its page, and what it said and asked for that it should not have."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.context = context
        self.page: Page = context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.page.set_default_navigation_timeout(WAIT_MS)
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        context.on("request", self._asked)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.elsewhere.append(request.url)

    def sign_in(self, key: str) -> Look:
        """Give a key on the page for it."""
        self.page.goto(f"{self.url}/dashboard/login")
        self.page.fill("#key", key)
        self.page.click("button[type=submit]")
        self.page.wait_for_selector("#content .panel")
        return self

    def go(self, path: str, wait: str = "#content .panel") -> Page:
        """Open a page and wait for something on it."""
        self.page.goto(f"{self.url}/dashboard/{path}")
        self.page.wait_for_selector(wait)
        return self.page

    def check(self) -> None:
        """Nothing went wrong in the browser, and nothing was asked of anybody else."""
        assert self.errors == []
        assert self.elsewhere == []


@contextmanager
def looking(browser: Browser, url: str, **options: Any) -> Iterator[Look]:
    """Open a window, and check at its end what it said and asked for."""
    given: dict[str, Any] = {"viewport": DESKTOP, "color_scheme": "light", **options}
    context = browser.new_context(**given)
    look = Look(context, url)
    try:
        yield look
        look.check()
    finally:
        context.close()


# --- what must hold of every page ----------------------------------------------------------------

LABELS = """() => {
  const wrong = [];
  const seen = (e) => e.getClientRects().length > 0;
  const named = (e) => {
    const by = (e.getAttribute("aria-labelledby") || "").split(" ").filter(Boolean);
    const label = e.labels && [...e.labels].map((l) => l.innerText).join(" ");
    return (e.getAttribute("aria-label") || by.map((i) => document.getElementById(i)?.innerText)
      .join("") || label || e.innerText || e.getAttribute("alt") || e.title || "").trim();
  };
  for (const e of document.querySelectorAll(
      "a, button, input:not([type=hidden]), select, textarea, iframe, [role=img], dialog[open]"))
    if (seen(e) && !named(e)) wrong.push("no name: " + e.outerHTML.slice(0, 120));
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of new Set(ids)) if (ids.filter((i) => i === id).length > 1) wrong.push("id " + id);
  for (const e of document.querySelectorAll("th")) if (!e.scope) wrong.push("th without scope");
  for (const e of document.querySelectorAll("[tabindex]"))
    if (e.tabIndex > 0) wrong.push("tabindex " + e.tabIndex);
  const mains = [...document.querySelectorAll("main")].filter((e) => e.role !== "none" &&
    e.getAttribute("role") !== "none");
  if (mains.length !== 1) wrong.push(mains.length + " main parts");
  if (document.querySelectorAll("h1").length !== 1) wrong.push("not one h1");
  let level = 1;
  for (const e of document.querySelectorAll("main h1, main h2, main h3")) {
    if (!seen(e)) continue;
    const own = Number(e.tagName[1]);
    if (own > level + 1) wrong.push("heading skips to " + e.innerText);
    level = own;
  }
  if (!document.documentElement.lang) wrong.push("no language");
  return wrong;
}"""

CONTRAST = """() => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const draw = canvas.getContext("2d", { willReadFrequently: true });
  const rgba = (text) => {
    draw.clearRect(0, 0, 1, 1);
    draw.fillStyle = text;
    draw.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = draw.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const ground = (e) => {
    const layers = [];
    for (let at = e; at; at = at.parentElement) {
      const found = rgba(getComputedStyle(at).backgroundColor);
      layers.push(found);
      if (found[3] === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const light = (c) => c.map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const wrong = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let texts = 0;
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !e.getClientRects().length) continue;
    if (e.closest("script, style, option, :disabled, .skip, .nicegui-error-popup")) continue;
    const style = getComputedStyle(e);
    if (style.visibility === "hidden") continue;
    texts += 1;
    const svg = e.closest("svg");
    const below = ground(svg ? svg.parentElement : e);
    const ink = over(rgba(svg ? style.fill : style.color), below);
    const [a, b] = [light(ink), light(below)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5))
      wrong.push(`${ratio.toFixed(2)} ${walk.currentNode.data.trim().slice(0, 40)}`);
  }
  return texts < 10 ? ["only " + texts + " texts were seen"] : wrong;
}"""


def assert_accessible(page: Page) -> None:
    """Everything has a name, the parts are marked as such, and every text can be read."""
    assert page.evaluate(LABELS) == []
    assert page.evaluate(CONTRAST) == []


def heartbeat(folder: Path) -> dict[str, Any]:
    """Return what the session of a folder says of itself."""
    found: dict[str, Any] = json.loads((folder / "journal/paper/heartbeat.json").read_text())
    return found
