"""Logs: a console for people, and for machines a file of JSON lines for each channel.

Whoever speaks uses the standard library, `logging.getLogger("onefold.trading.desk")`, and knows
nothing of this module. Here it is decided where that goes. A record is made ready by the thread
that logs, and written by another: a disk that is slow or full must not hold up an order, so what
cannot be kept is dropped, and counted as a failure.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from datetime import UTC, date, datetime
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from typing import Any

import filelock
import msgspec
from structlog.contextvars import bound_contextvars, get_contextvars
from structlog.stdlib import ExtraAdder, ProcessorFormatter

from onefold.ops.failures import Alert, Failures, FailureTracker
from onefold.ops.log_settings import CHANNELS, LogSettings, number_of
from onefold.ops.redaction import EXCEPTION_MAX, Redactor

ROOT = "onefold"
WAITING_MAX = 10_000
"""Records that may wait to be written."""
PATIENCE_S = 5.0
"""How long the end of a process waits for what has not been written yet."""
LOCK_S = 1.0
TELL_EVERY_S = 60.0
"""How often it is told that lines are still being lost."""
MB, NAME_MAX = 1_000_000, 100
_FOREIGN = {"uvicorn": "api"}
_FOREIGN_LEVELS = {"uvicorn": logging.INFO}
_HIDDEN = {"message", "asctime", "color_message", "told", "is_alert", "exception", "error"}
log = logging.getLogger("onefold.application.logs")


def channel_of(logger: str) -> str:
    """Return the channel of a logger by its name: `onefold.trading.desk` speaks on `trading`."""
    first, _, rest = logger.partition(".")
    if first == ROOT:
        named = rest.partition(".")[0]
        return named if named in CHANNELS else "application"
    return _FOREIGN.get(first, "application")


@contextlib.contextmanager
def speaking_of(**facts: Any) -> Iterator[None]:
    """Give every record that is logged inside, tasks that begin inside included, some facts."""
    with bound_contextvars(**facts):
        yield


class Logs:
    """The logs of a process; `summary` says where they go, `failures` counts what was survived."""

    def __init__(
        self, summary: str, failures: FailureTracker, ends: list[Callable[[], None]]
    ) -> None:
        self.summary, self.failures, self._ends = summary, failures, ends

    def close(self) -> None:
        """Write what waits, and leave the process's loggers as they were."""
        while self._ends:
            self._ends.pop()()


def set_up(
    settings: LogSettings,
    folder: Path,
    *,
    process: str = "run",
    secrets: Collection[str] = (),
    say: Callable[[str], None] | None = None,
    alert: Alert | None = None,
) -> Logs:
    """Send all that is logged in this process to the console and to the channels' files.

    `folder` is that of the configuration, from which `settings.folder` begins. `process` names who
    writes: several processes may write to the same files. `secrets` are never written. `say` takes
    the console's lines (stderr when left out), `alert` hears every tenth failure of a component.
    A folder that cannot be written is told of in the summary; then the console has what is said.
    """
    where, redactor = folder / settings.folder.expanduser(), Redactor(secrets)
    trouble = _folder_made(where)
    failures = FailureTracker(where, process=process, redactor=redactor, alert=_alarm(alert))
    lost = _Lost(failures)
    files: list[logging.Handler] = []
    for channel in CHANNELS:
        made = _ChannelFile(where, channel, settings, lost)
        made.setFormatter(_formatter(redactor, _as_json))
        trouble = trouble or made.tried()
        files.append(made)
    console = _Console(say or _stderr)
    console.setFormatter(_formatter(redactor, _as_text))
    console.addFilter(_is_news)
    ends: list[Callable[[], None]] = [failures.close]
    handlers = [
        _FailureFeed(failures),
        _queued(files, 0, lost, ends),
        _queued([console], number_of(settings.console_level), lost, ends),
    ]
    _attach(settings, handlers, ends)
    summary = _summary(settings, where, trouble)
    log.log(
        logging.WARNING if trouble else logging.INFO,
        summary,
        extra={"told": True, "writer": process, **({"component": "logs"} if trouble else {})},
    )
    return Logs(summary, failures, ends)


def _folder_made(where: Path) -> str:
    try:
        where.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return str(error.strerror or error)
    return ""


def _summary(settings: LogSettings, where: Path, trouble: str) -> str:
    names = [
        f"{channel} ({settings.levels[channel]})" if channel in settings.levels else channel
        for channel in CHANNELS
    ]
    kept = f"a day or {settings.max_mb:g} MB a file, {settings.keep_files} kept of each"
    said = f"logs: {where}, from {settings.level} on: {', '.join(names)}; {kept}"
    return f"{said}; it cannot be written: {trouble}" if trouble else said


