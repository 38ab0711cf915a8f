"""Sightings and facts as tests want them, well unless told otherwise."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from onefold.ops.facts import Place, Sighting
from onefold.ops.health import Disk, Facts

GB = 10**9
NOW_NS = time.time_ns()


def place(name: str = "main", **facts: Any) -> Place:
    """Return an account that trades BTCUSD by two strategies."""
    folder = Path("journal") / name
    plain: dict[str, Any] = {
        "name": name,
        "folder": folder,
        "governance": Path("governance") / f"{name}.jsonl",
        "is_enabled": True,
        "is_shadow": False,
        "strategies": ("trend", "dips"),
        "traded": frozenset({"BTCUSD"}),
        "calendars": {"BTCUSD": "24/7"},
        "intervals_ns": {"BTCUSD": 60 * 10**9},
        "currency": "USD",
        "broker": "paper",
    }
    return Place(**{**plain, **facts})


def beat(**facts: Any) -> dict[str, Any]:
    """Return a heartbeat of a live session that is well."""
    plain = {
        "account": "main",
        "mode": "live",
        "data_mode": "live",
        "pid": 1,
        "ts": NOW_NS - 10**9,
        "started_ts": NOW_NS - 3_600 * 10**9,
        "inputs": 10,
        "counts": {"bars": 10, "late": 0, "refused": 0, "fills": 0, "orders": 0},
        "decisions": 3,
        "equity": 1_000.0,
        "totals": {"pnl": 10.0, "pnl_today": 1.0, "fees": 0.5},
        "open_orders": 0,
        "positions": {},
        "doubt": "",
        "killed": False,
        "reduce_only": False,
        "reconciled": True,
        "trouble": "",
        "feeds": {},
        "models": {},
        "disabled": {},
        "last_bars": {"BTCUSD": NOW_NS - 30 * 10**9},
    }
    return {**plain, **facts}


def sighting(
    one: Place | None = None, said: dict[str, Any] | None = None, **facts: Any
) -> Sighting:
    """Return an account whose session runs."""
    plain: dict[str, Any] = {
        "place": one or place(),
        "standing": "running",
        "beat": beat() if said is None else said,
        "unreadable": "",
        "age_s": 1.0,
        "switches": {},
        "journal": Path("journal/main/live-1"),
        "written_s": 1.0,
    }
    return Sighting(**{**plain, **facts})


def facts(*sightings: Sighting, **more: Any) -> Facts:
    """Return facts of accounts that are well, unless told otherwise."""
    seen = sightings or (sighting(),)
    plain: dict[str, Any] = {
        "now_ns": NOW_NS,
        "sightings": seen,
        "governance": {one.place.name: "" for one in seen},
        "disks": {one.place.folder: Disk(100 * GB, 200 * GB, "") for one in seen},
        "models": {},
        "metrics_s": 60.0,
        "history_s": 60.0,
        "failures": [],
        "behind": {},
        "jump_s": 0.0,
    }
    return Facts(**{**plain, **more})
