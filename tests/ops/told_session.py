"""A session in a process of its own that tells what it does, or nobody where the port is 0.

Usage: python told_session.py JOURNAL_FOLDER PORT. Prints the run's fingerprint, how long it took,
and the longest time that one input took.
"""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Callable
from pathlib import Path

from engine import victim
from onefold.adapters.synthetic import generate
from onefold.domain.convert import to_records
from onefold.domain.records import Record
from onefold.engine.recorder import Recorder
from onefold.engine.session import Session
from onefold.journal import Journal
from onefold.ops.channels import NotificationSettings
from onefold.ops.notifications import Notifications
from onefold.sim.exchange import SimulatedVenue
from ops.messenger import DISCORD, SLACK, TELEGRAM, point_at

BARS = 500


class Account:
    """What notifications ask of an account."""

    name, mode = "paper", "paper"


def main(folder: Path, port: int) -> None:
    """Run the session."""
    point_at(port)
    urls = {"discord": DISCORD, "slack": SLACK, "telegram": TELEGRAM} if port else {}
    channels = {name: {"url": url} for name, url in urls.items()}
    settings = NotificationSettings.model_validate({"channels": channels, "drain_s": 0})
    notifications = Notifications(settings)
    plan = victim.plan()
    heard: list[Callable[[Record], None]] = []

    def seen(record: Record) -> None:
        for hear in heard:
            hear(record)

    with Journal.open(folder, mode="durable", today=lambda: dt.date(2026, 1, 1)) as journal:
        venue = SimulatedVenue(plan.book(), plan.names)
        session = Session(plan, venue, Recorder(iter(()), journal, seen=seen), victim.START)
        session.resume()
        heard.append(notifications.observe(Account(), session))
        took = []
        begun = time.monotonic()
        for bar in to_records(generate(victim.config()).slice(0, BARS), "MADE"):
            at = time.monotonic()
            session.on(bar)
            took.append(time.monotonic() - at)
        seconds = time.monotonic() - begun
    waiting = sum(s["waiting"] + s["counted"] for s in notifications.status().values())
    notifications.close()
    print(f"fingerprint={session.result().fingerprint}")
    print(f"notices={waiting}")
    print(f"seconds={seconds}")
    print(f"slowest_s={max(took[5:])}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
