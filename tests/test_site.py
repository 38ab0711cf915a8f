"""The documents build as a site, with every link and anchor leading somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from onefold.fold.gates import GATES

ROOT = Path(__file__).parents[1]


def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    routes = (tmp_path / "reference-api.html").read_text(encoding="utf-8")
    for route in ("POST /api/v1/commands/kill", "GET /api/v1/trades", "GET /ready"):
        assert f"<code>{route}</code>" in routes
    gates = (tmp_path / "reference-gates.html").read_text(encoding="utf-8")
    assert [f"<code>{gate.name}</code>" for gate in GATES if gate.name not in gates] == []
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 40
    loads = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=["']?(https?:)?//""")
    assert [page.name for page in pages if loads.search(page.read_text(encoding="utf-8"))] == []
