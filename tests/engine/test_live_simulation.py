"""I1 to I7 after random faults, crashes and commands: whole lives of a session on virtual time.

`ONEFOLD_TEST_SEEDS` is how many lives there are. A life is its seed: `-k 'life and 17]'` lives the
seventeenth again, with the same interleaving of everything.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onefold.domain.errors import VenueUncertain
from onefold.domain.records import Fill, Order
from onefold.engine.blotter import Blotter, refused
from onefold.engine.control import Control
from onefold.engine.desk import Desk
from onefold.engine.session import Session
from onefold.journal import Journal

from .live_world import World
from .virtual_time import run

SEEDS = int(os.environ.get("ONEFOLD_TEST_SEEDS", "30"))


def lived(seed: int, folder: Path) -> World:
    world = World(seed, folder)
    run(world.live())
    return world


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_random_life_breaks_no_invariant(tmp_path: Path, seed: int) -> None:
    assert lived(seed, tmp_path).breaches == []


def test_the_same_seed_is_the_same_life(tmp_path: Path) -> None:
    journals = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        lived(3, folder)
        journals.append(b"".join(p.read_bytes() for p in sorted(folder.glob("journal/*.jsonl"))))
    assert journals[0] == journals[1]


# -- what the judge is worth: bugs that are planted, and that it has to see ------------------------


def _forget_trades(patch: Any) -> None:
    def remember(self: Blotter, fill: Fill) -> None:
        kept(self, fill)
        self._trades.discard((fill.instrument, fill.trade))

    kept = Blotter._remember_fill
    patch.setattr(Blotter, "_remember_fill", remember)


def _send_again(patch: Any) -> None:
    async def submit(self: Desk, order: Order) -> None:
        await kept(self, order)
        if self._blotter.placed(order.id).state in {"sent", "unknown"}:
            await kept(self, order)

    kept = Desk._submit
    patch.setattr(Desk, "_submit", submit)


def _do_not_look(patch: Any) -> None:
    patch.setattr(Control, "look", lambda *_: None)
    patch.setattr("onefold.engine.live.Live._switched", lambda _: [])


def _send_before_the_commit(patch: Any) -> None:
    patch.setattr(Session, "commit", lambda _: None)
    patch.setattr(Journal, "commit", lambda journal: journal.head.seq)


def _unknown_is_rejected(patch: Any) -> None:
    patch.setattr("onefold.engine.desk.unknown", refused)
    patch.setattr(Desk, "_ask", lambda *_: None)


def _never_ask_for_missed_trades(patch: Any) -> None:
    async def differences(self: Desk) -> list[str]:
        await self._drained()
        return []

    patch.setattr(Desk, "_differences", differences)


def _uncertain_is_certain(patch: Any) -> None:
    async def cancel(self: Desk, cancel: Any) -> None:
        try:
            await self._venue.cancel(self._blotter.client_id(cancel.order), cancel.instrument)
        except VenueUncertain:
            self._hand_in(refused(self._blotter.placed(cancel.order).order, self._now(), "gone"))

    patch.setattr(Desk, "_cancel", cancel)


BUGS: list[Callable[[Any], None]] = [
    _forget_trades,
    _send_again,
    _do_not_look,
    _send_before_the_commit,
    _unknown_is_rejected,
    _never_ask_for_missed_trades,
    _uncertain_is_certain,
]


@pytest.mark.parametrize("bug", BUGS)
def test_the_judge_sees_a_planted_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: Callable[[Any], None]
) -> None:
    bug(monkeypatch)
    for seed in range(20):
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            breaches = lived(seed, folder).breaches
        except Exception as error:  # noqa: BLE001 - a session that ends over it has seen it itself
            breaches = [repr(error)]
        if breaches:
            return
    pytest.fail("twenty lives with this bug, and nothing was noticed")
