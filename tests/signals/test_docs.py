"""The code in the documentation runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onefold.signals import check_strategy, ours, raise_for, strategies_from_source
from onefold.signals.registry import instance_of

from .markets import market
from .test_learned import Store, model_of

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


def test_the_strategy_with_a_model_in_the_document_conforms() -> None:
    text = (DOCS / "models.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    [block] = [block for block in blocks if "class Careful" in block]
    written = strategies_from_source(block, "models.md")
    made = instance_of(written["careful"], {}, models=Store(dips=model_of()))
    raise_for(check_strategy(made, market("random", rows=300), seed=2))
