"""Law 1 over time: recorded inputs give the journals that they have always given."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.golden_cases import CASES, FOLDER
from onefold.journal import read

BYTES_MAX = 60_000


def lines_of(folder: Path) -> list[bytes]:
    """Return the records of a journal; seals are left out, as they carry no decision."""
    return [entry.raw for entry in read(folder)]


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_golden_world_decides_as_it_always_did(name: str, tmp_path: Path) -> None:
    CASES[name]().session(tmp_path)
    now = lines_of(tmp_path)
    path = FOLDER / f"{name}.jsonl"
    if os.environ.get("ONEFOLD_WRITE_GOLDEN"):
        path.write_bytes(b"\n".join(now) + b"\n")
    then = path.read_bytes().splitlines()
    for number, (was, is_) in enumerate(zip(then, now, strict=False), start=1):
        assert is_ == was, f"{path.name}, line {number}"
    assert len(now) == len(then)


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_golden_journal_is_worth_keeping(name: str) -> None:
    """It is small, and shows entries, exits, fills, refusals and cancels."""
    text = (FOLDER / f"{name}.jsonl").read_text()
    assert len(text.encode()) < BYTES_MAX
    for kind in ("bar", "signal", "decision", "order", "fill"):
        assert f'"kind":"{kind}"' in text
    assert '"blocked":[' in text
    assert text.count('"kind":"fill"') >= 8


def test_there_is_a_journal_for_every_world_and_no_other() -> None:
    assert {p.stem for p in FOLDER.glob("*.jsonl")} == set(CASES)
