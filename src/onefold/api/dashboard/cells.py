"""What stands in cells of tables: text with its tone, never markup; numbers as people read them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote, urlencode

from onefold.api.dashboard.resources import PREFIX
from onefold.views.wording import DASH, duration, money, number, percent, price, whole

Tone = Literal["", "good", "bad", "warn", "quiet"]
Cell = dict[str, Any]

MINUS = "\N{MINUS SIGN}"
NS_PER_S = 1_000_000_000
ORDER_TONES: dict[str, Tone] = {"rejected": "bad", "unknown": "bad", "filled": "good"}
STATE_TONES: dict[str, Tone] = {"running": "good", "stuck": "bad", "stopped": "warn"}
HEALTH_TONES: dict[str, Tone] = {"healthy": "good", "degraded": "warn", "unhealthy": "bad"}


def cell(text: str, tone: Tone = "", *, hint: str = "") -> Cell:
    """Return a cell with plain text; `hint` is what the pointer is told."""
    found: Cell = {"text": text}
    if tone:
        found["tone"] = tone
    if hint:
        found["hint"] = hint
    return found


def link(text: str, path: str, **query: str | int) -> Cell:
    """Return a cell that leads to a page of the dashboard."""
    return {"text": text, "href": href(path, **query)}


def href(path: str, **query: str | int) -> str:
    """Return the address of a page; what is empty is left out of its query."""
    given = {name: value for name, value in query.items() if value != ""}
    return f"{PREFIX}{quote(path)}" + (f"?{urlencode(given)}" if given else "")


def picked(text: str) -> Cell:
    """Return a cell that chooses its row."""
    return {"text": text, "picks": True}


def bar(text: str, share: float) -> Cell:
    """Return a cell with a bar of a share of its width."""
    return {"text": text, "share": round(min(max(share, 0.0), 1.0), 4)}


def signed(value: float | None, text: str = "") -> Cell:
    """Return an amount with its sign, and a tone beside it."""
    if value is None:
        return cell(DASH, "quiet")
    shown = (text or money(value, sign=True)).replace("-", MINUS)
    if not any(digit in shown for digit in "123456789"):  # too small to be seen
        return cell(shown.lstrip(f"+{MINUS}"), "quiet")
    return cell(shown, tone_of(value))


def tone_of(value: float | None) -> Tone:
    """Return the tone of a gain or a loss."""
    if not value:
        return "quiet"
    return "good" if value > 0 else "bad"


def when(ts: int | None) -> Cell:
    """Return a time in UTC from nanoseconds; the browser tells the local one."""
    if not ts:
        return cell(DASH, "quiet")
    moment = datetime.fromtimestamp(ts // NS_PER_S, UTC)
    return {"text": f"{moment:%Y-%m-%d %H:%M:%S}", "at": f"{moment:%Y-%m-%dT%H:%M:%SZ}"}


def when_text(text: str) -> Cell:
    """Return a time that comes as text."""
    try:
        moment = datetime.fromisoformat(text[:19] + "+00:00")
    except ValueError:
        return cell(text or DASH)
    return when(int(moment.timestamp()) * NS_PER_S)


def amount(value: float | None) -> Cell:
    """Return an amount of money."""
    return cell(money(value).replace("-", MINUS))


def at_price(value: float | None) -> Cell:
    """Return a price."""
    return cell(price(value).replace("-", MINUS))


def count(value: int | None) -> Cell:
    """Return a whole number."""
    return cell(whole(value).replace("-", MINUS))


def measured(value: float | None) -> str:
    """Return a number of any size: whole ones whole, others with some digits."""
    if value is None:
        return DASH
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", MINUS)
    return f"{value:,.6g}".replace("-", MINUS)


def share(value: float | None, digits: int = 2) -> str:
    """Return a share in percent."""
    return percent(value, digits).replace("-", MINUS)


def confidence(value: float | None) -> Cell:
    """Return a confidence or a score."""
    return cell(number(value, 3)) if value is not None else cell(DASH, "quiet")


def age(seconds: float | None) -> str:
    """Return how old something is."""
    return duration(seconds) if seconds is not None else DASH


def words(name: str) -> str:
    """Return a name of a record as words: `open_positions` is open positions."""
    return name.replace("_", " ")


def listed(names: Iterable[str], none: str = DASH) -> str:
    """Return names with commas between them."""
    return ", ".join(names) or none
