"""A paper session in a process of its own, over a made market that is played slowly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from onefold.domain.records import AnyRecord, Command, Order
from onefold.journal import decode, read

from .world import write_config

CONFIG = """
data:
  BTCUSD: {{ synthetic: {{ seed: 7, bars: {bars}, gap_rate: 0 }} }}
strategies:
  trend: {{ kind: crossover, params: {{ fast: 3, slow: 6 }} }}
  dips: {{ kind: mean_reversion }}
session: {{ pace: {{ seconds_per_bar: {seconds_per_bar} }}, heartbeat_s: 0.2 }}
paths: {{ heartbeats: beats }}
"""
COMMAND = [sys.executable, "-c", "from onefold.app.main import main; main()"]


class PaperSession:
    """The session of one folder: start it, look at it, end it; give `variables` to the process."""

    def __init__(self, folder: Path, *, bars: int = 100_000, seconds_per_bar: float = 0.01) -> None:
        self.folder = folder
        self.account = folder / "journal" / "paper"
        self.control = self.account / "control"
        write_config(folder, CONFIG.format(bars=bars, seconds_per_bar=seconds_per_bar))
        self.process: subprocess.Popen[str] | None = None

    def start(self, **variables: str) -> int:
        """Start the process, wait until it takes bars, and return its number."""
        self.process = subprocess.Popen(
            [*COMMAND, "run", "--mode", "paper"],
            cwd=self.folder,
            env={**os.environ, **variables},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        pid = self.process.pid
        self.wait(lambda beat: beat.get("pid") == pid and beat["inputs"] > 0)
        return pid

    def ended(self) -> int:
        """Wait for the end of the process and return its exit code."""
        assert self.process is not None
        self.process.communicate(timeout=30)
        return self.process.returncode

    def signal(self, number: int) -> int:
        """Send a signal, and return the exit code that followed."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.ended()

    def close(self) -> None:
        """Leave no process behind."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGKILL)

    def beat(self) -> dict[str, Any]:
        """Return the last heartbeat, empty before the first."""
        try:
            return msgspec.json.decode((self.account / "heartbeat.json").read_bytes())
        except FileNotFoundError:
            return {}

    def wait(self, until: Callable[[dict[str, Any]], object], timeout_s: float = 60.0) -> None:
        """Wait for a heartbeat of which something holds."""
        deadline = time.monotonic() + timeout_s
        while not until(self.beat()):
            assert self.process is not None
            if self.process.poll() is not None:
                assert self.process.stderr is not None
                raise AssertionError(f"it ended: {self.process.stderr.read()}")
            assert time.monotonic() < deadline, self.beat()
            time.sleep(0.02)

    def bars_pass(self, bars: int = 15) -> None:
        """Wait until the session has taken some more bars from now on."""
        for _ in range(2):  # one that is being written now may tell of a moment before
            self._beats_again()
        before = self.beat()["counts"]["bars"]
        self.wait(lambda beat: beat["counts"]["bars"] >= before + bars)

    def _beats_again(self) -> None:
        """Wait until the heartbeat has been written once more."""
        path = self.account / "heartbeat.json"
        last = path.stat().st_mtime_ns
        self.wait(lambda _: path.stat().st_mtime_ns != last)

    def journal(self) -> Path:
        """Return the folder of the journal."""
        [found] = self.account.glob("paper-*")
        return found

    def records(self) -> list[Any]:
        """Return what the journal holds now."""
        return [decode(entry, AnyRecord) for entry in read(self.journal())]  # type: ignore[arg-type]

    def commands(self) -> list[tuple[str, str, str]]:
        """Return the commands of the journal with their scopes, in their order."""
        found = [record for record in self.records() if isinstance(record, Command)]
        return [(command.command, command.strategy, command.instrument) for command in found]

    def ordered(self) -> set[str]:
        """Return the strategies that have ordered since the last command."""
        strategies: set[str] = set()
        for record in self.records():
            if isinstance(record, Command):
                strategies.clear()
            elif isinstance(record, Order):
                strategies.add(record.strategy)
        return strategies