def _attach(
    settings: LogSettings, handlers: list[logging.Handler], ends: list[Callable[[], None]]
) -> None:
    """Give handlers to the root logger, and each logger the level from which on it is heard."""
    console = number_of(settings.console_level)
    levels = {ROOT: min(settings.level_of("application"), console), "": logging.WARNING}
    levels |= {f"{ROOT}.{name}": min(settings.level_of(name), console) for name in CHANNELS}
    levels |= _FOREIGN_LEVELS
    for name, level in levels.items():
        logger = logging.getLogger(name)
        ends.append(_setter(logger, logger.level))
        logger.setLevel(level)
    root = logging.getLogger()
    for handler in handlers:
        root.addHandler(handler)
        ends.append(_remover(root, handler))


def _setter(logger: logging.Logger, level: int) -> Callable[[], None]:
    return lambda: logger.setLevel(level)


def _remover(root: logging.Logger, handler: logging.Handler) -> Callable[[], None]:
    return lambda: root.removeHandler(handler)


def _alarm(alert: Alert | None) -> Alert:
    """Return what tells of every tenth failure: in the log, and whoever else listens."""
    monitoring = logging.getLogger("onefold.monitoring.failures")

    def alarm(failures: Failures) -> None:
        monitoring.error(
            "%d failures of %s, the last: %s",
            failures.count,
            failures.component,
            failures.last[-1].said,
            extra={"is_alert": True, "failed": failures.component, "count": failures.count},
        )
        if alert is not None:
            alert(failures)

    return alarm


# -- from the thread that logs to the one that writes ---------------------------------------------


class _Lost:
    """Counts records that could not be written; the first is a failure at once, then by minutes."""

    def __init__(self, failures: FailureTracker) -> None:
        self._failures, self._lock = failures, threading.Lock()
        self._told: dict[str, float] = {}
        self._count: dict[str, int] = {}

    def one(self, what: str, error: BaseException | str) -> None:
        now = time.monotonic()
        with self._lock:
            self._count[what] = self._count.get(what, 0) + 1
            if now - self._told.get(what, -TELL_EVERY_S) < TELL_EVERY_S:
                return
            self._told[what], count = now, self._count.pop(what)
        self._failures.record_failure("logs", error, {"what": what, "records": count})


class _FailureFeed(logging.Handler):
    """Counts what is logged of failures that were survived: with an error, or a component."""

    def __init__(self, failures: FailureTracker) -> None:
        super().__init__(logging.WARNING)
        self._failures = failures

    def emit(self, record: logging.LogRecord) -> None:
        facts, error = vars(record), record.exc_info[1] if record.exc_info else None
        component = facts.get("component")
        if (error is None and component is None) or facts.get("is_alert"):
            return
        with contextlib.suppress(Exception):
            context = {name: v for name, v in _extra(record).items() if name not in _HIDDEN}
            context |= {"log": record.name, "event": record.getMessage(), **get_contextvars()}
            self._failures.record_failure(
                str(component or record.name.removeprefix(f"{ROOT}.")),
                context["event"] if error is None else error,
                context,
            )


class _Enqueue(QueueHandler):
    """Makes a record ready, which costs microseconds, and leaves the writing to a thread."""

    def __init__(self, waiting: queue.Queue[Any], lost: _Lost) -> None:
        super().__init__(waiting)
        self._lost = lost

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        ready = copy.copy(record)
        ready.msg, ready.args = record.getMessage(), None
        ready.exc_info = ready.exc_text = None
        for name, value in get_contextvars().items():
            vars(ready).setdefault(name, value)
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            vars(ready)["error"] = f"{type(error).__name__}: {error}"
            lines = traceback.format_exception(error, limit=30)
            vars(ready)["exception"] = "".join(lines)[-2 * EXCEPTION_MAX :]
        return ready

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self._lost.one("queue", "records were dropped: too many wait to be written")

    def handleError(self, _: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        self._lost.one("record", sys.exc_info()[1] or "a record could not be made")


class _Listener(QueueListener):
    """Writes what waits; its end does not wait for ever for a disk or a terminal that hangs."""

    def __init__(self, waiting: queue.Queue[Any], handlers: list[logging.Handler]) -> None:
        super().__init__(waiting, *handlers, respect_handler_level=True)
        self._waiting = waiting

    def stop(self) -> None:
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=PATIENCE_S)  # the listener's sign to end
        thread = self._thread
        if thread is not None:
            thread.join(PATIENCE_S)
            self._thread = None
        for handler in self.handlers:
            handler.close()


def _queued(
    handlers: list[logging.Handler], level: int, lost: _Lost, ends: list[Callable[[], None]]
) -> logging.Handler:
    waiting: queue.Queue[Any] = queue.Queue(WAITING_MAX)
    listener = _Listener(waiting, handlers)
    listener.start()
    ends.append(listener.stop)
    made = _Enqueue(waiting, lost)
    made.setLevel(level)
    return made


# -- what a line says -----------------------------------------------------------------------------

_extra_of = ExtraAdder()


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """Return what was said beside the message, by name."""
    added = _extra_of(None, "", {"_record": record})  # type: ignore[arg-type]
    return {name: value for name, value in added.items() if name != "_record"}


