"""Write the journal: record before acting.

The engine appends what it saw and decided, commits once, and only then acts. A commit is one
write and one sync however many records it has, for the sync is what costs. When either fails the
journal halts for good: after a failed fsync nobody knows what is on the disk, and a retry would
report success for pages that the kernel has already given up on. What is on the disk is found out
by the next start.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec

from onefold.domain.errors import (
    ConfigError,
    JournalError,
    JournalHalted,
    JournalLocked,
    NotJsonSafe,
    did_you_mean,
)
from onefold.journal import lines
from onefold.journal.disk import OS_DISK, AppendFile, Disk, Lock
from onefold.journal.files import utc_now
from onefold.journal.jsonsafe import RecordCheck, json_safe, record_check
from onefold.journal.recovery import Recovered, WritableEnd, recover
from onefold.journal.segments import Head, segment_path

Mode = Literal["durable", "relaxed"]

MODES = ("durable", "relaxed")
LOCK_NAME = ".lock"
SEGMENT_BYTES = 10_000_000
RELAXED_RECORDS = 512
"""Records that share a block in mode `relaxed`, where nothing waits for them to be written."""


class Journal:
    """The one writer of a journal folder; open it with `Journal.open`.

    Not for several threads at once, and not to be carried through a fork.
    """

    def __init__(
        self,
        path: Path,
        *,
        mode: Mode,
        today: Callable[[], dt.date],
        segment_bytes: int,
        disk: Disk,
        lock: Lock,
        end: WritableEnd,
    ) -> None:
        self.path = path
        self.mode = mode
        self.recovered: Recovered | None = end.recovered
        self._head = end.head
        self._today = today
        self._segment_bytes = segment_bytes
        self._disk = disk
        self._lock = lock
        self._owner = os.getpid()
        self._segments = end.segments
        self._date = dt.date.min if end.segment is None else end.segment.date
        self._size_bytes = end.size_bytes
        self._file: AppendFile | None = None
        if end.segment is not None:
            self._file = disk.append_to(end.segment.path, create=False)
        self._buffered: list[bytes] = []
        self._checks: dict[type[msgspec.Struct], RecordCheck] = {}
        self._encode = msgspec.json.Encoder(enc_hook=json_safe).encode
        self._is_open = True
        self._halted: str | None = None

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        mode: Mode = "durable",
        today: Callable[[], dt.date],
        head: Head | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        now: Callable[[], dt.datetime] = utc_now,
        disk: Disk = OS_DISK,
    ) -> Self:
        """Verify, recover and lock a journal folder, or begin a new one.

        `today` gives the UTC date that names a new segment; `head` is an exported head that the
        journal must contain; `now` stamps the list of repairs. In mode `relaxed` a crash may lose
        the last commits: see `commit`. Raises
        JournalLocked, JournalDamaged (nothing is changed), JournalError, ConfigError.
        """
        if mode not in MODES:
            message = f"unknown journal mode {mode!r}{did_you_mean(mode, MODES)}"
            raise ConfigError(message)
        if segment_bytes <= 0:
            message = f"segment_bytes must be positive, not {segment_bytes}"
            raise ConfigError(message)
        folder = Path(path)
        lock = _take_lock(folder, disk)
        try:
            end = recover(disk, folder, head, now)
            return cls(
                folder,
                mode=mode,
                today=today,
                segment_bytes=segment_bytes,
                disk=disk,
                lock=lock,
                end=end,
            )
        except OSError as error:
            lock.release()
            message = f"cannot open the journal {folder} for writing: {error}"
            raise JournalError(message) from error
        except BaseException:
            lock.release()
            raise

    @property
    def head(self) -> Head:
        """Return the last seal: what is committed."""
        return self._head

    def append(self, record: msgspec.Struct) -> int:
        """Buffer a record for the next commit and return its sequence number.

        A record is a struct with the tag field `kind`. Raises NotJsonSafe, naming the field, for
        NaN, infinities and what JSON cannot carry, and then takes no number; JournalHalted after
        a failed commit.
        """
        if not self._is_open:
            raise self._refusal()
        checks = self._checks.get(type(record))
        if checks is None:
            checks = self._checks[type(record)] = record_check(type(record))
        try:
            text = self._encode(record)
        except (NotJsonSafe, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise _not_encodable(record, error) from error
        if checks.always or text.find(b"null") >= 0:
            checks.check(record)
        buffered = self._buffered
        buffered.append(text)
        return self._head.seq + len(buffered)

    def commit(self) -> int:
        """Seal and write all buffered records durably; return the last number that is written.

        In mode `relaxed` it waits until `RELAXED_RECORDS` have come together, and does not sync.
        Nothing buffered: nothing is written. Raises JournalHalted when the write or the sync fails,
        or the lock file is not ours any more; from then on the journal refuses everything, and what
        was written is found out by opening it again.
        """
        if self.mode == "relaxed" and self._is_open and len(self._buffered) < RELAXED_RECORDS:
            return self._head.seq
        return self.flush()

    def flush(self) -> int:
        """Commit without waiting for more, also in mode `relaxed`."""
        if not self._is_open:
            raise self._refusal()
        if not self._buffered:
            return self._head.seq
        if os.getpid() != self._owner:
            message = f"{self.path} was opened by process {self._owner}: open it anew after a fork"
            raise JournalError(message)
        if not self._lock.is_held():
            self._halt(
                f"its lock file {LOCK_NAME} was removed or replaced, another process may write it"
            )
            raise self._refusal()
        date = self._today()
        try:
            self._write(date)
        except OSError as error:
            self._halt(f"{type(error).__name__}: {error}; check the disk")
            raise self._refusal() from error
        except BaseException as error:
            # Interrupted (Ctrl-C) between write and sync: as unknown as a failed sync.
            self._halt(f"interrupted by {type(error).__name__}")
            raise
        return self._head.seq

    def _write(self, date: dt.date) -> None:
        buffered = self._buffered
        block = lines.format_records(self._head.seq + 1, buffered)
        file, is_new = self._file, False
        # A clock that steps back does not begin a segment: dates in file names only grow.
        full = self._size_bytes + len(block) > self._segment_bytes
        if file is None or full or date > self._date:
            file, is_new = self._begin_segment(max(date, self._date)), True
            block = lines.format_segment(self._segments, *self._head) + block
        seq = self._head.seq + len(buffered)
        seal, hash_ = lines.seal(block, seq, len(buffered), self._head.hash)
        file.write(block + seal)
        if self.mode == "durable":
            file.sync()
        if is_new:
            self._disk.sync_folder(self.path)
        self._size_bytes += len(block) + len(seal)
        self._head = Head(seq, hash_)
        self._buffered = []

    def _begin_segment(self, date: dt.date) -> AppendFile:
        if self._file is not None:
            if self.mode == "relaxed":
                self._file.sync()
            self._file.close()
            self._file = None
        file = self._disk.append_to(segment_path(self.path, self._segments + 1, date), create=True)
        self._file = file
        self._segments += 1
        self._date = date
        self._size_bytes = 0
        return file

    def _halt(self, reason: str) -> None:
        self._is_open = False
        self._halted = reason

    def _refusal(self) -> JournalError:
        if self._halted is None:
            return JournalError(f"the journal {self.path} is closed")
        return JournalHalted(
            f"the journal {self.path} is halted after record {self._head.seq} ({self._halted}):"
            " nothing more is written until it is opened again"
        )

    def close(self) -> None:
        """Commit what is buffered, make everything durable, and release the lock."""
        try:
            if self._is_open:
                self.flush()
                if self.mode == "relaxed" and self._file is not None:
                    self._file.sync()
        except OSError as error:
            self._halt(f"{type(error).__name__}: {error}; check the disk")
            raise self._refusal() from error
        finally:
            self._release()

    def _release(self) -> None:
        self._is_open = False
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
        finally:
            self._lock.release()

    def __enter__(self) -> Self:
        """Return the journal."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; after an error what was not committed is dropped, as after a crash."""
        if kind is not None:
            self._buffered = []
        self.close()


def _take_lock(folder: Path, disk: Disk) -> Lock:
    try:
        disk.make_folder(folder)
        lock = disk.lock(folder / LOCK_NAME, 0)
    except OSError as error:
        message = f"cannot open the journal {folder} for writing: {error}"
        raise JournalError(message) from error
    if lock is None:
        message = f"the journal {folder} is open for writing elsewhere: stop that process first"
        raise JournalLocked(message)
    return lock


def _not_encodable(record: msgspec.Struct, error: Exception) -> NotJsonSafe:
    """Return an error that names the field, which the encoder's own does not."""
    name = str(record.__struct_config__.tag)
    try:
        json_safe(record, name)
    except NotJsonSafe as named:
        return named
    return NotJsonSafe(f"{name} cannot be written as JSON: {error}")
