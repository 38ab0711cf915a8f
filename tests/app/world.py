"""A small configuration on made bars, and the command line as a user calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from onefold.app.main import run

CONFIG = """
account:
  cash: 50000
  limits: { max_open_positions: 3 }
instruments:
  MADE: { kind: equity }
data:
  MADE: { synthetic: { seed: 7, bars: 400, interval_s: 3600, volatility: 0.5 } }
  ES: { synthetic: { seed: 8, bars: 600, interval_s: 3600, price: 100 } }
strategies:
  trend:
    kind: crossover
    params: { fast: 5, slow: 15 }
    sizing: { kind: fraction, fraction: 0.3 }
  dips:
    kind: mean_reversion
    instruments: [MADE]
    sizing: { kind: fraction, fraction: 0.2 }
    exits: { stop: 0.05, max_bars: 20 }
"""


class Said(NamedTuple):
    """What a command line did: its exit code, and what it printed where."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return stdout as the one JSON document that it must be."""
        return json.loads(self.out)


def write_config(folder: Path, text: str = CONFIG, name: str = "onefold.yaml") -> Path:
    """Write a configuration."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def onefold(capsys: pytest.CaptureFixture[str], *arguments: object) -> Said:
    """Run the command line in this process."""
    capsys.readouterr()
    code = run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return Said(code, out, err)


def onefold_process(folder: Path, *arguments: object, **variables: str) -> Said:
    """Run the command line as a process of its own, in a folder."""
    done = subprocess.run(
        [sys.executable, "-c", "from onefold.app.main import main; main()", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return Said(done.returncode, done.stdout, done.stderr)
