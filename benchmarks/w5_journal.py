"""W5: what a durable record costs, beside what the disk alone costs in the same run.

A figure for a journal without one for its disk says little: the sync is most of it, and disks
differ by a factor of a hundred. So every commit of one record is measured in turn with a bare
`fdatasync` of the same bytes, in the same folder, and the ratio is what counts.

Prints one line of JSON: `python -m benchmarks.w5_journal [folder]`.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from onefold.journal import Journal, read, verify

GROUP = 512
GROUPS = 100
ROUNDS = 7
SINGLES = 1000
DATE = dt.date(2026, 11, 20)


class Order(msgspec.Struct, frozen=True, tag_field="kind", tag="order", omit_defaults=True):
    """A record of the usual size: some 300 bytes a line."""

    ts: int
    instrument: str
    strategy: str
    side: str
    qty: int
    price: float
    confidence: float
    score: float
    equity: float
    volatility: float
    features: list[float]
    model: str
    limit: float | None = None


RECORD = Order(
    ts=1_577_836_800_000_000_000,
    instrument="BTCUSDT",
    strategy="sma-cross-01",
    side="buy",
    qty=125,
    price=104.2571,
    confidence=0.6125,
    score=0.7312,
    equity=1_000_312.25,
    volatility=0.2231,
    features=[0.1234567, -1.3345, 2.25, 0.0071, 99.12],
    model="lgbm-2024-11-02",
)


def today() -> dt.date:
    """Return a fixed date: this measures no change of day."""
    return DATE


def grouped_per_s(folder: Path) -> list[float]:
    """Return records a second, by round, with `GROUP` records a commit."""
    rates = []
    with Journal.open(folder, today=today) as journal:
        append, commit = journal.append, journal.commit
        for _ in range(ROUNDS):
            start = time.perf_counter()
            for _ in range(GROUPS):
                for _ in range(GROUP):
                    append(RECORD)
                commit()
            rates.append(GROUP * GROUPS / (time.perf_counter() - start))
    return rates


def bytes_of_one_commit(folder: Path) -> bytes:
    """Return what a commit of one record writes: the record and its seal."""
    with Journal.open(folder, today=today) as journal:
        for _ in range(2):
            journal.append(RECORD)
            journal.commit()
    lines = next(folder.glob("*.jsonl")).read_bytes().splitlines(keepends=True)
    return b"".join(lines[-2:])


def singles_us(folder: Path, data: bytes) -> tuple[list[float], list[float]]:
    """Return microseconds of each single commit, and of each bare write and sync, taken in turn."""
    sync = getattr(os, "fdatasync", os.fsync)
    bare = os.open(folder / "bare", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    commits, syncs = [], []
    with Journal.open(folder / "singles", today=today) as journal:
        for _ in range(SINGLES):
            start = time.perf_counter()
            journal.append(RECORD)
            journal.commit()
            commits.append((time.perf_counter() - start) * 1e6)
            start = time.perf_counter()
            os.write(bare, data)
            sync(bare)
            syncs.append((time.perf_counter() - start) * 1e6)
    os.close(bare)
    return commits, syncs


def bare_group_us(folder: Path) -> float:
    """Return the median microseconds of a bare write and sync of what a grouped commit writes."""
    with Journal.open(folder, today=today) as journal:
        for _ in range(GROUP):
            journal.append(RECORD)
    data = next(folder.glob("*.jsonl")).read_bytes()
    sync = getattr(os, "fdatasync", os.fsync)
    bare = os.open(folder / "bare", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    taken = []
    for _ in range(GROUPS):
        start = time.perf_counter()
        os.write(bare, data)
        sync(bare)
        taken.append((time.perf_counter() - start) * 1e6)
    os.close(bare)
    return statistics.median(taken)


def reading_per_s(folder: Path) -> tuple[float, float]:
    """Return records a second of `verify` and of `read`."""
    start = time.perf_counter()
    records = verify(folder).records
    verified = time.perf_counter()
    if sum(1 for _ in read(folder)) != records:
        message = f"{folder}: verified {records} records, and read another number"
        raise RuntimeError(message)
    return records / (verified - start), records / (time.perf_counter() - verified)


def measure(folder: Path) -> dict[str, float | int]:
    """Run the whole work in a folder and return its figures."""
    rates = grouped_per_s(folder / "grouped")
    data = bytes_of_one_commit(folder / "one")
    commits, syncs = singles_us(folder, data)
    verify_per_s, read_per_s = reading_per_s(folder / "grouped")
    commit_us, fdatasync_us = statistics.median(commits), statistics.median(syncs)
    return {
        "record_bytes": len(data.splitlines()[0]) + 1,
        "records_per_s_512": round(statistics.median(rates)),
        "records_per_s_512_best": round(max(rates)),
        "fdatasync_512_us": round(bare_group_us(folder / "group"), 1),
        "commit_1_us": round(commit_us, 1),
        "fdatasync_us": round(fdatasync_us, 1),
        "commit_to_fdatasync": round(commit_us / fdatasync_us, 3),
        "verify_per_s": round(verify_per_s),
        "read_per_s": round(read_per_s),
    }


def main() -> None:
    """Measure in the folder named, or in the working directory, and print one line of JSON."""
    parent = sys.argv[1] if len(sys.argv) > 1 else "."
    folder = Path(tempfile.mkdtemp(prefix=".w5-", dir=parent))
    try:
        sys.stdout.write(json.dumps({"work": "W5", **measure(folder)}) + "\n")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