def _formatter(redactor: Redactor, render: Callable[[Mapping[str, Any]], str]) -> logging.Formatter:
    def cleaned(_: Any, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        record: logging.LogRecord = event["_record"]
        facts = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "channel": channel_of(record.name),
            "logger": record.name,
            "event": redactor.text(str(event["event"])),
        }
        extra = _extra(record)
        for name, value in extra.items():
            if name not in _HIDDEN and name not in facts:
                facts[redactor.text(name, NAME_MAX)] = redactor.value(value, name)
        if "error" in extra:
            facts["error"] = redactor.text(extra["error"])
        if "exception" in extra:
            facts["exception"] = redactor.lines(extra["exception"])
        return facts

    return ProcessorFormatter(
        processors=[cleaned, lambda _, __, facts: render(facts)], foreign_pre_chain=[]
    )


def _as_json(facts: Mapping[str, Any]) -> str:
    return msgspec.json.encode(facts).decode()


def _as_text(facts: Mapping[str, Any]) -> str:
    """Return a record as a line for people: no traceback, which the files have."""
    left_out = {"ts", "level", "channel", "logger", "event", "exception", "error"}
    known = " ".join(f"{k}={v}" for k, v in facts.items() if k not in left_out)
    name = facts["logger"].removeprefix(f"{ROOT}.")
    error = f": {facts['error']}" if "error" in facts else ""
    text = f"{facts['ts'][11:19]} {facts['level']} {name}: {facts['event']}{error}"
    return f"{text} ({known})" if known else text


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether the console has not been told already, by whoever logged it."""
    return not vars(record).get("told")


def _stderr(line: str) -> None:
    sys.stderr.write(line + "\n")


class _Console(logging.Handler):
    """Says records to people; a terminal that is gone is no failure."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            self._say(self.format(record))


# -- files ----------------------------------------------------------------------------------------


class _ChannelFile(logging.Handler):
    """Appends a channel's lines to its file, and puts the file aside by day and size.

    Several processes may append to one file: each line is one write at its end, and whoever finds
    that the file is another one by now goes on with that one.
    """

    def __init__(self, folder: Path, channel: str, settings: LogSettings, lost: _Lost) -> None:
        super().__init__(logging.ERROR if channel == "error" else settings.level_of(channel))
        self._channel, self._lost = channel, lost
        self._path = folder / f"{channel}.log"
        self._size_max = round(settings.max_mb * MB)
        self._files, self._days = settings.keep_files, settings.keep_days
        self._file: int | None = None
        self._is_torn = False
        self.addFilter(self._is_ours)

    def _is_ours(self, record: logging.LogRecord) -> bool:
        return self._channel in ("error", channel_of(record.name))

    def tried(self) -> str:
        """Open the file; return why it cannot be written, or nothing."""
        try:
            self._opened()
        except OSError as error:
            return f"{self._path.name}: {error.strerror or error}"
        return ""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._write(self.format(record).encode("utf-8", "backslashreplace") + b"\n")
        except Exception:  # noqa: BLE001 - whatever it was, it must not reach who logs
            self.handleError(record)

    def handleError(self, _: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        self._lost.one(self._channel, sys.exc_info()[1] or "a line could not be written")

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        super().close()

    def _write(self, line: bytes) -> None:
        file = self._opened()
        if self._is_due(os.fstat(file), len(line)):
            self._put_aside(len(line))
            file = self._opened()
        line = b"\n" + line if self._is_torn else line
        self._is_torn = True
        self._is_torn = os.write(file, line) < len(line)
        if self._is_torn:
            raise OSError("the disk took a part of a line only")

    def _opened(self) -> int:
        """Return the file that is in its place now, which another process may have put there."""
        if self._file is not None:
            try:
                there, ours = self._path.stat(), os.fstat(self._file)
                if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                    return self._file
            except FileNotFoundError:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            os.close(self._file)
            self._file = None
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        return self._file

    def _is_due(self, found: os.stat_result, more: int) -> bool:
        if not found.st_size:
            return False
        return found.st_size + more > self._size_max or _day(found.st_mtime) != _day(time.time())

    def _put_aside(self, more: int) -> None:
        """Move the file away, unless another process has just done so, and forget old ones."""
        lock = filelock.FileLock(self._path.parent / ".rotation.lock", timeout=LOCK_S)
        # What cannot be moved now (Windows keeps a file that another process has open) grows on.
        with contextlib.suppress(OSError), lock:
            found = self._path.stat()
            if self._is_due(found, more):
                self._path.replace(self._free_name(_day(found.st_mtime)))
                self._forget()

    def _free_name(self, day: date) -> Path:
        taken = {path.name for path in self._aside()}
        number = 1
        while (name := f"{self._channel}.{day}.{number}.log") in taken:
            number += 1
        return self._path.with_name(name)

    def _aside(self) -> list[Path]:
        return list(self._path.parent.glob(f"{self._channel}.*-*-*.*.log"))

    def _forget(self) -> None:
        newest = sorted(self._aside(), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        oldest_s = time.time() - self._days * 86_400
        for number, path in enumerate(newest):
            if number >= self._files or path.stat().st_mtime < oldest_s:
                path.unlink(missing_ok=True)


def _day(seconds: float) -> date:
    return datetime.fromtimestamp(seconds, UTC).date()
