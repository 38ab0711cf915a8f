"""The code in the documentation runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onefold.signals import ours

from .markets import market

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["write-a-strategy.md", "features.md"])
def test_every_code_block_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    blocks = list(re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    assert len(blocks) >= 4
    # The blocks of one page build on each other; `bars` is the reader's own data.
    scope: dict[str, object] = {"bars": market("random", rows=600), "__name__": "docs"}
    for block in blocks:
        line = text[: block.start()].count("\n") + 2
        code = compile("\n" * (line - 1) + block[1], name, "exec")
        exec(code, scope)  # noqa: S102 - our own pages
    if name == "write-a-strategy.md":
        assert "peeks, row" in capsys.readouterr().out


def test_the_feature_page_names_every_feature() -> None:
    text = (DOCS / "features.md").read_text(encoding="utf-8")
    for name in [*ours.__all__, "higher", "aggregate", "BarBuilder", "bars_from_ticks"]:
        assert f"{name}(" in text, name
