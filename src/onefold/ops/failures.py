"""What failed and was survived: counted by component, and kept where another process can read it.

A system that survives its failures hides them. So each one is counted, the last ones are kept with
what was going on, and every tenth of a component is told. The counts are written beside the logs,
at most once a second and by a thread, because what looks on must not hold up what trades.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from onefold.ops.redaction import Redactor

ALERT_EVERY = 10
"""Failures of a component after which somebody is told."""
KEPT = 10
"""Last failures of a component that are kept with their circumstances."""
COMPONENTS_MAX = 200
"""Components that are counted apart; what comes after counts for `OTHERS`."""
OTHERS = "others"
WRITE_S = 1.0
"""Shortest time between two writes."""
SAID_MAX, CONTEXT_MAX = 500, 20
PATIENCE_S = 2.0


class Failure(msgspec.Struct, frozen=True):
    """One failure: when (nanoseconds UTC), what kind of error, what it said, what was going on."""

    ts: int
    kind: str
    said: str
    context: dict[str, Any] = {}


class Failures(msgspec.Struct, frozen=True):
    """The failures of one component: how many ever, and the last of them, the newest last."""

    component: str
    count: int
    last: list[Failure] = []


Alert = Callable[[Failures], None]


class FailureTracker:
    """Counts failures by component; any thread may record one, and nothing here raises.

    `folder` is where counts are kept, in a file of the `process` whose failures they are; it goes
    on from what that file says. None keeps them in memory alone. `alert` hears every tenth failure
    of a component, in the thread that records it.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        process: str = "run",
        alert: Alert | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self._path = None if folder is None else folder / f"failures-{process}.json"
        self._alert, self._redactor = alert, redactor or Redactor()
        self._lock = threading.Lock()
        self._found = {} if self._path is None else _read(self._path)
        self._changed, self._closed = threading.Event(), threading.Event()
        self._writer: threading.Thread | None = None

    def record_failure(
        self,
        component: str,
        exc: BaseException | str,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """Count a failure of a component; `exc` is the error, or what is said of it."""
        with contextlib.suppress(Exception):
            kind = "" if isinstance(exc, str) else type(exc).__name__
            said = self._redactor.text(str(exc), SAID_MAX)
            some = list((context or {}).items())[:CONTEXT_MAX]
            known = {str(name): self._redactor.value(value, str(name)) for name, value in some}
            self._record(component, Failure(time.time_ns(), kind, said, known))

    def _record(self, component: str, failure: Failure) -> None:
        with self._lock:
            is_new = component not in self._found
            name = OTHERS if is_new and len(self._found) >= COMPONENTS_MAX else component
            before = self._found.get(name) or Failures(name, 0)
            now = Failures(name, before.count + 1, [*before.last, failure][-KEPT:])
            self._found[name] = now
            if self._path is not None and self._writer is None:
                self._writer = threading.Thread(target=self._write_on, daemon=True)
                self._writer.start()
        self._changed.set()
        if self._alert is not None and now.count % ALERT_EVERY == 0:
            self._alert(now)

    def get_all_failures(self) -> dict[str, Failures]:
        """Return the failures by component."""
        with self._lock:
            return dict(self._found)

    def close(self) -> None:
        """Write what has not been written yet."""
        self._closed.set()
        self._changed.set()
        if self._writer is not None:
            self._writer.join(PATIENCE_S)

    def _write_on(self) -> None:
        while True:
            self._changed.wait()
            self._changed.clear()
            with contextlib.suppress(Exception):
                self._write()
            if self._closed.is_set() and not self._changed.is_set():
                return
            self._closed.wait(WRITE_S)

    def _write(self) -> None:
        """Replace the file whole, unsynced: a power cut may lose the last counts."""
        if self._path is None:
            return
        encoded = msgspec.json.encode(list(self.get_all_failures().values()))
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        temporary.write_bytes(encoded)
        temporary.replace(self._path)


def read_failures(folder: Path) -> dict[str, Failures]:
    """Return what the processes that log into a folder have counted, by component.

    A file that cannot be read says nothing.
    """
    try:
        paths = sorted(folder.glob("failures-*.json"))
    except OSError:
        return {}
    merged: dict[str, Failures] = {}
    for path in paths:
        for name, one in _read(path).items():
            before = merged.get(name) or Failures(name, 0)
            last = sorted([*before.last, *one.last], key=lambda failure: failure.ts)[-KEPT:]
            merged[name] = Failures(name, before.count + one.count, last)
    return merged


def _read(path: Path) -> dict[str, Failures]:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=list[Failures])
    except (OSError, msgspec.DecodeError):
        return {}
    return {one.component: one for one in found}
