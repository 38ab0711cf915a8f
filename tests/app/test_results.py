"""A run's folder: whole or not at all, and with everything that was promised."""

from __future__ import annotations

from pathlib import Path

import pytest

from onefold.app.results import new_folder
from onefold.domain.errors import ConfigError


def fill(folder: Path) -> None:
    (folder / "a").write_text("x")


def test_taken_names_get_a_number(tmp_path: Path) -> None:
    parent = tmp_path / "new" / "runs"
    made = [new_folder(parent, "r", fill) for _ in range(3)]
    assert [folder.name for folder in made] == ["r", "r-2", "r-3"]
    assert sorted(x.name for x in parent.iterdir()) == ["r", "r-2", "r-3"]
    assert (parent / "r-3" / "a").read_text() == "x"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def fail(folder: Path) -> None:
        fill(folder)
        raise error

    with pytest.raises(error):
        new_folder(tmp_path / "runs", "r", fail)
    assert list((tmp_path / "runs").iterdir()) == []


def test_no_place_to_write(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(ConfigError, match="cannot be written"):
        new_folder(tmp_path / "runs", "r", fill)
