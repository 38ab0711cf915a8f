"""The notebook in the docs runs, and shows what it claims to show."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "first-backtest.ipynb"


def _shown(notebook: Any) -> list[list[str]]:
    """Return the plain text of every code cell's outputs."""
    return [
        [str(o.get("data", {}).get("text/plain", o.get("text", ""))) for o in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.filterwarnings("ignore")  # the kernel's own libraries warn of their own affairs
def test_the_notebook_shows_what_its_cells_give(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nbclient import NotebookClient

        stored = nbformat.read(NOTEBOOK, as_version=4)
        fresh = nbformat.read(NOTEBOOK, as_version=4)
        for cell in fresh.cells:
            if cell.cell_type == "code":
                cell.outputs = []
        resources = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(fresh, timeout=300, kernel_name="python3", resources=resources).execute()
    assert _shown(fresh) == _shown(stored)
    assert any("Backtest" in text for cell in _shown(fresh) for text in cell)
